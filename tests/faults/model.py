"""The landing protocol as a small state machine: its rules, its storage and its adversary.

A world is what storage holds, what is under way in the network, and where each process stands. A process (a try at
the day, a sweep, an expiry; see `model_steps.py`) takes one step at a time, and a step is one request to storage. The
adversary picks who moves next, and may at any moment let the lease run out, lose an answer, or hold a write up in the
network and deliver it later, or never. A crash needs no move of its own: it is a process that never moves again, and
`model_search.py` checks every world, not only the last ones.

Time: what stood at the start is more than 24 h old, all else is younger, for no process and no write lives that long.
The storage's clock is read in ticks; it may stand still or go on before a lock is taken. Nowhere else does a tick
change the outcome of a comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

OLD = -1
"""When the blobs of the start were written: more than 24 h ago."""


class Rule(Enum):
    """A rule of the protocol. Each can be broken, to see what it is good for."""

    FILES_FIRST = "the manifest is put after all of its files are committed"
    UNIQUE_NAMES = "each try commits under names of its own"
    WRITE_ONCE = "a file is committed only where nothing is"
    KEEP_LANDED = "a file is kept by reference only from the manifest that was read, never from what merely lies there"
    KEEP_PRESENT = "a landed file is kept by reference only if it is still there"
    FEWER_EVENTS = "fewer events than have landed are refused"
    CONDITION = "the manifest is put on a condition"
    CONDITION_READ = "the condition is the manifest read at the start, not one looked up before the put"
    LOOK = "a refused put is looked at"
    LOOK_TRY = "a refused put has succeeded only if the manifest names this very try, not just its run"
    UNDO = "a try that fails before its put takes its own files away"
    NO_UNDO = "once the put was sent, a try takes nothing back unless the storage has refused it"
    UNDO_REFUSED = "a try whose put was refused, and that has seen that it never came through, takes its own files away"
    UNDO_UNLISTED = "it takes away only those that the manifest in place does not list"
    DELETE_LAST = "nothing is deleted before the put"
    DELETE_REPLACED = "the files of the replaced manifest are deleted, however young"
    REPLACED_READ = "the replaced manifest is the one that was read, not the one that stands when the cleaning begins"
    DELETE_LEFTOVERS = "unlisted files older than the lock are deleted"
    OLDER = "unlisted files younger than the lock are left alone"
    STRICTLY_OLDER = "a file of the lock's own second counts as younger"
    SWEEP_AGE = "the sweep takes only what is older than 24 h"
    SWEEP_UNLISTED = "the sweep takes only what no manifest lists"
    EXPIRY_MANIFEST_FIRST = "expiry deletes the manifest before the files"
    EXPIRY_READS_FIRST = "expiry reads the manifest before it says `expired` under the lease"
    EXPIRY_CONDITION = "expiry deletes the manifest only if it is still the one that was read"
    EXPIRY_OLDER = "expiry deletes only files older than its lock"
    EXPIRY_WAITS = "expiry waits until no run has touched the status for 24 h"
    LOCK = "the lease lets in one process at a time"
    STATUS_LEASE = "the status is written only under the lease"
    STATUS_ORDER = "the status is written only over the one last seen"


class File(NamedTuple):
    """One file: `name` and `token` make the blob's name, `data` stands for its bytes (more is newer)."""

    name: str
    token: str
    data: int


def names(files: tuple[File, ...]) -> str:
    """Files in words: `y2.a` is file y with the bytes 2 as committed by try a."""
    return ", ".join(f"{file.name}{file.data}.{file.token}" for file in files) or "nothing"


class Manifest(NamedTuple):
    """What a day holds. Each try puts one manifest at most, so its author serves as its etag."""

    author: str
    files: tuple[File, ...]

    @property
    def version(self) -> int:
        """How much it holds."""
        return max(file.data for file in self.files)

    def __str__(self) -> str:
        return f"the manifest of {self.author}"


class Request(NamedTuple):
    """A write on its way to storage; `over` is what it must find there (`""`: nothing, `"*"`: anything)."""

    by: str
    verb: Literal["commit", "delete", "put", "drop", "say"]
    files: tuple[File, ...] = ()
    word: str = ""
    over: str = "*"

    def __str__(self) -> str:
        match self.verb:
            case "put":
                return f"puts the manifest of {names(self.files)}"
            case "drop":
                return "deletes the manifest"
            case "say":
                return f"writes the status {self.word}"
        return f"{self.verb}s {names(self.files)}"


