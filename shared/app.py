"""Puts the rooms together: settings, container, Amplitude, and what exports a day with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime

import requests

from shared.amplitude import Amplitude
from shared.errors import ExportError, StorageUnavailable
from shared.export import Day
from shared.fetch import Fetcher, Progress, Try
from shared.journal import RunLog
from shared.landing import Landing, open_landing
from shared.lock import DayLock
from shared.manifest import Manifest
from shared.names import Names
from shared.runs import Clock, Runs, utc_now
from shared.settings import Settings, load_settings
from shared.upload import Uploader

NOTED_SECONDS = 0.5
"""How often progress is noted at most; the lock's heartbeat writes what was noted last."""


@dataclass(frozen=True, slots=True)
class App:
    """What a trigger needs: the settings, the container that they name, its runs, and the export of a day."""

    settings: Settings
    landing: Landing
    runs: Runs
    clock: Clock = utc_now
    on_progress: Callable[[Progress], None] = lambda _: None

    def export(self, lock: DayLock, token: str, locked_at: datetime) -> Manifest:
        """Export the day of a lock that is held, and leave the run's log beside it."""
        status, names = lock.status, Names(self.settings.prefix)
        this = Try(
            day=status.date,
            run_id=status.run_id,
            token=token,
            trigger=status.trigger,
            replace=status.replace,
            region=self.settings.region,
            format=self.settings.format,
            started_at=status.started_at or self.clock(),
            locked_at=locked_at,
        )
        run_log = RunLog(self.clock)

        def stage(name: str, block_id: str, block: Sequence[bytes]) -> None:
            with run_log.timed(name, "stage block", sum(map(len, block))):
                self.landing.stage(name, block_id, block)

        try:
            with requests.Session() as session, Uploader(stage) as uploader:
                # What goes in plain text goes to this machine only, and through no proxy that an environment names.
                session.trust_env = self.settings.export_url.startswith("https:")
                fetcher = Fetcher(
                    this=this,
                    source=Amplitude(session, self.settings, self.clock),
                    uploader=uploader,
                    settings=self.settings,
                    run_log=run_log,
                    on_progress=self._noted(lock),
                    on_too_large=lambda hours: _remember(lock, hours),
                )
                day = Day(this, names, self.landing, uploader.each, run_log, self.clock)
                return day.export(lambda: fetcher.day(status.max_window_hours), lock.check)
        finally:
            self._keep(run_log, names.log(this.day, this.run_id, token))

    def _keep(self, run_log: RunLog, name: str) -> None:
        # A day is not worse for it, and the log lines tell the same.
        with suppress(ExportError):
            self.landing.put_text(name, run_log.to_csv(), "text/csv")

    def _noted(self, lock: DayLock) -> Callable[[Progress], None]:
        next_note = 0.0

        def note(progress: Progress) -> None:
            nonlocal next_note
            if time.monotonic() >= next_note:
                next_note = time.monotonic() + NOTED_SECONDS
                lock.note(progress=asdict(progress))
                self.on_progress(progress)

        return note


def _remember(lock: DayLock, hours: int) -> None:
    """Keep what proved too large, at once: the next try is not to ask for as much again."""
    with suppress(StorageUnavailable):
        lock.write(max_window_hours=hours)


@contextmanager
def open_app(
    environ: Mapping[str, str], *, clock: Clock = utc_now, on_progress: Callable[[Progress], None] = lambda _: None
) -> Iterator[App]:
    """The app that the environment describes.

    Raises:
        SettingsError: the settings are missing or wrong.
        ExportError: the container cannot be reached.

    """
    settings = load_settings(environ)
    with open_landing(settings) as landing:
        yield App(settings, landing, Runs(landing, settings, clock), clock, on_progress)
