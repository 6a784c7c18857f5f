"""The storage fails, at each step of a try: the day that stands is whole, and the try says how it ended."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
from azure.storage.blob import BlobLeaseClient, ContainerClient

from local.azurite import Azurite
from local.simulator import Fault as BadAnswer
from local.simulator import Gate
from shared.app import open_app
from shared.days.coverage import read_coverage
from shared.runs.messages import Order
from shared.runs.runs import DayRunning
from tests.faults import tries
from tests.faults.conftest import DAY_FILES
from tests.faults.exports import DAY
from tests.faults.scene import Scene
from tests.faults.storage_proxy import (
    ALWAYS,
    BROKEN,
    BUSY,
    DROPPED,
    FORBIDDEN,
    LOST,
    Asked,
    Fault,
    at,
    at_any,
    one_after_the_other,
)

STEPS = ("container", "read", "acquire", "put status", "stage", "list", "commit", "put manifest", "delete", "release")
SAMPLE = ("stage", "commit", "put manifest")
"""The app sends the requests of the first two by itself; the storage's library sends all others alike."""


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """A day has landed, and one of its files has changed since: a try commits one file and deletes one."""
    scene.land()
    return scene


@pytest.mark.parametrize(
    ("step", "faults"),
    [
        pytest.param(step, faults, marks=() if faults[0] is LOST or step in SAMPLE else pytest.mark.soak)
        for step in STEPS
        for faults in ((LOST,), (BUSY, BROKEN, DROPPED))
    ],
)
def test_a_fault_that_passes_is_not_felt(step: str, faults: tuple[Fault, ...], scene: Scene) -> None:
    """503, 500, a request or an answer that gets lost: asked again, and the day lands, once."""
    for fault in faults:
        scene.grow()
        scene.proxy.rule = at(step, fault)
        code, output = scene.run()
        assert code == 0, (fault, output)
        scene.assert_landed()
        assert not scene.reader.is_locked(DAY)


@pytest.mark.parametrize(
    ("step", "fault", "error"),
    [
        pytest.param(step, fault, error, marks=() if (nth + kind) % 2 else pytest.mark.soak)
        for nth, step in enumerate(["acquire", "put status", "stage", "list", "commit"])
        for kind, (fault, error) in enumerate([(BUSY, "StorageUnavailable"), (FORBIDDEN, "StorageDenied")])
    ],
)
def test_a_fault_that_stays_before_the_manifest_changes_nothing(
    step: str, fault: Fault, error: str, scene: Scene
) -> None:
    """The landed day stays to the byte, the try takes its own blobs away, and says that it has failed, and why."""
    scene.proxy.rule = at(step, fault, times=ALWAYS)
    with tries.Watch(scene.container, DAY) as watch:
        code, output = scene.run()
    assert (code, f"{error}: " in output) == (1, True)
    assert watch.seen[DAY] == [DAY_FILES]
    assert not scene.reader.unlisted(DAY)
    written = step not in ("acquire", "put status")  # else no word of the run can be
    assert scene.reader.outcome(DAY) == (("failed", error) if written else ("complete", None))
    scene.assert_heals()


def test_a_try_whose_last_commit_fails_takes_the_others_away(scene: Scene) -> None:
    """Files are committed side by side; those that got through are nobody's."""
    scene.simulator.set_day(DAY, {file: raw + b"{}\n" for file, raw in DAY_FILES.items()})
    scene.proxy.rule = at("commit", BUSY, first=len(DAY_FILES), times=ALWAYS)
    code, output = scene.run()
    assert code == 1, output
    assert scene.proxy.steps().count("delete") >= len(DAY_FILES) - 1
    assert scene.reader.files(DAY) == DAY_FILES
    assert not scene.reader.unlisted(DAY)


def test_a_manifest_that_cannot_be_put_leaves_the_old_one(scene: Scene) -> None:
    """Once the put was sent nothing is taken back, for it may come through: the leftover is the next try's."""
    scene.proxy.rule = at("put manifest", BUSY, times=ALWAYS)
    code, output = scene.run()
    assert code == 1, output
    assert scene.reader.files(DAY) == DAY_FILES
    assert scene.reader.outcome(DAY) == ("failed", "StorageUnavailable")
    assert len(scene.reader.unlisted(DAY)) == 1
    scene.assert_heals()


def test_what_cannot_be_deleted_is_logged_and_left(scene: Scene) -> None:
    """The day has landed: tidying is no reason to say otherwise."""
    scene.proxy.rule = at("delete", BUSY, times=ALWAYS)
    code, output = scene.run()
    assert (code, '"event": "delete_failed"' in output) == (0, True)
    assert scene.reader.files(DAY) == scene.amplitudes()
    assert scene.reader.outcome(DAY) == ("complete", None)
    assert len(scene.reader.unlisted(DAY)) == 1
    scene.assert_heals()


