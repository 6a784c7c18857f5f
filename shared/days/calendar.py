"""A range of days as it is shown, in a browser or on a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import groupby

from shared import text as say
from shared.dates import DAY, HOURS, days_between, newest_complete_day
from shared.days.coverage import read_coverage
from shared.days.day import Day, Landed
from shared.days.documents import from_iso
from shared.days.state import RunState, State
from shared.names import Kind, Names
from shared.settings import Settings
from shared.storage.container import Container

LEVELS = 5
"""Shades of the calendar, by number of events."""
BAR_STEPS = 20
_FIRST_MONTH = 12
"""January of the year 1, counted in months from January of the year 0."""
_UNDER_WAY = (RunState.FAILED, RunState.RUNNING, RunState.QUEUED)
RETURNING, BEFORE = "returning", "before"
WORDS = {RETURNING: "coming back", BEFORE: "never asked for"}
"""What the looks that are no states are called."""


@dataclass(frozen=True)
class DayView:
    """A day as it is shown at the instant `now`. `level` is its shade, 1 to LEVELS.

    `since`: missing days before it are nobody's loss.
    """

    day: Day
    level: int
    now: datetime
    since: date = date.min

    @property
    def id(self) -> str:
        """What the page calls it."""
        return f"d-{self.date}"

    @property
    def date(self) -> date:
        """Which day."""
        return self.day.date

    @property
    def landed(self) -> Landed | None:
        """The figures of what has landed."""
        return self.day.landed

    @property
    def warnings(self) -> Sequence[str]:
        """What the manifest warns of."""
        return self.landed.warnings if self.landed else ()

    @property
    def state(self) -> State:
        """What is known of the day."""
        return self.day.state

    @property
    def run(self) -> str:
        """How the latest run is drawn where something has landed and the run did not; else empty."""
        run = self.day.run
        if not (self.landed and run and run.status in _UNDER_WAY):
            return ""
        return RETURNING if self.comes_back else run.status

    @property
    def alive(self) -> bool:
        """Whether a run is on its way."""
        return not {State.RUNNING, State.QUEUED}.isdisjoint({self.state, self.run})

    @property
    def queued(self) -> bool:
        """Whether a run waits that can be withdrawn."""
        return State.QUEUED in (self.state, self.run)

    @property
    def unwanted(self) -> bool:
        """Whether nobody has ever asked for the day, nor for one before it."""
        return self.state is State.MISSING and self.date < self.since

    @property
    def look(self) -> str:
        """How the day is drawn: its state, unless nobody misses it, or its run died and comes back on its own."""
        if self.unwanted:
            return BEFORE
        return RETURNING if self.comes_back and not self.landed else self.state

    @property
    def exportable(self) -> bool:
        """Whether it can be exported now: it is complete, and its retention has not ended."""
        return self.state is not State.EXPIRED and self.date <= newest_complete_day(self.now)

    @property
    def comes_back(self) -> bool:
        """Whether its run died and is still expected to come back on its own."""
        until = from_iso(self.day.error.details.get("comes_back_by")) if self.day.error else None
        return until is not None and self.now <= until

    @property
    def needs(self) -> str:
        """Why somebody should look at it; empty for a day that is well, on its way, or coming back on its own."""
        if self.unwanted or self.comes_back:
            return ""
        if State.FAILED in (self.state, self.run):
            return self.day.error.type if self.day.error else "failed"
        if self.state is State.MISSING:
            return "missing"
        return "with warnings" if self.warnings else ""

    @property
    def name(self) -> str:
        """What a screen reader says."""
        events = f", {say.number(self.landed.events)} events" if self.landed else ""
        later = f"; {self.latest_run}" if self.run else ""
        warned = "; with warnings" if self.warnings else ""
        return f"{say.day_text(self.date, weekday=True)}: {self.word}{events}{later}{warned}"

    @property
    def word(self) -> str:
        """What its look is called."""
        return WORDS.get(self.look, self.look)

    @property
    def latest_run(self) -> str:
        """What is said of a latest run that is not what has landed."""
        return f"latest run {WORDS.get(self.run, self.run)}"

    @property
    def hours(self) -> list[tuple[int, int]]:
        """Events of each hour, and how high its bar is: 0 to BAR_STEPS. Empty where nothing has landed."""
        events = self.landed.hour_events if self.landed else ()
        if len(events) != HOURS:
            return []
        most = max(events) or 1
        return [(count, math.ceil(count / most * BAR_STEPS)) for count in events]

    @property
    def advice(self) -> str:
        """What to do about the error."""
        return say.advice(self.day.error) if self.day.error else ""

    @property
    def question(self) -> tuple[str, str, str] | None:
        """What to ask before fewer events take the day's place, and both answers; None where that is no question."""
        return say.replace_question(self.day.error, self.landed.events) if self.landed else None


