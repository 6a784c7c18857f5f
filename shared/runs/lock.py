"""The day's lock: the lease on its status blob. A try renews it; until it ends, only its holder writes the status.

`Runs.lock` takes it.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from shared.days.status import RunStatus
from shared.errors import ConditionNotMet, Displaced, ExportError, StorageDenied, StorageUnavailable
from shared.stop import check_stop
from shared.storage.container import Container, Document, Lease
from shared.storage.errors import LEASED

LEASE_SECONDS = 30
"""How long the lock of a dead try lasts. An expired lease can still be renewed if nobody else has taken one."""
RENEW_SECONDS = 8
PROGRESS_SECONDS = 3
"""How often progress is written to the status blob."""
WAIT_SECONDS = 65
"""No finite lease lasts longer than a minute (Azure Storage). If the lock is held even then, its holder is alive."""
_TRIES = 3


@dataclass(eq=False)
class DayLock:
    """A held lock. Leaving the context stops the heartbeat and releases the lease.

    `document`: the status blob when the lock was taken. `status`: what it says, or will say soon; only the holder of
    the lock changes it.
    """

    document: Document
    status: RunStatus
    _container: Container
    _name: str
    _lease: Lease
    _clock: Callable[[], datetime]

    def __post_init__(self) -> None:
        self._etag: str | None = self.document.etag
        self._sent = self.status
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._heartbeat = threading.Thread(target=self._hold, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._heartbeat.join()

    def note(self, **changes: Any) -> None:
        """Change the status; the heartbeat writes it soon. Raises as `check`.

        Never waits for the storage, so that a note about a download does not delay it.
        """
        self.check()
        self.status = self.status.changed(self._clock(), **changes)

    def write(self, **changes: Any) -> datetime:
        """Change and write the status. Returns the storage's time. Raises Displaced if another try holds the lock."""
        with self._writing:
            self.status = self.status.changed(self._clock(), **changes)
            return self._put()

    def check(self) -> None:
        """A safe point: raise Displaced if the lock is known to be lost, and Interrupted if the process should end."""
        check_stop()
        self._check_held()

    def _check_held(self) -> None:
        if self._lost.is_set():
            raise Displaced(f"Another try has taken {self.status.date} over; this one stops.")

    def _put(self) -> datetime:
        """Replace only the status that was last seen, so that a delayed write cannot undo a later one."""
        self._sent = status = self.status
        refused: ExportError | None = None
        data, metadata = status.to_json(), status.metadata()
        for _ in range(_TRIES):
            self._check_held()
            try:
                written = self._container.put(self._name, data, metadata, over=self._etag, lease=self._lease)
            except ConditionNotMet as error:
                # The lease expired while the storage did not answer, or a write of this try took effect without an
                # answer.
                refused = error
                self._renew()
                document = self._container.read(self._name)
                self._etag = document.etag if document else None
            else:
                self._etag = written.etag
                return written.at
        raise StorageUnavailable(f"The status of {self.status.date} keeps changing: {refused}")

    def _renew(self) -> None:
        try:
            self._lease.renew()
        except ConditionNotMet:
            self._lost.set()
            self._check_held()

    def _hold(self) -> None:
        """Renew the lease, and write what is noted, until the context is left. Then release the lease."""
        renewed = time.monotonic()
        while not self._stop.wait(PROGRESS_SECONDS):
            try:
                if time.monotonic() - renewed >= RENEW_SECONDS:
                    self._renew()
                    renewed = time.monotonic()
                with self._writing:
                    if self.status is not self._sent:
                        self._put()
            except Displaced:
                break  # `check` raises it
            except Exception:  # noqa: BLE001, S112 - the heartbeat must go on after any error, or the lease would be lost
                continue  # the next beat tries again
        self._stop.wait()
        # It is no longer held, or the storage does not answer: then it expires by itself.
        with contextlib.suppress(ExportError):
            self._lease.release()


def foreign_lease(container: Container, name: str, document: Document) -> StorageDenied | None:
    """The error for a status blob with an infinite lease, because waiting does not help; None if it has none."""
    if not document.leased_forever:
        return None
    return StorageDenied(
        f"Somebody other than this app holds an infinite lease on {name}, so the day cannot be exported. Break "
        "the lease: az storage blob lease break --auth-mode login --account-name ACCOUNT "
        f"--container-name {container.name} --blob-name {name}",
        code=LEASED,
    )


def put_unleased(container: Container, name: str, status: RunStatus, over: Document | None) -> None:
    """Write a status without the lock. Raises ConditionNotMet if somebody has written since, or has just locked it."""
    try:
        container.put(name, status.to_json(), status.metadata(), over=over.etag if over else None)
    except StorageDenied as error:
        if error.code != LEASED:
            raise
        raise ConditionNotMet(f"A run has just locked {status.date}.") from error
