"""Stages a try's files: fills blocks while the download runs, and sends and hashes them in other threads.

The number of bytes in flight is limited, not the number of files: a few large blocks, or many small files. Nothing
becomes visible here: `container` commits the blocks.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

BLOCK_BYTES = 8 * 1024 * 1024
"""Large enough to make the cost of a request unimportant, small enough for several to fit into memory."""

BYTES_IN_FLIGHT = 4 * BLOCK_BYTES
THREADS = 24
"""How many requests may run at the same time, so that small files do not wait for each other."""

BUSY_CORE = 0.75
"""If the process uses less of a core while a task runs, another thread joins."""

STALLED_SECONDS = 0.05
"""If no task ends for so long, the number of threads doubles."""

Stage = Callable[[str, str, Sequence[bytes]], None]
"""Stages one block: blob name, block id, and its bytes in pieces. Joining the pieces would copy each byte."""


class Upload:
    """One file. Takes its bytes. Its block ids and checksum are final after everything is staged."""

    def __init__(self, uploader: "Uploader", name: str, block_prefix: str) -> None:
        self.name = name
        self.block_ids: list[str] = []
        self._uploader = uploader
        self._block_prefix = block_prefix
        self._sha256 = hashlib.sha256()
        self._hashed = False
        self._stored: list[bytes] = []
        self._content: list[bytes] = []
        self._stored_bytes = 0
        self._content_bytes = 0

    def write(self, stored: bytes, content: bytes) -> None:
        """Take bytes to store, and the decompressed content of the same events (the same bytes, or not).

        Waits while too many bytes are in flight. Raises the error of an earlier block.
        """
        if stored:
            self._stored.append(stored)
            self._stored_bytes += len(stored)
        if content:
            self._content.append(content)
            self._content_bytes += len(content)
        if self._content_bytes >= BLOCK_BYTES:
            self._hash()
        if self._stored_bytes >= BLOCK_BYTES:
            self._stage(self._stored_bytes)

    def finish(self) -> None:
        """Send the remaining bytes. `sha256` and `block_ids` are final when the uploader has settled."""
        if self._stored and not self.block_ids and not self._hashed:
            # The thread that sends a small file also hashes it: one task for each file, not two.
            size = self._stored_bytes + (self._content_bytes if self._content != self._stored else 0)
            self._stage(size, self._update())
            return
        if self._content:
            self._hash()
        if self._stored:
            self._stage(self._stored_bytes)

    @property
    def sha256(self) -> str:
        """The checksum of the content, in hexadecimal digits."""
        return self._sha256.hexdigest()

    def _hash(self) -> None:
        size, self._hashed = self._content_bytes, True
        self._uploader.hash(self._update(), size)

    def _update(self) -> Callable[[], None]:
        """The next checksum step. It takes the content with it."""
        chunks, self._content, self._content_bytes = self._content, [], 0

        def update() -> None:
            for chunk in chunks:
                self._sha256.update(chunk)

        return update

    def _stage(self, size: int, first: Callable[[], None] = lambda: None) -> None:
        block_id = f"{self._block_prefix}{len(self.block_ids):05d}"
        pieces, self._stored, self._stored_bytes = self._stored, [], 0
        self.block_ids.append(block_id)
        self._uploader.stage(self.name, block_id, pieces, size, first)


class Uploader:
    """The threads and the budget of bytes that all files of a try share."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._senders = _Workers("upload", THREADS, BYTES_IN_FLIGHT)
        # Hashing is faster than uploading, so its own, smaller budget is hardly ever used up.
        self._hasher = _Workers("sha256", 1, BLOCK_BYTES * 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._senders.close()
        self._hasher.close()

    def upload(self, name: str, block_prefix: str) -> Upload:
        """A new file. `block_prefix` always has the same length, and was never used for this blob before."""
        return Upload(self, name, block_prefix)

    def stage(
        self,
        name: str,
        block_id: str,
        pieces: Sequence[bytes],
        size: int,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `first`, then stage a block, as soon as the budget allows. `size`: how many bytes this takes from it.

        Raises the error of an earlier block: a try that has failed downloads no more.
        """

        def task() -> None:
            first()
            self._stage(name, block_id, pieces)

        self._senders.add(task, size)

    def hash(self, update: Callable[[], None], size: int) -> None:
        """Run a file's next checksum step, in order."""
        self._hasher.add(update, size)

    def settle(self) -> None:
        """Wait until nothing is in flight. Raises the error of a failed block."""
        self._senders.finish()
        self._hasher.finish()

    def discard(self) -> None:
        """Wait until nothing is in flight, and ignore errors: the staged blocks are not used."""
        self._senders.drop()
        self._hasher.drop()

    def each(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Run tasks in parallel. If one fails, no more begin; after all have ended, raises the first failure."""
        try:
            for task in tasks:
                self._senders.add(task, 0)
            self._senders.finish()
        except BaseException:
            self._senders.drop()
            raise


class _Workers:
    """Runs tasks in their order, at first in one thread. Whoever adds them waits while too many bytes are in flight.

    Another thread joins only if the process used little of one core while a task ran, or if no task ends any more.
    Python runs one thread at a time, so more threads would only take turns, and each turn costs processor time.
    If a task fails, those that have not begun are dropped.
    """

    def __init__(self, name: str, most: int, budget: int) -> None:
        self._name = name
        self._most = most
        self._budget = budget
        self._tasks = deque[tuple[Callable[[], None], int]]()
        self._threads = set[threading.Thread]()
        self._running = self._bytes = 0
        self._idle = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def add(self, task: Callable[[], None], size: int) -> None:
        """Add a task. It may exceed the budget if no other is left. Raises the failure of an earlier one."""
        with self._changed:
            self._wait_until(
                lambda: self._failure is not None or self._bytes == 0 or self._bytes + size <= self._budget
            )
            if self._failure is not None:
                raise self._failure
            self._bytes += size
            self._tasks.append((task, size))
            if self._running == 0:
                self._start()
            elif self._idle:
                self._join()

    def finish(self) -> None:
        """Wait until no task is left. Raises the first failure, once."""
        with self._changed:
            self._wait_until(lambda: self._running == 0)
            failure, self._failure, self._bytes = self._failure, None, 0
        if failure is not None:
            raise failure

    def drop(self) -> None:
        """Drop the tasks that have not begun, wait for the others, and forget failures."""
        with self._changed:
            self._tasks.clear()
            self._wait_until(lambda: self._running == 0)
            self._failure, self._bytes = None, 0

    def close(self) -> None:
        """Drop the tasks that have not begun, and wait until all threads have ended."""
        self.drop()
        for thread in self._threads:
            thread.join()

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if not self._changed.wait(STALLED_SECONDS):
                for _ in range(self._running):
                    self._join()

    def _join(self) -> None:
        """Have one more thread work, if there is a task for it, and if the system allows one."""
        if self._tasks and self._running < self._most:
            with suppress(RuntimeError):
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=self._name)
        thread.start()  # waits for the lock before it takes a task
        self._running += 1
        self._threads = {thread, *filter(threading.Thread.is_alive, self._threads)}

    def _work(self) -> None:
        while next_task := self._next():
            task, size = next_task
            began, computed = time.monotonic(), time.process_time()
            failure = None
            try:
                task()
            except BaseException as error:  # noqa: BLE001 - whoever waits raises it
                failure = error
            self._idle = time.process_time() - computed < BUSY_CORE * (time.monotonic() - began)
            with self._changed:
                self._bytes -= size
                if failure is not None:
                    self._failure = failure if self._failure is None else self._failure
                    self._tasks.clear()
                if self._idle:
                    self._join()
                self._changed.notify()

    def _next(self) -> tuple[Callable[[], None], int] | None:
        with self._changed:
            if self._tasks:
                return self._tasks.popleft()
            self._running -= 1
            self._changed.notify()
            return None
