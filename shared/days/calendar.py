"""A range of days, prepared for a browser or a terminal."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from itertools import groupby

from shared.dates import DAY, HOURS, days_before, days_between, newest_complete_day
from shared.days.coverage import read_coverage
from shared.days.day import Day, Landed
from shared.days.documents import from_iso
from shared.days.state import RunState, State
from shared.errors import FewerEvents
from shared.names import Kind
from shared.settings import Settings
from shared.storage.container import Container

LEVELS = 5
"""The number of shades of the calendar; a shade stands for a number of events."""
BAR_STEPS = 20
_UNDER_WAY = (RunState.FAILED, RunState.RUNNING, RunState.QUEUED)
_KINDS: tuple[Kind, ...] = ("manifests", "status")
_FIRST_PAGE = 50
"""The first day is usually among so few names. A whole page could list ten years of days."""
RETURNING, BEFORE = "returning", "before"
_WORDS = {RETURNING: "coming back", BEFORE: "never requested"}
"""The names of the looks that are not states."""


def word(look: str) -> str:
    """The name of a look."""
    return _WORDS.get(look, look)


@dataclass(frozen=True, kw_only=True)
class DayView(Day):
    """A day as shown at `now`. `level`: its shade, from 1 to LEVELS. `since`: earlier days do not count as missing."""

    now: datetime
    level: int = LEVELS
    since: date = date.min

    @property
    def warnings(self) -> Sequence[str]:
        """What the manifest warns of."""
        return self.landed.warnings if self.landed else ()

    @property
    def later(self) -> str:
        """The look of a landed day's latest run, if that run is queued, running or failed; otherwise empty."""
        if not (self.landed and self.run and self.run.status in _UNDER_WAY):
            return ""
        return RETURNING if self.comes_back else self.run.status

    @property
    def alive(self) -> bool:
        """Whether a run is queued or running."""
        return not {State.RUNNING, State.QUEUED}.isdisjoint({self.state, self.later})

    @property
    def queued(self) -> bool:
        """Whether the day has a queued run, which can be withdrawn."""
        return State.QUEUED in (self.state, self.later)

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
        """Whether the day can be exported now: it is complete, and has not expired."""
        return self.state is not State.EXPIRED and self.date <= newest_complete_day(self.now)

    @property
    def comes_back(self) -> bool:
        """Whether its run died and is still expected to come back on its own."""
        until = from_iso(self.error.details.get("comes_back_by")) if self.error else None
        return until is not None and self.now <= until

    @property
    def needs(self) -> str:
        """Why somebody should look at the day: it failed, is missing or has warnings. Empty while a run comes back."""
        if self.unwanted or self.comes_back:
            return ""
        if State.FAILED in (self.state, self.later):
            return self.error.type if self.error else "failed"
        if self.state is State.MISSING:
            return "missing"
        return "with warnings" if self.warnings else ""

    @property
    def hours(self) -> list[tuple[int, int]]:
        """The events of each hour, and the height of its bar: 0 to BAR_STEPS. Empty if they are not known."""
        events = self.landed.hour_events if self.landed else ()
        if len(events) != HOURS:
            return []
        most = max(events) or 1
        return [(count, math.ceil(count / most * BAR_STEPS)) for count in events]

    @property
    def question(self) -> tuple[str, str, str] | None:
        """The question before fewer events replace the day, and its two answers; None if there is no such question."""
        if not self.landed or not self.error or self.error.type != FewerEvents.__name__:
            return None
        exported, difference = self.error.details.get("exported"), self.error.details.get("difference")
        landed, now = f"{self.landed.events:,} events", f" with {exported:,}" if isinstance(exported, int) else ""
        said = difference if isinstance(difference, str) else self.error.message
        return said, f"Replace {landed}{now}", f"Keep the {landed}"


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
        """The known days of the range."""

        def level(day: Day) -> int:
            return min(math.ceil(_events(day) / self.top * LEVELS), LEVELS) or 1

        return {
            day.date: DayView(
                day.date, day.state, day.run, day.landed, now=self.now, level=level(day), since=self.since
            )
            for day in self.known
        }

    @cached_property
    def top(self) -> int:
        """The events of the darkest shade: at most twice the median, so that one extreme day does not fade the rest."""
        events = sorted(_events(day) for day in self.known if _events(day))
        return min(events[-1], 2 * events[len(events) // 2]) if events else 1

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
    def legend(self) -> list[tuple[str, int]]:
        """Each state, and each other look that a day has, with the number of its days."""
        counts = Counter(view.look for view in self.days.values())
        return [(look, counts[look]) for look in (*State, *(look for look in _WORDS if counts[look]))]

    @property
    def unwanted(self) -> list[DayView]:
        """Days before the first requested one."""
        return [view for view in self.days.values() if view.unwanted]

    @property
    def landed(self) -> int:
        """Days that have landed."""
        return sum(day.state.landed for day in self.known)

    @property
    def total(self) -> Landed:
        """The figures of all days together."""
        found = [day.landed for day in self.known if day.landed]
        events, size, files = (sum(getattr(one, key) for one in found) for key in ("events", "bytes", "files"))
        return Landed(State.COMPLETE, events, size, files)

    @property
    def wanted(self) -> int:
        """Days that should have landed: all except expired ones and those before the first requested one."""
        return sum(view.state is not State.EXPIRED and not view.unwanted for view in self.days.values())

    @property
    def needs(self) -> list[list[DayView]]:
        """The days that somebody should look at, newest first; consecutive ones with the same reason together."""
        views = enumerate(view for view in self.days.values() if view.needs)
        same = groupby(views, lambda one: (one[1].needs, one[1].state, one[1].later, one[1].date - one[0] * DAY))
        return [[view for _, view in days] for _, days in same][::-1]

    @property
    def earlier(self) -> tuple[date, date] | None:
        """The range of the same length before this one."""
        if self.first == date.min:
            return None
        last = self.first - DAY
        return days_before(last, (self.last - self.first).days), last

    @property
    def later(self) -> tuple[date, date] | None:
        """The next range of the same length, cut after the newest day that can be exported; None if nothing is left."""
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
            return "No day in this range needs an export"
        if self.landed < self.wanted:
            return f"{self.landed} of {self.wanted} days have landed"
        return f"All {self.wanted} days have landed" if self.wanted > 1 else "The day has landed"

    @property
    def ranges(self) -> list[tuple[str, date, date, bool]]:
        """Ranges of common lengths with the same last day, and whether each is the current one."""
        year = days_before(self.last.replace(day=1), 330).replace(day=1)  # eleven months have 334 to 337 days
        starts = {"30 days": days_before(self.last, 29), "90 days": days_before(self.last, 89), "12 months": year}
        return [(text, first, self.last, first == self.first) for text, first in starts.items()]


def read_calendar(container: Container, settings: Settings, first: date, last: date, now: datetime) -> Calendar:
    """Read a calendar. Without a start date, days before the first requested one do not count as missing."""
    names, since = settings.names, date.min if settings.start_date else date.max
    for kind in () if settings.start_date else _KINDS:  # only the beginning of each listing
        listed = (names.day_of(blob.name, kind) for blob in container.blobs(names.folder(kind), page_size=_FIRST_PAGE))
        since = min(since, next((day for day in listed if day), date.max))
    return Calendar(read_coverage(container, settings, first, last, now), first, last, now, since)


def _events(day: Day) -> int:
    return day.landed.events if day.landed else 0