@pytest.mark.parametrize("step", ["put log", "release"])
def test_what_is_no_part_of_the_day_does_not_fail_it(step: str, scene: Scene) -> None:
    """A run's log and its lease are missed by nobody for long."""
    scene.proxy.rule = at(step, BUSY, times=ALWAYS)
    assert scene.run()[0] == 0
    scene.assert_landed()


def test_a_status_that_cannot_be_written_at_the_end(scene: Scene) -> None:
    """What the day holds is in its manifest; the status reads as that of a run that died."""
    scene.proxy.rule = at("put status", BUSY, first=2, times=ALWAYS)
    code, output = scene.run()
    assert (code, '"event": "status_not_written"' in output) == (0, True)
    assert scene.reader.files(DAY) == scene.amplitudes()
    assert scene.reader.outcome(DAY) == ("running", None)
    scene.assert_heals()


class TestLostAnswers:
    """The storage has done what was asked, and nobody heard it say so."""

    def test_commit_and_no_word_after_it(self, scene: Scene) -> None:
        """The try cannot know: it fails, and takes the blob away that it may have made."""
        scene.proxy.rule = one_after_the_other(at("commit", LOST), at("commit", BUSY, times=ALWAYS))
        code, output = scene.run()
        assert (code, scene.reader.outcome(DAY)) == (1, ("failed", "StorageUnavailable")), output
        assert scene.reader.files(DAY) == DAY_FILES
        assert not scene.reader.unlisted(DAY)
        scene.assert_heals()

    def test_manifest_and_no_word_after_it(self, scene: Scene) -> None:
        """The try looks, finds its own manifest, and is complete."""
        scene.proxy.rule = one_after_the_other(at("put manifest", LOST), at("put manifest", BUSY, times=ALWAYS))
        code, output = scene.run()
        assert code == 0, output
        scene.assert_landed()

    def test_manifest_and_the_storage_is_away(self, scene: Scene) -> None:
        """The try cannot even look: it reports failure, and touches nothing of the day that has landed."""
        away = threading.Event()
        lost = at("put manifest", Fault(lost=True, after=away.set))
        scene.proxy.rule = lambda asked: BUSY if away.is_set() else lost(asked)
        code, output = scene.run()
        assert (code, "StorageUnavailable: " in output) == (1, True)
        assert scene.reader.files(DAY) == scene.amplitudes()
        scene.assert_heals()


class TestTimeOuts:
    """The storage takes longer than anybody waits."""

    IMPATIENT = tries.HURRIED | {"shared.storage.connect.READ_SECONDS": 0.3}

    @pytest.mark.parametrize("step", ["put status", "stage", "commit", "put manifest", "delete"])
    def test_a_write_that_was_held_up_arrives_late(self, step: str, scene: Scene) -> None:
        """It was sent anew meanwhile, and does no harm when it arrives after all."""
        gate, arrived = Gate(), threading.Event()
        scene.proxy.rule = at(step, Fault(hold=gate, after=arrived.set))
        code, output = scene.run(patches=self.IMPATIENT)
        assert code == 0, output
        status = scene.reader.status(DAY)
        gate.open()
        assert arrived.wait(10)
        scene.assert_landed()
        assert scene.reader.status(DAY) == status

    def test_a_status_that_was_held_up_undoes_none(self, scene: Scene) -> None:
        """The word `running` arrives after `complete`, and under the same lease: it was written over another state."""
        gate, arrived = Gate(), threading.Event()

        def let_arrive() -> None:
            gate.open()
            assert arrived.wait(10)

        held = at("put status", Fault(hold=gate, after=arrived.set))
        scene.proxy.rule = one_after_the_other(held, at("release", Fault(before=let_arrive)))
        code, output = scene.run(patches=self.IMPATIENT)
        assert code == 0, output
        assert arrived.is_set()
        scene.assert_landed()

    def test_a_manifest_that_arrives_after_its_try_gave_up_is_whole(self, scene: Scene) -> None:
        """That is why nothing is taken back once the put was sent."""
        gate, arrived = Gate(), threading.Event()
        scene.proxy.rule = at("put manifest", Fault(hold=gate, after=arrived.set), times=ALWAYS)
        code, output = scene.run(patches=self.IMPATIENT)
        assert (code, "StorageUnavailable: " in output) == (1, True)
        assert scene.reader.files(DAY) == DAY_FILES
        gate.open()
        assert arrived.wait(10)
        assert scene.reader.files(DAY) == scene.amplitudes()
        scene.assert_heals()


def test_a_container_that_goes_in_mid_run(scene: Scene) -> None:
    """No retry brings it back: the error is permanent, and names the setting. On a laptop the next run creates it."""
    scene.proxy.rule = at("stage", Fault(before=scene.container.delete_container))
    code, output = scene.run()
    assert code == 1
    assert "StorageDenied: " in output
    assert "The container that EXPORT_CONTAINER names does not exist" in output
    assert "EXPORT_CONTAINER" in output
    scene.exports.run()
    scene.assert_landed()


