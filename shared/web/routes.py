"""The HTTP routes: who may call them, which requests they accept, and what they answer.

Every error is a problem document (RFC 9457) that says what to do. None contains a stack trace or a secret.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import azure.functions as func

from shared.app import App
from shared.dates import check_day, days_before, days_between, newest_complete_day, parse_day
from shared.days.coverage import read_coverage, read_day
from shared.days.day import Day
from shared.days.state import Trigger
from shared.days.status import RunStatus
from shared.errors import ExportError, InternalError, InvalidDate, SettingsError, TransientError
from shared.log import log
from shared.runs.runs import DayRunning, utc_now
from shared.settings import uses_entra
from shared.web.access import Caller, caller_of, check
from shared.web.answers import Problem, as_json, respond

MAX_DAYS = 366
MAX_QUEUED = 366
"""How many days may be queued at a time by requests: a year. This limits the cost of a mistake."""
_counting = Lock()
_being_queued: list[Sequence[date]] = []
"""The days of the requests under way. `_counting` protects them."""
DEFAULT_DAYS = 30
NOT_SIGNED_IN, NOT_FOUND = 401, 404
LOGGED = ("date", "from", "to", "replace", "missing")
"""The parts of a request's address that a log line contains."""
MAX_LOGGED = 40
PLATFORM = ("code", "clientId")
"""Query parameters that the platform reads: a key and its name."""

Send = Callable[[list[str]], None]
"""Queues messages."""


def answer(
    request: func.HttpRequest, route: Callable[[], func.HttpResponse], environ: Mapping[str, str]
) -> func.HttpResponse:
    """Carry out a route, if the caller may call it. Any error becomes a problem document."""
    caller = caller_of(request, environ)
    try:
        check(request, caller, environ)
        response = route()
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets no stack trace
        problem = _problem(error)
        if request.method != "GET" or problem.status != NOT_FOUND:
            _note(logging.WARNING, "http_refused", request, caller, problem.status, reason=str(problem))
        return _refusal(request, problem, environ)
    if request.method != "GET":
        _note(logging.INFO, "http_changed", request, caller, response.status_code)
    return response


