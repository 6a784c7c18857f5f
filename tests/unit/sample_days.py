"""Days as the pages are given them: one of each kind, and one whose every text is an attack."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from shared.days.day import Day, Landed
from shared.days.manifest import Changes, LandedFile, Manifest, RequestMade, Volume
from shared.days.state import RunState, State
from shared.days.status import RunError, RunStatus
from shared.errors import FewerEvents

FIRST, LAST = date(2025, 11, 1), date(2025, 11, 30)
NOW = datetime(2025, 12, 1, 9, tzinfo=UTC)
DAY = timedelta(days=1)

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.exe\x1b[31m\ud800{{7*7}}"
"""Markup, quotes, a change of the writing's direction, a terminal's escape, half a character, a template's syntax."""


def fewer(day: date, landed: int, held: int) -> RunError:
    """What a run says that was refused because it holds less."""
    return RunError.of(FewerEvents(day, landed, held))


def known(day: date, state: str, *, error: RunError | None = None, run: str = "") -> Day:
    """A day of which nothing has landed."""
    word = run or (state if state in set(RunState) else "")
    return Day(day, State(state), RunStatus(day, RunState(word), "run", "timer", error=error) if word else None)


def by_hour(day: date) -> list[int]:
    """A plausible day: fewer events at night, at the weekend, and differing from day to day."""
    base = 18_000 if day.weekday() >= 5 else 34_000
    return [
        int(base * (1.25 if 6 <= hour <= 19 else 0.3) * (0.9 + (day.day * 7 + hour * 13) % 23 / 100))
        for hour in range(24)
    ]


def landed(day: date, *, error: RunError | None = None, run: str = "complete", **changes: Any) -> Day:
    """A day that has landed."""
    hours = changes.pop("hour_events", None) or by_hour(day)
    figures: dict[str, Any] = {
        "state": State.COMPLETE if sum(hours) else State.EMPTY,
        "events": sum(hours),
        "bytes": sum(hours) * 1767,
        "files": sum(1 for events in hours if events),
        "hour_events": tuple(hours),
        "empty_hours": tuple(hour for hour, events in enumerate(hours) if not events),
    }
    values = Landed(**figures | changes)
    return Day(day, values.state, RunStatus(day, RunState(run), "run", "timer", error=error), values)


def month() -> list[Day]:
    """November 2025, with one day of each kind at least; of the 1st and 2nd nothing is wanted."""
    quiet = by_hour(date(2025, 11, 21))
    quiet[3] = quiet[4] = 0
    bad_keys = RunError("BadCredentials", "Amplitude refused the keys (401) for 2025-11-24T00 to 2025-11-24T23 UTC.")
    little = ["Only 120000 events, 16% of the median of the days before (755120)."]

    def on(day: int) -> date:
        return date(2025, 11, day)

    days = [
        *(known(on(3), "expired"), landed(on(10), warnings=little), landed(on(13), hour_events=[0] * 24)),
        *(landed(on(14), run="running"), landed(on(15), run="failed", error=fewer(on(15), 373311, 198256))),
        *(known(on(18), "missing"), known(on(19), "missing"), known(on(20), "missing")),
        *(landed(on(21), hour_events=quiet), known(on(24), "failed", error=bad_keys, run="failed")),
        *(known(on(29), "queued"), known(on(30), "running")),
    ]
    odd = {day.date: day for day in days}
    return [odd.get(on(day)) or landed(on(day)) for day in range(3, 31)]


def manifest(day: date, **changes: Any) -> Manifest:
    """The manifest of a day that has landed, without events in two hours."""
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
        date=day, run_id="98ccbc852fda4280811c477601e3bc82", try_id="5f3c9a1e", trigger="timer", region="eu",
        started_at=started, finished_at=started + timedelta(seconds=98),
        requests=(
            RequestMade(f"{day}T00", f"{day}T11", 200, 1, 30_160_059, 45.5),
            RequestMade(f"{day}T12", f"{day}T23", 200, 2, 39_160_059, 48.5),
        ),
        files=files, ignored=(), warnings=(), volume=Volume(385120, 0.94),
        changes=Changes(added=1, changed=2, removed=0, unchanged=19),
    )  # fmt: skip
    return replace(whole, **changes)


def answer(day: date, *, run: str = "complete", gone: bool = False, **changes: Any) -> Day:
    """All that is known of a day that has landed; with `gone`, somebody has deleted its manifest."""
    of_day = None if gone else manifest(day)
    at = datetime.combine(day + DAY, time(3, 30), UTC)
    status = RunStatus(
        day, RunState(run), run_id="98ccbc852fda4280811c477601e3bc82", trigger="timer", queued_at=at,
        started_at=at + timedelta(seconds=2), updated_at=at + timedelta(seconds=100),
    )  # fmt: skip
    before = {"events_before": str(of_day.events - 5678)} if of_day else {}
    figures = Landed.of(of_day, before) if of_day else None
    found = Day.of(day, replace(status, **changes), leased=run == "running", landed=figures, otherwise=State.MISSING)
    return replace(found, manifest=of_day)


def hostile_days() -> list[Day]:
    """Days whose every text is an attack."""
    error = RunError(HOSTILE, HOSTILE)
    fewer_than = RunError("FewerEvents", "m", {"difference": f"9 {HOSTILE}", "exported": HOSTILE})
    return [
        landed(FIRST, warnings=(HOSTILE,), error=error, run="failed"),
        known(FIRST + DAY, "failed", error=error),
        known(FIRST + 2 * DAY, "failed", error=RunError("FewerEvents", HOSTILE, {"difference": HOSTILE})),
        landed(FIRST + 3 * DAY, error=fewer_than, run="failed"),
    ]


def hostile_answer(day: date) -> Day:
    """A day whose every text is an attack."""
    whole = manifest(day)
    attack = replace(
        whole, run_id=HOSTILE, try_id=HOSTILE, trigger=HOSTILE, region=HOSTILE, warnings=(HOSTILE,), ignored=(HOSTILE,),
        files=tuple(replace(file, name=HOSTILE, source=HOSTILE, sha256=HOSTILE) for file in whole.files),
        requests=tuple(replace(request, start=HOSTILE, end=HOSTILE) for request in whole.requests),
    )  # fmt: skip
    found = answer(day, run="failed", run_id=HOSTILE * 2, trigger=HOSTILE, error=RunError(HOSTILE, HOSTILE))
    return replace(found, landed=Landed.of(attack, {"events_before": HOSTILE}), manifest=attack)
