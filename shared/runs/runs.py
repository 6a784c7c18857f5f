"""Runs: asking for one, doing one, giving one up. Who may export a day, and what its status blob says of it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from shared.dates import HOURS, check_day
from shared.days.manifest import Manifest
from shared.days.state import RunState, Trigger
from shared.days.status import RunError, RunStatus, read_status
from shared.errors import (
    ConditionNotMet,
    DayLocked,
    ExportError,
    InternalError,
    Interrupted,
    InvalidManifest,
    InvalidMessage,
    PermanentError,
    RunDied,
    StorageDenied,
    StorageUnavailable,
    TransientError,
)
from shared.log import log
from shared.names import Names
from shared.runs.lock import DayLock, check_leasable, put_unleased, take_lock
from shared.runs.messages import Order
from shared.settings import Settings
from shared.stop import pause
from shared.storage.container import Container, Document

QUEUED_FOR = timedelta(hours=1)
"""A run that has been in the queue for so long may be replaced by a new one: its message may be lost."""
MAX_QUEUED = 366
"""How many days may be queued by request at a time: a year. It bounds what a mistake can cost."""
MAX_FAILURES = 5
"""How many tries of a message may fail. Those that died, or were stopped, do not count: the queue bounds them."""
_TRIES = 5

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of everything that is not a test."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """A run that was asked for: `is_new` needs a message, another is on its way already."""

    status: RunStatus
    is_new: bool

    @property
    def order(self) -> Order:
        """What the worker is to do."""
        return Order(self.status.date, self.status.run_id, self.status.trigger, self.status.replace)


class DayRunning(Exception):
    """The day is being exported now. `foreign`: no run holds its lock, but somebody whose lease never ends."""

    def __init__(self, status: RunStatus, foreign: StorageDenied | None) -> None:
        super().__init__(f"{status.date} is being exported")
        self.status = status
        self.foreign = foreign


class TooManyQueued(Exception):
    """More days would be queued than may be at a time."""

    def __init__(self, queued: int) -> None:
        super().__init__(f"{queued} days are queued")
        self.queued = queued


Export = Callable[[DayLock, datetime], Manifest]
"""Exports the day of a lock that is held; the second argument is the storage's time of the lock."""