def _problem(error: Exception) -> Problem:
    """The answer to a failure. It is logged, unless the request itself is wrong."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InvalidDate):
        return Problem(400, str(error))
    if isinstance(error, SettingsError):
        log(logging.ERROR, "settings_invalid", error_message=str(error))
        return Problem(503, str(error), title="App settings are missing or wrong")
    known = error if isinstance(error, ExportError) else InternalError.at(error)
    log(logging.ERROR, "http_failed", error_type=known.type, error_message=str(known))
    expected = isinstance(known, TransientError) and known is error
    return Problem(503 if expected else 500, str(known), title=known.type)


def _refusal(request: func.HttpRequest, problem: Problem, environ: Mapping[str, str]) -> func.HttpResponse:
    """A problem document. A browser that opens a page gets a page with the same text."""
    if request.method != "GET" or not _wants_page(request):
        return as_json(problem.status, problem.document, kind="application/problem+json")
    from shared.web.pages import problem_page  # noqa: PLC0415 - templates are loaded for a browser only

    day = parse_day(request.route_params["date"]) if problem.status == NOT_FOUND else None
    entra = uses_entra(environ) and problem.status != NOT_SIGNED_IN
    home = "../exports" if "date" in request.route_params else "exports"
    page, headers = problem_page(problem.title, str(problem), day, utc_now(), home=home, entra=entra)
    return respond(problem.status, page, "text/html", headers)


def _note(level: int, event: str, request: func.HttpRequest, caller: Caller, status: int, **more: str) -> None:
    """Log who requested what. Only known parameters are taken from the address, because the rest may be a key."""
    asked = {**request.params, **request.route_params}
    what = {name: asked[name][:MAX_LOGGED] for name in LOGGED if name in asked}
    log(level, event, caller=caller.name, method=request.method, **what, status=status, **more)


def rerun(app: App, request: func.HttpRequest, send: Send) -> func.HttpResponse:
    """POST /api/exports/{date}: queue one day."""
    _check_query(request, "replace")
    day, replacing = _day(app, request), _flag(request, "replace")
    check_day(day, app.clock(), app.settings.retention_days)
    try:
        with _room_for(app, [day]):
            asked = app.runs.ask(day, Trigger.HTTP, replace=replacing)
    except DayRunning as running:
        url = _url(request, day)
        why = f"{day} is being exported now. Follow it at {url}, and ask again when it has ended."
        about = {"date": day.isoformat(), "run_id": running.status.run_id, "status_url": url}
        raise Problem(409, str(running.foreign or why), **about) from None
    if asked.message:
        send([asked.message])
    body = _run(request, asked.status)
    return as_json(202, body, {"Location": body["status_url"]})


def backfill(app: App, request: func.HttpRequest, send: Send) -> func.HttpResponse:
    """POST /api/exports?from=D&to=D: queue each day of a range."""
    _check_query(request, "from", "to", "replace", "missing")
    first, last = _range(app, request, "A backfill")
    replacing = _flag(request, "replace")
    for day in (first, last):
        check_day(day, app.clock(), app.settings.retention_days)
    days = days_between(first, last)
    if _flag(request, "missing"):
        rows = read_coverage(app.container, app.settings, first, last, app.clock())
        days = [row.date for row in rows if not row.landed]
    messages: list[str] = []
    try:
        with _room_for(app, days):
            runs = [_asked(app, request, day, messages, replacing=replacing) for day in days]
    finally:
        # Even after an error: each day that was recorded as queued must get its message.
        if messages:
            send(messages)
    return as_json(202, {"runs": runs}, {"Location": f"{_url(request)}?from={first}&to={last}"})


@contextmanager
def _room_for(app: App, days: Sequence[date]) -> Iterator[None]:
    """Limit what one or many requests can cost: each queued day is an export.

    Until the block ends, the days count as queued for other requests of this process.
    """
    with _counting:
        queued = app.runs.queued().union(*_being_queued)
        if len(queued.union(days)) > MAX_QUEUED:
            raise Problem(
                429,
                f"At most {MAX_QUEUED} days may be queued at a time, and {len(queued)} are queued already. "
                "Request fewer, wait until some are exported (GET /api/exports shows which), or withdraw queued days "
                "with DELETE /api/exports?from=D&to=D.",
            )
        _being_queued.append(days)
    try:
        yield
    finally:
        with _counting:
            _being_queued.remove(days)


def _asked(app: App, request: func.HttpRequest, day: date, messages: list[str], *, replacing: bool) -> dict[str, Any]:
    """Request one day of a range. Returns its part of the answer, and adds the message of a new run to `messages`."""
    try:
        asked = app.runs.ask(day, Trigger.HTTP, replace=replacing)
    except DayRunning as running:
        return _run(request, running.status)
    if asked.message:
        messages.append(asked.message)
    return _run(request, asked.status)


def withdraw(app: App, request: func.HttpRequest) -> func.HttpResponse:
    """DELETE /api/exports/{date} or ?from=D&to=D: withdraw queued runs that have not started."""
    if request.route_params.get("date"):
        _check_query(request)
        first = last = _day(app, request)
    else:
        _check_query(request, "from", "to")
        first, last = _range(app, request, "Withdrawing")
    found = [app.runs.withdraw(day) for day in days_between(first, last)]
    return as_json(200, {"runs": [_run(request, status) for status in found if status is not None]})


def status(app: App, request: func.HttpRequest) -> func.HttpResponse:
    """GET /api/exports/{date}: a day's latest run and its manifest; with `download`, a file of the day."""
    _check_query(request, "download")
    day = _day(app, request)
    found = read_day(app.container, app.settings.names, day)
    if found is None:
        raise Problem(404, f"{day} was never exported or queued. {_how_to_queue(app, day)}")
    if "download" in request.params:
        return _download(app, found, request.params["download"])
    if _wants_page(request):
        from shared.web.pages import day_page  # noqa: PLC0415 - templates are loaded for a browser only

        page, headers = day_page(found, app.clock(), entra=app.settings.http_auth == "entra")
        return respond(200, page, "text/html", headers)
    return as_json(200, found.document)


