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

BROKEN = [
    b'"\\ud83d"',
    b'"\\p"',
    b'"\t"',
    b'"\0"',
    b'"\xff"',
    b'"\xed\xa0\xbd\xed\xb8\x80"',
    b"Firefox",
    b'"Firefox"}{"a":1',
]
"""Values that make a line no JSON: half a surrogate, an unknown escape, raw control characters, no UTF-8, CESU-8, no
literal, and a second object."""

FIVETRAN_EVENT = """
    _fivetran_deleted _fivetran_synced amplitude_id ad_id amplitude_attribution_ids app city client_event_time
    client_upload_time country data device_brand device_carrier device_family device_id device_manufacturer device_model
    device_type dma id event_properties event_time event_type event_type_id group_properties groups idfa _insert_id
    ip_address is_attribution_event language library location_lat location_lng os_name os_version paying platform
    processed_time project_name region schema server_received_time server_upload_time session_id start_version
    user_creation_time user_id user_properties uuid version_name
"""
FIVETRAN_EVENT_TYPE = """
    _fivetran_deleted _fivetran_synced autohidden deleted display flow_hidden hidden id in_waitroom name non_active
    project_name timeline_hidden totals totals_delta value waitroom_approved
"""


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
    for table in ("staging.stg_lines", "silver.events"):
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

    assert failed(warehouse.dbt("build")) == {"stg_lines"}
    assert warehouse.rows("select uuid from silver.events") == [("old",)]


