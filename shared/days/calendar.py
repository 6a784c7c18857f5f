"""A range of days, prepared for a browser or a terminal."""

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
"""The number of shades of the calendar; a shade stands for a number of events."""
BAR_STEPS = 20
_FIRST_MONTH = 12
"""January of the year 1, counted in months from January of the year 0."""
_UNDER_WAY = (RunState.FAILED, RunState.RUNNING, RunState.QUEUED)
_KINDS: tuple[Kind, ...] = ("manifests", "status")
_FIRST_PAGE = 50
"""Enough names to find a day in; a container with ten years of days is not listed for it."""
RETURNING, BEFORE = "returning", "before"
WORDS = {RETURNING: "coming back", BEFORE: "never asked for"}
"""The names of the looks that are not states."""


@dataclass(frozen=True)
class DayView:
    """A day as shown at the time `now`. `level` is its shade, from 1 to LEVELS.

    `since`: days before it do not count as missing.
    """

    day: Day
    level: int
    now: datetime
    since: date = date.min

    @property
    def id(self) -> str:
        """The id of the day on the page."""
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
        """The state of the day."""
        return self.day.state

    @property
    def run(self) -> str:
        """The look of the latest run, if the day has landed but this run has not; otherwise empty."""
        run = self.day.run
        if not (self.landed and run and run.status in _UNDER_WAY):
            return ""
        return RETURNING if self.comes_back else run.status

    @property
    def alive(self) -> bool:
        """Whether a run is queued or running."""
        return not {State.RUNNING, State.QUEUED}.isdisjoint({self.state, self.run})

    @property
    def queued(self) -> bool:
        """Whether the day has a queued run, which can be withdrawn."""
        return State.QUEUED in (self.state, self.run)

    @property
    def unwanted(self) -> bool:
        """Whether neither this day nor an earlier one was ever requested."""
        return self.state is State.MISSING and self.date < self.since

    @property
    def look(self) -> str:
        """The look of the day: its state, unless it was never requested, or its run died and comes back on its own."""
        if self.unwanted:
            return BEFORE
        return RETURNING if self.comes_back and not self.landed else self.state

    @property
    def exportable(self) -> bool:
        """Whether the day can be exported now: it is complete, and within the retention."""
        return self.state is not State.EXPIRED and self.date <= newest_complete_day(self.now)

    @property
    def comes_back(self) -> bool:
        """Whether its run died and is still expected to come back on its own."""
        until = from_iso(self.day.error.details.get("comes_back_by")) if self.day.error else None
        return until is not None and self.now <= until

    @property
    def needs(self) -> str:
        """Why somebody should look at the day. Empty if it is fine, has a run under way, or comes back on its own."""
        if self.unwanted or self.comes_back:
            return ""
        if State.FAILED in (self.state, self.run):
            return self.day.error.type if self.day.error else "failed"
        if self.state is State.MISSING:
            return "missing"
        return "with warnings" if self.warnings else ""

    @property
    def name(self) -> str:
        """The text for screen readers."""
        events = f", {say.number(self.landed.events)} events" if self.landed else ""
        later = f"; {self.latest_run}" if self.run else ""
        warned = "; with warnings" if self.warnings else ""
        return f"{say.day_text(self.date, weekday=True)}: {self.word}{events}{later}{warned}"

    @property
    def word(self) -> str:
        """The name of the day's look."""
        return WORDS.get(self.look, self.look)

    @property
    def latest_run(self) -> str:
        """A note on the latest run, if it is not the one that has landed."""
        return f"latest run {WORDS.get(self.run, self.run)}"

    @property
    def hours(self) -> list[tuple[int, int]]:
        """The events of each hour, and the height of its bar: 0 to BAR_STEPS. Empty if the day has not landed."""
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
        """The question before fewer events replace the day, and its two answers; None if there is no such question."""
        return say.replace_question(self.day.error, self.landed.events) if self.landed else None


