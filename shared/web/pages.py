"""The pages for a browser: how the days are rendered as HTML."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared import text as say
from shared.dates import DAY, newest_complete_day
from shared.days.calendar import LEVELS, Calendar, DayView
from shared.days.day import Day
from shared.days.state import State

Page = tuple[str, Mapping[str, str]]

MAX_FILES = 2000
"""Rows of a day's table of files; the manifest lists the rest."""


def coverage_page(days: Sequence[Day], first: date, last: date, now: datetime) -> Page:
    """The calendar of a range, with each of its days to open."""
    calendar = Calendar(days, first, last, newest_complete_day(now))
    return _page("coverage.html", calendar=calendar, root="exports/")


def day_page(day: Day, now: datetime) -> Page:
    """All that is known of one day."""
    newest = newest_complete_day(now)
    month_end = (day.date.replace(day=28) + timedelta(days=4)).replace(day=1) - DAY
    return _page(
        "day.html",
        view=DayView(day, LEVELS, newest),
        manifest=day.manifest,
        files=day.manifest.files[:MAX_FILES] if day.manifest else (),
        before=day.date - DAY if day.date > date.min else None,
        after=day.date + DAY if day.date < newest else None,
        back=(day.date.replace(day=1), max(day.date, min(month_end, newest))),
        root="",
    )


def _shown(value: object) -> object:
    """What an expression in a template gives, as it is shown."""
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
    "number": say.number,
    "short": say.short,
    "size": say.size,
    "day": say.day_text,
    "month": say.month_text,
    "hours": say.hours_text,
    "moment": say.moment_text,
}
_STYLE = (_TEMPLATES / "page.css").read_text("utf-8")
_SCRIPT = (_TEMPLATES / "page.js").read_text("utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; img-src data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the address may hold the caller's key
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def _page(template: str, **values: Any) -> Page:
    values |= {"style": Markup(_STYLE), "script": Markup(_SCRIPT), "states": tuple(State)}  # noqa: S704 - our own files
    return _ENV.get_template(template).render(values), HEADERS