@dataclass(slots=True)
class Runs:
    """The runs of one container."""

    container: Container
    settings: Settings
    export: Export
    clock: Clock = utc_now
    sleep: Callable[[float], None] = pause
    names: Names = field(init=False)

    def __post_init__(self) -> None:
        self.names = Names(self.settings.prefix)

    def ask(self, day: date, trigger: str, *, replace: bool = False) -> Asked:
        """Note a run as queued, unless the day is queued already.

        Raises:
            DayRunning: it is being exported now.
            InvalidDate: it cannot be exported.

        """
        check_day(day, self.clock(), self.settings.retention_days)
        run_id = uuid.uuid4().hex
        for _ in range(_TRIES):
            document, status = self._read(day)
            if document and (document.leased or document.leased_forever):
                raise DayRunning(status or RunStatus(day, RunState.RUNNING, "", trigger), self._foreign(day, document))
            if status and status.run_id == run_id:
                return Asked(status, is_new=True)  # written after all: the first answer got lost
            if status and self._waits(status) and (status.replace or not replace):
                return Asked(status, is_new=False)
            now = self.clock()
            queued = RunStatus(
                day,
                RunState.QUEUED,
                run_id,
                trigger,
                replace,
                queued_at=now,
                updated_at=now,
                max_window_hours=status.max_window_hours if status else HOURS,
            )
            try:
                self._put(queued, document)
            except ConditionNotMet:
                continue  # somebody else wrote: look again
            log(logging.INFO, "day_queued", date=day, run_id=run_id, trigger=trigger, replace=replace)
            return Asked(queued, is_new=True)
        raise StorageUnavailable(f"The status of {day} changes all the time; try again in a minute.")

    def check_room(self, days: Sequence[date]) -> None:
        """Refuse days with which more than `MAX_QUEUED` would be queued at a time: each costs an export.

        Raises:
            TooManyQueued: queue fewer, or wait.

        """
        folder = self.names.folder("status")
        queued = {
            self.names.day_of(blob.name, "status")
            for blob in self.container.blobs(folder)
            if blob.metadata.get("status") == RunState.QUEUED
        }
        if len(queued.union(days)) > MAX_QUEUED:
            raise TooManyQueued(len(queued))

    def withdraw(self, day: date) -> RunStatus | None:
        """Take back a day's run that is queued; its message is dropped when it arrives.

        Returns the run's status, `withdrawn`, or `running` for a run that has begun and is left alone. None if there
        is neither.
        """
        for _ in range(_TRIES):
            document, status = self._read(day)
            if document and (document.leased or document.leased_forever):
                return replace(status or RunStatus(day, RunState.RUNNING, "", ""), status=RunState.RUNNING)
            if status is None or status.status is not RunState.QUEUED:
                return None
            withdrawn = status.changed(self.clock(), status=RunState.WITHDRAWN, error=None, progress={})
            with suppress(ConditionNotMet):  # somebody else wrote: look again
                put_unleased(self.container, self.names.status(day), withdrawn, document)
                log(logging.INFO, "run_withdrawn", date=day, run_id=status.run_id, trigger=status.trigger)
                return withdrawn
        raise StorageUnavailable(f"The status of {day} changes all the time; try again in a minute.")

    def _waits(self, status: RunStatus) -> bool:
        since = status.queued_at
        return status.status == RunState.QUEUED and since is not None and self.clock() - since < QUEUED_FOR

    def work(self, order: Order, *, message_id: str = "") -> None:
        """Do what a message asks for.

        A permanent error is recorded and ends here: the message is done. A message that another run has replaced, or
        whose run is complete, or whose day is being exported, is dropped.

        Raises:
            TransientError: recorded; the message is to come back.

        """
        # A message without a run gets one that is the same at each delivery.
        run_id = order.run_id or uuid.uuid5(uuid.NAMESPACE_OID, message_id or uuid.uuid4().hex).hex
        try:
            reason = self._drop_reason(self._read(order.day)[1], order, run_id) or self._work(order, run_id)
        except DayLocked:
            reason = "the day is being exported by another run"
        except PermanentError as error:
            log_failed(order.day, run_id, order.trigger, RunError.of(error))
            return
        if reason:
            log(logging.INFO, "run_dropped", date=order.day, run_id=run_id, reason=reason)

    def _work(self, order: Order, run_id: str) -> str:
        """Make one try under the lock. Returns the reason if there is nothing to do after all."""
        with self._locked(order, run_id) as lock:
            reason = self._drop_reason(lock.status, order, run_id)
            if reason:
                return reason
            try:
                self._try(lock, order, run_id, comes_back=True)
            except TransientError as error:
                if lock.status.status == RunState.QUEUED:
                    raise
                log_failed(order.day, run_id, order.trigger, RunError.of(error))
            return ""

    def run_now(self, order: Order, *, on_wait: Callable[[], None] = lambda: None) -> Manifest:
        """Export a day here and now, without a message.

        Raises:
            ExportError: recorded as `failed`, unless another run has the day.

        """
        check_day(order.day, self.clock(), self.settings.retention_days)
        run_id = uuid.uuid4().hex
        try:
            with self._locked(order, run_id, on_wait) as lock:
                return self._try(lock, order, run_id, comes_back=False)
        except DayLocked:
            raise
        except ExportError as error:
            log_failed(order.day, run_id, order.trigger, RunError.of(error))
            raise

    def _try(self, lock: DayLock, order: Order, run_id: str, *, comes_back: bool) -> Manifest:
        """Make one try, with the lock held. `comes_back`: a message brings the run again after a transient error."""
        try_id = uuid.uuid4().hex[:8]
        locked_at = self._begin(lock, order, run_id, try_id)
        try:
            with as_export_errors():
                check_day(order.day, self.clock(), self.settings.retention_days)
                manifest = self.export(lock, locked_at)
        except ExportError as error:
            # The manifest may have been put before the error, or although its answer was lost. Then the day has landed.
            landed = self._landed_by(order.day, try_id)
            if landed is None:
                self._record(lock, error, comes_back=comes_back)
                raise
            manifest = landed
        self._complete(lock, manifest)
        return manifest

    def _begin(self, lock: DayLock, order: Order, run_id: str, try_id: str) -> datetime:
        """Note that a try has begun. Returns the storage's time of the lock."""
        same = lock.status.run_id == run_id
        locked_at = lock.write(
            status=RunState.RUNNING,
            run_id=run_id,
            trigger=order.trigger,
            replace=order.replace,
            try_id=try_id,
            queued_at=lock.status.queued_at if same else None,
            started_at=self.clock(),
            progress={},
            error=None,
            failures=lock.status.failures if same else 0,
        )
        log(logging.INFO, "run_started", **_fields(lock.status), replace=order.replace)
        return locked_at

    def _complete(self, lock: DayLock, manifest: Manifest) -> None:
        attempt = max((request.attempts for request in manifest.requests), default=1)
        progress = {**_totals(manifest), "hours_done": HOURS, "attempt": attempt}
        self._end(lock, RunState.COMPLETE, None, progress=progress)
        log(logging.INFO, "run_complete", **_fields(lock.status), **_figures(manifest))

    def _record(self, lock: DayLock, error: ExportError, *, comes_back: bool) -> None:
        """Note why a try has ended without landing the day."""
        failures = lock.status.failures + (not isinstance(error, Interrupted))
        again = comes_back and isinstance(error, TransientError) and failures < MAX_FAILURES
        self._end(lock, RunState.QUEUED if again else RunState.FAILED, RunError.of(error), failures=failures)
        if again:
            fields = _fields(lock.status)
            log(logging.WARNING, "run_retry", **fields, error_type=error.type, error_message=str(error))

    def give_up(self, text: str) -> None:
        """Record a poisoned message's run as failed, unless it is not the day's run any more, alive, or complete."""
        try:
            order = Order.from_message(text)
        except InvalidMessage as error:
            log_failed(None, "", Trigger.QUEUE, RunError.of(error))
            return
        for _ in range(_TRIES):
            document, status = self._read(order.day)
            if document and (document.leased or document.leased_forever):
                foreign = self._foreign(order.day, document)
                if foreign:
                    log_failed(order.day, order.run_id, order.trigger, RunError.of(foreign))
                return
            if status and not self._may_give_up(order, status):
                return
            cause = status.error if status and status.error else RunError.of(_died(order.day))
            run_id = status.run_id if status else order.run_id
            failed = status or RunStatus(order.day, RunState.FAILED, run_id, order.trigger, order.replace)
            try:
                self._put(failed.changed(self.clock(), status=RunState.FAILED, error=cause), document)
            except ConditionNotMet:
                continue
            log_failed(order.day, run_id, order.trigger, cause)
            return
        raise StorageUnavailable(f"The status of {order.day} changes all the time.")

    def _may_give_up(self, order: Order, status: RunStatus) -> bool:
        """Whether the day's latest run is the message's, and has neither landed nor expired."""
        # A message without a run was never asked for by `ask`, which notes when it queued one.
        own = status.queued_at is None and status.trigger == order.trigger
        if not (status.run_id == order.run_id or (not order.run_id and own)):
            return False
        if status.status in (RunState.COMPLETE, RunState.WITHDRAWN, RunState.EXPIRED):
            return False
        with suppress(InvalidManifest):  # what nobody can read is not what this run has landed
            landed = self._landed(order.day)
            return landed is None or landed.run_id != status.run_id
        return True

    def _landed(self, day: date) -> Manifest | None:
        name = self.names.manifest(day)
        document = self.container.read(name)
        return Manifest.from_json(document.data, name) if document else None

    def _landed_by(self, day: date, try_id: str) -> Manifest | None:
        """What this very try has landed; None where it has not, or nobody can say."""
        with suppress(ExportError):
            landed = self._landed(day)
            return landed if landed and landed.try_id == try_id else None
        return None

    def _drop_reason(self, status: RunStatus | None, order: Order, run_id: str) -> str:
        if status is None:
            return ""
        if status.run_id == run_id:
            return f"the run is {status.status}" if status.status in (RunState.COMPLETE, RunState.WITHDRAWN) else ""
        return "another run has taken its place" if order.run_id else ""

    def _locked(self, order: Order, run_id: str, on_wait: Callable[[], None] = lambda: None) -> DayLock:
        fresh = RunStatus(order.day, RunState.QUEUED, run_id, order.trigger, order.replace, updated_at=self.clock())
        return take_lock(
            self.container, self.names.status(order.day), fresh, clock=self.clock, sleep=self.sleep, on_wait=on_wait
        )

    def lock_for_expiry(self, day: date) -> DayLock:
        """The lock of a day that is to expire. Raises DayLocked at once where a run has it."""
        fresh = RunStatus(day, RunState.EXPIRED, "", Trigger.TIMER, updated_at=self.clock())
        return take_lock(
            self.container, self.names.status(day), fresh, clock=self.clock, sleep=self.sleep, wait_seconds=0
        )

    def _end(self, lock: DayLock, status: RunState, error: RunError | None, **changes: Any) -> None:
        try:
            lock.write(status=status, error=error, **changes)
        except ExportError:
            # What the day holds is in its manifest; a status that stays behind reads as a run that died.
            log(logging.WARNING, "status_not_written", date=lock.status.date, run_id=lock.status.run_id, status=status)

    def _read(self, day: date) -> tuple[Document | None, RunStatus | None]:
        name = self.names.status(day)
        document = self.container.read(name)
        return document, read_status(document.data, name) if document else None

    def _foreign(self, day: date, document: Document) -> StorageDenied | None:
        try:
            check_leasable(self.container, self.names.status(day), document)
        except StorageDenied as error:
            return error
        return None

    def _put(self, status: RunStatus, over: Document | None) -> None:
        put_unleased(self.container, self.names.status(status.date), status, over)


