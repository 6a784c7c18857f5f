"""Waiting as arithmetic: nothing here sleeps."""

import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retry import LONGEST_ASKED, LONGEST_WAIT, backoff_seconds, retry_after_seconds

NOW = datetime(2025, 11, 5, 3, 30, tzinfo=UTC)
bases = st.floats(0, 120)
fractions = st.floats(0, 1)


@given(st.integers(1, 10_000), bases, fractions)
def test_a_wait_is_never_longer_than_a_minute(attempt: int, base: float, fraction: float) -> None:
    """However many tries and whatever the base; and never shorter than nothing."""
    assert 0 <= backoff_seconds(attempt, base, fraction) <= LONGEST_WAIT == 60


@given(st.integers(1, 100), bases, fractions)
def test_jitter_stays_in_the_upper_half(attempt: int, base: float, fraction: float) -> None:
    """Callers do not return in step, and none returns in less than half the time."""
    longest = backoff_seconds(attempt, base, 1)
    assert longest / 2 <= backoff_seconds(attempt, base, fraction) <= longest


@given(st.integers(1, 100), bases, fractions)
def test_waits_grow(attempt: int, base: float, fraction: float) -> None:
    assert backoff_seconds(attempt, base, fraction) <= backoff_seconds(attempt + 1, base, fraction)


def test_the_base_is_doubled_at_each_try() -> None:
    assert [backoff_seconds(attempt, 1, 1) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [backoff_seconds(attempt, 0.25, 0) for attempt in (1, 2, 3)] == [0.125, 0.25, 0.5]


def test_no_base_means_no_wait() -> None:
    assert backoff_seconds(5, 0, 1) == 0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("0", 0), ("30", 30), (" 120\t", 120)),
        *(("Wed, 05 Nov 2025 03:31:40 GMT", 100), ("Wed, 05 Nov 2025 04:31:40 +0100", 100)),
        ("Wednesday, 05-Nov-25 03:31:40 GMT", 100),  # the two older forms, which must be accepted (RFC 9110, 5.6.7)
        ("Wed Nov  5 03:31:40 2025", 100),
        ("Wed, 05 Nov 2025 03:29:00 GMT", 0),  # past: at once
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_seconds_or_a_date(header: str, seconds: float) -> None:
    assert retry_after_seconds(header, NOW) == seconds


def test_a_date_without_a_zone_is_utc_on_any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        assert retry_after_seconds("Wed Nov  5 03:31:40 2025", NOW) == 100
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.integers(-(10**6), 10**6))
def test_a_date_means_the_time_until_then(seconds: int) -> None:
    """A moment that has passed means no wait, never a negative one."""
    header = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(header, NOW) == max(0, seconds)


@pytest.mark.parametrize(
    "header",
    [
        *[None, "", " ", "soon", "-1", "1.5", "1e3", "+5", "0x10", "²", "٣", "nan", "inf", "5, 6", "\x00"],
        "Wed, 99 Nov 2025 03:31:40 GMT",
        "Wed, 05 Nov 99999999999 03:31:40 GMT",
        "05 Nov 2025 03:31:40 +99999999",
    ],
)
def test_garbage_asks_for_nothing(header: str | None) -> None:
    """What cannot be understood is as good as absent: the computed wait applies."""
    assert retry_after_seconds(header, NOW) is None


@given(
    st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,12} [A-Z][a-z]{2} [0-9]{1,12} [0-9:]{1,9} [+-]?[0-9A-Z]{1,9}")
)
def test_any_header_is_read(header: str) -> None:
    """A hostile header raises nothing, and asks for no negative time."""
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or seconds >= 0


def test_a_very_long_wait_is_seen_as_such() -> None:
    """A number beyond all measure is longer than a try may wait, and still one that JSON can hold."""
    assert LONGEST_ASKED < (retry_after_seconds("9" * 400, NOW) or 0) < math.inf
