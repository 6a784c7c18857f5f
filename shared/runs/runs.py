"""Runs: how one is requested, done and given up; which run may export a day, and what the day's status blob says."""

import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from shared import errors
from shared.dates import HOURS, check_day
from shared.days.coverage import read_manifest
from shared.days.manifest import Manifest
from shared.days.state import RunState, Trigger
from shared.days.status import RunError, RunStatus
from shared.log import log
from shared.runs.lock import LEASE_SECONDS, WAIT_SECONDS, DayLock, foreign_lease, put_unleased
from shared.runs.messages import Order
from shared.settings import Settings
from shared.stop import pause
from shared.storage.container import Container, Document

QUEUED_FOR = timedelta(hours=1)
"""A run that has been queued for this long may be replaced by a new one, because its message may be lost."""
MAX_FAILURES = 5
"""How many tries of a run may fail. Tries that died or were stopped do not count here: the queue limits those."""
_TRIES = 5

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of everything except tests."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Asked:
    """A requested run. `message`: what to send to the worker; empty if it is already in the queue."""

    status: RunStatus
    message: str


@dataclass(eq=False)
class DayRunning(Exception):
    """The day is being exported now. `foreign`: the lock is not a run's, but somebody else's infinite lease."""

    status: RunStatus
    foreign: errors.StorageDenied | None


Export = Callable[[DayLock, datetime], Manifest]
"""Exports the day of a lock that is held; the second argument is the storage's time of the lock."""


