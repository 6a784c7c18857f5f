import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from local.simulator.events import events_in_hour, lines

DAY = date(2025, 11, 4)
PROJECT = 187520
KEYS = {
    "str": """
        $insert_id $insert_key adid amplitude_event_type city client_event_time client_upload_time country
        data_type device_brand device_carrier device_family device_id device_manufacturer device_model
        device_type dma event_time event_type idfa ip_address language library os_name os_version partner_id
        platform processed_time region server_received_time server_upload_time start_version
        user_creation_time user_id uuid version_name
    """,
    "int": "amplitude_id app event_id session_id",
    "float": "location_lat location_lng $schema",
    "bool": "is_attribution_event paying",
    "dict": "data event_properties group_properties groups plan user_properties global_user_properties",
    "list": "amplitude_attribution_ids sample_rate source_id",
}
TYPES = {key: type_name for type_name, keys in KEYS.items() for key in keys.split()}
"""The keys of an exported event and what they hold unless null, as in public files of 2022 to 2025."""


@pytest.fixture(scope="module")
def sample() -> list[bytes]:
    return list(lines(PROJECT, DAY, 12, 0, 3000))


@pytest.fixture(scope="module")
def events(sample: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sample]


def test_a_file_is_the_same_at_every_call_and_like_no_other() -> None:
    def first(project: int, day: date, hour: int, part: int) -> bytes:
        return next(lines(project, day, hour, part, 1))

    assert first(PROJECT, DAY, 12, 0) == first(PROJECT, DAY, 12, 0)
    others = [(1, DAY, 12, 0), (PROJECT, DAY + timedelta(1), 12, 0), (PROJECT, DAY, 13, 0), (PROJECT, DAY, 12, 1)]
    assert len({first(*file) for file in [(PROJECT, DAY, 12, 0), *others]}) == 5


def test_events_are_made_as_they_are_asked_for_and_begin_alike(sample: list[bytes]) -> None:
    assert list(islice(lines(PROJECT, DAY, 12, 0, 10**12), 50)) == sample[:50]


def test_a_line_is_compact_json_with_keys_in_the_order_of_their_bytes(
    sample: list[bytes], events: list[dict[str, Any]]
) -> None:
    expected = sorted(TYPES, key=str.encode)
    for line, event in zip(sample, events, strict=True):
        assert list(event) == expected
        assert line == json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def test_values_have_the_types_of_exported_ones(events: list[dict[str, Any]]) -> None:
    for event in events:
        assert {key: type(event[key]).__name__ for key in event if event[key] is not None}.items() <= TYPES.items()
        assert None not in [event[key] for key, type_name in TYPES.items() if type_name in ("int", "dict")]
        assert event["app"] == PROJECT


def test_all_kinds_of_events_and_awkward_values_occur(sample: list[bytes], events: list[dict[str, Any]]) -> None:
    kinds = Counter((event["library"].split("/")[0], event["platform"]) for event in events)
    assert {("amplitude-ts", "Web"), ("http", None), ("amplitude-flutter", "iOS")} <= set(kinds)
    text = b"".join(sample)
    for part in (b":6396.0", "größer".encode(), "\u2028".encode(), b'"EMPTY"', b"100 % Wolle", b':[{"price":'):
        assert part in text
    assert all(event["device_id"] is None for event in events if event["library"] == "http/2.0")


def test_uploads_lie_in_the_hour_and_no_uuid_comes_twice(events: list[dict[str, Any]]) -> None:
    assert {event["server_upload_time"][:14] for event in events} == {"2025-11-04 12:"}
    assert len({event["uuid"] for event in events}) == len(events)
    times = [event[key] for event in events for key in ("event_time", "server_upload_time", "user_creation_time")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?", text) for text in times)
    assert {"." in text for text in times} == {True, False}


def test_a_session_is_one_devices_own_and_goes_from_its_start_on(events: list[dict[str, Any]]) -> None:
    sessions = defaultdict(list)
    for event in events:
        assert (event["session_id"] == -1) == (event["library"] == "http/2.0")
        if event["session_id"] != -1:
            sessions[event["session_id"], event["device_id"]].append(event)
    assert len({device for _, device in sessions}) > 50
    for (started, _), session in sessions.items():
        times = [datetime.fromisoformat(event["event_time"] + "Z") for event in session]
        assert times == sorted(times)
        assert session[0]["event_type"] == "session_start"
        assert abs(times[0].timestamp() - started / 1000) < 1
        assert len({event["amplitude_id"] for event in session}) == 1


def test_people_come_back_with_the_same_device_on_another_day() -> None:
    def devices(day: date) -> Iterator[tuple[int, str]]:
        for line in lines(PROJECT, day, 12, 0, 4000):
            event = json.loads(line)
            yield event["amplitude_id"], event["device_id"]

    today, later = dict(devices(DAY)), dict(devices(DAY + timedelta(30)))
    both = today.keys() & later.keys()
    assert len(both) > 10
    assert {person: today[person] for person in both} == {person: later[person] for person in both}


def test_a_day_has_busy_and_quiet_hours_around_its_average() -> None:
    hours = [events_in_hour(DAY, hour, 1000) for hour in range(24)]
    assert max(hours) > 4 * min(hours)
    assert abs(sum(hours) - 24_000 * 1.06) < 24
    assert sum(events_in_hour(date(2025, 11, 8), hour, 1000) for hour in range(24)) < sum(hours)
