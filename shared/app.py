"""Puts the parts together: settings, container, Amplitude, and the export of a day."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from shared.amplitude import Amplitude
from shared.days.manifest import Manifest
from shared.errors import ExportError, StorageUnavailable
from shared.export.fetch import Fetcher, Progress
from shared.export.publish import DayExport
from shared.http import Session
from shared.log import RunLog, log
from shared.runs.lock import DayLock
from shared.runs.runs import Clock, Runs, utc_now
from shared.settings import Settings, load_settings, unknown_settings
from shared.storage.connect import open_container
from shared.storage.container import Container
from shared.storage.uploader import Uploader

NOTED_SECONDS = 0.5
"""The shortest time between two notes of the progress. The lock's heartbeat writes the latest note."""


@dataclass(slots=True)
class App:
    """What a trigger needs: the settings, the container that they name, and the runs of its days."""

    settings: Settings
    container: Container
    clock: Clock
    on_progress: Callable[[Progress], None]
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.runs = Runs(self.container, self.settings, self._export, self.clock)

    def _export(self, lock: DayLock, locked_at: datetime) -> Manifest:
        """Export the day of a lock that is held, and write the log of the try."""
        run, run_log, next_note = lock.status, RunLog(self.clock), 0.0

        def stage(name: str, block_id: str, block: Sequence[bytes]) -> None:
            with run_log.timed(name, "stage block", sum(map(len, block))):
                self.container.stage(name, block_id, block)

        def note(progress: Progress) -> None:
            nonlocal next_note
            if progress.retry_at or time.monotonic() >= next_note:  # no other note comes during the wait for a retry
                next_note = time.monotonic() + NOTED_SECONDS
                lock.note(progress=progress.fields)
                self.on_progress(progress)

        def remember(hours: int) -> None:
            """Record at once how many hours a window may have, so that the next try does not request larger ones."""
            with suppress(StorageUnavailable):
                lock.write(max_window_hours=hours)

        try:
            with Session() as session, Uploader(stage) as uploader:
                source = Amplitude(session, self.settings, self.clock)
                fetcher = Fetcher(run, source, uploader, self.settings, run_log, note, remember, clock=self.clock)
                day = DayExport(run, locked_at, self.settings, self.container, uploader.each, run_log, self.clock)
                return day.export(lambda: fetcher.day(run.max_window_hours), lock.check)
        finally:
            with suppress(ExportError):  # the day does not need it, and the log lines have the main facts
                name = self.settings.names.log(run.date, run.run_id, run.try_id)
                self.container.put_text(name, run_log.to_csv(), "text/csv")


@contextmanager
def open_app(
    environ: Mapping[str, str], *, clock: Clock = utc_now, on_progress: Callable[[Progress], None] = lambda _: None
) -> Iterator[App]:
    """Open the app that the environment describes. Raises SettingsError, StorageDenied or StorageUnavailable."""
    settings = load_settings(environ)
    for warning in unknown_settings(environ):
        log(logging.WARNING, "setting_unknown", warning=warning)
    with open_container(settings) as container:
        yield App(settings, container, clock, on_progress)