def log_failed(day: date | None, run_id: str, trigger: str, error: RunError) -> None:
    """The one ERROR line of a run that has failed: alerts are built on it."""
    log(
        logging.ERROR,
        "run_failed",
        date=day,
        run_id=run_id,
        trigger=trigger,
        error_type=error.type,
        error_message=error.message,
    )


@contextmanager
def as_export_errors() -> Iterator[None]:
    """Whatever goes wrong inside is one of ours: a fault of the app itself included."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise InternalError.at(error) from error


def _died(day: date) -> RunDied:
    return RunDied(
        f"The run of {day} ended at every try without recording a result: the host was stopped, or ran out of time or "
        "memory. Look at the host's own log, then run the day again."
    )


def _totals(manifest: Manifest) -> dict[str, int]:
    return {
        "events": manifest.events,
        "files": len(manifest.files),
        "bytes": manifest.total_bytes,
        "download_bytes": manifest.download_bytes,
    }


def _fields(status: RunStatus) -> dict[str, Any]:
    return {"date": status.date, "run_id": status.run_id, "try": status.try_id, "trigger": status.trigger}


def _figures(manifest: Manifest) -> dict[str, Any]:
    return {
        "status": manifest.status,
        **_totals(manifest),
        "seconds": round((manifest.finished_at - manifest.started_at).total_seconds(), 1),
        "empty_hours": len(manifest.empty_hours),
        "volume_median": manifest.volume.median_events if manifest.volume else None,
        "volume_ratio": manifest.volume.ratio if manifest.volume else None,
        "added": manifest.changes.added,
        "changed": manifest.changes.changed,
        "removed": manifest.changes.removed,
        "unchanged": manifest.changes.unchanged,
        "warnings": len(manifest.warnings),
    }
