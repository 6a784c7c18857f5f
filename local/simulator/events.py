"""Simulated Amplitude events that look like exported ones. Every call generates the same events.

The events of a file depend only on project, day, hour and part, and not on a clock or any state. People, devices and
places are the same on all days of a project. A session has a start, page views, clicks and an end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from random import Random
from typing import Any

from local.simulator.vocabulary import (
    ACTIONS,
    BROWSERS,
    DEVICE_FIELDS,
    INITIAL_PROPERTIES,
    PEOPLE,
    PHONES,
    PLACES,
    Action,
    Kind,
)

_SECOND = 1_000_000
_HOUR = 3600 * _SECOND
_OPEN_SESSIONS = 8
"""How many sessions overlap in a file, like those of different people."""

_HOURLY = (
    40,
    28,
    22,
    18,
    20,
    32,
    58,
    88,
    112,
    126,
    130,
    128,
    134,
    130,
    126,
    124,
    128,
    138,
    150,
    162,
    166,
    152,
    116,
    72,
)
_WEEKDAY = (1.04, 1.06, 1.05, 1.03, 0.98, 0.86, 0.92)
_PER_EVENT = (
    "$insert_id",
    "amplitude_event_type",
    "client_event_time",
    "client_upload_time",
    "event_id",
    "event_properties",
    "event_time",
    "event_type",
    "processed_time",
    "server_received_time",
    "server_upload_time",
    "session_id",
    "uuid",
)


def events_in_hour(day: date, hour: int, average: int) -> int:
    """How many events an hour has: many in the evening, few at night and at weekends; about `average` over a week."""
    return round(average * _HOURLY[hour] * len(_HOURLY) / sum(_HOURLY) * _WEEKDAY[day.weekday()])


def lines(project: int, day: date, hour: int, part: int, count: int) -> Iterator[bytes]:
    """The first `count` events of a file, each a line of compact JSON with its newline.

    Lazy. Memory is constant, except for the people, who are kept. Each `server_upload_time` is inside the hour.
    """
    rng = Random(f"{project}/{day.isoformat()}/{hour}/{part}")  # noqa: S311 - repeatable, and no secret
    hour_start = datetime.combine(day, time(hour), UTC)
    sessions = [_session(rng, project, hour_start) for _ in range(_OPEN_SESSIONS)]
    for n in range(count):
        slot = n % _OPEN_SESSIONS
        line = next(sessions[slot], None)
        if line is None:
            sessions[slot] = _session(rng, project, hour_start)
            line = next(sessions[slot])
        yield line


def _session(rng: Random, project: int, hour_start: datetime) -> Iterator[bytes]:
    """The events of one person's session, in order; at least one."""
    person = _person(project, int(rng.random() ** 2 * PEOPLE))  # a few people come often, most come rarely
    moment = int(rng.random() * 0.8 * _HOUR)
    hour_text = f"{hour_start:%Y-%m-%d %H}:".encode()
    session_id = -1 if person.kind == "server" else int(hour_start.timestamp()) * 1000 + moment // 1000
    for number, action in enumerate(_actions(rng, person.kind)):
        received = moment + int(rng.random() * 2 * _SECOND)
        if received >= _HOUR:
            return
        happened = _clock(hour_text, moment)
        bits = f"{rng.getrandbits(256):064x}".encode()
        yield person.template % {
            b"$insert_id": _uuid(bits[32:]),
            b"amplitude_event_type": action.amplitude_type,
            b"client_event_time": happened,
            b"client_upload_time": _clock(hour_text, (moment + received) // 2),
            b"event_id": b"%d" % (hour_start.hour * 100 + number + 1),
            b"event_properties": action.properties.replace(b'"@counter"', b"%d" % (number + 1)),
            b"event_time": happened,
            b"event_type": action.event_type,
            b"processed_time": _clock(hour_text, received),
            b"server_received_time": _clock(hour_text, received),
            b"server_upload_time": _clock(hour_text, received),
            b"session_id": b"%d" % session_id,
            b"uuid": _uuid(bits),
        }
        moment += int((1 + rng.random() * 45) * _SECOND)


def _actions(rng: Random, kind: Kind) -> list[Action]:
    """The actions of a session: its start, some views and clicks, its end. Server-side events have no sessions."""
    first, between, last = ACTIONS[kind]
    return [*first, *rng.choices(between, k=1 + int(rng.random() ** 2 * 24)), *last]


def _clock(hour_text: bytes, microseconds: int) -> bytes:
    """A time in the hour, in Amplitude's format, which leaves out a fraction of zero: here in every tenth second."""
    seconds, fraction = divmod(microseconds, _SECOND)
    text = b'"%b%02d:%02d' % (hour_text, *divmod(seconds, 60))
    return b'%b.%06d"' % (text, fraction) if seconds % 10 else text + b'"'


def _uuid(digits: bytes) -> bytes:
    return b'"%b-%b-4%b-a%b-%b"' % (digits[:8], digits[8:12], digits[12:15], digits[15:18], digits[18:30])


@dataclass(frozen=True, slots=True)
class _Person:
    kind: Kind
    template: bytes
    """A complete event of this person, with %(…)b at the places where events differ."""


@lru_cache(maxsize=PEOPLE)
def _person(project: int, number: int) -> _Person:
    rng = Random(f"{project}/person/{number}")  # noqa: S311 - repeatable, and no secret
    kind: Kind = rng.choices(("browser", "mobile", "server"), (62, 30, 8))[0]
    event = _common(rng, project, number)
    if kind == "server":
        event |= {"library": "http/2.0", "platform": None, "language": None, "ip_address": None}
    else:
        event |= rng.choice(PLACES) | (rng.choice(BROWSERS) if kind == "browser" else rng.choice(PHONES))
        event["device_id"] = f"{rng.getrandbits(128):032x}"
        event["ip_address"] = f"198.51.100.{rng.randrange(1, 255)}"
        event["user_properties"] = _user_properties(rng, kind)
    if kind == "browser" and rng.random() < 0.6:  # noqa: PLR2004 - most visitors have not signed in
        event["user_id"] = None
    return _Person(kind, _template(event))


def _common(rng: Random, project: int, number: int) -> dict[str, Any]:
    created = datetime.fromtimestamp(1_577_836_800 + rng.randrange(150_000_000), UTC)
    return dict.fromkeys(DEVICE_FIELDS) | {
        "$insert_key": None,
        "$schema": None,
        "amplitude_attribution_ids": None,
        "amplitude_id": 500_000_000_000 + project * 10_000 + number,
        "app": project,
        "data": {"group_first_event": {}, "group_ids": {}, "path": "/2/httpapi", "user_properties_updated": True},
        "data_type": "event",
        "global_user_properties": {},
        "group_properties": {},
        "groups": {},
        "is_attribution_event": False,
        "partner_id": None,
        "paying": rng.choice((None, None, True)),
        "plan": {},
        "sample_rate": None,
        "source_id": None,
        "user_creation_time": f"{created:%Y-%m-%d %H:%M:%S}.{rng.randrange(_SECOND):06d}",
        "user_id": f"user-{number:05d}",
        "user_properties": {"plan": rng.choice(("free", "team", "größer")), "lifetime.value [EUR]": 6396.0},
    }


def _user_properties(rng: Random, kind: Kind) -> dict[str, Any]:
    if kind == "mobile":
        return {"Notifications": rng.random() < 0.5, "cart": {"items": rng.randrange(5), "total": 6396.0}}  # noqa: PLR2004
    campaign = rng.choice(("EMPTY", "EMPTY", "herbst_größen"))
    return INITIAL_PROPERTIES | {
        "initial_utm_campaign": campaign,
        "initial_utm_source": "EMPTY" if campaign == "EMPTY" else "newsletter",
        "visits": float(rng.randrange(1, 400)),
    }


def _template(event: dict[str, Any]) -> bytes:
    """An event as a bytes template: keys in the order of their bytes, no spaces, text as UTF-8."""
    event |= {key: f"@{key}@" for key in _PER_EVENT}
    text = json.dumps(event, ensure_ascii=False, sort_keys=True, separators=(",", ":")).replace("%", "%%")
    for key in _PER_EVENT:
        text = text.replace(f'"@{key}@"', f"%({key})b")
    return text.encode() + b"\n"
