"""The steps of the model: what a try, a sweep and an expiry do, request by request, and what can go wrong with each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.model import OLD, File, Manifest, Process, Request, Rule, Scenario, World, deliver, names

type Move = tuple[str, World]
"""What happens, in words, and the world after it."""


def moves(world: World, scenario: Scenario) -> Iterator[Move]:
    """All that can happen next."""
    if world.holder:
        yield f"the lease of {world.holder} runs out", world._replace(holder="")
    for request in sorted(world.network, key=str):
        after, _ = deliver(world, request, scenario)
        yield f"what {request.by} sent arrives late: it {request}", after._replace(network=world.network - {request})
    for process in world.processes:
        for label, after in steps(world, process, scenario):
            yield f"{process.name} {label}", after


def steps(world: World, process: Process, scenario: Scenario) -> Iterator[Move]:
    """What one process can do next, the healthy way first; nothing where it has ended."""
    kind = {"sweep": Sweep, "expiry": Expiry}.get(process.name, Try)
    step: Callable[[], Iterator[Move]] | None = getattr(kind(world, process, scenario), process.step, None)
    return step() if step else iter(())


@dataclass(frozen=True, slots=True)
class Turn:
    """A process at its turn. A method named like its `step` yields what can come of that step."""

    world: World
    me: Process
    scenario: Scenario

    def obeys(self, rule: Rule) -> bool:
        """Whether the process keeps to a rule."""
        return self.scenario.obeys(rule)

    def goes_on(self, step: str, **changes: object) -> Process:
        """The process with another step ahead."""
        return self.me._replace(step=step, **changes)  # type: ignore[arg-type]  # fields of its own

    def take_lock(self, then: str) -> Iterator[Move]:
        """Acquire the lease, once nobody holds it."""
        if self.world.holder and self.obeys(Rule.LOCK):
            return
        for tick in self.scenario.ticks:
            label = "takes the lock" if tick else "takes the lock in the same second"
            changes = {"now": self.world.now + tick, "holder": self.me.name, "latest": self.me.name}
            yield label, self.world.having(self.goes_on(then), **changes)

    def say(self, word: str, done: Process) -> Iterator[Move]:
        """A status write. Sent anew after a lost answer, it goes over what stands by then."""
        displaced = self.goes_on("displaced")
        return self.send(Request(self.me.name, "say", word=word, over=self.world.status), done, displaced, displaced)

    def delete_next(self, give_up: str) -> Iterator[Move]:
        """Delete the first file that is left to do."""
        done = self.me._replace(todo=self.me.todo[1:])
        return self.send(Request(self.me.name, "delete", self.me.todo[:1]), done, self.goes_on(give_up))

    def list_doomed(self, doomed: set[File]) -> Iterator[Move]:
        """Settle what is to be deleted; the deletes follow one by one."""
        todo = tuple(sorted(doomed))
        yield f"finds {names(todo)} to delete", self.world.having(self.goes_on("delete", todo=todo))

    def send(self, request: Request, done: Process, give_up: Process, refused: Process | None = None) -> Iterator[Move]:
        """A request: carried out and answered, carried out without an answer, or held up in the network."""
        after, accepted = deliver(self.world, request, self.scenario)
        yield (
            (str(request), after.having(done))
            if accepted
            else (
                f"{request}: refused",
                self.world.having(refused or done),
            )
        )
        if not self.world.faults:
            return
        again = self.goes_on("put_again") if request.verb == "put" else self.me
        held = self.world._replace(network=self.world.network | {request})
        for outcome, fault in ((after, "the answer gets lost"), (held, "it is held up")):
            for then, reaction in ((again, "it is sent anew"), (give_up, f"{self.me.name} gives up")):
                if outcome != self.world:
                    changes = {"faults": self.world.faults - 1, "disturbed": True}
                    yield f"{request}: {fault}, {reaction}", outcome.having(then, **changes)


class Try(Turn):
    """One try at the day: lock, read and fetch, commit, put, clean, report."""

    __slots__ = ()

    def lock(self) -> Iterator[Move]:
        """Wait for the lease and take it."""
        # Tries differ in nothing but their names: that they start in order loses no interleaving.
        earlier = self.world.processes[: self.world.processes.index(self.me)]
        if not any(p.step == "lock" and p.name in "abc" for p in earlier):
            yield from self.take_lock("start")

    def start(self) -> Iterator[Move]:
        """Write the status for the first time under the lease: its time is the time of the lock."""
        return self.say("running", self.goes_on("read", locked=self.world.now))

    def read(self) -> Iterator[Move]:
        """Read the manifest, then fetch and verify the day."""
        landed = self.world.manifest
        for sees in self.scenario.sees:
            label = f"reads {landed or 'that there is no manifest'}, fetches y{sees}"
            if landed and sees < landed.version and self.obeys(Rule.FEWER_EVENTS):
                yield f"{label}: fewer events", self.world.having(self.failing())
            else:
                yield label, self.world.having(self.goes_on("compare", read=landed, sees=sees))

    def compare(self) -> Iterator[Move]:
        """See which landed files can be kept; the others are to be committed."""
        landed = self.me.read.files if self.me.read else ()
        if not self.obeys(Rule.KEEP_LANDED):
            landed = tuple(sorted(blob for blob, _ in self.world.blobs))
        token = self.me.name if self.obeys(Rule.UNIQUE_NAMES) else ""
        kept, new = [], []
        for name in self.scenario.files:
            data = self.me.sees if name == "y" else 0
            same = [f for f in landed if (f.name, f.data) == (name, data)]
            same = [f for f in same if self.world.holds(f) or not self.obeys(Rule.KEEP_PRESENT)]
            kept += same[:1]
            new += [] if same else [File(name, token, data)]
        step = "commit" if self.obeys(Rule.FILES_FIRST) else "put"
        after = self.goes_on(step, files=tuple(sorted(kept + new)), todo=tuple(new))
        yield f"keeps {names(tuple(kept))}", self.world.having(after)

    def commit(self) -> Iterator[Move]:
        """Commit the files one by one; a try may also fail at any of them, or before its put."""
        if not self.me.todo:
            last = self.obeys(Rule.DELETE_LAST) and self.obeys(Rule.FILES_FIRST)
            yield from steps(self.world, self.goes_on("put" if last else "clean"), self.scenario)
            return
        done = self.me._replace(todo=self.me.todo[1:])
        yield from self.send(Request(self.me.name, "commit", self.me.todo[:1]), done, self.failing())
        yield "fails", self.world.having(self.failing())

    def put(self) -> Iterator[Move]:
        """Put the manifest for the first time, or fail before it is sent."""
        yield from self.put_again()
        yield "fails", self.world.having(self.failing())

    def put_again(self) -> Iterator[Move]:
        """Put the manifest."""
        read = self.me.read if self.obeys(Rule.CONDITION_READ) else self.world.manifest
        over = "*" if not self.obeys(Rule.CONDITION) else read.author if read else ""
        after = "commit" if not self.obeys(Rule.FILES_FIRST) else "clean" if self.obeys(Rule.DELETE_LAST) else "delete"
        refused = self.goes_on("look" if self.obeys(Rule.LOOK) else "refused")
        request = Request(self.me.name, "put", self.me.files, over=over)
        return self.send(request, self.goes_on(after), self.ending("unknown"), refused)

    def look(self) -> Iterator[Move]:
        """Look whose manifest stands after a refused put."""
        standing = self.world.manifest
        mine = standing is not None and (standing.author == self.me.name or not self.obeys(Rule.LOOK_TRY))
        after = self.goes_on("clean") if mine else self.displaced_by(standing)
        yield (
            f"looks and takes {standing or 'none'} for {'its own' if mine else 'no work of its own'}",
            (self.world.having(after)),
        )

    def clean(self) -> Iterator[Move]:
        """Settle what step 4 deletes."""
        replaced = self.me.read if self.obeys(Rule.REPLACED_READ) else self.world.manifest
        doomed = {*replaced.files} if replaced and self.obeys(Rule.DELETE_REPLACED) else set()
        if self.obeys(Rule.DELETE_LEFTOVERS):
            limit = self.me.locked if self.obeys(Rule.STRICTLY_OLDER) else self.me.locked + 1
            doomed |= {blob for blob, at in self.world.blobs if at < limit or not self.obeys(Rule.OLDER)}
        return self.list_doomed(doomed - {*self.me.files})

    def delete(self) -> Iterator[Move]:
        """Delete file by file, then report."""
        if self.me.todo:
            return self.delete_next("unknown")
        if not self.obeys(Rule.DELETE_LAST) and self.me.name not in self.world.landed:
            return steps(self.world, self.goes_on("put"), self.scenario)
        return self.say("complete", self.goes_on("complete"))

    def undo(self) -> Iterator[Move]:
        """Take the own files away file by file, then report."""
        return self.delete_next("failed") if self.me.todo else self.say("failed", self.goes_on("failed"))

    def undo_refused(self) -> Iterator[Move]:
        """Take away what the refused manifest would have listed, file by file."""
        return (
            self.delete_next("refused")
            if self.me.todo
            else iter([("ends", self.world.having(self.goes_on("refused")))])
        )

    def displaced_by(self, standing: Manifest | None) -> Process:
        """The try after it has seen that its put was refused, and what is in place.

        No copy of the put can come through later: an etag never comes back. Only an absence might.
        """
        listed = standing.files if standing and self.obeys(Rule.UNDO_UNLISTED) else ()
        own = tuple(f for f in self.me.files if f.token == self.me.name and f not in listed)
        removes = (standing or self.me.read) and self.obeys(Rule.UNDO_REFUSED)
        return self.goes_on("undo_refused", todo=own if removes else ())

    def failing(self) -> Process:
        """The try after it has failed with its put unsent."""
        own = tuple(f for f in self.me.files if f.token in (self.me.name, "") and self.obeys(Rule.UNDO))
        return self.goes_on("undo", todo=own)

    def ending(self, step: str) -> Process:
        """The try after it has ended with its put sent, and its outcome unknown."""
        return self.goes_on(step) if self.obeys(Rule.NO_UNDO) else self.failing()


class Sweep(Turn):
    """The nightly removal of what dead tries left."""

    __slots__ = ()

    def read(self) -> Iterator[Move]:
        """Read the manifest."""
        landed = self.world.manifest
        yield f"reads {landed or 'that there is no manifest'}", self.world.having(self.goes_on("list", read=landed))

    def list(self) -> Iterator[Move]:
        """List the folder."""
        listed = self.me.read.files if self.me.read and self.obeys(Rule.SWEEP_UNLISTED) else ()
        old = {blob for blob, at in self.world.blobs if at == OLD or not self.obeys(Rule.SWEEP_AGE)}
        return self.list_doomed(old - {*listed})

    def delete(self) -> Iterator[Move]:
        """Delete file by file."""
        return self.delete_next("ended") if self.me.todo else iter(())


class Expiry(Turn):
    """The end of a day beyond the retention."""

    __slots__ = ()

    def lock(self) -> Iterator[Move]:
        """Take the lease of a day whose status no run has touched."""
        if self.world.status.startswith("- ") or not self.obeys(Rule.EXPIRY_WAITS):
            yield from self.take_lock("read" if self.obeys(Rule.EXPIRY_READS_FIRST) else "start")

    def read(self) -> Iterator[Move]:
        """Read the manifest."""
        landed = self.world.manifest
        step = "start" if self.obeys(Rule.EXPIRY_READS_FIRST) else self.first()
        yield f"reads {landed or 'that there is no manifest'}", self.world.having(self.goes_on(step, read=landed))

    def start(self) -> Iterator[Move]:
        """Write the status under the lease, which proves that it was held until now."""
        step = self.first() if self.obeys(Rule.EXPIRY_READS_FIRST) else "read"
        return self.say("expired", self.goes_on(step, locked=self.world.now))

    def first(self) -> str:
        """What comes first of the deletes."""
        return "drop" if self.obeys(Rule.EXPIRY_MANIFEST_FIRST) else "list"

    def drop(self) -> Iterator[Move]:
        """Delete the manifest."""
        over = "*" if not self.obeys(Rule.EXPIRY_CONDITION) else self.me.read.author if self.me.read else ""
        done = self.goes_on("list" if self.obeys(Rule.EXPIRY_MANIFEST_FIRST) else "ended")
        # A manifest that is gone already is as good as deleted: the answer may have got lost.
        refused = self.goes_on("ended") if self.world.manifest else done
        return self.send(Request(self.me.name, "drop", over=over), done, self.goes_on("ended"), refused)

    def list(self) -> Iterator[Move]:
        """List the folder."""
        limit = self.me.locked
        return self.list_doomed({f for f, at in self.world.blobs if at < limit or not self.obeys(Rule.EXPIRY_OLDER)})

    def delete(self) -> Iterator[Move]:
        """Delete file by file."""
        if self.me.todo:
            return self.delete_next("ended")
        return iter(()) if self.obeys(Rule.EXPIRY_MANIFEST_FIRST) else self.drop()