def _download(app: App, day: Day, wanted: str) -> func.HttpResponse:
    """The day's manifest exactly as stored, or the log of its latest try."""
    names = app.settings.names
    if wanted == "manifest":
        name, kind = names.manifest(day.date), "application/json"
    elif wanted == "log":
        run_id, try_id = day.latest_try
        if not (re.fullmatch(r"[0-9A-Za-z_-]{1,64}", run_id) and re.fullmatch(r"[0-9a-f]{8}", try_id)):
            raise Problem(NOT_FOUND, f"No try of {day.date} has begun, so there is no log.")
        name, kind = names.log(day.date, run_id, try_id), "text/csv"
    else:
        raise Problem(400, f"download must be manifest or log, not {wanted[:MAX_LOGGED]!r}.")
    document = app.container.read(name)
    if document is None:
        raise Problem(NOT_FOUND, f"{day.date} has no {wanted}: {name} is not in the container.")
    file = f"{wanted}-{day.date}{name[name.rindex('.') :]}"
    return respond(200, document.data, kind, {"Content-Disposition": f'attachment; filename="{file}"'})


def _how_to_queue(app: App, day: date) -> str:
    try:
        check_day(day, app.clock(), app.settings.retention_days)
    except InvalidDate as error:
        return str(error)
    return "POST to this address to queue it."


def coverage(app: App, request: func.HttpRequest) -> func.HttpResponse:
    """GET /api/exports: one row per day; a page for a browser."""
    _check_query(request, "from", "to")
    first, last = _range(app, request)
    if _wants_page(request):
        # Templates are loaded for a browser only.
        from shared.days.calendar import read_calendar  # noqa: PLC0415
        from shared.web.pages import coverage_page  # noqa: PLC0415

        calendar = read_calendar(app.container, app.settings, first, last, app.clock())
        page, headers = coverage_page(calendar, entra=app.settings.http_auth == "entra")
        return respond(200, page, "text/html", headers)
    rows = [day.row for day in read_coverage(app.container, app.settings, first, last, app.clock())]
    return as_json(200, {"from": first.isoformat(), "to": last.isoformat(), "days": rows})


def _range(app: App, request: func.HttpRequest, needed_by: str = "") -> tuple[date, date]:
    """The first and the last day of a request; by default the newest days. `needed_by`: what requires both."""
    given = {name: parse_day(request.params[name]) for name in ("from", "to") if name in request.params}
    if needed_by and len(given) < 2:  # noqa: PLR2004 - both
        example = f"{request.method} /api/exports?from=2025-11-01&to=2025-11-30"
        raise Problem(400, f"{needed_by} needs from and to, as in {example}.")
    last = given.get("to") or newest_complete_day(app.clock())
    first = given.get("from") or days_before(last, DEFAULT_DAYS - 1)
    days = (last - first).days + 1
    if days < 1:
        raise Problem(400, f"The range is empty: from ({first}) is after to ({last}).")
    if days > MAX_DAYS:
        raise Problem(400, f"The range has {days} days. One request can have at most {MAX_DAYS}.")
    _check_future(app, last)
    return first, last


def _check_future(app: App, day: date) -> None:
    if day > app.clock().date():
        check_day(day, app.clock(), 0)


def _check_query(request: func.HttpRequest, *known: str) -> None:
    """Refuse an unknown parameter, so that a misspelt one is not silently ignored."""
    unknown = sorted(set(request.params) - {*known, *PLATFORM})
    if unknown:
        takes = f"It takes {', '.join(known)}." if known else "It takes none."
        raise Problem(400, f"This route does not know the query parameter {unknown[0][:MAX_LOGGED]!r}. {takes}")


def _day(app: App, request: func.HttpRequest) -> date:
    day = parse_day(request.route_params.get("date", ""))
    _check_future(app, day)
    return day


def _flag(request: func.HttpRequest, name: str) -> bool:
    text: str = request.params.get(name, "false")
    if text.lower() not in ("true", "false"):
        raise Problem(400, f"{name} must be true or false, not {text[:40]!r}.")
    return text.lower() == "true"


def _wants_page(request: func.HttpRequest) -> bool:
    # Browsers name text/html first. A client that accepts everything gets JSON.
    accept: str = request.headers.get("Accept", "")
    return accept.strip().lower().startswith("text/html")


def _url(request: func.HttpRequest, day: date | None = None) -> str:
    """The address of a day, or of all days, without the caller's query, which may contain a key."""
    parts = urlsplit(request.url)
    route = parts.path.rpartition("/exports")[0] + "/exports"
    return f"{parts.scheme}://{parts.netloc}{route}" + (f"/{day}" if day else "")


def _run(request: func.HttpRequest, status: RunStatus) -> dict[str, Any]:
    day, url = status.date.isoformat(), _url(request, status.date)
    return {"date": day, "run_id": status.run_id, "status": status.status, "status_url": url}
