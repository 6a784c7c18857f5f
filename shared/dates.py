"""Days and hours: which day can be exported, and in which windows it is requested. Everything is UTC."""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from shared.errors import InvalidDate

UtcDay = date
"""A day of Amplitude's server upload time, UTC."""

HOURS = 24
"""The hours of a day. In UTC all days have 24."""

COMPLETE_AFTER = timedelta(hours=2)
"""A day's last hour can be exported two hours after its end (Amplitude's documentation of the Export API)."""

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The hours `start` to `end` (exclusive) of one UTC day: 0 <= start < end <= 24."""

    day: date
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= HOURS:
            raise ValueError(f"not a window of a day: {self.start} to {self.end}")

    @property
    def hours(self) -> int:
        """How many hours the window spans, 1 to 24."""
        return self.end - self.start

    @property
    def first_hour(self) -> str:
        """The first hour as `2025-11-04T00`."""
        return f"{self.day.isoformat()}T{self.start:02d}"

    @property
    def last_hour(self) -> str:
        """The last hour of the window as `2025-11-04T23`. Amplitude's end of a range is inclusive."""
        return f"{self.day.isoformat()}T{self.end - 1:02d}"

    def split(self, hours: int) -> list[Self]:
        """The window in pieces of at most `hours`, in order."""
        starts = range(self.start, self.end, hours)
        return [replace(self, start=start, end=min(start + hours, self.end)) for start in starts]

    def __str__(self) -> str:
        return f"{self.first_hour} to {self.last_hour} UTC"


def whole_day(day: date) -> Window:
    """All 24 hours of a day."""
    return Window(day, 0, HOURS)


def end_of(day: date) -> datetime:
    """The instant at which a UTC day ends."""
    return datetime.combine(day + DAY, time(), UTC)


def newest_complete_day(now: datetime) -> date:
    """The newest day that can be exported at `now`: yesterday, or before 02:00 UTC the day before yesterday."""
    return (now.astimezone(UTC) - COMPLETE_AFTER).date() - DAY


def oldest_kept_day(now: datetime, retention_days: int) -> date:
    """The oldest day within a retention, counted in days before today (UTC); 0 keeps for ever."""
    if retention_days == 0:
        return date.min
    return days_before(now.astimezone(UTC).date(), retention_days)


def parse_day(text: str) -> date:
    """Parse a day like `2025-11-04`. Raises InvalidDate for any other form."""
    with suppress(ValueError):
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return date.fromisoformat(text)
    raise InvalidDate(f"{text[:40]!r} is not a date. Write it like 2025-11-04 (a UTC day).")


def check_day(day: date, now: datetime, retention_days: int) -> None:
    """Raise InvalidDate, and say why, for a day in the future, one not complete yet, or one beyond the retention."""
    today = now.astimezone(UTC).date()
    if day > today:
        raise InvalidDate(f"{day} is in the future: today is {today} (UTC).")
    if day > newest_complete_day(now):
        raise InvalidDate(
            f"{day} is not complete yet. Amplitude needs two hours after the end of a day, "
            f"so it can be exported from {end_of(day) + COMPLETE_AFTER:%Y-%m-%dT%H:%MZ} on."
        )
    if day < oldest_kept_day(now, retention_days):
        raise InvalidDate(
            f"{day} is beyond the retention of {retention_days} days (EXPORT_RETENTION_DAYS): it would expire at once."
        )


def days_before(day: date, count: int) -> date:
    """The day `count` days earlier, but not before the first day of the calendar."""
    return date.fromordinal(max(day.toordinal() - count, 1))


def days_between(first: date, last: date) -> list[date]:
    """Each day from `first` to `last`, both included."""
    return [first + n * DAY for n in range((last - first).days + 1)]
