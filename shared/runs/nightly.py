"""What the timer does: queue days, expire days beyond the retention, and sweep blobs that dead tries left."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import takewhile

from shared.dates import days_before, days_between, end_of, newest_complete_day, oldest_kept_day
from shared.days.coverage import read_coverage, read_manifest
from shared.days.day import Day
from shared.days.state import RunState, Trigger
from shared.days.status import RunError, RunStatus
from shared.errors import ConditionNotMet, DayLocked, ExportError, StorageDenied
from shared.log import log
from shared.runs.lock import DayLock
from shared.runs.messages import Order
from shared.runs.runs import Asked, DayRunning, Runs, as_export_errors
from shared.settings import Settings
from shared.storage.container import Container, Document

LONGER_THAN_ANY_TRY = timedelta(hours=24)
"""No try lasts this long, so an older unlisted blob belongs to a dead try."""
TIDYING_SECONDS = 900
"""How long expiry and sweep may take before the days are queued. The next night does the rest."""
RECHECK_AFTER = timedelta(hours=24)
"""How long after the end of a day its events may still arrive. If its export began earlier, it is exported again."""


@dataclass(slots=True)
class Nightly:
    """The work of one night. If a day fails, it is logged, and the others go on. The next night tries it again."""

    runs: Runs
    container: Container
    settings: Settings
    past_due: bool = False
    now: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.runs.clock()

    def work(self) -> list[str]:
        """Do all the work. Returns the messages to send. Raises if days should be queued, but none could be."""
        days = looked_at(self.now, self.settings)
        end = time.monotonic() + TIDYING_SECONDS
        beyond: list[date] = []
        with _logged(None):
            beyond = self._beyond_retention()
        expired = _until(end, beyond, self._expire)
        swept = _until(end, days, self._sweep)
        # Last, because a day marked as queued needs its message, and messages are sent only once this has ended well.
        asked: list[Asked] = []
        failures: list[ExportError] = []
        rows = read_coverage(self.container, self.settings, days[0], days[-1], self.now) if days else []
        for day in (row.date for row in rows if row.date == days[-1] or is_wanted(row, self.settings)):
            with _logged(day, failures):
                asked += self._ask(day)
        if failures and not asked:
            raise failures[0]
        counts = {"queued": len(asked), "expired": expired, "swept": swept}
        log(logging.INFO, "nightly_done", date=newest_complete_day(self.now), **counts, past_due=self.past_due)
        return [one.message for one in asked if one.message]

    def _ask(self, day: date) -> list[Asked]:
        """Request the day's run; empty if the day is being exported now."""
        try:
            return [self.runs.ask(day, Trigger.TIMER)]
        except DayRunning as running:
            if running.foreign:
                raise running.foreign from None
            return []

    def _beyond_retention(self) -> list[date]:
        """Days beyond the retention that have not expired completely: with blobs, or a status other than `expired`."""
        oldest = oldest_kept_day(self.now, self.settings.retention_days)
        if oldest == date.min:
            return []
        names = self.settings.names
        found = {names.day_of(blob.name, "manifests") for blob in self.container.blobs(names.folder("manifests"))}
        found |= {names.day_of(name, "events") for name in self.container.folders(names.folder("events"))}
        found |= {names.day_of(name, "logs") for name in self.container.folders(names.folder("logs"))}
        statuses = self.container.blobs(names.folder("status"))
        found |= {
            names.day_of(one.name, "status") for one in statuses if one.metadata.get("status") != RunState.EXPIRED
        }
        return sorted(day for day in found if day is not None and day < oldest)

    def _expire(self, day: date) -> bool:
        """Delete a day, its manifest first, so that no reader finds a listed blob missing. False if it must wait."""
        try:
            lock = self.runs.lock(Order(day, trigger=Trigger.TIMER), RunState.EXPIRED, wait_seconds=0)
        except DayLocked:
            return False
        with lock:
            before = lock.status
            if before.status is not RunState.EXPIRED and not self._is_old(lock.document.last_modified):
                return False
            # The order matters: a manifest that was put after this read belongs to another run, and stays.
            manifest = self.container.read(self.settings.names.manifest(day))
            locked_at = lock.write(status=RunState.EXPIRED, error=None, progress={})
            if manifest is not None:
                self._drop_manifest(lock, day, manifest, before)
            folders = (self.settings.names.events(day), self.settings.names.logs(day))
            found = [blob for folder in folders for blob in self.container.blobs(folder)]
            blobs = [blob.name for blob in found if blob.last_modified < locked_at]
            self._delete(day, blobs)
            for folder in folders:
                self.container.delete_directories(folder)
        log(logging.INFO, "day_expired", date=day, blobs=len(blobs))
        return True

    def _drop_manifest(self, lock: DayLock, day: date, manifest: Document, before: RunStatus) -> None:
        """Delete the manifest. If the storage refuses, the day has not expired, so restore its status."""
        try:
            self.container.delete(self.settings.names.manifest(day), only=manifest)
        except StorageDenied as error:
            status = RunState.COMPLETE if before.status is RunState.EXPIRED else before.status
            lock.write(status=status, error=RunError.of(error), progress=before.progress)
            raise

    def _delete(self, day: date, names: list[str]) -> None:
        """Delete blobs, and go on past any that cannot be deleted: the log names them, and StorageDenied is raised."""
        left: list[ExportError] = []
        for name in names:
            try:
                self.container.delete(name)
            except (ConditionNotMet, StorageDenied) as error:
                left.append(error)
                why = {"error_type": error.type, "error_message": str(error)}
                log(logging.WARNING, "delete_failed", date=day, blob=name, **why)
        if left:
            raise StorageDenied(f"{len(left)} of {len(names)} blobs of {day} cannot be deleted. The first: {left[0]}")

    def _is_old(self, moment: datetime) -> bool:
        return self.now - moment > LONGER_THAN_ANY_TRY

    def _sweep(self, day: date) -> int:
        """Delete unlisted blobs that are older than any try can last. Returns how many."""
        blobs = self.container.blobs(self.settings.names.events(day))
        found = [blob.name for blob in blobs if self._is_old(blob.last_modified)]
        if not found:
            return 0
        _, manifest = read_manifest(self.container, self.settings.names, day)
        listed = {file.name for file in manifest.files} if manifest else set()
        unlisted = [blob for blob in found if blob not in listed]
        self._delete(day, unlisted)
        if unlisted:
            log(logging.INFO, "day_swept", date=day, blobs=len(unlisted))
        return len(unlisted)


