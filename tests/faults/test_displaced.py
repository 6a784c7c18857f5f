"""A try that freezes, or whose writes are held up, and that another try has displaced when it goes on.

The successor is then ahead (it has landed), beside (it has committed, and is about to put its manifest) or behind (it
has the lock, and has read the manifest). Whatever the order: a reader meets whole days only, none goes backwards, and
who says that it has landed has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product

import pytest
from _pytest.mark import ParameterSet

from local.azurite import Azurite
from local.simulator import Gate
from tests.faults import tries
from tests.faults.conftest import DAY_FILES
from tests.faults.exports import DAY
from tests.faults.scene import Files, Scene
from tests.faults.storage_proxy import Fault, Rule, StorageProxy, at

POSITIONS = {"ahead": "", "beside": "put manifest", "behind": "stage"}
"""Where the successor stands, by the step before which it waits."""
STEPS = ("stage", "commit", "put manifest", "tidy", "delete", "acquire", "put status", "put log", "release")


def everywhere(steps: Iterable[str], *sample: tuple[str, str]) -> list[ParameterSet]:
    """Each step with each position; for `make soak` alone where it is not in the sample.

    The two samples have the steps that matter to the day. `test_model.py` goes through all interleavings.
    """
    places = product(steps, POSITIONS)
    return [pytest.param(*place, marks=() if place in sample else pytest.mark.soak) for place in places]


def at_step(step: str, fault: Fault) -> Rule:
    """The fault at a step of the late try; `tidy` is its look at the folder once it has landed."""
    return at("list", fault, first=3) if step == "tidy" else at(step, fault)


@pytest.fixture
def successors(azurite: Azurite) -> Iterator[StorageProxy]:
    """The successor's own way to the storage."""
    with StorageProxy(azurite) as proxy:
        yield proxy


@contextmanager
def successor(scene: Scene, proxy: StorageProxy, waits_at: str) -> Iterator[Callable[[], int]]:
    """A second try, that has come as far as it is to when the block begins. Yields what lets it go on to its end."""
    gate = Gate()
    if waits_at:
        proxy.rule = at(waits_at, Fault(hold=gate))
    tries.break_lock(scene.container, DAY)
    environ = scene.environ | {"EXPORT_STORAGE": proxy.connection_string}
    with tries.export(environ, DAY.isoformat()) as attempt:

        def finish() -> int:
            gate.open()
            code = attempt.end()
            assert code in (0, 1), attempt.output()
            return code

        if waits_at:
            gate.wait_until_reached()
        else:
            assert finish() == 0, attempt.output()
        yield finish


def assert_honest(code: int, proxy: StorageProxy) -> None:
    """Who says that it has landed has put a manifest; who says that it has not, has not."""
    assert (code == 0) == proxy.landed(DAY)


@pytest.mark.parametrize(
    ("step", "position"),
    everywhere(STEPS, ("stage", "behind"), ("put manifest", "ahead"), ("put manifest", "behind"), ("tidy", "beside")),
)
def test_frozen_and_woken(step: str, position: str, scene: Scene, successors: StorageProxy) -> None:
    """The process stops at a step, and goes on once another has displaced it."""
    scene.land()
    older = scene.amplitudes()
    frozen, woken = threading.Event(), threading.Event()
    late = tries.export(scene.proxied, DAY.isoformat())

    def freeze() -> None:
        late.freeze()
        frozen.set()
        woken.wait(60)

    scene.proxy.rule = at_step(step, Fault(before=freeze))
    with ExitStack() as stack:
        watch = stack.enter_context(tries.Watch(scene.container, DAY))
        stack.enter_context(late)
        assert frozen.wait(60)
        scene.grow()
        finish = stack.enter_context(successor(scene, successors, POSITIONS[position]))
        late.thaw()
        woken.set()
        if step == "acquire":  # it waits for the successor's lock
            assert_honest(finish(), successors)
        assert_honest(late.end(), scene.proxy)
        if step == "put manifest" and position == "ahead":
            assert not scene.reader.unlisted(DAY), "a try that was refused leaves nothing behind"
        assert_honest(finish(), successors)
    assert_forwards(watch, [DAY_FILES, older, scene.amplitudes()])
    scene.assert_heals()


@pytest.mark.parametrize(
    ("step", "position"),
    everywhere(
        (step for step in STEPS if step not in ("stage", "tidy")),
        ("commit", "beside"), ("put manifest", "ahead"), ("delete", "ahead"),
    ),
)  # fmt: skip
def test_killed_and_its_write_arrives_late(step: str, position: str, scene: Scene, successors: StorageProxy) -> None:
    """The process is gone, but the network still holds what it has sent."""
    scene.land()
    older = scene.amplitudes()
    held, arrived = Gate(), threading.Event()
    scene.proxy.rule = at(step, Fault(hold=held, after=arrived.set))
    with ExitStack() as stack:
        watch = stack.enter_context(tries.Watch(scene.container, DAY))
        late = stack.enter_context(tries.export(scene.proxied, DAY.isoformat()))
        held.wait_until_reached(60)
        late.kill()
        late.end()
        scene.grow()
        finish = stack.enter_context(successor(scene, successors, POSITIONS[position]))
        held.open()
        assert arrived.wait(10)
        assert_honest(finish(), successors)
    assert_forwards(watch, [DAY_FILES, older, scene.amplitudes()])
    scene.assert_heals()


def assert_forwards(watch: tries.Watch, contents: list[Files]) -> None:
    """The day has held some of these contents, in this order: it never went back to an older one."""
    order = [contents.index(held) for held in watch.seen[DAY] if held is not None]
    assert len(order) == len(watch.seen[DAY])
    assert order == sorted(order)
