"""Two workers for one day at once: one does it, the other waits, and finds that there is nothing left to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from local.azurite import Azurite
from local.host import FunctionsHost
from local.simulator import Fault as BadAnswer
from local.simulator import Gate
from shared.app import open_app
from tests.faults import tries
from tests.faults.conftest import DAY_FILES
from tests.faults.exports import DAY, ROOT
from tests.faults.scene import Scene

ASKERS = 8


@pytest.fixture
def gate(scene: Scene) -> Gate:
    """Where the first download stops."""
    gate = Gate()
    scene.simulator.fail(BadAnswer(pause=gate, pause_at=1000))
    return gate


def wait_for_lock(scene: Scene, asked_before: int) -> None:
    """Return once somebody has asked for the day's lock again, and not got it."""
    tries.wait_until(lambda: scene.proxy.steps().count("acquire") > asked_before)


def test_one_message_delivered_twice_at_once(scene: Scene, gate: Gate) -> None:
    """The queue promises once at least. The second waits for the lock, sees that the run is complete, and is done."""
    message = scene.ask()
    with tries.Watch(scene.container, DAY) as watch, tries.delivery(scene.proxied, message) as first:
        gate.wait_until_reached()
        with tries.delivery(scene.proxied, message) as second:
            wait_for_lock(scene, 1)
            gate.open()
            assert (first.end(), second.end()) == (0, 0), second.output()
    assert len(scene.simulator.requests) == 1
    assert watch.seen[DAY] == [None, DAY_FILES]
    scene.assert_landed()


def test_two_messages_for_one_day(scene: Scene, gate: Gate) -> None:
    """The run that the status names is done, in whatever order they come; the other's message is dropped."""
    replaced = scene.ask()
    wanted = scene.ask(replace=True)
    assert json.loads(replaced)["run_id"] != json.loads(wanted)["run_id"]
    with tries.delivery(scene.proxied, wanted) as first:
        gate.wait_until_reached()
        with tries.delivery(scene.proxied, replaced) as second:
            assert second.end() == 0, second.output()
        assert scene.proxy.steps().count("acquire") == 1
        gate.open()
        assert first.end() == 0, first.output()
    assert len(scene.simulator.requests) == 1
    scene.assert_landed()
    assert scene.reader.status(DAY)["run_id"] == json.loads(wanted)["run_id"]


def test_two_command_lines(scene: Scene, gate: Gate) -> None:
    """Each was asked for by somebody: the second exports the day anew, after the first."""
    with tries.Watch(scene.container, DAY) as watch, tries.export(scene.proxied, DAY.isoformat()) as first:
        gate.wait_until_reached()
        with tries.export(scene.proxied, DAY.isoformat()) as second:
            wait_for_lock(scene, 1)
            scene.grow()
            gate.open()
            assert (first.end(), second.end()) == (0, 0), second.output()
    assert [len(scene.simulator.requests), len(watch.seen[DAY])] == [2, 3]
    scene.assert_landed()


@pytest.mark.soak
def test_a_message_whose_day_stays_locked_is_done(scene: Scene, gate: Gate) -> None:
    """A lock that is alive after the time of a dead one's lease belongs to a run that does the work."""
    message = scene.ask()
    with tries.delivery(scene.environ, message) as first:
        gate.wait_until_reached()
        with tries.delivery(scene.environ, message) as second:
            assert second.end() == 0, second.output()
        assert scene.reader.is_locked(DAY)
        gate.open()
        assert first.end() == 0, first.output()
    scene.assert_landed()


def test_many_ask_at_once(scene: Scene) -> None:
    """One run is queued, with one message; all get the same."""
    with open_app(scene.environ) as app, ThreadPoolExecutor(ASKERS) as pool:
        asked = list(pool.map(lambda _: app.runs.ask(DAY, "http"), range(ASKERS)))
    assert len([one for one in asked if one.message]) == 1
    assert {one.status.run_id for one in asked} == {scene.reader.status(DAY)["run_id"]}


class TestHosts:
    """Two instances of the function app on one queue."""

    @pytest.fixture
    def hosts(self, azurite: Azurite, scene: Scene) -> Iterator[list[FunctionsHost]]:
        """Both run; a message in work comes back after two seconds unless its host renews its hold."""
        hosts = [
            FunctionsHost(
                app_dir=ROOT, connection_string=azurite.connection_string, environ=scene.environ, lease_seconds=2
            )
            for _ in range(2)
        ]
        with ThreadPoolExecutor() as pool:
            list(pool.map(FunctionsHost.start, hosts))
        yield hosts
        for host in hosts:
            host.stop()

    def ask(self, host: FunctionsHost) -> requests.Response:
        """What a host answers to somebody who wants the day."""
        return requests.post(f"{host.url}/api/exports/{DAY}", headers=host.auth, timeout=30)

    def test_a_day_is_done_once(self, hosts: list[FunctionsHost], gate: Gate, scene: Scene) -> None:
        """Asked of both: the second hears that the day is being exported, and nobody does it twice."""
        first = self.ask(hosts[0])
        gate.wait_until_reached()
        second = self.ask(hosts[1])
        assert (first.status_code, second.status_code) == (202, 409)
        gate.open()
        tries.wait_until(lambda: scene.reader.status(DAY)["status"] == "complete")
        assert len(scene.simulator.requests) == 1
        scene.assert_landed()
