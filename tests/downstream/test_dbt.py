"""The dbt project, run as a user runs it, over folders that hold what an export leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from tests.downstream.conftest import Warehouse
from tests.downstream.landed import hour_of_events

TUESDAY = date(2025, 11, 4)
WEDNESDAY = date(2025, 11, 5)
THURSDAY = date(2025, 11, 6)

BROWSER_EVENT = json.loads(hour_of_events(TUESDAY, 9, 1)) | {
    "event_type": "[Amplitude] Page Viewed",
    "device_id": "browser-1",
    "session_id": 1762249341795,
    "os_name": "Firefox",
    "event_properties": {
        "[Amplitude] Page URL": "https://example.com/a.b?c=1",
        "[Amplitude] Page Path": "/a.b",
        "[Amplitude] Page Counter": 2.0,
        "referrer": "https://search.example/",
        "price": 6396.0,
    },
    "user_properties": {"initial_utm_source": "newsletter", "initial_utm_term": "EMPTY"},
}


def line(**changes: object) -> bytes:
    """A page view in a browser as Amplitude writes it: compact, and with the changes given."""
    return json.dumps(BROWSER_EVENT | changes, separators=(",", ":")).encode() + b"\n"


def failed(statuses: dict[str, str]) -> set[str]:
    return {node for node, status in statuses.items() if status not in ("success", "pass", "skipped")}


def test_both_formats_are_read_and_nothing_that_no_manifest_lists(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse(prefix="web-")
    landed = warehouse.landed
    landed.export(TUESDAY, {1: [b"unlisted, and no JSON\n"]}, attempt="0dead000")
    landed.export(
        TUESDAY,
        {0: [hour_of_events(TUESDAY, 0, 60)], 9: [line(uuid="one"), line(uuid="two", session_id=-1).rstrip()]},
        attempt="aaaaaaaa",
    )
    landed.export(WEDNESDAY, {3: [hour_of_events(WEDNESDAY, 3, 50)]}, attempt="bbbbbbbb", file_format="json.gz")

    assert failed(warehouse.dbt("build")) == set()

    assert warehouse.rows("select export_date, count(*) from silver.events group by all order by all") == [
        (TUESDAY, 62),
        (WEDNESDAY, 50),
    ]
    assert warehouse.rows(
        "select page_url, page_path, page_counter, referrer, initial_utm_source, initial_utm_term, os_name, "
        "event_properties ->> '$.price', session_id from silver.events where uuid = 'one'"
    ) == [("https://example.com/a.b?c=1", "/a.b", 2, "https://search.example/", "newsletter", None, "Firefox", "6396.0",
           1762249341795)]  # fmt: skip
    assert warehouse.rows("select session_id from silver.events where uuid = 'two'") == [(None,)]
    assert warehouse.rows("select event from staging.stg_events where event ->> 'uuid' = 'one'") == [
        (line(uuid="one").decode().rstrip(),)
    ]
    assert warehouse.rows(
        "select events, page_views, entry_page from silver.sessions where device_id = 'browser-1'"
    ) == [(1, 1, "/a.b")]
    assert warehouse.rows("select events, sessions from silver.devices where device_id = 'browser-1'") == [(2, 1)]
    assert warehouse.rows("select count(*) from silver.page_views where device_id = 'browser-1'") == [(2,)]
    assert warehouse.rows("select sum(events) from silver.places") == warehouse.rows(
        "select count(*) from silver.events where country is not null"
    )


def test_a_changed_day_replaces_its_partition(make_warehouse: Callable[..., Warehouse]) -> None:
    """And an expired day and one that has become empty go, while a day that stayed as it was is not read again."""
    warehouse = make_warehouse()
    landed = warehouse.landed
    landed.export(TUESDAY, {9: [line(uuid="old"), line(uuid="older")]}, attempt="aaaaaaaa")
    landed.export(WEDNESDAY, {9: [line(uuid="expires")]}, attempt="bbbbbbbb")
    landed.export(THURSDAY, {9: [line(uuid="stays")]}, attempt="cccccccc")
    becomes_empty = THURSDAY + timedelta(days=1)
    landed.export(becomes_empty, {9: [line(uuid="empties")]}, attempt="dddddddd")
    assert failed(warehouse.dbt("build")) == set()

    landed.export(TUESDAY, {9: [line(uuid="new")], 10: [line(uuid="new")]}, attempt="eeeeeeee")
    landed.manifest(WEDNESDAY).unlink()
    landed.export(becomes_empty, {}, attempt="ffffffff")
    for file in landed.folder.glob(f"events/date={THURSDAY}/hour=*/*"):
        file.unlink()
    statuses = warehouse.dbt("build")

    assert failed(statuses) == {"unique_events_uuid"}
    assert statuses["unique_events_uuid"] == "warn"
    for table in ("staging.stg_events", "silver.events"):
        assert warehouse.rows(f"from {table} select export_date, export_try, count(*) group by all order by all") == [
            (TUESDAY, "eeeeeeee", 2),
            (THURSDAY, "cccccccc", 1),
        ]
    assert warehouse.rows("select count(*) from silver.page_views") == [(3,)]


def test_a_listed_file_that_is_gone_fails_the_run_and_keeps_the_day(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    warehouse.landed.export(TUESDAY, {9: [line(uuid="old")]}, attempt="aaaaaaaa")
    assert failed(warehouse.dbt("run")) == set()

    files = warehouse.landed.export(TUESDAY, {9: [line(uuid="a")], 10: [line(uuid="b")]}, attempt="bbbbbbbb")["files"]
    (warehouse.landed.folder / files[1]["name"]).unlink()

    assert failed(warehouse.dbt("build")) == {"stg_events"}
    assert warehouse.rows("select uuid from silver.events") == [("old",)]


def test_fewer_events_than_the_manifest_says_are_an_error(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    manifest = warehouse.landed.export(TUESDAY, {9: [line(uuid="one")]}, attempt="aaaaaaaa")
    manifest["totals"]["events"] = 2
    warehouse.landed.manifest(TUESDAY).write_text(json.dumps(manifest))

    assert failed(warehouse.dbt("build")) == {"days_are_whole"}


def test_a_value_of_the_wrong_type_is_an_error_and_no_null(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    warehouse.landed.export(TUESDAY, {9: [line(event_time="yesterday")]}, attempt="aaaaaaaa")

    assert failed(warehouse.dbt("run")) == {"events"}


def test_freshness_goes_by_the_newest_manifest(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    now = datetime.now(UTC)
    warehouse.landed.export(TUESDAY, {}, attempt="aaaaaaaa", finished_at=now - timedelta(days=3))
    assert warehouse.dbt("source", "freshness") == {"manifests": "error"}

    warehouse.landed.export(WEDNESDAY, {}, attempt="bbbbbbbb", finished_at=now - timedelta(hours=1))
    assert warehouse.dbt("source", "freshness") == {"manifests": "pass"}


def test_the_project_can_be_shown_before_anything_is_built(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    warehouse.landed.export(TUESDAY, {9: [line(uuid="one")]}, attempt="aaaaaaaa")

    assert failed(warehouse.dbt("compile")) == set()