def _until(end: float, days: Iterable[date], tidy: Callable[[date], int]) -> int:
    """Tidy the days, as long as there is time; the next night handles the rest. Returns the sum of what was done."""
    done = 0
    for day in takewhile(lambda _: time.monotonic() <= end, days):
        with _logged(day):
            done += tidy(day)
    return done


@contextmanager
def _logged(day: date | None, failures: list[ExportError] | None = None) -> Iterator[None]:
    """Log an error and go on; it is added to `failures`."""
    try:
        with as_export_errors():
            yield
    except ExportError as error:
        log(logging.ERROR, "nightly_failed", date=day, error_type=error.type, error_message=str(error))
        if failures is not None:
            failures.append(error)


def looked_at(now: datetime, settings: Settings) -> list[date]:
    """The newest complete day and the look-back before it, without days before the start or beyond the retention."""
    newest = newest_complete_day(now)
    oldest, kept = days_before(newest, settings.lookback_days), oldest_kept_day(now, settings.retention_days)
    return days_between(max(oldest, kept, settings.start_date or date.min), newest)


def is_wanted(day: Day, settings: Settings) -> bool:
    """Whether to export a day of the look-back: it has not landed, or its recheck is due (`EXPORT_RECHECK`)."""
    if day.landed is None:
        return True
    if settings.recheck == "off" or (settings.recheck == "empty-hours" and not day.landed.empty_hours):
        return False
    started = (day.run.started_at if day.run else None) or day.landed.started_at
    return started is None or started < end_of(day.date) + RECHECK_AFTER
