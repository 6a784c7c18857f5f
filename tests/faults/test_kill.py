"""A try is killed at any point: no reader ever meets half a day, and the next delivery of its message heals it."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from datetime import date

import pytest
import requests

from local.azurite import Azurite
from local.host import FunctionsHost, HostError
from local.simulator import Fault as BadAnswer
from local.simulator import Gate
from shared.dates import DAY as ONE_DAY
from tests.faults import tries
from tests.faults.conftest import DAY_FILES
from tests.faults.exports import DAY, ROOT
from tests.faults.scene import Scene
from tests.faults.storage_proxy import ALWAYS, Asked, Fault, at, at_any, killed_by

KILLED = -signal.SIGKILL
RANDOM_KILLS = 12
"""In a batch, of a day each."""
SEED = 20251104


FILES = {file: DAY_FILES[file] for file in ((0, 0), (11, 0))}


def start_again(scene: Scene, day: date) -> None:
    """A day of two files has landed, and one of them has changed since."""
    scene.simulator.set_day(day, FILES)
    scene.land(day)


def kill_at_write(scene: Scene, day: date, message: str, number: int) -> str:
    """Deliver a message, and kill the worker when its n-th write arrives. Returns that write, empty if there was none.

    The storage carries the write out all the same. If it got lost, it would leave what the write before it has left.
    """
    reached: list[Asked] = []
    attempt = tries.delivery(scene.proxied, message)

    def is_write(asked: Asked) -> bool:
        if asked.writes and f"date={day}" in asked.name:
            reached.append(asked)
            return True
        return False

    scene.proxy.rule = at_any(is_write, killed_by(attempt, carried_out=True), first=number)
    with attempt:
        code = attempt.end()
        assert code in (KILLED, 0), attempt.output()
    scene.proxy.settle()  # what was on its way arrives before the next try, as it would by the lease's end
    return str(reached[number - 1]) if code == KILLED else ""


def heal(scene: Scene, killed: dict[date, tuple[str, str]]) -> None:
    """Deliver the message of each killed worker once more: all is well then."""
    for day in killed:
        tries.break_lock(scene.container, day)
    tries.next_second()
    for day, (message, write) in killed.items():
        assert tries.deliver(scene.environ, message) == 0
        assert scene.reader.files(day) == scene.amplitudes(day), write
        assert not scene.reader.unlisted(day), write
        assert scene.reader.outcome(day) == ("complete", None), write


def test_killed_at_each_write(scene: Scene) -> None:
    """Every write of a rerun, one day each: lock, status, blocks, commit, manifest, clean-up, report, unlock."""
    killed: dict[date, tuple[str, str]] = {}
    while True:
        day = DAY + len(killed) * ONE_DAY
        start_again(scene, day)
        message = scene.ask(day)
        with tries.Watch(scene.container, day) as watch:
            write = kill_at_write(scene, day, message, len(killed) + 1)
        assert watch.seen[day] in ([FILES], [FILES, scene.amplitudes(day)])
        if not write:
            break
        killed[day] = message, write
    steps = [write.partition(" date")[0].partition(" 187520")[0] for _, write in killed.values()]
    assert steps == [
        "acquire",
        "put status",
        *["stage"] * len(FILES),
        "commit",
        "put manifest",
        "delete",
        steps[-3],  # the log's name is the run's
        "put status",
        "release",
    ]
    assert steps[-3].startswith("put log")
    heal(scene, killed)


def test_a_try_that_dies_with_its_first_day(scene: Scene) -> None:
    """Nothing has landed: a reader sees no day, whatever has been committed already."""
    message = scene.ask()
    with tries.Watch(scene.container, DAY) as watch:
        # The commits of a day run side by side: the last one arrives when others are through.
        commits = 2 + len(DAY_FILES) + len(DAY_FILES)
        assert kill_at_write(scene, DAY, message, commits).startswith("commit")
        assert scene.reader.unlisted(DAY)
        heal(scene, {DAY: (message, "commit")})
    assert watch.seen[DAY] == [None, DAY_FILES]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_random(scene: Scene) -> None:
    """At any moment of a try, download and staging included, by a clock that knows nothing of the steps."""
    rounds = 1000
    chance = random.Random(SEED)  # noqa: S311 - to be repeated, not to be secret
    days = [DAY + number * ONE_DAY for number in range(RANDOM_KILLS)]
    began = time.monotonic()
    for day in days:
        start_again(scene, day)
    scene.run(days[0])
    longest = (time.monotonic() - began) / len(days)
    scene.grow(days[0])
    kills = 0
    for batch in range(0, rounds, RANDOM_KILLS):
        killed: dict[date, tuple[str, str]] = {}
        with tries.Watch(scene.container, *days) as watch:
            for day in days[: rounds - batch]:
                message, seconds = scene.ask(day), chance.uniform(0, longest)
                with tries.delivery(scene.environ, message) as attempt:
                    time.sleep(seconds)
                    attempt.kill()
                    kills += attempt.end() == KILLED
                killed[day] = message, f"after {seconds:.3f} s"
            heal(scene, killed)
        assert all(len(watch.seen[day]) <= 2 for day in days)
        for day in killed:
            scene.grow(day)
    assert kills > rounds / 4


def test_killed_during_the_download(scene: Scene) -> None:
    """What has been staged is invisible, and stays so."""
    gate = Gate()
    scene.land()
    scene.simulator.fail(BadAnswer(pause=gate, pause_at=1000))
    message = scene.ask()
    with tries.delivery(scene.environ, message) as attempt:
        gate.wait_until_reached()
        assert scene.reader.status(DAY)["status"] == "running"
        attempt.kill()
        assert attempt.end() == KILLED
    assert scene.reader.files(DAY) == DAY_FILES
    assert not scene.reader.unlisted(DAY)
    heal(scene, {DAY: (message, "download")})


@pytest.mark.parametrize("step", ["stage", "commit", "put manifest", "delete", "put log"])
def test_interrupted(step: str, scene: Scene) -> None:
    """Ctrl-C at a write: exit code, status and day say the same, and the lock is free."""
    scene.land()
    attempt = tries.export(scene.proxied, DAY.isoformat())

    def interrupt() -> None:
        time.sleep(0.1)  # the process has come to where it waits for the answer
        attempt.interrupt()
        time.sleep(0.2)  # and is not given one before it has been interrupted

    scene.proxy.rule = at(step, Fault(before=interrupt))
    with tries.Watch(scene.container, DAY) as watch, attempt:
        code, output = attempt.end(), attempt.output()
    assert watch.seen[DAY] in ([DAY_FILES], [DAY_FILES, scene.amplitudes()])
    landed = watch.seen[DAY][-1] != DAY_FILES
    assert code == 130, output
    assert scene.reader.outcome(DAY) == (("complete", None) if landed else ("failed", "Interrupted"))
    assert not scene.reader.is_locked(DAY)
    scene.assert_heals()


@pytest.mark.soak
def test_the_next_try_waits_for_a_dead_ones_lease(scene: Scene) -> None:
    """Nobody breaks the lock: the storage lets go of it by itself."""
    scene.land()
    message = scene.ask()
    assert kill_at_write(scene, DAY, message, 3)
    assert scene.reader.is_locked(DAY)
    assert tries.deliver(scene.environ, message) == 0
    scene.assert_landed()


class TestHosts:
    """The same with the function app as it is hosted: its queue brings the message back."""

    @pytest.fixture
    def gate(self, scene: Scene) -> Gate:
        """Where the first download stops."""
        gate = Gate()
        scene.simulator.fail(BadAnswer(pause=gate, pause_at=1000))
        return gate

    @pytest.fixture
    def hosts(self, azurite: Azurite, scene: Scene) -> Iterator[list[FunctionsHost]]:
        """A host that runs, and one to take its place. A message in work comes back after two seconds."""
        hosts = [
            FunctionsHost(
                app_dir=ROOT,
                connection_string=azurite.connection_string,
                environ=scene.environ,
                lease_seconds=2,
                retry_seconds=1,
            )
            for _ in range(2)
        ]
        hosts[0].start()
        try:
            yield hosts
        finally:
            hosts[1].stop()

    @pytest.mark.parametrize("ending", ["kill", "stop"], ids=["a-host-that-dies", "a-deployment"])
    def test_a_run_survives(self, ending: str, gate: Gate, hosts: list[FunctionsHost], scene: Scene) -> None:
        """The host ends in mid-run: the run's message comes to the next one, which lands the day."""
        first, second = hosts
        with tries.Watch(scene.container, DAY) as watch:
            asked = requests.post(f"{first.url}/api/exports/{DAY}", headers=first.auth, timeout=30)
            assert asked.status_code == 202
            gate.wait_until_reached()
            if ending == "kill":
                first.kill()
                tries.break_lock(scene.container, DAY)
            else:  # Amplitude is silent, and the run ends all the same
                first.stop()
                assert scene.reader.outcome(DAY) == ("queued", "Interrupted")
                assert not scene.reader.is_locked(DAY)
            second.start()
            second.wait_for(lambda line: '"event": "run_complete"' in line, 60)
            tries.wait_until(lambda: not scene.reader.is_locked(DAY))
        assert watch.seen[DAY] == [None, DAY_FILES]
        scene.assert_landed()
        assert scene.reader.status(DAY)["run_id"] == asked.json()["run_id"]
        events = [json.loads(line.message)["event"] for line in second.log_lines() if '"event"' in line.message]
        assert events == ["run_started", "window_done", "run_complete"]

    @pytest.mark.parametrize(("step", "end"), [("delete", "run_complete"), ("release", "run_dropped")])
    def test_a_landed_run_that_comes_back_changes_nothing(
        self, step: str, end: str, azurite: Azurite, scene: Scene
    ) -> None:
        """A host ends by itself where its own queue storage stays away: here before it has finished the message."""
        scene.land()
        environ = scene.environ | {"EXPORT_STORAGE": scene.proxy.connection_string}
        first, second = (
            FunctionsHost(app_dir=ROOT, connection_string=azurite.connection_string, environ=environ, lease_seconds=2)
            for _ in range(2)
        )
        first.start()
        scene.proxy.rule = at(step, killed_by(first, carried_out=True))
        requests.post(f"{first.url}/api/exports/{DAY}", headers=first.auth, timeout=30).raise_for_status()
        with pytest.raises(HostError):
            first.wait_for(lambda line: '"event": "run_failed"' in line, 60)
        before = (scene.reader.manifest(DAY) or {})["files"], scene.reader.event_blobs(DAY)
        tries.break_lock(scene.container, DAY)
        with second:
            second.wait_for(lambda line: f'"event": "{end}"' in line, 60)
        scene.assert_landed()
        assert ((scene.reader.manifest(DAY) or {})["files"], scene.reader.event_blobs(DAY)) == before


@pytest.mark.soak
def test_killed_at_each_write_of_a_large_day(scene: Scene) -> None:
    """A day of 24 hours and several parts, killed at every tenth write."""
    for number in range(1, ALWAYS, 10):
        day = DAY + number * ONE_DAY
        message = scene.ask(day)
        with tries.Watch(scene.container, day) as watch:
            write = kill_at_write(scene, day, message, number)
        assert len(watch.seen[day]) <= 2
        if not write:
            break
        heal(scene, {day: (message, write)})
