"""The function app: triggers and bindings, a few lines each. What they do is in `shared`."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import List  # noqa: UP035 - see Messages

import azure.functions as func

from shared.app import App, open_app
from shared.days.status import RunError
from shared.errors import ExportError, InternalError, InvalidMessage, SettingsError
from shared.log import log
from shared.runs.messages import Order
from shared.runs.nightly import Nightly
from shared.runs.poison import report_undecodable
from shared.runs.runs import log_failed
from shared.settings import binding, sign_in_problem, uses_entra
from shared.stop import stop_on_sigterm
from shared.storage.queue import open_queue
from shared.web import routes

stop_on_sigterm()
# The storage library logs every request, which would hide the app's own lines.
logging.getLogger("azure").setLevel(logging.WARNING)

SCHEDULE, QUEUE = binding(os.environ, "EXPORT_SCHEDULE"), binding(os.environ, "EXPORT_QUEUE")
POISON = f"{QUEUE}-poison"
STORAGE = "AzureWebJobsStorage"

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS if uses_entra(os.environ) else func.AuthLevel.FUNCTION)
connections = ExitStack()

Messages = func.Out[List[str]]  # noqa: UP006 - Microsoft's worker takes Out[List[str]], and refuses Out[list[str]]


@functools.cache
def opened() -> App:
    """The app of this process, with its settings and connections. It is opened once; a failure is not remembered."""
    environ = dict(os.environ)
    if sign_in_problem(environ):
        environ.pop("EXPORT_HTTP_AUTH", None)  # the routes refuse requests themselves; the nightly export goes on
    return connections.enter_context(open_app(environ))


@app.function_name("nightly")
@app.timer_trigger(arg_name="timer", schedule=SCHEDULE, run_on_startup=False, use_monitor=True)
@app.queue_output(arg_name="messages", queue_name=QUEUE, connection=STORAGE)
def nightly(timer: func.TimerRequest, messages: Messages) -> None:
    """Queue the newest complete day, and what the look-back needs. Expire old days, sweep unlisted blobs."""
    if problem := sign_in_problem(os.environ):
        log(logging.ERROR, "settings_invalid", error_message=problem)  # only the routes stop; the export goes on
    with reported("nightly_failed"):
        app = opened()
        found = Nightly(app.runs, app.container, app.settings, past_due=timer.past_due).work()
        if found:
            messages.set(found)
    with reported("nightly_failed"), open_queue(os.environ, POISON, in_azure=app.settings.in_azure) as poison:
        report_undecodable(poison)


@app.function_name("rerun")
@app.route("exports/{date}", methods=["POST"])
@app.queue_output(arg_name="messages", queue_name=QUEUE, connection=STORAGE)
def rerun(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Queue one day."""
    return routes.answer(req, lambda: routes.rerun(opened(), req, messages.set), os.environ)


@app.function_name("backfill")
@app.route("exports", methods=["POST"])
@app.queue_output(arg_name="messages", queue_name=QUEUE, connection=STORAGE)
def backfill(req: func.HttpRequest, messages: Messages) -> func.HttpResponse:
    """Queue each day of a range."""
    return routes.answer(req, lambda: routes.backfill(opened(), req, messages.set), os.environ)


@app.function_name("withdraw")
@app.route("exports/{date?}", methods=["DELETE"])
def withdraw(req: func.HttpRequest) -> func.HttpResponse:
    """Withdraw queued runs, of one day or of a range."""
    return routes.answer(req, lambda: routes.withdraw(opened(), req), os.environ)


@app.function_name("status")
@app.route("exports/{date}", methods=["GET"])
def status(req: func.HttpRequest) -> func.HttpResponse:
    """Latest run and manifest of a day."""
    return routes.answer(req, lambda: routes.status(opened(), req), os.environ)


@app.function_name("coverage")
@app.route("exports", methods=["GET"])
def coverage(req: func.HttpRequest) -> func.HttpResponse:
    """One row per day, or a page for a browser."""
    return routes.answer(req, lambda: routes.coverage(opened(), req), os.environ)


@app.function_name("export_day")
@app.queue_trigger(arg_name="message", queue_name=QUEUE, connection=STORAGE)
def export_day(message: func.QueueMessage) -> None:
    """Export one day. The message comes back only if this raises: a transient error, or the app could not be opened."""
    with reported():
        try:
            order = Order.from_message(message.get_body().decode("utf-8", "replace"))
        except InvalidMessage as error:
            log_failed(RunError.of(error))
            return
        opened().runs.work(order, message_id=message.id or "")


@app.function_name("give_up")
@app.queue_trigger(arg_name="message", queue_name=POISON, connection=STORAGE)
def give_up(message: func.QueueMessage) -> None:
    """Record that the last try of a message failed or died. Never raises, because the host would retry for ever."""
    with suppress(ExportError), reported("run_failed"):
        opened().runs.give_up(message.get_body().decode("utf-8", "replace"))


@contextmanager
def reported(event: str = "") -> Iterator[None]:
    """Pass an error on to the host without its cause, which may hold a URL or an event's content.

    `event`: the name of the ERROR line to write; empty for none. Wrong settings always get the line `settings_invalid`.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - every error must reach an alert
        known = error if isinstance(error, ExportError) else InternalError.at(error)
        name = "settings_invalid" if isinstance(known, SettingsError) else event
        if name:
            log(logging.ERROR, name, error_type=known.type, error_message=str(known))
        raise known from None
