"""How long to wait before the next try: arithmetic only, numbers in, seconds out."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 60.0
"""Seconds that a computed wait never exceeds."""

LONGEST_ASKED = 600.0
"""Seconds that a `Retry-After` may ask for within a try; a longer one ends the try."""


def backoff_seconds(attempt: int, base: float, fraction: float) -> float:
    """The wait after try number `attempt` (from 1): `base` doubled at each try, at most 60 s, with jitter.

    `fraction`, 0 to 1, picks the wait from the upper half of that span, so that callers do not return in step.
    """
    span = min(base * 2.0 ** min(attempt - 1, 30), LONGEST_WAIT)
    return span * (1 + fraction) / 2


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """What a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds or a date); None if it says nothing sensible."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
