"""The day's lock while a try works: what goes wrong with the heartbeat neither loses it nor holds the try up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from local.simulator import Gate
from shared.app import open_app
from shared.errors import StorageDenied, StorageUnavailable
from shared.runs import lock
from shared.runs.messages import Order
from shared.storage.container import Lease
from tests.doubles.memory import MemoryClient
from tests.faults import tries
from tests.faults.exports import DAY
from tests.faults.reader import Reader
from tests.faults.scene import Scene
from tests.faults.storage_proxy import Fault, at

SECONDS = 20
"""Far longer than anything here takes; only a failing test waits so long."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heart that beats twenty times a second."""
    monkeypatch.setattr(lock, "PROGRESS_SECONDS", 0.05)
    monkeypatch.setattr(lock, "RENEW_SECONDS", 0.05)


@contextmanager
def held(environ: dict[str, str]) -> Iterator[lock.DayLock]:
    """The day's lock, as a try holds it."""
    with open_app(environ) as app, app.runs.lock(Order(DAY, "r1", "test")) as day_lock:
        yield day_lock


@pytest.mark.parametrize(
    "failure",
    [StorageUnavailable("away"), StorageDenied("no token just now"), RuntimeError("a fault of the app")],
    ids=lambda failure: type(failure).__name__,
)
def test_the_heart_beats_on_after_a_renewal_that_fails(
    environ: dict[str, str], reader: Reader, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Whatever it fails with. Else the lease would run out, and nobody would notice that it has."""
    renewed = threading.Semaphore(0)
    renew, failures = Lease.renew, iter([failure])

    def renew_or_fail(lease: Lease) -> None:
        for error in failures:
            raise error
        renew(lease)
        renewed.release()

    monkeypatch.setattr(Lease, "renew", renew_or_fail)
    with held(environ) as day_lock:
        assert renewed.acquire(timeout=SECONDS)
        day_lock.check()
        day_lock.note(progress={"files": 7})
        tries.wait_until(lambda: reader.status(DAY)["progress"] == {"files": 7})


def test_progress_that_hangs_holds_nothing_up(scene: Scene) -> None:
    """While a word about the download is on its way to a storage that does not answer, the download goes on."""
    gate = Gate()
    with held(scene.proxied) as day_lock:
        scene.proxy.rule = at("put status", Fault(hold=gate))
        day_lock.note(progress={"files": 1})
        gate.wait_until_reached()
        noting = threading.Thread(target=lambda: day_lock.note(progress={"files": 2}))
        noting.start()
        noting.join(SECONDS)
        went_on = not noting.is_alive()
        gate.open()
        noting.join()
        tries.wait_until(lambda: scene.reader.status(DAY)["progress"] == {"files": 2})
    assert went_on


@pytest.mark.in_memory
def test_a_lease_that_has_run_out_unnoticed_is_renewed_by_the_next_write(
    environ: dict[str, str], container: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a storage that did not answer for a minute, while no other try came."""
    monkeypatch.setattr(lock, "PROGRESS_SECONDS", 1000)
    with held(environ) as day_lock:
        later = container.clock() + timedelta(minutes=2)
        container.clock = lambda: later
        assert day_lock.write(progress={"files": 7}) == later.replace(microsecond=0)
        day_lock.check()