class Process(NamedTuple):
    """A try, a sweep or an expiry; `step` is what it does next, or how it has ended."""

    name: str
    step: str
    locked: int = 0
    sees: int = 0
    read: Manifest | None = None
    files: tuple[File, ...] = ()
    todo: tuple[File, ...] = ()


class World(NamedTuple):
    """A state of everything. `latest` (who locked last) and `landed` (whose put took effect) serve only the checks."""

    processes: tuple[Process, ...]
    blobs: frozenset[tuple[File, int]]
    manifest: Manifest | None
    faults: int
    """How many more may happen."""
    disturbed: bool = False
    now: int = 0
    status: str = "- complete"
    holder: str = ""
    network: frozenset[Request] = frozenset()
    latest: str = "-"
    landed: frozenset[str] = frozenset()

    def having(self, process: Process, **changes: object) -> World:
        """The world after `process` has moved on."""
        processes = tuple(process if p.name == process.name else p for p in self.processes)
        return self._replace(processes=processes, **changes)  # type: ignore[arg-type]  # fields of its own

    def holds(self, file: File) -> bool:
        """Whether a file is there with its bytes."""
        return any(blob == file for blob, _ in self.blobs)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where a search begins, and what may happen in it."""

    processes: tuple[str, ...]
    """`sweep` and `expiry` first, then the tries `a`, `b`, `c`."""
    start: Literal["empty", "landed", "damaged", "leftovers"]
    """Nothing; a day of long ago and a dead try's file; the same with a landed file gone; the same without manifest."""
    faults: int
    """How many answers may get lost and writes be held up."""
    files: tuple[str, ...] = ("x", "y")
    """`x` has the same bytes in each export, `y` those that a try sees."""
    sees: tuple[int, ...] = (1, 2)
    ticks: tuple[int, ...] = (1,)
    """Whether the storage's clock goes on (1) before a lock is taken, stands still (0), or may do either."""
    broken: frozenset[Rule] = frozenset()

    def obeys(self, rule: Rule) -> bool:
        """Whether the processes keep to a rule."""
        return rule not in self.broken

    def world(self) -> World:
        """The first state."""
        processes = tuple(Process(name, "read" if name == "sweep" else "lock") for name in self.processes)
        token = "o" if self.obeys(Rule.UNIQUE_NAMES) else ""
        landed = tuple(File(name, token, 1 if name == "y" else 0) for name in self.files)
        blobs = {*landed, File("y", "s", 2)}
        if self.start == "damaged":
            blobs.remove(landed[0])
        manifest = {"landed": Manifest("o", landed), "damaged": Manifest("damaged", landed)}.get(self.start)
        old = [(blob, OLD) for blob in blobs if self.start != "empty"]
        return World(processes, frozenset(old), manifest, self.faults)


def deliver(world: World, request: Request, scenario: Scenario) -> tuple[World, bool]:
    """Storage carries a write out, or refuses it."""
    etag = world.manifest.author if world.manifest else ""
    match request.verb:
        case "commit":
            return _commit(world, request.files[0], scenario), True
        case "delete":
            return world._replace(blobs=_others(world, request.files[0])), True
        case "put" if request.over in ("*", etag):
            manifest = Manifest(request.by, request.files)
            return world._replace(manifest=manifest, landed=world.landed | {request.by}), True
        case "drop" if request.over in ("*", etag):
            return world._replace(manifest=None), True
        case "say" if _may_say(world, request, scenario):
            return world._replace(status=f"{request.by} {request.word}"), True
    return world, False


def _may_say(world: World, request: Request, scenario: Scenario) -> bool:
    leased = world.holder == request.by or not (scenario.obeys(Rule.STATUS_LEASE) and scenario.obeys(Rule.LOCK))
    return leased and (world.status == request.over or not scenario.obeys(Rule.STATUS_ORDER))


def _commit(world: World, file: File, scenario: Scenario) -> World:
    # A commit that finds its name taken is the try's own, sent before: nobody else has the name.
    others = _others(world, file)
    taken = len(others) < len(world.blobs)
    if taken and scenario.obeys(Rule.WRITE_ONCE) and scenario.obeys(Rule.UNIQUE_NAMES):
        return world
    return world._replace(blobs=others | {(file, world.now)})


def _others(world: World, file: File) -> frozenset[tuple[File, int]]:
    return frozenset((blob, at) for blob, at in world.blobs if (blob.name, blob.token) != (file.name, file.token))
