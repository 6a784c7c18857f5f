"""`doctor`: checks settings, Amplitude, storage, rights and clock, and says what to do about each failure."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console

from cli.codes import DONE, FAILED
from cli.interrupts import handled
from shared.amplitude import Amplitude
from shared.dates import Window, newest_complete_day
from shared.errors import ExportError, StorageDenied
from shared.http import Session
from shared.runs.runs import utc_now
from shared.settings import Settings, load_settings
from shared.stop import check_stop, received
from shared.storage.connect import open_container
from shared.storage.container import Container

RECENT_HOUR = 12
"""The hour of the newest complete day that is requested from Amplitude."""
CLOCK_SECONDS = 300
"""If the clock is wrong by more, the storage may refuse requests, and the app picks the wrong day near 02:00 UTC."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command."""
    return commands.add_parser("doctor", help="check settings, keys, storage, rights and clock")


def run(_: argparse.Namespace, environ: Mapping[str, str], messages: Console) -> int:
    """Check one thing after the other. A failed check does not stop the later ones that do not need it."""
    settings = load_settings(environ)  # wrong settings end this command like any other, with exit code 2
    doctor = Doctor(settings, messages)
    doctor.say("ok", "settings", f"region {settings.region}, container {settings.container}, {settings.format}")
    doctor.check_amplitude()
    doctor.check_storage()
    checks = "check" if doctor.failures == 1 else "checks"
    messages.print(f"{doctor.failures} {checks} failed." if doctor.failures else "All checks passed.")
    return FAILED if doctor.failures else DONE


class Doctor:
    """The checks, and how many of them have failed."""

    def __init__(self, settings: Settings, messages: Console) -> None:
        self.failures = 0
        self._settings = settings
        self._messages = messages

    def say(self, outcome: str, what: str, text: str) -> None:
        """Print the outcome of one check."""
        style = "red" if outcome == "FAILED" else ""
        self._messages.print(f"{outcome:7} {what:10} {text}", markup=False, style=style)

    @contextmanager
    def _step(self, what: str) -> Iterator[list[str]]:
        """One check: reports the texts that are added to the list, or the error, which says what to do."""
        texts: list[str] = []
        try:
            yield texts
        except ExportError as error:
            self.failures += 1
            self.say("FAILED", what, f"{error.type}: {error}")
        else:
            self.say("ok", what, " ".join(texts))

    def check_amplitude(self) -> None:
        """Request one recent hour: if Amplitude answers, keys, region and endpoint are right."""
        window = Window(newest_complete_day(utc_now()), RECENT_HOUR, RECENT_HOUR + 1)
        with self._step("Amplitude") as texts, Session() as session:
            with Amplitude(session, self._settings).fetch(window) as answer:
                found = "has no events in" if answer is None else "has events in"
            texts.append(f"accepts the keys and {found} {window}")

    def check_storage(self) -> None:
        """Write, lease, read, list and delete a probe blob, and compare the clocks."""
        written_at: datetime | None = None
        with self._step("storage") as texts, open_container(self._settings) as container:
            with handled(received.append):
                written_at = _probe(container, f"{self._settings.prefix}doctor/{uuid.uuid4().hex}.json")
            texts.append(f"container {container.name}: write, lease, read, list and delete are allowed")
        check_stop()  # only now, because the probe has been deleted
        if written_at is not None:
            self._check_clock(abs((utc_now() - written_at).total_seconds()))

    def _check_clock(self, seconds: float) -> None:
        if seconds <= CLOCK_SECONDS:
            self.say("ok", "clock", f"within {max(round(seconds), 1)} s of the storage's")
            return
        self.failures += 1
        self.say("FAILED", "clock", f"differs by {seconds:.0f} s from the storage's clock: synchronise it (NTP).")


def _probe(container: Container, name: str) -> datetime:
    """Use each right that an export needs on a probe blob. Deletes it, and returns the storage's time of the write."""
    written = container.put(name, b"{}", {"probe": "doctor"}, over=None)
    try:
        lease = container.lease(name, 15)
        if lease is None or container.read(name) is None or not list(container.blobs(name)):
            raise StorageDenied(f"The probe blob {name} cannot be leased, read or listed just after it was written.")
        lease.release()
    finally:
        container.delete(name)
    return written.at
