"""The dbt project, run as a user runs it, over folders that hold what an export leaves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from downstream.delta import EventsTable
from downstream.mirror import mirror
from downstream.source import FolderSource
from local.azurite import Azurite
from local.simulator import Simulator
from tests.downstream.conftest import PREFIX, Warehouse
from tests.downstream.landed import (
    BAD,
    FRIDAY,
    NOTATION,
    SATURDAY,
    THURSDAY,
    TUESDAY,
    WEDNESDAY,
    hour_of_events,
    line,
    long_line,
    odd_days,
)
from tests.downstream.test_delta import rows
from tests.faults.exports import Exports

FIVETRAN = {
    "event": """
        _fivetran_deleted _fivetran_synced amplitude_id ad_id amplitude_attribution_ids app city client_event_time
        client_upload_time country data device_brand device_carrier device_family device_id device_manufacturer
        device_model device_type dma id event_properties event_time event_type event_type_id group_properties groups
        idfa _insert_id ip_address is_attribution_event language library location_lat location_lng os_name os_version
        paying platform processed_time project_name region schema server_received_time server_upload_time session_id
        start_version user_creation_time user_id user_properties uuid version_name
    """,
    "event_type": """
        _fivetran_deleted _fivetran_synced autohidden deleted display flow_hidden hidden id in_waitroom name non_active
        project_name timeline_hidden totals totals_delta value waitroom_approved
    """,
}
"""The columns of models/staging/src_amplitude.yml in github.com/fivetran/dbt_amplitude, version 1.3."""


EXPORTED = {date(2025, 11, 10): "json", date(2025, 11, 11): "json.gz"}
"""Days that the app exports, each with its format."""


@pytest.fixture(scope="module")
def built(make_warehouse: Callable[[], Warehouse], azurite: Azurite) -> Warehouse:
    """Built once, from exported days, bad lines, odd values and a long line, for tests that only read it."""
    built = make_warehouse()
    with (
        Simulator() as simulator,
        ContainerClient.from_connection_string(azurite.connection_string, "for-dbt") as container,
    ):
        container.create_container()
        environ = {
            "AMP_API_KEY": simulator.keys[0],
            "AMP_SECRET_KEY": simulator.keys[1],
            "AMP_EXPORT_URL": simulator.url,
            "EXPORT_STORAGE": azurite.connection_string,
            "EXPORT_CONTAINER": container.container_name,
            "EXPORT_PREFIX": PREFIX,
        }
        for day, file_format in EXPORTED.items():
            simulator.set_day(day, {(hour, 0): hour_of_events(day, hour, 5) for hour in (9, 20)})
            Exports(environ).run(day, EXPORT_FORMAT=file_format)
        mirror(container, built.landed.folder, PREFIX)
    odd_days(built.landed)
    built.dbt("build")
    return built


def failed(statuses: dict[str, str]) -> dict[str, str]:
    return {node: status for node, status in statuses.items() if status not in ("success", "pass", "skipped")}


def test_both_formats_are_read_and_nothing_that_no_manifest_lists(built: Warehouse) -> None:
    assert built.rows(
        "select export_date, count(*) from silver.events where export_date < '2025-11-10' group by all order by all"
    ) == [
        (TUESDAY, 62),
        (WEDNESDAY, 3),
        (FRIDAY, 7),
    ]
    assert built.rows(
        "select page_url, page_path, page_counter, referrer, initial_utm_source, initial_utm_term, os_name, "
        "event_properties ->> '$.price', session_id from silver.events where uuid = 'one'"
    ) == [("https://example.com/a.b?c=1", "/a.b", 2, "https://search.example/", "newsletter", None, "Firefox", "6396.0",
           1762249341795)]  # fmt: skip
    assert built.rows("select session_id from silver.events where uuid = 'two'") == [(None,)]
    assert built.rows("select event from staging.stg_events where event ->> 'uuid' = 'one'") == [
        (line(uuid="one", device_id="reader").decode().rstrip(),)
    ]
    assert built.rows("select events, page_views, entry_page from silver.sessions where device_id = 'reader'") == [
        (1, 1, "/a.b")
    ]
    assert built.rows("select events, sessions from silver.devices where device_id = 'reader'") == [(2, 1)]
    assert built.rows("select count(*) from silver.page_views where device_id = 'reader'") == [(2,)]
    assert built.rows("select sum(events) from silver.places") == built.rows(
        "select count(*) from silver.events where country is not null"
    )


def test_what_an_export_lands_can_be_queried(built: Warehouse) -> None:
    """From the app through the mirror to the silver layer, a day in each format."""
    manifests = [json.loads(built.landed.manifest(day).read_text()) for day in EXPORTED]
    assert built.rows(
        "select export_date::varchar, export_try, count(*) from silver.events where export_date >= '2025-11-10' "
        "group by all order by all"
    ) == [(manifest["date"], manifest["try"], manifest["totals"]["events"]) for manifest in manifests]
    first = manifests[1]["files"][0]["name"]
    assert built.rows(
        f"from staging.stg_events select event::varchar where blob = '{first.replace("'", "''")}' order by all"
    ) == sorted((line,) for line in gzip.decompress((built.landed.folder / first).read_bytes()).decode().splitlines())


def test_bad_lines_are_rejected_by_name_and_everything_else_loads(built: Warehouse) -> None:
    assert built.rows("select uuid from silver.events where export_date = '2025-11-05' order by 1") == [
        ("first",), ("last",), ("long",)
    ]  # fmt: skip
    rejected = built.rows("from staging.rejected_events select * where export_date = '2025-11-05' order by line_number")
    assert [(number, text + b"\n") for *_, number, _, text in rejected] == list(enumerate(BAD, 3))
    assert [row[4].rpartition(": ")[2] for row in rejected] == [
        *["no low surrogate in string.", "invalid escaped character in string."],
        *["unexpected control character in string."] * 2,
        *[f"not UTF-8 at byte {BAD[4].index(0xFF) + 1}", f"not UTF-8 at byte {BAD[5].index(0xED) + 1}"],
        *["unexpected character.", "unexpected content after document.", "not an object but ARRAY"],
    ]
    assert f"Not an event, 2025-11-05: {rejected[0][2]}, line 3: " in built.said[0]


def test_odd_values_are_null_and_counted(built: Warehouse) -> None:
    """They are warnings, as bad lines are: nothing fails."""
    assert built.rows("from silver.quality order by all") == [
        (WEDNESDAY, "rejected line", None, 9), (THURSDAY, "rejected line", None, 1),
        (FRIDAY, "no value", "event_time", 1), (FRIDAY, "no value", "event_type", 1), (FRIDAY, "no value", "uuid", 2),
        (FRIDAY, "wrong type", "client_event_time", 1), (FRIDAY, "wrong type", "event_time", 2),
        (FRIDAY, "wrong type", "location_lat", 1), (FRIDAY, "wrong type", "page_counter", 1),
        (FRIDAY, "wrong type", "paying", 1), (FRIDAY, "wrong type", "session_id", 1),
    ]  # fmt: skip
    assert built.rows(
        "select uuid, cast_errors, event_time::varchar from silver.events where uuid in ('far', 'late') order by 1"
    ) == [
        ("far", "event_time client_event_time", None),
        ("late", "session_id paying location_lat", "52811-01-01 00:00:00"),
    ]
    assert failed(built.dbt("test")) == dict.fromkeys(
        [
            "every_line_is_an_event", "not_null_events_event_time", "not_null_events_event_type",
            "not_null_events_uuid", "not_null_page_views_page_path",
        ],
        "warn",
    )  # fmt: skip


def test_values_are_kept_and_the_whole_event_to_the_byte(built: Warehouse) -> None:
    """What silver.yml says of the objects: the same values, and perhaps another notation."""
    assert built.rows("select event::varchar from staging.stg_events where event ->> 'uuid' = 'notation'") == [
        (NOTATION.decode().rstrip(),)
    ]
    assert built.rows("select event_properties::varchar from silver.events where uuid = 'notation'") == [
        ('{"a":100.0,"b":0,"c":"é","d":0.0}',)
    ]


def test_columns_and_values_of_the_delta_table_are_those_of_the_silver_events(built: Warehouse, tmp_path: Path) -> None:
    """But times are UTC instants here; `raw` and `problem` take the place of `cast_errors`."""
    landed, target = built.landed, str(tmp_path / "table")
    list(EventsTable(target, dict, landed.prefix).update(FolderSource(landed.folder, landed.prefix)))

    described = [name for name, *_ in built.rows("describe silver.events") if name != "cast_errors"]
    assert [name for name, *_ in rows(target, "describe events")] == [*described, "raw", "problem"]
    columns = ", ".join(f'"{name}"' for name in described)
    here = f"select {columns}, problem from events where problem is null or problem not like 'not %' order by all"  # noqa: S608 - names of columns
    there = f"select {columns}, replace(cast_errors, ' ', ', ') from silver.events order by all"  # noqa: S608
    assert {*rows(target, here)} == {*built.rows(there)}


def test_fivetrans_package_finds_the_columns_that_it_expects(built: Warehouse) -> None:
    for view, columns in FIVETRAN.items():
        assert {name for name, *_ in built.rows(f"describe fivetran.{view}")} == set(columns.split())
    assert built.rows(
        "select event.uuid, event.session_id, event_type.name from fivetran.event "
        "join fivetran.event_type on event_type.id = event.event_type_id where device_id = 'reader' order by 1"
    ) == [("one", 1762249341795, "[Amplitude] Page Viewed"), ("two", -1, "[Amplitude] Page Viewed")]


def test_days_are_replaced_removed_and_kept(warehouse: Warehouse) -> None:
    landed = warehouse.landed
    landed.export(TUESDAY, {9: [line(uuid="old"), line(uuid="older")]}, attempt="00000001")
    landed.export(WEDNESDAY, {9: [line(uuid="expires")]}, attempt="00000002")
    landed.export(THURSDAY, {9: [line(uuid="stays")]}, attempt="00000003")
    landed.export(FRIDAY, {9: [line(uuid="empties")]}, attempt="00000004")
    assert failed(warehouse.dbt("build")) == {}

    # Bad lines can fail their day. It keeps what was loaded of it, and all models are built for the other days.
    landed.export(TUESDAY, {9: [line(uuid="new") + BAD[0]], 10: [line(uuid="new")]}, attempt="00000005")
    landed.export(SATURDAY, {9: [line(uuid="good")]}, attempt="00000006")
    statuses = warehouse.dbt("build", variables="bad_lines: fail")
    assert failed(statuses) == {"every_line_is_an_event": "fail", "days_are_whole": "fail"}
    assert "skipped" not in statuses.values()
    assert warehouse.rows("select uuid from silver.page_views order by 1") == [
        ("empties",), ("expires",), ("good",), ("old",), ("older",), ("stays",)
    ]  # fmt: skip

    # A changed day is replaced. One that expired or became empty goes. One that stayed as it was is not read again.
    landed.manifest(WEDNESDAY).unlink()
    landed.export(FRIDAY, {}, attempt="00000007")
    manifest = landed.export(SATURDAY, {9: [line(uuid="one")]}, attempt="00000008")
    manifest["totals"]["events"] = 2
    landed.manifest(SATURDAY).write_text(json.dumps(manifest))
    for day in (TUESDAY, THURSDAY):
        for file in landed.folder.glob(f"*/events/date={day}/hour=09/*"):
            file.unlink()
    statuses = warehouse.dbt("build")
    assert failed(statuses) == {
        "days_are_whole": "fail", "every_line_is_an_event": "warn", "unique_events_uuid": "warn"
    }  # fmt: skip
    assert warehouse.rows("from silver.events select export_date, export_try, uuid order by all") == [
        (TUESDAY, "00000005", "new"), (TUESDAY, "00000005", "new"), (THURSDAY, "00000003", "stays"),
        (SATURDAY, "00000008", "one"),
    ]  # fmt: skip
    assert warehouse.rows("from staging.stg_lines select count(*)") == [(5,)]
    assert warehouse.rows("from staging.rejected_events select count(*)") == [(1,)]
    assert warehouse.rows("select count(*) from silver.page_views") == [(4,)]

    # A listed file that is gone fails the run, and its day stays.
    files = landed.export(THURSDAY, {9: [line(uuid="a")], 10: [line(uuid="b")]}, attempt="00000009")["files"]
    (landed.folder / files[1]["name"]).unlink()
    assert failed(warehouse.dbt("build")) == {"stg_lines": "error"}
    assert warehouse.rows("select uuid from silver.events where export_date = '2025-11-06'") == [("stays",)]


def test_a_line_that_is_too_long_names_the_variable(warehouse: Warehouse) -> None:
    warehouse.landed.export(TUESDAY, {9: [long_line(40)]}, attempt="aaaaaaaa")

    statuses = warehouse.dbt("run", "--select", "+stg_lines", variables="max_line_mb: 10")

    assert failed(statuses) == {"stg_lines": "error"}
    assert "Run this again with --vars 'max_line_mb: 20'" in warehouse.said[0]


def test_before_the_first_event(warehouse: Warehouse) -> None:
    """The project can be shown before anything is built. Empty days alone are fine. Freshness is that of manifests."""
    now = datetime.now(UTC)
    for number in range(40):
        finished_at = now - timedelta(days=3)
        warehouse.landed.export(TUESDAY + timedelta(days=number), {}, attempt="aaaaaaaa", finished_at=finished_at)
    assert failed(warehouse.dbt("compile")) == {}
    assert failed(warehouse.dbt("build")) == {}
    assert warehouse.dbt("source", "freshness")["manifests"] == "error"

    warehouse.landed.export(TUESDAY, {}, attempt="bbbbbbbb", finished_at=now - timedelta(hours=1))
    assert warehouse.dbt("source", "freshness")["manifests"] == "pass"
