"""Texts for pages and the terminal: numbers, sizes, dates, unprintable characters, and what to do about an error."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

from shared.days.status import RunError
from shared.errors import ExportError, leaves

_THOUSAND = 1000


def advice(error: RunError) -> str:
    """What to do about an error. For an error that this version does not know, the advice is general."""
    return leaves().get(error.type, ExportError).advice


def short(value: int) -> str:
    """About four characters at most: `768k`, `1.2M`."""
    scaled, unit = _scaled(value, ("", "k", "M", "G", "T"))
    return f"{scaled:.1f}{unit}" if unit and scaled < 9.95 else f"{scaled:.0f}{unit}"  # noqa: PLR2004 - rounds to 9.9


def size(value: int) -> str:
    """`1.36 GB`: three digits, powers of ten."""
    scaled, unit = _scaled(value, ("bytes", "kB", "MB", "GB", "TB", "PB"))
    decimals = 0 if unit == "bytes" or scaled >= 99.95 else 1 if scaled >= 9.995 else 2  # noqa: PLR2004 - three figures
    return f"{scaled:,.{decimals}f} {unit}"


def _scaled(value: int, units: Sequence[str]) -> tuple[float, str]:
    """A value in the unit in which it has at most three digits, rounded."""
    scaled, power = float(value), 0
    while scaled >= _THOUSAND - 0.5 and power + 1 < len(units):
        scaled, power = scaled / _THOUSAND, power + 1
    return scaled, units[power]


def day_text(day: date, *, weekday: bool = False) -> str:
    """`4 November 2025`; with `weekday`: `Tuesday, 4 November 2025`."""
    text = f"{day.day} {month_text(day)}"
    return f"{day:%A}, {text}" if weekday else text


def span_text(first: date, last: date) -> str:
    """`4 November 2025`, `4 to 6 November 2025`, `30 October to 2 November 2025`, `1 December 2024 to 2 May 2025`."""
    if first == last or first.year != last.year:
        return " to ".join(map(day_text, dict.fromkeys((first, last))))
    month = "" if first.month == last.month else f" {first:%B}"
    return f"{first.day}{month} to {day_text(last)}"


def seconds_text(seconds: float) -> str:
    """`0.2 s`, `98 s`, `65 min`. A short time is never shown as zero."""
    if seconds < 9.95:  # noqa: PLR2004 - rounds to one figure before the point
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 600 else f"{whole // 60} min"  # noqa: PLR2004 - ten minutes


def hours_text(hours: Sequence[int]) -> str:
    """`hour 3`, `hours 3, 4, 9 to 12`."""
    runs: list[list[int]] = []
    for hour in hours:
        if runs and hour == runs[-1][-1] + 1:
            runs[-1].append(hour)
        else:
            runs.append([hour])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]  # noqa: PLR2004
    return f"{'hour' if len(hours) == 1 else 'hours'} {', '.join(parts)}"


def month_text(day: date) -> str:
    """`November 2025`."""
    return f"{day:%B} {day.year}"


def moment_text(moment: datetime) -> str:
    """`5 November 2025, 03:31:40 UTC`."""
    utc = moment.astimezone(UTC)
    return f"{day_text(utc.date())}, {utc:%H:%M:%S} UTC"


def visible(text: str) -> str:
    """The text with visible characters only: control characters, direction marks and the like become escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
