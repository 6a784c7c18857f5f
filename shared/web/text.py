"""How the pages say things: numbers, sizes and dates, what does not print, and what to do about an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

from shared.days.status import RunError
from shared.errors import ExportError

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_THOUSAND = 1000
_MOVING = re.compile(r"([0-9]+) events(.*?)have landed, the export holds ([0-9]+)", re.DOTALL)

_RUN_LATER = "It often passes by itself, and the run is tried again. If the day stays like this, run it again later."
_REPORT = "Run the day again. If it fails again, look at the run's log (under logs/ in the container) and report it."
_ADVICE = {
    "AmplitudeUnavailable": f"{_RUN_LATER} If it lasts for hours, look at Amplitude's status page.",
    "BrokenArchive": f"{_RUN_LATER} If it fails for days, set EXPORT_WINDOW_HOURS lower.",
    "StorageUnavailable": f"{_RUN_LATER} If it lasts, look at the storage account: its health, firewall and network.",
    "DayLocked": "Another run is at work on this day: wait for its end.",
    "ConditionNotMet": "Another run wrote at the same moment. Run the day again.",
    "Displaced": "Another try has taken over; this page shows that one when it has ended.",
    "RunDied": "Run the day again. If it dies each time, give the app more memory or a longer time-out.",
    "InternalError": _REPORT,
    "Interrupted": "Run the day again.",
    "SettingsError": "Mend the app settings that the message names, then run the day again.",
    "InvalidDate": "This day cannot be exported; the message says why.",
    "InvalidMessage": "Use the button on this page instead of a message written by hand.",
    "BadCredentials": "Check AMP_API_KEY, AMP_SECRET_KEY and AMP_DATA_REGION: all three must be of one Amplitude "
    "project. Then run the day again.",
    "BadRequest": "Amplitude's own words say what it did not like. Mend that, then run the day again.",
    "ExportTooLarge": "Check that the keys belong to the right project: an empty or wrong one is refused like this, "
    "too. A single hour that is really too large has to come from Amplitude's support.",
    "UnexpectedAnswer": "Check AMP_EXPORT_URL, and whether a proxy answers for Amplitude. Then run the day again.",
    "SuspiciousArchive": "Do not trust this answer: look at what the message names, and ask Amplitude's support.",
    "UnsupportedArchive": "Amplitude has changed the form of its archives: look for a newer version of this app.",
    "FewerEvents": "Amplitude may have forgotten events, or the keys may be those of "
    "another project. Replace the day only if you want what Amplitude has now.",
    "StorageDenied": "Check that the container exists, and that the app's identity has the role Storage Blob Data "
    "Contributor on it. Then run the day again.",
    "InvalidManifest": "Restore the last version of the blob that the message names, then run the day again.",
}  # fmt: skip


def advice(error: RunError) -> str:
    """What to do about an error; a general answer for one that this version does not know."""
    return _ADVICE.get(error.type, _REPORT)


def error_types() -> set[str]:
    """The types that a run can end with: the leaves of the error tree."""

    def leaves(kind: type[ExportError]) -> set[str]:
        below = kind.__subclasses__()
        return set().union(*map(leaves, below)) if below else {kind.__name__}

    return leaves(ExportError)


def replace_question(error: RunError | None, landed: int) -> tuple[str, str, str] | None:
    """What to ask before fewer events take a day's place: the question with its numbers, and both answers to it."""
    if error is None or error.type != "FewerEvents":
        return None
    before_advice = error.message.partition(" The landed day stays")[0]
    said = _MOVING.sub(
        lambda m: f"{number(int(m[1]))} events{m[2]}have landed, the export holds {number(int(m[3]))}", before_advice
    )
    figures = _MOVING.search(error.message)
    now = f" with {number(int(figures[3]))}" if figures else ""
    return said, f"Replace {number(landed)} events{now}", f"Keep the {number(landed)} events"


def number(value: int) -> str:
    """`768,000`."""
    return f"{value:,}"


def short(value: int) -> str:
    """At most four characters or so: `768k`, `1.2M`."""
    scaled, unit = _scaled(value, ("", "k", "M", "G", "T"))
    return f"{scaled:.1f}{unit}" if unit and scaled < 9.95 else f"{scaled:.0f}{unit}"  # noqa: PLR2004 - rounds to 9.9


def size(value: int) -> str:
    """`1.36 GB`: three figures, powers of ten."""
    scaled, unit = _scaled(value, ("bytes", "kB", "MB", "GB", "TB", "PB"))
    decimals = 0 if unit == "bytes" or scaled >= 99.95 else 1 if scaled >= 9.995 else 2  # noqa: PLR2004 - three figures
    return f"{scaled:,.{decimals}f} {unit}"


def _scaled(value: int, units: Sequence[str]) -> tuple[float, str]:
    """A value in the unit in which it is no longer than three figures, rounded."""
    scaled, power = float(value), 0
    while scaled >= _THOUSAND - 0.5 and power + 1 < len(units):
        scaled, power = scaled / _THOUSAND, power + 1
    return scaled, units[power]


def day_text(day: date, *, weekday: bool = False) -> str:
    """`4 November 2025`, after its weekday where asked for."""
    text = f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
    return f"{_WEEKDAYS[day.weekday()]}, {text}" if weekday else text


def span_text(first: date, last: date) -> str:
    """`4 November`, `4 to 6 November`, `30 October to 2 November`."""
    end = f"{last.day} {_MONTHS[last.month - 1]}"
    if first == last:
        return end
    same_month = (first.year, first.month) == (last.year, last.month)
    return f"{first.day} to {end}" if same_month else f"{first.day} {_MONTHS[first.month - 1]} to {end}"


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
    return f"{_MONTHS[day.month - 1]} {day.year}"


def moment_text(moment: datetime | None) -> str:
    """`5 November 2025, 03:31:40 UTC`; `unknown` for none."""
    if moment is None:
        return "unknown"
    utc = moment.astimezone(UTC)
    return f"{day_text(utc.date())}, {utc:%H:%M:%S} UTC"


def visible(text: str) -> str:
    """A text whose every character shows: controls, marks that turn the writing and the like are spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