@dataclass(frozen=True, slots=True)
class Need:
    """Consecutive days that somebody should look at, for the same reason."""

    days: Sequence[DayView]

    @property
    def text(self) -> str:
        """The days as text."""
        return say.span_text(self.days[0].date, self.days[-1].date)

    @property
    def look(self) -> str:
        """The look of these days."""
        view = self.days[0]
        return next((look for look in (view.run, view.look) if look in (State.FAILED, State.MISSING)), "warning")


@dataclass(frozen=True)
class Calendar:
    """A range of days as shown. `since`, `now`: see `DayView`."""

    known: Sequence[Day]
    first: date
    last: date
    now: datetime
    since: date = date.min

    @cached_property
    def days(self) -> Mapping[date, DayView]:
        """All days of the range that are known or wanted."""

        def level(day: Day) -> int:
            return min(math.ceil(_events(day) / self.top * LEVELS), LEVELS) or 1

        return {day.date: DayView(day, level(day), self.now, self.since) for day in self.known}

    @cached_property
    def top(self) -> int:
        """The events of the darkest shade: at most twice the median, so that one extreme day does not fade the rest."""
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
        """Days before the first requested one."""
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
    def total(self) -> Landed:
        """The figures of all days together."""
        found = [day.landed for day in self.known if day.landed]
        return Landed(
            State.COMPLETE,
            events=sum(one.events for one in found),
            bytes=sum(one.bytes for one in found),
            files=sum(one.files for one in found),
        )

    @property
    def wanted(self) -> int:
        """Days that should have landed: all except expired ones and those before the first requested one."""
        return sum(view.state is not State.EXPIRED and not view.unwanted for view in self.days.values())

    @property
    def needs(self) -> list[Need]:
        """The days that somebody should look at, newest first."""
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
        """The range of the same length before this one."""
        if self.first.toordinal() == 1:
            return None
        last = self.first - DAY
        return last - timedelta(days=min((self.last - self.first).days, (last - date.min).days)), last

    @property
    def later(self) -> tuple[date, date] | None:
        """The range of the same length after this one; None if it is completely in the future."""
        if self.last >= self.newest:
            return None
        first = self.last + DAY
        return first, min(first + (self.last - self.first), self.newest)

    @property
    def headline(self) -> str:
        """One sentence that says whether the data is complete."""
        if self.unwanted and not self.wanted:
            return "Nothing has been exported yet" if self.since == date.max else "No day of this range was requested"
        if not self.wanted:
            return "No day of this range is wanted"
        if self.landed < self.wanted:
            return f"{self.landed} of {self.wanted} days have landed"
        return f"All {self.wanted} days have landed" if self.wanted > 1 else "The day has landed"

    @property
    def ranges(self) -> list[tuple[str, date, date, bool]]:
        """Ranges of common lengths with the same last day, and whether each is the current one."""
        month = self.last.year * 12 + self.last.month - 12  # counted from January of the year 0
        starts = [(f"{days} days", date.fromordinal(max(self.last.toordinal() - days + 1, 1))) for days in (30, 90)]
        starts.append(("12 months", date(month // 12, month % 12 + 1, 1) if month >= _FIRST_MONTH else date.min))
        return [(text, first, self.last, first == self.first) for text, first in starts]


def read_calendar(container: Container, settings: Settings, first: date, last: date, now: datetime) -> Calendar:
    """Read a calendar. Without a start date, days before the first requested one do not count as missing."""
    days = read_coverage(container, settings, first, last, now)
    since = date.min if settings.start_date else _first_known(container, Names(settings.prefix))
    return Calendar(days, first, last, now, since)


def _first_known(container: Container, names: Names) -> date:
    """The earliest day that has landed or was requested, from the beginning of two listings; `date.max` if none."""
    found = []
    for kind in _KINDS:
        listed = (names.day_of(blob.name, kind) for blob in container.blobs(names.folder(kind), page_size=_FIRST_PAGE))
        found += [next((day for day in listed if day), date.max)]
    return min(found)


def _alike(one: DayView, other: DayView) -> bool:
    return (one.needs, one.state, one.run) == (other.needs, other.state, other.run)


def _events(day: Day) -> int:
    return day.landed.events if day.landed else 0
