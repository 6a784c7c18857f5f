"""The promises of the landing protocol, and the search for a way to break one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from tests.faults.model import OLD, Process, Scenario, World
from tests.faults.model_steps import moves, steps

type Promise = Callable[[World, World], str]
"""What a move from one world to the next breaks, in words; empty where all is well."""


def whole(_: World, world: World) -> str:
    """A manifest lists only files that are there with their bytes."""
    if world.manifest and world.manifest.author != "damaged" and not all(map(world.holds, world.manifest.files)):
        return f"the manifest of {world.manifest.author} lists a file that is gone or changed"
    return ""


def nothing_lost(before: World, world: World) -> str:
    """A landed day neither shrinks nor goes, except that expiry takes what no run has touched for long."""
    if before.manifest is None or before.manifest == world.manifest:
        return ""
    if world.manifest is None:
        return "" if before.manifest.author == "o" else f"the day that {before.manifest.author} landed has gone"
    return "the landed day has lost events" if world.manifest.version < before.manifest.version else ""


def told_true(_: World, world: World) -> str:
    """What a try reports is so: `complete` was landed, `failed` and `refused` did not land."""
    for try_ in world.processes:
        if try_.step == "complete" and try_.name not in world.landed:
            return f"{try_.name} reports complete, and has never landed"
        if try_.step in ("failed", "refused") and world.manifest and world.manifest.author == try_.name:
            return f"{try_.name} reports {try_.step}, and the manifest is its own"
    return ""


def status_true(before: World, world: World) -> str:
    """The status tells of the run that locked last, and never goes back from its end."""
    if before.status == world.status:
        return ""
    (was, word), (name, _) = before.status.split(), world.status.split()
    if name != world.latest:
        return f"the status says {world.status!r}, though {world.latest} has taken over"
    return (
        f"the status goes back from {before.status!r} to {world.status!r}" if was == name and word != "running" else ""
    )


def tidy(before: World, world: World) -> str:
    """A try that fails takes its files with it, where nothing went wrong on the way."""
    del before
    listed = world.manifest.files if world.manifest else ()
    for try_ in () if world.disturbed else world.processes:
        left = [blob for blob, _ in world.blobs if blob.token == try_.name and blob not in listed]
        if left and try_.step in ("failed", "refused"):
            return f"{try_.name} has {try_.step} and left a file"
    return ""


READER: tuple[Promise, ...] = (whole, nothing_lost)
PROMISES: tuple[Promise, ...] = (*READER, told_true, status_true, tidy)


def mended(world: World, scenario: Scenario) -> str:
    """After one healthy try all is well, and nothing lies about but what is too young; after a sweep nothing at all."""
    again = replace(scenario, processes=("h",), faults=0, sees=(2,), ticks=(0,))
    start = again.world()._replace(now=world.now, blobs=world.blobs, manifest=world.manifest)
    after = _alone(start, again)
    (healthy,) = after.processes
    if healthy.step != "complete" or after.manifest is None or after.manifest.author != "h":
        return f"a healthy try cannot mend it: {healthy.step}"
    replaced = world.manifest.files if world.manifest else ()
    stray = {blob for blob, at in after.blobs if at < healthy.locked or blob in replaced} - {*after.manifest.files}
    if stray or whole(world, after):
        return f"a healthy try does not mend it: {sorted(stray) or 'files are missing'}"
    aged = frozenset((blob, OLD) for blob, _ in after.blobs)
    swept = _alone(after._replace(processes=(Process("sweep", "read"),), blobs=aged), again)
    return "" if {blob for blob, _ in swept.blobs} == {*after.manifest.files} else "the sweep leaves or takes too much"


def _alone(world: World, scenario: Scenario) -> World:
    """A process that nobody disturbs, to its end."""
    while move := next(steps(world, world.processes[0], scenario), None):
        world = move[1]
    return world


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: how many worlds it saw and, where a promise breaks, which and the shortest way there."""

    worlds: int
    broken: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{n:3}. {label}" for n, label in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"     -> {self.broken or f'nothing broken in {self.worlds:,} worlds'}"])


@cache
def search(scenario: Scenario, promises: tuple[Promise, ...] = PROMISES) -> Found:
    """Go through every world that can be reached, nearest first, until a promise breaks."""
    start = scenario.world()
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    mending: set[object] = set()
    ahead = deque([start])
    while ahead:
        world = ahead.popleft()
        for label, after in moves(world, scenario):
            if after in came_from:
                continue
            came_from[after] = (world, label)
            broken = next(filter(None, (promise(world, after) for promise in promises)), "")
            left = (after.blobs, after.manifest, after.now)
            if not broken and promises is PROMISES and left not in mending:
                mending.add(left)
                broken = mended(after, scenario)
            if broken:
                return Found(len(came_from), broken, _trace(came_from, after))
            ahead.append(after)
    return Found(len(came_from))


def _trace(came_from: dict[World, tuple[World, str] | None], world: World) -> tuple[str, ...]:
    labels = []
    while step := came_from[world]:
        world, label = step
        labels.append(label)
    return tuple(reversed(labels))
