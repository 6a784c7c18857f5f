"""How long to wait before the next attempt. These functions only compute: numbers in, seconds out."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 60.0
"""The longest computed wait, in seconds."""

LONGEST_ASKED = 600.0
"""The longest `Retry-After`, in seconds, for which a try waits. A longer one ends the try."""

MOST_ASKED = 1e15
"""What a longer `Retry-After` counts as: a status blob cannot hold infinity."""


def backoff_seconds(attempt: int, base: float, fraction: float) -> float:
    """The wait after attempt number `attempt` (from 1): `base`, doubled with each attempt, at most 60 s, with jitter.

    `fraction`, from 0 to 1, picks a wait between half of that time and all of it, so that callers do not all return at
    once.
    """
    span = min(base * 2.0 ** min(attempt - 1, 30), LONGEST_WAIT)
    return span * (1 + fraction) / 2


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """The wait in a `Retry-After` header (RFC 9110, 10.2.3: seconds or a date); None if it is missing or malformed."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MOST_ASKED)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
