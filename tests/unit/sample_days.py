"""Days as the pages are given them: one of each kind, and one whose every text is an attack."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from shared.days.coverage import Row
from shared.days.manifest import Changes, LandedFile, Manifest, RequestMade, Volume
from shared.days.status import RunError

FIRST, LAST = date(2025, 11, 1), date(2025, 11, 30)
NOW = datetime(2025, 12, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.exe\x1b[31m\ud800{{7*7}}"
"""Markup, quotes, a change of the writing's direction, a terminal's escape, half a character, a template's syntax."""


def fewer(day: date, landed: int, held: int) -> RunError:
    """What a run says that was refused because it holds less."""
    return RunError(
        "FewerEvents",
        f"{day}: {landed} events have landed, the export holds {held}. The landed day stays as it is. If Amplitude's "
        f"answer is what you want, run the day again with replace: POST /api/exports/{day}?replace=true.",
    )


def by_hour(day: date) -> list[int]:
    """A plausible day: fewer events at night, at the weekend, and differing from day to day."""
    base = 18_000 if day.weekday() >= 5 else 34_000
    return [
        int(base * (1.25 if 6 <= hour <= 19 else 0.3) * (0.9 + (day.day * 7 + hour * 13) % 23 / 100))
        for hour in range(24)
    ]


def landed(day: date, **changes: Any) -> Row:
    """A day that has landed."""
    hours = changes.pop("hour_events", None) or by_hour(day)
    figures: dict[str, Any] = {
        "events": sum(hours),
        "bytes": sum(hours) * 1767,
        "files": sum(1 for events in hours if events),
        "hour_events": hours,
        "empty_hours": [hour for hour, events in enumerate(hours) if not events],
        "run_status": "complete",
    }
    return Row(day, **{"status": "complete"} | figures | changes)


def month() -> list[Row]:
    """November 2025, with one day of each kind at least; of the 1st and 2nd nothing is wanted."""
    quiet = by_hour(date(2025, 11, 21))
    quiet[3] = quiet[4] = 0
    odd = {
        date(2025, 11, 3): Row(date(2025, 11, 3), "expired", run_status="expired"),
        date(2025, 11, 10): landed(
            date(2025, 11, 10), warnings=["Only 120000 events, 16% of the median of the days before (755120)."]
        ),
        date(2025, 11, 13): landed(date(2025, 11, 13), hour_events=[0] * 24, status="empty"),
        date(2025, 11, 14): landed(date(2025, 11, 14), run_status="running"),
        date(2025, 11, 15): landed(
            date(2025, 11, 15), run_status="failed", error=fewer(date(2025, 11, 15), 373311, 198256)
        ),
        date(2025, 11, 21): landed(date(2025, 11, 21), hour_events=quiet),
        date(2025, 11, 24): Row(
            date(2025, 11, 24),
            "failed",
            error=RunError(
                "BadCredentials", "Amplitude refused the keys (401) for 2025-11-24T00 to 2025-11-24T23 UTC."
            ),
            run_status="failed",
        ),
        date(2025, 11, 29): Row(date(2025, 11, 29), "queued", run_status="queued"),
        date(2025, 11, 30): Row(date(2025, 11, 30), "running", run_status="running"),
    }
    odd |= {date(2025, 11, day): Row(date(2025, 11, day), "missing") for day in (18, 19, 20)}
    days = [FIRST + n * DAY for n in range(2, 30)]
    return [odd.get(day) or landed(day) for day in days]


def manifest(day: date, **changes: Any) -> dict[str, Any]:
    """The manifest of a day that has landed, without events in two hours, as it is answered."""
    files = tuple(
        LandedFile(
            name=f"events/date={day}/hour={hour:02d}/187520_{day}_{hour:02d}_0.5f3c9a1e.json",
            source=f"187520/187520_{day}_{hour}#0.json.gz",
            hour=hour,
            part=0,
            bytes=events * 1767,
            events=events,
            sha256=hashlib.sha256(f"{day} {hour}".encode()).hexdigest(),
        )
        for hour, events in enumerate(by_hour(day))
        if hour not in (3, 4)
    )
    started = datetime.combine(day + DAY, time(3, 30, 2), UTC)
    whole = Manifest(
        date=day,
        run_id="98ccbc852fda4280811c477601e3bc82",
        try_id="5f3c9a1e",
        trigger="timer",
        region="eu",
        started_at=started,
        finished_at=started + timedelta(seconds=98),
        requests=(
            RequestMade(f"{day}T00", f"{day}T11", 200, 1, 30_160_059, 45.5),
            RequestMade(f"{day}T12", f"{day}T23", 200, 2, 39_160_059, 48.5),
        ),
        files=files,
        ignored=(),
        warnings=(),
        volume=Volume(385120, 0.94),
        changes=Changes(added=1, changed=2, removed=0, unchanged=19),
    )
    document: dict[str, Any] = json.loads(whole.to_json())
    return document | changes


def answer(day: date, **changes: Any) -> dict[str, Any]:
    """What `GET /api/exports/{date}` answers for a day that has landed."""
    document = {
        "date": day.isoformat(),
        "status": "complete",
        "run_id": "98ccbc852fda4280811c477601e3bc82",
        "trigger": "timer",
        "queued_at": f"{day + DAY}T03:30:00Z",
        "started_at": f"{day + DAY}T03:30:02Z",
        "updated_at": f"{day + DAY}T03:31:40Z",
        "progress": {},
        "error": None,
        "manifest": manifest(day),
    }
    return document | changes


def hostile_rows() -> list[Row]:
    """Days whose every text is an attack."""
    error = RunError(HOSTILE, HOSTILE)
    return [
        landed(FIRST, warnings=[HOSTILE], error=error, run_status=HOSTILE),
        Row(FIRST + DAY, HOSTILE, error=error, run_status=HOSTILE),
        Row(FIRST + 2 * DAY, "failed", error=RunError("FewerEvents", HOSTILE), run_status="failed"),
        landed(
            FIRST + 3 * DAY,
            error=RunError("FewerEvents", f"9 events {HOSTILE} have landed, the export holds 8"),
            run_status="failed",
        ),
    ]


def hostile_answer(day: date) -> dict[str, Any]:
    """A day whose every text is an attack."""
    document = manifest(day, warnings=[HOSTILE], ignored=[HOSTILE], trigger=HOSTILE, region=HOSTILE, run_id=HOSTILE)
    document["try"] = HOSTILE
    for file in document["files"]:
        file |= {"name": HOSTILE, "source": HOSTILE, "sha256": HOSTILE}
    for request in document["requests"]:
        request |= {"start": HOSTILE, "end": HOSTILE}
    return answer(
        day,
        status="failed",
        run_id=HOSTILE * 2,
        trigger=HOSTILE,
        queued_at=HOSTILE,
        error={"type": HOSTILE, "message": HOSTILE},
        manifest=document,
    )