def test_a_lease_that_is_lost_in_mid_run(scene: Scene) -> None:
    """The try notices while it fetches, and commits nothing."""
    gate = Gate()
    scene.simulator.fail(BadAnswer(pause=gate, pause_at=2000))
    quick = {"shared.runs.lock.PROGRESS_SECONDS": 0.05, "shared.runs.lock.RENEW_SECONDS": 0.05}
    with tries.export(scene.proxied, day := DAY.isoformat(), patches=quick) as attempt:
        gate.wait_until_reached()
        tries.break_lock(scene.container, DAY)
        answers = scene.proxy.answers
        tries.wait_until(lambda: any(a.step == "renew" and status != HTTPStatus.OK for a, status in [*answers]))
        gate.open()
        code, output = attempt.end(), attempt.output()
    assert (code, f"Displaced: Another try has taken {day} over" in output) == (1, True)
    assert "commit" not in scene.proxy.steps()
    assert scene.reader.files(DAY) == DAY_FILES
    assert not scene.reader.unlisted(DAY)
    scene.assert_heals()


def test_a_storage_that_goes_away_for_good(scene: Scene) -> None:
    """The try ends as failed, though it cannot write that down; the day is as it was."""
    away = threading.Event()
    goes = at("commit", Fault(before=away.set, dropped=True))
    scene.proxy.rule = lambda asked: DROPPED if away.is_set() else goes(asked)
    code, output = scene.run()
    assert (code, "StorageUnavailable: " in output, "status_not_written" in output) == (1, True, True)
    assert scene.reader.files(DAY) == DAY_FILES
    assert scene.reader.outcome(DAY) == ("running", None)
    scene.assert_heals()


class TestEmulatorStops:
    """The account goes away as a whole, and its data stay."""

    @pytest.fixture
    def azurite(self, tmp_path: Path) -> Iterator[Azurite]:
        """An emulator of the test's own, on disk."""
        with Azurite(tmp_path) as azurite:
            yield azurite

    @pytest.fixture
    def container(self, azurite: Azurite) -> Iterator[ContainerClient]:
        """A container in it."""
        with ContainerClient.from_connection_string(azurite.connection_string, "events") as container:
            container.create_container()
            yield container

    def test_and_starts_again(self, scene: Scene, azurite: Azurite) -> None:
        """The try asks again, as at any other fault, and lands the day."""
        stopped = threading.Event()

        def stop() -> None:
            azurite.stop()
            stopped.set()

        scene.proxy.rule = at("put manifest", Fault(before=stop))
        with tries.export(scene.proxied, DAY.isoformat()) as attempt:
            assert stopped.wait(30)
            azurite.start()
            assert attempt.end() == 0, attempt.output()
        scene.assert_landed()


class TestForeignLeases:
    """Somebody else holds a lease. No other try was there, so nobody says so."""

    def test_on_the_manifest(self, scene: Scene) -> None:
        """The landed day stays, and the error says what to do; once the lease is gone, the day lands."""
        lease = BlobLeaseClient(scene.container.get_blob_client(f"manifests/date={DAY}.json"))
        lease.acquire(-1)
        code, output = scene.run()
        assert (code, scene.reader.outcome(DAY)) == (1, ("failed", "StorageDenied"))
        assert "LeaseIdMissing" in output
        assert "lease break" in output
        assert scene.reader.files(DAY) == DAY_FILES
        lease.break_lease()
        scene.assert_heals()

    def test_without_an_end_on_the_status(self, scene: Scene) -> None:
        """Nothing waits for its end: a run, a request and a night say at once what it is and how to break it."""
        status = scene.container.get_blob_client(f"status/date={DAY}.json")
        BlobLeaseClient(status).acquire(-1)
        code, output = scene.run()
        assert "acquire" not in scene.proxy.steps()
        assert (code, "StorageDenied: " in output) == (1, True)
        place = f"--container-name {scene.container.container_name} --blob-name {status.blob_name}"
        command = f"az storage blob lease break .* {place}"
        assert re.search(command, output)
        with open_app(scene.environ) as app:
            with pytest.raises(DayRunning) as running:
                app.runs.ask(DAY, "http")
            assert re.search(command, str(running.value.foreign))
            app.runs.work(Order(DAY))  # ends: a message that came back would do so for ever
            (row,) = read_coverage(app.container, app.settings, DAY, DAY, app.clock())
        assert row.state == "complete"


@pytest.mark.soak
def test_the_real_pauses(scene: Scene) -> None:
    """Storage that is busy for seconds is waited for; for good, it is not."""
    scene.proxy.rule = at("stage", BUSY, times=4)
    assert scene.run(patches={})[0] == 0
    scene.assert_landed()
    scene.proxy.rule = at("stage", BUSY, times=ALWAYS)
    assert scene.run(patches={})[0] == 1
    scene.assert_heals()


def test_the_rules_of_the_proxy_count() -> None:
    """A rule that never matched would make the tests here pass."""
    rule = at_any(lambda asked: asked.writes, BUSY, first=2, times=2)
    kinds = ("put", "read", "put", "commit", "delete")
    assert [rule(Asked(kind, "")) for kind in kinds] == [None, None, BUSY, BUSY, None]
