"""Days and hours: everything is UTC, whatever clock and zone the laptop has."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.dates import (
    COMPLETE_AFTER,
    DAY,
    Window,
    check_day,
    days_between,
    end_of,
    newest_complete_day,
    oldest_kept_day,
    parse_day,
    whole_day,
)
from shared.errors import InvalidDate

BERLIN = ZoneInfo("Europe/Berlin")
NOV_4 = date(2025, 11, 4)

days = st.dates(date(1, 1, 2), date(9999, 12, 28))
moments = st.datetimes(datetime(2, 1, 1), datetime(9990, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is given


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, 23))
    return Window(draw(days), start, draw(st.integers(start + 1, 24)))


def hours(window: Window) -> list[int]:
    return list(range(window.start, window.end))


@given(windows(), st.integers(1, 24))
def test_pieces_are_the_window(window: Window, most: int) -> None:
    """The pieces have each hour once, in order, none more than was asked for, and there are as few as can be."""
    pieces = window.split(most)
    assert [hour for piece in pieces for hour in hours(piece)] == hours(window)
    assert all(piece.hours <= most and piece.day == window.day for piece in pieces)
    assert len(pieces) == -(-window.hours // most)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (5, 5), (6, 5), (-1, 3), (0, 25), (24, 25)])
def test_what_is_no_window(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=f"{start} to {end}"):
        Window(NOV_4, start, end)


def test_both_ends_are_named_as_amplitude_wants_them() -> None:
    """A whole day is T00 to T23: T00 of the next day would pull a 25th hour."""
    assert (whole_day(NOV_4).first_hour, whole_day(NOV_4).last_hour) == ("2025-11-04T00", "2025-11-04T23")
    assert str(Window(NOV_4, 7, 8)) == "2025-11-04T07 to 2025-11-04T07 UTC"


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2025-11-05T00:30:00+00:00", "2025-11-03"),  # the day is over, but Amplitude does not have all of it yet
        ("2025-11-05T01:59:59.999999+00:00", "2025-11-03"),
        *(("2025-11-05T02:00:00+00:00", "2025-11-04"), ("2025-11-05T23:59:59+00:00", "2025-11-04")),
        *(("2024-03-01T02:00:00+00:00", "2024-02-29"), ("2024-03-01T01:59:59+00:00", "2024-02-28")),
        *(("2023-03-01T02:00:00+00:00", "2023-02-28"), ("2026-01-01T03:30:00+00:00", "2025-12-31")),
        ("2026-01-01T01:00:00+00:00", "2025-12-30"),
        ("2025-11-05T01:30:00-05:00", "2025-11-04"),  # 06:30 UTC
        ("2025-11-05T01:30:00+14:00", "2025-11-03"),  # 11:30 UTC of the day before
    ],
)
def test_the_newest_complete_day(now: str, newest: str) -> None:
    """Yesterday from 02:00 UTC on, the day before until then; the zone of the clock does not matter."""
    assert newest_complete_day(datetime.fromisoformat(now)).isoformat() == newest


@pytest.mark.parametrize(
    ("monday", "hours_of_week"),
    [(date(2026, 3, 23), 7 * 24 - 1), (date(2026, 10, 19), 7 * 24 + 1)],
    ids=["clocks go forward", "clocks go back"],
)
def test_berlins_weeks_of_167_and_169_hours(monday: date, hours_of_week: int) -> None:
    """Each day is the newest for just 24 hours, on a laptop in Berlin in the weeks in which its clock jumps."""
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=BERLIN).astimezone(UTC) for d in (monday, monday + 7 * DAY))
    ticks = int((end - begin) / timedelta(hours=1))
    assert ticks == hours_of_week
    newest = [newest_complete_day((begin + n * timedelta(hours=1)).astimezone(BERLIN)) for n in range(ticks)]
    assert newest == sorted(newest)
    inner = sorted(set(newest))[1:-1]
    assert [newest.count(day) for day in inner] == [24] * len(inner)
    assert inner == days_between(inner[0], inner[-1])


@given(moments)
def test_the_newest_complete_day_is_complete_and_the_next_is_not(now: datetime) -> None:
    """Two hours have passed since its end, and not since the end of the day after it."""
    newest = newest_complete_day(now)
    assert end_of(newest) + COMPLETE_AFTER <= now < end_of(newest + DAY) + COMPLETE_AFTER
    check_day(newest, now, 0)
    with pytest.raises(InvalidDate):
        check_day(newest + DAY, now, 0)


def test_a_day_ends_where_the_next_begins() -> None:
    assert end_of(date(2024, 2, 28)) == datetime(2024, 2, 29, tzinfo=UTC)


NOW = datetime(2025, 11, 5, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "retention", "says"),
    [
        ("2025-11-06", 0, "2025-11-06 is in the future: today is 2025-11-05"),
        ("9999-12-31", 0, "future"),
        ("2025-11-05", 0, "not complete yet.*from 2025-11-06T02:00Z"),
        ("2025-11-04", 0, "not complete yet.*from 2025-11-05T02:00Z"),
        ("2025-10-05", 30, "beyond the retention of 30 days.*EXPORT_RETENTION_DAYS"),
    ],
)
def test_why_a_day_cannot_be_exported(day: str, retention: int, says: str) -> None:
    """The message says why, and from when the day can be had."""
    with pytest.raises(InvalidDate, match=says):
        check_day(date.fromisoformat(day), NOW, retention)


@pytest.mark.parametrize(("day", "retention"), [("2025-11-03", 0), ("2025-10-06", 30), ("0001-01-01", 0)])
def test_a_day_that_can_be_exported(day: str, retention: int) -> None:
    check_day(date.fromisoformat(day), NOW, retention)


@given(moments, st.integers(1, 36500))
def test_a_day_more_than_so_many_days_before_today_expires(now: datetime, retention: int) -> None:
    """The oldest kept day is just so many days before today (UTC), or the first there is."""
    oldest = oldest_kept_day(now, retention)
    assert oldest == date.min or now.date() - oldest == retention * DAY


def test_no_retention_keeps_for_ever() -> None:
    assert oldest_kept_day(NOW, 0) == date.min


@given(st.dates())
def test_a_day_is_read_as_it_is_written(day: date) -> None:
    assert parse_day(day.isoformat()) == day


@pytest.mark.parametrize(
    "text",
    [
        *["", "today", "20251104", "2025-11-4", "2025-W45-2", "2025-02-30", "2023-02-29", "0000-01-01", "2025-13-01"],
        *["2025-11-04 ", " 2025-11-04", "2025-11-04\n", "2025-11-04T00", "2025/11/04", "+2025-1-04", "-025-11-04"],
        *["\uff12025-11-04", "2025-11-0\u0664", "2025\u201011\u201004", "2025-11-04\x00", "../../etc", "2025-11-04'--"],
    ],
)
def test_what_is_no_date(text: str) -> None:
    """Only 2025-11-04: no other form, no other digits, nothing before or behind."""
    with pytest.raises(InvalidDate, match="is not a date"):
        parse_day(text)


@given(st.text())
def test_any_text_is_a_date_or_refused(text: str) -> None:
    """A refused text is quoted so that the message stays short and on one line; a date is what was written."""
    try:
        day = parse_day(text)
    except InvalidDate as error:
        message = str(error)
    else:
        message = text
        assert day.isoformat() == text
    assert message.isprintable()
    assert len(message) < 600


@given(days, st.integers(0, 400))
def test_days_between_are_each_day_once(first: date, more: int) -> None:
    assume(first <= date(9990, 1, 1))
    found = days_between(first, first + more * DAY)
    assert (found[0], found[-1], len(found)) == (first, first + more * DAY, more + 1)
    assert days_between(first, first - DAY) == []