@dataclass(slots=True)
class Runs:
    """The runs of one container. A run is asked for, worked on under the day's lock, and recorded in its status."""

    container: Container
    settings: Settings
    export: Export
    clock: Clock = utc_now

    def ask(self, day: date, trigger: str, *, replace: bool = False) -> Asked:
        """Record a run as queued. One queued within `QUEUED_FOR` stays, unless only the new one may replace events.

        Raises DayRunning if the day is being exported now, InvalidDate if it cannot be exported.
        """
        check_day(day, self.clock(), self.settings.retention_days)
        run_id, now = uuid.uuid4().hex, self.clock()

        def queue(found: RunStatus | None) -> RunStatus:
            if found and found.run_id == run_id:
                return found  # it was written: only the first answer was lost
            if found and _waits(found, now) and (found.replace or not replace):
                return found
            hours = found.max_window_hours if found else HOURS
            return RunStatus(
                day, RunState.QUEUED, run_id, trigger, replace, queued_at=now, updated_at=now, max_window_hours=hours
            )

        status = self._change(day, queue)
        if status.run_id != run_id:
            return Asked(status, message="")
        log(logging.INFO, "day_queued", date=day, run_id=run_id, trigger=trigger, replace=replace)
        return Asked(status, Order(day, run_id, trigger, replace).to_message())

    def queued(self) -> set[date | None]:
        """The days that are queued."""
        return {
            self.settings.names.day_of(blob.name, "status")
            for blob in self.container.blobs(self.settings.names.folder("status"))
            if blob.metadata.get("status") == RunState.QUEUED
        }

    def withdraw(self, day: date) -> RunStatus | None:
        """Withdraw a day's queued run. Its message is dropped when it arrives.

        Returns the run's status: `withdrawn`, or `running` for a run that has already begun and goes on. None if there
        is neither.
        """

        def take_back(found: RunStatus | None) -> RunStatus | None:
            if found is None or found.status is not RunState.QUEUED:
                return None
            return found.changed(self.clock(), status=RunState.WITHDRAWN, error=None, progress={})

        try:
            withdrawn = self._change(day, take_back)
        except DayRunning as running:
            return running.status
        if withdrawn:
            log(logging.INFO, "run_withdrawn", date=day, run_id=withdrawn.run_id, trigger=withdrawn.trigger)
        return withdrawn

    def work(self, order: Order, *, message_id: str = "") -> None:
        """Carry out the run of a message.

        A permanent error is recorded, and the message is done. A message is dropped if another run has replaced its
        run, if its run is complete or withdrawn, or if its day is being exported.
        Raises TransientError if the message should come back.
        """
        # A message without a run id gets one, the same at each delivery. That run replaces any other.
        by_hand = not order.run_id
        if by_hand:
            order = replace(order, run_id=uuid.uuid5(uuid.NAMESPACE_OID, message_id or uuid.uuid4().hex).hex)
        try:
            # Checked before the lock as well, so that no message waits for it in vain.
            reason = _drop_reason(self._read(order.day)[1], order, by_hand=by_hand)
            reason = reason or self._work(order, by_hand=by_hand)
        except errors.DayLocked:
            reason = "the day is being exported by another run"
        except errors.PermanentError as error:
            log_failed(RunError.of(error), order)
            return
        if reason:
            log(logging.INFO, "run_dropped", date=order.day, run_id=order.run_id, reason=reason)

    def _work(self, order: Order, *, by_hand: bool) -> str:
        """Make one try with the lock. If there is nothing to do after all, returns the reason."""
        with self.lock(order) as lock:
            reason = _drop_reason(lock.status, order, by_hand=by_hand)
            if reason:
                return reason
            try:
                self._try(lock, order, comes_back=True)
            except errors.TransientError as error:
                if lock.status.status is RunState.QUEUED:
                    raise
                log_failed(RunError.of(error), order)
            return ""

    def run_now(self, order: Order, *, on_wait: Callable[[], None] | None = None) -> Manifest:
        """Export a day here and now, without a message. An error of the try is recorded as `failed`, and raised."""
        check_day(order.day, self.clock(), self.settings.retention_days)
        order = replace(order, run_id=uuid.uuid4().hex)
        try:
            with self.lock(order, on_wait=on_wait) as lock:
                return self._try(lock, order, comes_back=False)
        except errors.DayLocked:
            raise
        except errors.ExportError as error:
            log_failed(RunError.of(error), order)
            raise

    def _try(self, lock: DayLock, order: Order, *, comes_back: bool) -> Manifest:
        """Make one try, with the lock held. `comes_back`: a message brings the run again after a transient error."""
        try_id = uuid.uuid4().hex[:8]
        locked_at = self._begin(lock, order, try_id)
        try:
            with as_export_errors():
                check_day(order.day, self.clock(), self.settings.retention_days)
                manifest = self.export(lock, locked_at)
        except errors.ExportError as error:
            # The manifest may have been put before the error, or its answer may be lost. Then the day has landed.
            landed = None
            with suppress(errors.ExportError):
                _, landed = read_manifest(self.container, self.settings.names, order.day)
            if landed is None or landed.try_id != try_id:
                _record(lock, error, comes_back=comes_back)
                raise
            manifest = landed
        _complete(lock, manifest)
        return manifest

    def _begin(self, lock: DayLock, order: Order, try_id: str) -> datetime:
        """Record that a try has begun. Returns the storage's time of the lock."""
        same = lock.status.run_id == order.run_id
        locked_at = lock.write(
            status=RunState.RUNNING,
            run_id=order.run_id,
            trigger=order.trigger,
            replace=order.replace,
            try_id=try_id,
            queued_at=lock.status.queued_at if same else None,
            started_at=self.clock(),
            progress={},
            error=None,
            failures=lock.status.failures if same else 0,
        )
        log(logging.INFO, "run_started", **lock.status.fields, trigger=order.trigger, replace=order.replace)
        return locked_at

    def give_up(self, text: str) -> None:
        """Record the run of a poisoned message as failed, unless it is complete, still alive, or was replaced."""
        try:
            order = Order.from_message(text)
        except errors.InvalidMessage as error:
            log_failed(RunError.of(error))
            return

        def fail(found: RunStatus | None) -> RunStatus | None:
            if found and not self._may_give_up(order, found):
                return None
            status = found or RunStatus(order.day, RunState.FAILED, order.run_id, order.trigger, order.replace)
            died = errors.RunDied(
                f"Each try of the run of {order.day} ended without recording a result: the host was stopped, or "
                "ran out of time or memory. Look at the host's own log, then run the day again."
            )
            return status.changed(self.clock(), status=RunState.FAILED, error=status.error or RunError.of(died))

        try:
            failed = self._change(order.day, fail)
        except DayRunning as running:
            if running.foreign:
                log_failed(RunError.of(running.foreign), order)
            return
        if failed and failed.error:
            log_failed(failed.error, replace(order, run_id=failed.run_id))

    def _may_give_up(self, order: Order, status: RunStatus) -> bool:
        """Whether the day's latest run belongs to the message, and has not landed, expired or been withdrawn."""
        # A message without a run id does not come from `ask`, which records the time of queueing.
        own = status.queued_at is None and status.trigger == order.trigger
        if not (status.run_id == order.run_id or (not order.run_id and own)):
            return False
        if status.status in (RunState.COMPLETE, RunState.WITHDRAWN, RunState.EXPIRED):
            return False
        with suppress(errors.InvalidManifest):  # a manifest that cannot be read was not written by this run
            _, landed = read_manifest(self.container, self.settings.names, order.day)
            return landed is None or landed.run_id != status.run_id
        return True

    def lock(
        self,
        order: Order,
        state: RunState = RunState.QUEUED,
        *,
        wait_seconds: float = WAIT_SECONDS,
        on_wait: Callable[[], None] | None = None,
    ) -> DayLock:
        """Take the lock of a day. `state`: that of a day without a status.

        By default it waits as long as the lease of a dead run could last. Raises DayLocked if somebody still holds the
        lock after that, StorageDenied if somebody holds an infinite lease.
        """
        name = self.settings.names.status(order.day)
        fresh = RunStatus(order.day, state, order.run_id, order.trigger, order.replace, updated_at=self.clock())
        deadline = time.monotonic() + wait_seconds
        while True:
            document = self.container.read(name)
            if document is None:
                with suppress(errors.ConditionNotMet):  # somebody else was faster
                    put_unleased(self.container, name, fresh, None)
            elif foreign := foreign_lease(self.container, name, document):
                raise foreign
            lease = self.container.lease(name, LEASE_SECONDS)
            if lease is not None and (document := self.container.read(name)):
                status = RunStatus.from_json(document.data) or fresh
                return DayLock(document, status, self.container, name, lease, self.clock)
            if time.monotonic() >= deadline:
                running = f"{order.day} is being exported by another run"
                raise errors.DayLocked(f"{running}. Its state: GET /api/exports/{order.day}.")
            if on_wait:
                on_wait()
                on_wait = None  # once is enough
            pause(1)

    def _change[Result: RunStatus | None](self, day: date, change: Callable[[RunStatus | None], Result]) -> Result:
        """Change a day's status without its lock. Writes nothing if `change` returns None or the same status.

        If somebody else has written in between, `change` is called again. Raises DayRunning if the day is locked.
        """
        name = self.settings.names.status(day)
        for _ in range(_TRIES):
            document, status = self._read(day)
            if document and (document.leased or document.leased_forever):
                running = replace(status or RunStatus(day, RunState.RUNNING, "", ""), status=RunState.RUNNING)
                raise DayRunning(running, foreign_lease(self.container, name, document))
            changed = change(status)
            if changed is None or changed is status:
                return changed
            with suppress(errors.ConditionNotMet):
                put_unleased(self.container, name, changed, document)
                return changed
        raise errors.StorageUnavailable(f"The status of {day} keeps changing. Try again in a minute.")

    def _read(self, day: date) -> tuple[Document | None, RunStatus | None]:
        name = self.settings.names.status(day)
        document = self.container.read(name)
        return document, RunStatus.from_json(document.data) if document else None