def test_fewer_events_than_the_manifest_says_are_an_error(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    manifest = warehouse.landed.export(TUESDAY, {9: [line(uuid="one")]}, attempt="aaaaaaaa")
    manifest["totals"]["events"] = 2
    warehouse.landed.manifest(TUESDAY).write_text(json.dumps(manifest))

    assert failed(warehouse.dbt("build")) == {"days_are_whole"}


def test_bad_lines_are_rejected_by_name_and_everything_else_loads(make_warehouse: Callable[..., Warehouse]) -> None:
    """In both formats, in a folder and under a prefix that DuckDB would take for patterns and quotes."""
    warehouse = make_warehouse(prefix="it's [web]*?%s/", folder="la[n]'ded")
    bad = [line(uuid="bad").replace(b'"Firefox"', broken) for broken in BROKEN]
    lines = [line(uuid="first"), b" \n", *bad, b"[1]\n", line(uuid="last")]
    warehouse.landed.export(TUESDAY, {9: [line(uuid="one")]}, attempt="aaaaaaaa")
    manifest = warehouse.landed.export(WEDNESDAY, {9: [b"".join(lines)]}, attempt="bbbbbbbb", file_format="json.gz")
    manifest["totals"]["events"] -= 1  # a blank line is no event
    warehouse.landed.manifest(WEDNESDAY).write_text(json.dumps(manifest))
    warehouse.landed.export(THURSDAY, {9: [line(uuid="broken").replace(b'"Firefox"', BROKEN[0])]}, attempt="cccccccc")

    statuses = warehouse.dbt("build")

    assert failed(statuses) == {"every_line_is_an_event"}
    assert statuses["every_line_is_an_event"] == "warn"
    assert warehouse.rows("select uuid from silver.events order by 1") == [("first",), ("last",), ("one",)]
    rejected = warehouse.rows(
        "select line_number, reason, line from staging.rejected_events where export_date = '2025-11-05' order by 1"
    )
    assert [(number, text + b"\n") for number, _, text in rejected] == list(enumerate([*bad, b"[1]\n"], 3))
    assert [reason.rpartition(": ")[2] for _, reason, _ in rejected] == [
        "no low surrogate in string.",
        "invalid escaped character in string.",
        "unexpected control character in string.",
        "unexpected control character in string.",
        f"not UTF-8 at byte {bad[4].index(0xFF) + 1}",
        f"not UTF-8 at byte {bad[5].index(0xED) + 1}",
        "unexpected character.",
        "unexpected content after document.",
        "not an object but ARRAY",
    ]
    assert f"Not an event, 2025-11-05: {manifest['files'][0]['name']}, line 3: " in warehouse.said[-1]
    assert warehouse.rows("select * from silver.quality order by 1") == [
        (WEDNESDAY, "rejected line", None, 9),
        (THURSDAY, "rejected line", None, 1),
    ]
    assert failed(warehouse.dbt("build")) == {"every_line_is_an_event"}, "nothing is read again"
    assert warehouse.rows("select count(*) from staging.rejected_events") == [(10,)]


def test_bad_lines_can_fail_their_day(make_warehouse: Callable[..., Warehouse]) -> None:
    """And it alone: the day keeps what was loaded of it before, and all models are built for the other days."""
    warehouse = make_warehouse()
    landed, bad = warehouse.landed, line(uuid="bad").replace(b'"Firefox"', BROKEN[0])
    landed.export(TUESDAY, {9: [line(uuid="old")]}, attempt="aaaaaaaa")
    assert failed(warehouse.dbt("build")) == set()

    landed.export(TUESDAY, {9: [line(uuid="new") + bad]}, attempt="bbbbbbbb")
    landed.export(WEDNESDAY, {9: [line(uuid="good")]}, attempt="cccccccc")
    statuses = warehouse.dbt("build", "--vars", "bad_lines: fail")

    assert failed(statuses) == {"every_line_is_an_event", "days_are_whole"}
    assert {status for status in statuses.values() if status not in ("success", "pass")} == {"fail"}, (
        "nothing is skipped"
    )
    assert warehouse.rows("select uuid from silver.page_views order by 1") == [("good",), ("old",)]

    assert failed(warehouse.dbt("build")) == {"every_line_is_an_event"}
    assert warehouse.rows("select uuid from silver.page_views order by 1") == [("good",), ("new",)]


def test_odd_values_are_null_and_counted(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    odd = [
        line(uuid="colons", event_time="2022:05:27 10:00:00"),
        line(uuid="far", event_time="300000-01-01 00:00:00", client_event_time="infinity"),
        line(
            uuid="late", event_time="52811-01-01 00:00:00", session_id=10**30, paying={"a": [1]}, location_lat="north"
        ),
        line(uuid="counter", event_properties={"[Amplitude] Page Counter": 1e300}, event_properties_="\0"),
        line(uuid=None, event_type="nul \0 inside"),
        b'{"event_type":7}\n',
    ]
    warehouse.landed.export(TUESDAY, {9: [b"".join(odd)]}, attempt="aaaaaaaa")

    statuses = warehouse.dbt("build")

    assert failed(statuses) == {
        "not_null_events_uuid", "not_null_events_event_time", "not_null_page_views_page_path"
    }  # fmt: skip
    assert {statuses[node] for node in failed(statuses)} == {"warn"}
    assert warehouse.rows("select problem, column_name, events from silver.quality order by all") == [
        ("no value", "event_time", 1), ("no value", "uuid", 2), ("wrong type", "client_event_time", 1),
        ("wrong type", "event_time", 2), ("wrong type", "location_lat", 1), ("wrong type", "page_counter", 1),
        ("wrong type", "paying", 1), ("wrong type", "session_id", 1),
    ]  # fmt: skip
    assert warehouse.rows(
        "select uuid, cast_errors, event_time::varchar from silver.events where uuid in ('far', 'late') order by 1"
    ) == [
        ("far", "event_time client_event_time", None),
        ("late", "session_id paying location_lat", "52811-01-01 00:00:00"),
    ]


def test_values_are_kept_and_the_whole_event_to_the_byte(make_warehouse: Callable[..., Warehouse]) -> None:
    """What silver.yml says of the objects: the same values, and perhaps another notation."""
    warehouse = make_warehouse()
    text = '{"uuid":"one","event_properties":{"a":1e2,"b":-0,"c":"\\u00e9","d":0.0}}'
    warehouse.landed.export(TUESDAY, {9: [text.encode()]}, attempt="aaaaaaaa")
    warehouse.dbt("run")

    assert warehouse.rows("select event::varchar from staging.stg_events") == [(text,)]
    assert warehouse.rows("select event_properties::varchar from silver.events") == [
        ('{"a":100.0,"b":0,"c":"é","d":0.0}',)
    ]


def test_a_line_of_40_mb_loads_and_the_limit_can_be_set(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    huge = line(uuid="huge", event_properties={"text": "x" * 40_000_000})
    warehouse.landed.export(TUESDAY, {9: [line(uuid="one") + huge]}, attempt="aaaaaaaa", file_format="json.gz")

    assert failed(warehouse.dbt("run", "--vars", "max_line_mb: 10")) == {"stg_lines"}
    assert failed(warehouse.dbt("run")) == set()
    assert warehouse.rows("select count(*) from silver.events") == [(2,)]


def test_empty_days_alone_are_fine(make_warehouse: Callable[..., Warehouse]) -> None:
    warehouse = make_warehouse()
    for number in range(40):
        warehouse.landed.export(TUESDAY + timedelta(days=number), {}, attempt="aaaaaaaa")

    assert failed(warehouse.dbt("build")) == set()


def test_fivetrans_package_finds_the_columns_that_it_expects(make_warehouse: Callable[..., Warehouse]) -> None:
    """The columns are those of src_amplitude.yml in fivetran/dbt_amplitude 1.3."""
    warehouse = make_warehouse()
    warehouse.landed.export(TUESDAY, {9: [line(uuid="one") + line(uuid="two", session_id=-1)]}, attempt="aaaaaaaa")
    assert failed(warehouse.dbt("build")) == set()

    columns = "select column_name from information_schema.columns where table_schema = 'fivetran' and table_name = "
    assert {name for (name,) in warehouse.rows(f"{columns} 'event'")} == set(FIVETRAN_EVENT.split())
    assert {name for (name,) in warehouse.rows(f"{columns} 'event_type'")} == set(FIVETRAN_EVENT_TYPE.split())
    assert warehouse.rows(
        "select event.uuid, event.session_id, event_type.name from fivetran.event "
        "join fivetran.event_type on event_type.id = event.event_type_id order by 1"
    ) == [("one", 1762249341795, "[Amplitude] Page Viewed"), ("two", -1, "[Amplitude] Page Viewed")]


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
