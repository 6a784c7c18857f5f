"""Ways to run a day in a test: here and now, and from a command line in a process of its own."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import pytest
import requests

from local.azurite import KEY
from local.host import FunctionsHost
from shared.app import open_app
from shared.days.manifest import Manifest
from shared.errors import ExportError
from shared.runs.messages import Order
from shared.runs.runs import Clock, utc_now
from tests.forks import Forked

DAY = date(2025, 11, 4)
ROOT = Path(__file__).resolve().parents[2]

API_KEY, SECRET_KEY = "marker+api/key=7f3a91", "marker+secret/key=c05d17"
_PAIR = f"{API_KEY}:{SECRET_KEY}".encode()
MARKERS = {
    text
    for secret in (API_KEY, SECRET_KEY, KEY, base64.b64encode(_PAIR).decode())
    for text in (secret, quote(secret, safe=""))
}
"""The secrets that all tests here run with, in each spelling in which they could leak."""


class Command(subprocess.Popen[str]):
    """A process that does not outlive a test that fails."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self.kill()
        super().__exit__(kind, error, trace)


@dataclass(frozen=True, slots=True)
class Exports:
    """Runs of days with the settings of a test; keywords change settings for one run."""

    environ: dict[str, str]

    def run(self, day: date = DAY, *, replace: bool = False, clock: Clock = utc_now, **settings: str) -> Manifest:
        """Export a day in this process, as `python -m local export` does."""
        with open_app(self.environ | settings, clock=clock) as app:
            return app.runs.run_now(Order(day, trigger="test", replace=replace))

    def attempt(
        self, day: date = DAY, *, replace: bool = False, clock: Clock = utc_now, **settings: str
    ) -> ExportError | None:
        """The error of an export; None where the day has landed."""
        try:
            self.run(day, replace=replace, clock=clock, **settings)
        except ExportError as error:
            return error
        return None

    def error(self, day: date = DAY, *, replace: bool = False, clock: Clock = utc_now, **settings: str) -> ExportError:
        """The error of an export that must fail."""
        error = self.attempt(day, replace=replace, clock=clock, **settings)
        assert error is not None, f"{day} should not have landed"
        return error

    def deliver(self, *, run_id: str, clock: Clock = utc_now, **settings: str) -> ExportError | None:
        """Deliver DAY's message to the worker; the error with which it is to come back, None where it is done."""
        with open_app(self.environ | settings, clock=clock) as app:
            try:
                app.runs.work(Order(DAY, run_id))
            except ExportError as error:
                return error
        return None

    def start(self, *arguments: str, folder: Path = Path("/"), **settings: str) -> Command:
        """`python -m local` with arguments, by default where no settings files are; the caller waits for its end.

        A process of its own from its very start to its very end: for signals, and for streams that close.
        """
        return Command(
            self._command(arguments),
            cwd=folder,
            env=self._environ(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fork(self, *arguments: str, folder: Path = Path("/"), **settings: str) -> Forked:
        """`python -m local` with arguments; the caller waits for its end."""
        return Forked(self._command(arguments), cwd=folder, env=self._environ(settings))

    def cli(self, *arguments: str, folder: Path = Path("/"), **settings: str) -> subprocess.CompletedProcess[str]:
        """`python -m local` with arguments, to its end: exit code, stdout, stderr."""
        with self.fork(*arguments, folder=folder, **settings) as process:
            out, err = process.communicate()
            return subprocess.CompletedProcess(process.args, process.wait(), out, err)

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "local", *arguments]

    def _environ(self, settings: Mapping[str, str]) -> dict[str, str]:
        return {**os.environ, **self.environ, **settings, "PYTHONPATH": str(ROOT)}


def call(host: FunctionsHost, method: str, path: str = f"/{DAY}", **headers: str) -> requests.Response:
    """Call a route of the hosted app, as somebody who may."""
    return requests.request(method, f"{host.url}/api/exports{path}", headers={**host.auth, **headers}, timeout=60)


def log_events(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The app's log lines of one kind, as documents."""
    lines = [json.loads(record.message) for record in caplog.records if record.name == "amplitude_export"]
    return [line for line in lines if line["event"] == event]


def leaks(text: str) -> list[str]:
    """The secrets that a text holds."""
    return sorted(marker for marker in MARKERS if marker in text)