def _waits(status: RunStatus, now: datetime) -> bool:
    since = status.queued_at
    return status.status is RunState.QUEUED and since is not None and now - since < QUEUED_FOR


def _drop_reason(status: RunStatus | None, order: Order, *, by_hand: bool) -> str:
    """Why the run of a message should not be carried out; empty if it should."""
    if status and status.run_id == order.run_id:
        return f"the run is {status.status}" if status.status in (RunState.COMPLETE, RunState.WITHDRAWN) else ""
    return "another run has taken its place" if status and not by_hand else ""


def _complete(lock: DayLock, manifest: Manifest) -> None:
    attempt = max((request.attempts for request in manifest.requests), default=1)
    progress = {**manifest.totals, "hours_done": HOURS, "attempt": attempt}
    _end(lock, RunState.COMPLETE, None, progress=progress)
    run, volume, took = lock.status, manifest.volume, (manifest.finished_at - manifest.started_at).total_seconds()
    counts = {"empty_hours": len(manifest.empty_hours), "warnings": len(manifest.warnings), "seconds": round(took, 1)}
    usual = {"volume_median": volume and volume.median_events, "volume_ratio": volume and volume.ratio}
    figures = {**manifest.totals, **asdict(manifest.changes), **counts, **usual}
    log(logging.INFO, "run_complete", **run.fields, trigger=run.trigger, status=manifest.status, **figures)


def _record(lock: DayLock, error: errors.ExportError, *, comes_back: bool) -> None:
    """Record why a try has ended without landing the day."""
    failures = lock.status.failures + (not isinstance(error, errors.Interrupted))
    again = comes_back and isinstance(error, errors.TransientError) and failures < MAX_FAILURES
    _end(lock, RunState.QUEUED if again else RunState.FAILED, RunError.of(error), failures=failures)
    if again:
        why = {"trigger": lock.status.trigger, "error_type": error.type, "error_message": str(error)}
        log(logging.WARNING, "run_retry", **lock.status.fields, **why)


def _end(lock: DayLock, status: RunState, error: RunError | None, **changes: Any) -> None:
    try:
        lock.write(status=status, error=error, **changes)
    except errors.ExportError:
        # The manifest says what the day holds. An old status only looks like a run that died.
        log(logging.WARNING, "status_not_written", date=lock.status.date, run_id=lock.status.run_id, status=status)


def log_failed(error: RunError, order: Order | None = None) -> None:
    """Write the ERROR line of a failed run, which the alerts read. `order`: None if it is not known."""
    day, run_id, trigger = (order.day, order.run_id, order.trigger) if order else (None, "", Trigger.QUEUE)
    why = {"error_type": error.type, "error_message": error.message}
    log(logging.ERROR, "run_failed", date=day, run_id=run_id, trigger=trigger, **why)


@contextmanager
def as_export_errors() -> Iterator[None]:
    """Turn any exception of the block into an ExportError: an unexpected one becomes an InternalError."""
    try:
        yield
    except errors.ExportError:
        raise
    except Exception as error:
        raise errors.InternalError.at(error) from error
