"""The pages for a browser: the calendar of a range, and one day. Values in; HTML and the headers it needs out.

Whatever a manifest or a status says is taken for hostile: it is escaped, what does not print is spelled out, and what
is no manifest is called so. A page loads nothing from anywhere, and never holds the caller's key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.dates import DAY, HOURS, days_between, newest_complete_day
from shared.days.coverage import LANDED, Row
from shared.days.documents import from_iso
from shared.days.manifest import Manifest, hour_events
from shared.days.status import RunError
from shared.errors import InvalidManifest
from shared.web import text as say

Page = tuple[str, Mapping[str, str]]

STATES = ("complete", "empty", "running", "queued", "failed", "missing", "expired")
LEVELS = 5
"""Shades of the calendar, by number of events."""
BAR_STEPS = 20
_FIRST_MONTH = 12
"""January of the year 1, counted in months from January of the year 0."""
MAX_FILES = 2000
"""Rows of a day's table of files; whatever lies beyond stands in the manifest."""


def coverage_page(rows: Sequence[Row], first: date, last: date, now: datetime) -> Page:
    """The calendar of a range, with each of its days to open."""
    calendar = Calendar(rows, first, last, newest_complete_day(now))
    return _page("coverage.html", calendar=calendar, root="exports/")


def day_page(document: Mapping[str, Any], now: datetime) -> Page:
    """All that is known of one day: `document` is what `GET /api/exports/{date}` answers."""
    day = date.fromisoformat(document["date"])
    manifest, unreadable = _manifest(document)
    run, error = _text(document.get("status")), document.get("error")
    row = Row(
        date=day,
        status=manifest.status if manifest else "failed" if unreadable else "missing" if run in LANDED else run,
        events=manifest.events if manifest else 0,
        bytes=manifest.total_bytes if manifest else 0,
        files=len(manifest.files) if manifest else 0,
        empty_hours=manifest.empty_hours if manifest else [],
        warnings=list(manifest.warnings) if manifest else [],
        error=RunError(_text(error.get("type")), _text(error.get("message"))) if isinstance(error, dict) else None,
        hour_events=hour_events(manifest.files) if manifest else [],
        run_status=run,
        run_started_at=from_iso(_text(document.get("started_at"))),
    )
    month_end = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - DAY
    return _page(
        "day.html",
        view=DayView(row, LEVELS, newest_complete_day(now)),
        document=document,
        manifest=manifest,
        unreadable=unreadable,
        files=manifest.files[:MAX_FILES] if manifest else (),
        before=day - DAY if day > date.min else None,
        after=day + DAY if day < newest_complete_day(now) else None,
        back=(day.replace(day=1), max(day, min(month_end, newest_complete_day(now)))),
        root="",
    )


@dataclass(frozen=True)
class DayView:
    """A day as it is shown. `level` is its shade, 1 to LEVELS; `newest` the newest day that can be exported."""

    row: Row
    level: int
    newest: date

    @property
    def id(self) -> str:
        """What the page calls it."""
        return f"d-{self.row.date}"

    @property
    def state(self) -> str:
        """One of STATES: a status that a stranger wrote is shown as failed, with its own word."""
        return self.row.status if self.row.status in STATES else "failed"

    @property
    def run(self) -> str:
        """The latest run's state where it is another than what has landed: failed, running or queued."""
        return self.row.run_status if self.row.landed and self.row.run_status in ("failed", "running", "queued") else ""

    @property
    def alive(self) -> bool:
        """Whether a run is on its way."""
        return "running" in (self.state, self.run) or "queued" in (self.state, self.run)

    @property
    def needs(self) -> str:
        """Why somebody should look at it; empty for a day that is well, or on its way."""
        if "failed" in (self.state, self.run):
            return self.row.error.type if self.row.error else "failed"
        if self.state == "missing":
            return "missing"
        return "with warnings" if self.row.warnings else ""

    @property
    def name(self) -> str:
        """What a screen reader says."""
        events = f", {say.number(self.row.events)} events" if self.row.landed else ""
        later = f"; latest run {self.run}" if self.run else ""
        warned = "; with warnings" if self.row.warnings else ""
        return f"{say.day_text(self.row.date, weekday=True)}: {self.row.status}{events}{later}{warned}"

    @property
    def hours(self) -> list[tuple[int, int]]:
        """Events of each hour, and how high its bar is: 0 to BAR_STEPS. Empty where nothing has landed."""
        events = self.row.hour_events
        if len(events) != HOURS:
            return []
        most = max(events) or 1
        return [(count, math.ceil(count / most * BAR_STEPS)) for count in events]

    @property
    def advice(self) -> str:
        """What to do about the error."""
        return say.advice(self.row.error) if self.row.error else ""

    @property
    def question(self) -> tuple[str, str, str] | None:
        """What to ask before fewer events take the day's place, and both answers; None where that is no question."""
        return say.replace_question(self.row.error, self.row.events) if self.row.landed else None


@dataclass(frozen=True, slots=True)
class Need:
    """Days in a row that somebody should look at, for one reason."""

    days: Sequence[DayView]

    @property
    def text(self) -> str:
        """Which days."""
        return say.span_text(self.days[0].row.date, self.days[-1].row.date)


