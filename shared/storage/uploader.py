"""Stages a try's files: fills blocks while the download runs, and sends and hashes them in other threads.

The number of bytes in flight is limited, not the number of files: a few large blocks, or many small files. Nothing
becomes visible here: `container` commits the blocks.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

BLOCK_BYTES = 8 * 1024 * 1024
"""Large enough to make the cost of a request unimportant, small enough for several to fit into memory."""

BYTES_IN_FLIGHT = 4 * BLOCK_BYTES
THREADS = 24
"""How many requests run at the same time, so that small files do not wait for each other."""

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
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="upload")
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._staging = _Budget(BYTES_IN_FLIGHT)
        # Hashing is faster than uploading, so its own, smaller budget is hardly ever used up.
        self._hashing = _Budget(BLOCK_BYTES * 2)
        self._futures: set[Future[None]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._hasher.shutdown(cancel_futures=True)

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
        """Run `first`, then stage a block, as soon as the budget allows. `size`: how many bytes this takes from it."""

        def task() -> None:
            first()
            self._stage(name, block_id, pieces)

        self._submit(self._pool, self._staging, size, task)

    def hash(self, update: Callable[[], None], size: int) -> None:
        """Run a file's next checksum step, in order."""
        self._submit(self._hasher, self._hashing, size, update)

    def settle(self) -> None:
        """Wait until nothing is in flight. Raises the error of a failed block."""
        wait(self._futures)
        self._raise_failed()

    def discard(self) -> None:
        """Wait until nothing is in flight, and ignore errors: the staged blocks are not used."""
        futures, self._futures = self._futures, set()
        for future in futures:
            future.cancel()
        wait(futures)

    def each(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Run tasks in parallel. If one fails, no more begin; after all have ended, raises the first failure."""
        futures = [self._pool.submit(task) for task in tasks]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            future.cancel()
        wait(futures)
        for future in futures:
            if not future.cancelled():
                future.result()

    def _submit(self, pool: ThreadPoolExecutor, budget: "_Budget", size: int, task: Callable[[], None]) -> None:
        self._raise_failed()  # now, and not only at the end of the download: the try has failed
        budget.take(size)
        future = pool.submit(task)
        future.add_done_callback(lambda _: budget.give_back(size))
        self._futures.add(future)

    def _raise_failed(self) -> None:
        finished = {future for future in self._futures if future.done()}
        self._futures -= finished
        for future in finished:
            future.result()


class _Budget:
    """The bytes that may be in flight. Only one thread takes from it.

    It may take more than the budget if nothing is in flight.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._out = 0
        self._changed = threading.Condition()

    def take(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._out == 0 or self._out + size <= self._size)
            self._out += size

    def give_back(self, size: int) -> None:
        with self._changed:
            self._out -= size
            self._changed.notify()
