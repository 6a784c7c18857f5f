"""The log lines of real runs, as the workspace would hold them."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import azure.functions as func
import pytest

from local.azurite import Azurite
from local.simulator import Fault, Simulator
from shared.app import open_app
from shared.errors import ExportError
from shared.runs.messages import Order
from shared.web import routes

USUAL, SCANTY, REFUSED = date(2025, 11, 3), date(2025, 11, 4), date(2025, 11, 5)
"""A day as any other; one with a single event; one that was asked for with wrong keys."""

NOT_RESOLVED = "@Microsoft.KeyVault(SecretUri=https://vault.vault.azure.net/secrets/amplitude-api-key)"
"""What the app gets as long as the vault has no such secret."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A row of AppTraces, but for the columns that no query reads."""

    time: datetime
    message: str

    @property
    def event(self) -> str:
        """The event's name."""
        return str(json.loads(self.message)["event"])

    def with_fields(self, **fields: object) -> "LogLine":
        """The same line with other values."""
        return replace(self, message=json.dumps({**json.loads(self.message), **fields}))


@pytest.fixture(scope="session")
def app_log_lines(azurite: Azurite) -> list[LogLine]:
    """What the app writes while it exports the three days, on the emulator and the simulator, and once without keys."""
    with Simulator(events_per_hour=2) as simulator, _listening() as lines:
        simulator.set_day(SCANTY, {(0, 0): b'{"uuid": "1"}\n'})
        environ = {
            "AMP_API_KEY": simulator.keys[0],
            "AMP_SECRET_KEY": simulator.keys[1],
            "AMP_EXPORT_URL": simulator.url,
            "EXPORT_STORAGE": azurite.connection_string,
            "EXPORT_CONTAINER": "log-lines",
            "EXPORT_RETRY_SECONDS": "0.01",
        }
        simulator.fail(Fault(status=503))  # the first request is tried once more
        _export(environ, USUAL)
        _export(environ, SCANTY)
        _export({**environ, "AMP_SECRET_KEY": "wrong"}, REFUSED)
        simulator.fail(Fault(status=503))
        _export({**environ, "EXPORT_MAX_ATTEMPTS": "1"}, USUAL)
        _ask_for_a_day({**environ, "AMP_API_KEY": NOT_RESOLVED})
    return lines


def _export(environ: dict[str, str], day: date) -> None:
    with open_app(environ) as app, suppress(ExportError):
        app.runs.work(Order(day, trigger="http"))


def _ask_for_a_day(environ: dict[str, str]) -> None:
    def route() -> func.HttpResponse:
        with open_app(environ) as app:
            return routes.status(app, request)

    request = func.HttpRequest("GET", "/api/exports/2025-11-04", route_params={"date": "2025-11-04"}, body=b"")
    routes.answer(request, route, environ)


@contextmanager
def _listening() -> Iterator[list[LogLine]]:
    lines: list[LogLine] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(LogLine(datetime.fromtimestamp(record.created, UTC), record.getMessage()))

    handler, logger = Keep(), logging.getLogger("amplitude_export")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