@dataclass(frozen=True)
class Calendar:
    """A range of days as it is shown. `newest` is the newest day that can be exported."""

    rows: Sequence[Row]
    first: date
    last: date
    newest: date

    @cached_property
    def days(self) -> Mapping[date, DayView]:
        """Each day of which something is known, or wanted."""
        top = self.top
        return {
            row.date: DayView(row, min(math.ceil(row.events / top * LEVELS), LEVELS) or 1, self.newest)
            for row in self.rows
        }

    @cached_property
    def top(self) -> int:
        """Events of the darkest shade: twice the median at most, so that one odd day does not pale the rest."""
        events = sorted(row.events for row in self.rows if row.events)
        return min(events[-1], 2 * events[len(events) // 2]) if events else 1

    @property
    def scale(self) -> list[str]:
        """The most events of each shade."""
        return [say.short(math.floor(self.top * level / LEVELS)) for level in range(1, LEVELS + 1)]

    @property
    def months(self) -> list[tuple[date, list[list[date | None]]]]:
        """Each month of the range, with its weeks from Monday to Sunday; None stands for a day outside the range."""
        months = []
        for _, days in groupby(days_between(self.first, self.last), lambda day: (day.year, day.month)):
            of_month = list(days)
            cells: list[date | None] = [None] * of_month[0].weekday() + of_month
            cells += [None] * (-len(cells) % 7)
            months.append((of_month[0], [cells[at : at + 7] for at in range(0, len(cells), 7)]))
        return months

    @property
    def counts(self) -> Mapping[str, int]:
        """How many days each state has."""
        return {state: sum(view.state == state for view in self.days.values()) for state in STATES}

    @property
    def landed(self) -> int:
        """Days that have landed."""
        return sum(row.landed for row in self.rows)

    @property
    def wanted(self) -> int:
        """Days that should have landed: all but those that have expired."""
        return sum(row.status != "expired" for row in self.rows)

    @property
    def needs(self) -> list[Need]:
        """What somebody should look at, the newest first."""
        found: list[list[DayView]] = []
        for view in self.days.values():
            if not view.needs:
                continue
            before = found[-1][-1] if found else None
            if before and before.row.date + DAY == view.row.date and _alike(before, view):
                found[-1].append(view)
            else:
                found.append([view])
        return [Need(days) for days in reversed(found)]

    @property
    def earlier(self) -> tuple[date, date] | None:
        """The range before this one, as long."""
        if self.first.toordinal() == 1:
            return None
        last = self.first - DAY
        return last - timedelta(days=min((self.last - self.first).days, (last - date.min).days)), last

    @property
    def later(self) -> tuple[date, date] | None:
        """The range after this one, as long; None where it would only lie in the future."""
        if self.last >= self.newest:
            return None
        first = self.last + DAY
        return first, min(first + (self.last - self.first), self.newest)

    @property
    def headline(self) -> str:
        """The answer to the question whether the data is complete."""
        if not self.wanted:
            return "Nothing is wanted in this range"
        if self.landed < self.wanted:
            return f"{self.landed} of {self.wanted} days have landed"
        return f"All {self.wanted} days have landed" if self.wanted > 1 else "The day has landed"

    @property
    def ranges(self) -> list[tuple[str, date, date, bool]]:
        """Ranges of usual lengths that end where this one does, and whether this one is it."""
        month = self.last.year * 12 + self.last.month - 12  # counted from January of the year 0
        starts = [(f"{days} days", date.fromordinal(max(self.last.toordinal() - days + 1, 1))) for days in (30, 90)]
        starts.append(("12 months", date(month // 12, month % 12 + 1, 1) if month >= _FIRST_MONTH else date.min))
        return [(text, first, self.last, first == self.first) for text, first in starts]


def _alike(one: DayView, other: DayView) -> bool:
    return (one.needs, one.state, one.run) == (other.needs, other.state, other.run)


def _manifest(document: Mapping[str, Any]) -> tuple[Manifest | None, str]:
    """The manifest in an answer, or what is wrong with it."""
    if document.get("manifest") is None:
        return None, ""
    name = f"manifests/date={document['date']}.json"
    try:
        manifest = Manifest.from_json(json.dumps(document["manifest"]).encode(), name)
    except InvalidManifest as error:
        return None, str(error)
    if not _is_sound(manifest):
        return None, f"{name} holds values of the wrong kind: somebody else wrote or changed it."
    return manifest, ""


def _is_sound(manifest: Manifest) -> bool:
    """Whether each figure is a number and each instant has its zone: `Manifest` takes some as they come."""
    requests, changes, volume = manifest.requests, manifest.changes, manifest.volume
    counts = [count for f in manifest.files for count in (f.hour, f.part, f.bytes, f.events)]
    counts += [count for r in requests for count in (r.status, r.attempts, r.bytes)]
    counts += [changes.added, changes.changed, changes.removed, changes.unchanged]
    measures: list[object] = [r.seconds for r in requests]
    if volume:
        counts.append(volume.median_events)
        measures.append(volume.ratio or 0)
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(measure, int | float) and math.isfinite(measure) for measure in measures)
        and all(isinstance(text, str) for r in requests for text in (r.start, r.end))
        and None not in (manifest.started_at.tzinfo, manifest.finished_at.tzinfo)
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _shown(value: object) -> object:
    """What an expression in a template gives, as it is shown."""
    return say.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_TEMPLATES = Path(__file__).parent / "templates"
_ENV = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENV.filters |= {
    "number": say.number,
    "short": say.short,
    "size": say.size,
    "day": say.day_text,
    "month": say.month_text,
    "hours": say.hours_text,
    "moment": say.moment_text,
    "instant": lambda text: say.moment_text(from_iso(_text(text))),
}
_STYLE = (_TEMPLATES / "page.css").read_text("utf-8")
_SCRIPT = (_TEMPLATES / "page.js").read_text("utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; img-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the address may hold the caller's key
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def _page(template: str, **values: Any) -> Page:
    values |= {"style": Markup(_STYLE), "script": Markup(_SCRIPT), "states": STATES}  # noqa: S704 - our own files
    return _ENV.get_template(template).render(values), HEADERS
