"""The pages for a browser: how the days are rendered as HTML."""

import base64
import hashlib
from calendar import monthrange
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared import text as say
from shared.dates import DAY, newest_complete_day
from shared.days.calendar import Calendar, DayView, word
from shared.days.day import Day
from shared.days.state import State
from shared.web import answers

Page = tuple[str, Mapping[str, str]]

MAX_FILES = 2000
"""The most rows in a day's table of files. The manifest lists all files."""


def coverage_page(calendar: Calendar, *, entra: bool = False) -> Page:
    """The calendar of a range, in which each day can be opened."""
    return _page("coverage.html", calendar=calendar, root="exports/", entra=entra)


def day_page(day: Day, now: datetime, *, entra: bool = False) -> Page:
    """Everything that is known about one day."""
    manifest = day.manifest
    took = 0.0
    if manifest:
        # Times are whole seconds, so a fast export may end in the second in which it began.
        elapsed = (manifest.finished_at - manifest.started_at).total_seconds()
        took = max(elapsed, sum(request.seconds for request in manifest.requests))
    return _page(
        "day.html",
        view=DayView(day.date, day.state, day.run, day.landed, manifest, now=now),
        manifest=manifest,
        took=took,
        files=manifest.files[:MAX_FILES] if manifest else (),
        **_around(day.date, now),
        root="",
        entra=entra,
    )


def problem_page(  # noqa: PLR0913 - a view of this many facts
    title: str, detail: str, day: date | None, now: datetime, *, home: str, entra: bool = False
) -> Page:
    """What was refused, and the next steps: to export the day if that is possible, and to go back to `home`."""
    around = _around(day, now) if day else {"before": None, "after": None, "back": None}
    view = DayView(day, State.MISSING, now=now) if day else None
    return _page("problem.html", title=title, detail=detail, view=view, **around, root="", home=home, entra=entra)


def _around(day: date, now: datetime) -> dict[str, Any]:
    """The days before and after, and the month to go back to."""
    newest = newest_complete_day(now)
    month_end = min(day.replace(day=monthrange(day.year, day.month)[1]), newest)
    return {
        "before": day - DAY if day > date.min else None,
        "after": day + DAY if day < newest else None,
        "back": (day.replace(day=1), max(day, month_end)),
    }


def _shown(value: object) -> object:
    """The value of an expression in a template, as text for the page."""
    return say.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_TEMPLATES = Path(__file__).parent / "templates"
_ENV = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    finalize=_shown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENV.filters |= {
    "number": "{:,}".format, "short": say.short, "size": say.size, "seconds": say.seconds_text, "hours": say.hours_text,
    "day": say.day_text, "month": say.month_text, "span": say.span_text, "moment": say.moment_text,
    "advice": say.advice, "word": word,
}  # fmt: skip
_STYLE = (_TEMPLATES / "page.css").read_text("utf-8")
_SCRIPT = (_TEMPLATES / "page.js").read_text("utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


HEADERS: Mapping[str, str] = {
    **answers.HEADERS,
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; img-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


def _page(template: str, **values: Any) -> Page:
    values |= {"style": Markup(_STYLE), "script": Markup(_SCRIPT)}  # noqa: S704 - our own files
    return _ENV.get_template(template).render(values), HEADERS