@dataclass(frozen=True, slots=True)
class Need:
    """Days in a row that somebody should look at, for one reason."""

    days: Sequence[DayView]

    @property
    def text(self) -> str:
        """Which days."""
        return say.span_text(self.days[0].date, self.days[-1].date)

    @property
    def look(self) -> str:
        """How it is drawn."""
        view = self.days[0]
        return next((look for look in (view.run, view.look) if look in (State.FAILED, State.MISSING)), "warning")


@dataclass(frozen=True)
class Calendar:
    """A range of days as it is shown. `since`, `now`: as for `DayView`."""

    known: Sequence[Day]
    first: date
    last: date
    now: datetime
    since: date = date.min

    @cached_property
    def days(self) -> Mapping[date, DayView]:
        """Each day of which something is known, or wanted."""

        def level(day: Day) -> int:
            return min(math.ceil(_events(day) / self.top * LEVELS), LEVELS) or 1

        return {day.date: DayView(day, level(day), self.now, self.since) for day in self.known}

    @cached_property
    def top(self) -> int:
        """Events of the darkest shade: twice the median at most, so that one odd day does not pale the rest."""
        events = sorted(_events(day) for day in self.known if _events(day))
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
    def newest(self) -> date:
        """The newest day that can be exported."""
        return newest_complete_day(self.now)

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        """Each look, what it is called, and how many days have it; one that is no state only where a day has it."""
        counts = Counter(view.look for view in self.days.values())
        looks = (*State, *(look for look in WORDS if counts[look]))
        return [(look, WORDS.get(look, look), counts[look]) for look in looks]

    @property
    def unwanted(self) -> list[DayView]:
        """Days before the first that anybody ever asked for."""
        return [view for view in self.days.values() if view.unwanted]

    @property
    def queued(self) -> list[DayView]:
        """Days whose runs can be withdrawn."""
        return [view for view in self.days.values() if view.queued]

    @property
    def landed(self) -> int:
        """Days that have landed."""
        return sum(day.state.landed for day in self.known)

    @property
    def events(self) -> int:
        """Events of all days."""
        return sum(_events(day) for day in self.known)

    @property
    def bytes(self) -> int:
        """Decompressed bytes of all days."""
        return sum(day.landed.bytes for day in self.known if day.landed)

    @property
    def files(self) -> int:
        """Files of all days."""
        return sum(day.landed.files for day in self.known if day.landed)

    @property
    def wanted(self) -> int:
        """Days that should have landed: all but those that have expired, or that nobody ever asked for."""
        return sum(view.state is not State.EXPIRED and not view.unwanted for view in self.days.values())

    @property
    def needs(self) -> list[Need]:
        """What somebody should look at, the newest first."""
        found: list[list[DayView]] = []
        for view in self.days.values():
            if not view.needs:
                continue
            before = found[-1][-1] if found else None
            if before and before.date + DAY == view.date and _alike(before, view):
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
        if self.unwanted and not self.wanted:
            return "Nothing has been exported yet" if self.since == date.max else "Nothing was asked for in this range"
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


def read_calendar(container: Container, settings: Settings, first: date, last: date, now: datetime) -> Calendar:
    """The same days as they are shown. Without a start date, nobody misses those before the first ever asked for."""
    days = read_coverage(container, settings, first, last, now)
    since = date.min if settings.start_date else _first_known(container, Names(settings.prefix))
    return Calendar(days, first, last, now, since)


def _first_known(container: Container, names: Names) -> date:
    """The earliest day that ever landed or was asked for, from two listings' first names; `date.max` if none."""
    kinds: tuple[Kind, ...] = ("manifests", "status")
    days = [
        next((day for blob in container.blobs(names.folder(kind)) if (day := names.day_of(blob.name, kind))), None)
        for kind in kinds
    ]
    return min(filter(None, days), default=date.max)


def _alike(one: DayView, other: DayView) -> bool:
    return (one.needs, one.state, one.run) == (other.needs, other.state, other.run)


def _events(day: Day) -> int:
    return day.landed.events if day.landed else 0
