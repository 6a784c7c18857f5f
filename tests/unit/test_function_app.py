"""Bindings, host.json, and relations between constants: nothing else notices them until a night is missed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import traceback
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

import function_app
from shared.errors import ExportError, SettingsError, StorageUnavailable
from shared.runs import runs
from shared.runs.poison import is_decodable
from tests.functions import functions

ROOT = Path(__file__).resolve().parents[2]
HOST = json.loads((ROOT / "host.json").read_text())
BINDINGS: dict[str, list[dict[str, Any]]] = {
    str(function.get_function_name()): json.loads(str(function))["bindings"] for function in functions()
}


def span(text: str) -> timedelta:
    hours, minutes, seconds = map(int, text.split(":"))
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def trigger(name: str) -> dict[str, Any]:
    return next(binding for binding in BINDINGS[name] if binding["type"].endswith("Trigger"))


def test_the_functions() -> None:
    assert sorted(BINDINGS) == sorted([
        "nightly", "rerun", "backfill", "withdraw", "status", "coverage", "export_day", "give_up",
    ])  # fmt: skip


def test_the_timer_catches_up_and_never_runs_because_of_a_deployment() -> None:
    timer = trigger("nightly")
    assert (timer["schedule"], timer["runOnStartup"], timer["useMonitor"]) == ("0 30 3 * * *", False, True)


def test_the_queues() -> None:
    assert trigger("export_day")["queueName"] == "amplitude-exports"
    assert trigger("give_up")["queueName"] == "amplitude-exports-poison"
    outputs = [binding for name in BINDINGS for binding in BINDINGS[name] if binding["type"] == "queue"]
    assert [output["queueName"] for output in outputs] == ["amplitude-exports"] * 3
    assert {binding["connection"] for binding in [*outputs, trigger("export_day")]} == {"AzureWebJobsStorage"}


def test_one_message_at_a_time_and_pauses_between_tries() -> None:
    queues = HOST["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"], queues["messageEncoding"]) == (1, 0, "base64")
    assert span(queues["visibilityTimeout"]) == timedelta(minutes=5)
    assert timedelta(seconds=1) < span(queues["maxPollingInterval"]) <= timedelta(seconds=30)
    assert span(HOST["functionTimeout"]) == timedelta(hours=2)


def test_the_host_keeps_the_lines_of_a_good_night_and_has_the_bundle_of_these_bindings() -> None:
    assert HOST["logging"]["logLevel"]["default"] == "Information", "nightly_done and run_complete are INFO"
    assert logging.getLogger("azure").level == logging.WARNING, "a line for each request would hide them"
    assert HOST["extensionBundle"]["version"] == "[4.*, 5.0.0)"


def test_deaths_alone_give_no_day_up_within_the_hour_in_which_hosts_are_replaced() -> None:
    """Failures that are recorded end a run after five; a death costs only one of the queue's own tries."""
    queues = HOST["extensions"]["queues"]
    assert queues["maxDequeueCount"] >= runs.MAX_FAILURES + 5
    assert queues["maxDequeueCount"] * span(queues["visibilityTimeout"]) >= timedelta(minutes=50)


class Timer(func.TimerRequest):
    """A tick."""

    past_due = False


def errors(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Event and type of each ERROR line."""
    found = [json.loads(record.message) for record in caplog.records if record.levelno == logging.ERROR]
    return [(line["event"], line.get("error_type", "")) for line in found]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("secret"), ("nightly_failed", "InternalError")),
        (StorageUnavailable("busy"), ("nightly_failed", "StorageUnavailable")),
        (SettingsError("AMP_API_KEY is missing"), ("settings_invalid", "SettingsError")),
    ],
)
def test_whatever_the_timer_meets_is_logged_for_an_alert_and_its_cause_is_not_passed_on(
    caplog: pytest.LogCaptureFixture, error: Exception, line: tuple[str, str]
) -> None:
    error.__cause__ = RuntimeError("https://account/?sig=secret")
    with pytest.raises(ExportError) as caught, function_app.reported("nightly_failed"):
        raise error
    assert errors(caplog) == [line]
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_an_app_without_settings_loads_and_its_timer_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("AMP_", "EXPORT_"))]:
        monkeypatch.delenv(name)
    with pytest.raises(SettingsError):
        function_app.nightly.build().get_user_function()(Timer(), None)
    assert errors(caplog) == [("settings_invalid", "SettingsError")]


IMPORTED = "import function_app; print(len(function_app.app.get_functions()))"


@pytest.mark.parametrize(
    "wrong",
    [
        {"EXPORT_HTTP_AUTH": "entra", "EXPORT_SCHEDULE": "every night"},
        {"EXPORT_HTTP_AUTH": "\u00e9ntra", "EXPORT_SCHEDULE": "0 30 3 *\t* *", "EXPORT_QUEUE": "No Queue!"},
    ],
    ids=str,
)
def test_no_setting_keeps_the_app_from_loading(wrong: dict[str, str]) -> None:
    """The host would have no function then: no timer, no line in the log."""
    done = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", IMPORTED], cwd=ROOT, env=os.environ | wrong, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(len(BINDINGS))), done.stderr


def test_a_wrong_setting_of_the_routes_does_not_stop_the_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def open_app(environ: dict[str, str]) -> ExitStack:
        seen.append(environ.get("EXPORT_HTTP_AUTH"))
        return ExitStack()

    monkeypatch.setattr(function_app, "open_app", open_app)
    for value in ("entraa", "function"):
        monkeypatch.setenv("EXPORT_HTTP_AUTH", value)
        function_app.opened.__wrapped__()
    assert seen == [None, "function"]


STOPPED = """
import os, signal, sys
from shared.errors import Interrupted
from shared.stop import check_stop, stop_on_sigterm
stop_on_sigterm()
check_stop()
os.kill(os.getpid(), signal.SIGTERM)
try:
    check_stop()
except Interrupted:
    sys.exit(7)
"""


def test_sigterm_stops_a_run_at_its_next_safe_point() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], cwd=ROOT, check=False)  # noqa: S603 - this very interpreter
    assert done.returncode == 7
    waiting = STOPPED.replace("sys.exit(7)", "import time; time.sleep(60)")
    patched = f"import shared.stop; shared.stop.GRACE_SECONDS = 0.1\n{waiting}"
    done = subprocess.run([sys.executable, "-c", patched], cwd=ROOT, check=False)  # noqa: S603 - this very interpreter
    assert done.returncode == 128 + signal.SIGTERM, "nothing else ends the process"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("e30=", True), ("e3\r\n0=", True), ("", True), ("{}", False), ("e30", False), ("/w==", False), ("\u00e9", False)],
)
def test_what_the_host_can_decode(text: str, *, expected: bool) -> None:
    assert is_decodable(text) == expected
