"""Blocks in flight: bounded, in order, and never failing silently. Stages here wait for the test, not for a clock."""

import gc
import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.storage import uploader as module
from shared.storage.uploader import Stage, Upload, Uploader

BLOCK, BUDGET = 10, 40
SECONDS = 20
"""Far longer than anything here takes; only a failing test waits so long."""


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """Blocks of 10 bytes and 40 in flight, in place of 8 and 32 MiB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", BLOCK)
        patch.setattr(module, "BYTES_IN_FLIGHT", BUDGET)
        yield


class Storage:
    """Keeps what is staged. While `gate` is closed, every stage waits at it."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.staged: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.done_bytes = 0
        self._lock = threading.Lock()

    def stage(self, name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        """Stage a block once the gate is open."""
        data = b"".join(pieces)
        self.arrived.release()
        assert self.gate.wait(SECONDS)
        with self._lock:
            assert block_id not in self.staged[name]
            self.staged[name][block_id] = data
            self.done_bytes += len(data)

    @contextmanager
    def opened_soon(self) -> Iterator[None]:
        """Opens the gate from outside, and shows that what is done here has waited for it."""
        opener = threading.Timer(0.1, self.gate.set)
        opener.start()
        yield
        waited = self.gate.is_set()
        opener.join()
        assert waited

    def content(self, name: str, block_ids: list[str]) -> bytes:
        """What a commit of these blocks would make."""
        return b"".join(self.staged[name][block_id] for block_id in block_ids)


def failing(bad: str = "") -> Stage:
    """A stage that fails for one block, or for all."""

    def stage(name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        if bad in block_id:
            raise OSError(f"{name} {block_id} {sum(map(len, pieces))}")

    return stage


def write(uploader: Uploader, *pieces: bytes) -> Upload:
    """A file whose name and ids do not matter, not finished yet."""
    file = uploader.upload("file", "x-")
    for piece in pieces:
        file.write(piece, piece)
    return file


pieces = st.lists(st.binary(max_size=25), max_size=12)


@given(st.lists(pieces, max_size=4), st.booleans())
def test_blocks_make_the_file_however_it_was_cut(contents: list[list[bytes]], apart: bool) -> None:  # noqa: FBT001 - given
    """Joined in the order of their ids they are the bytes that were handed in, and the checksum is theirs.

    Files may be written in turns, and what lands may be other bytes than those that are hashed.
    """
    storage = Storage()
    storage.gate.set()
    with Uploader(storage.stage) as uploader:
        files = [uploader.upload(f"file-{n}", f"{n}-") for n in range(len(contents))]
        for turn in range(12):
            for file, content in zip(files, contents, strict=True):
                if turn < len(content):
                    file.write(b"" if apart and turn % 2 else content[turn], content[turn])
        for file in files:
            file.finish()
        uploader.settle()
        for file, content in zip(files, contents, strict=True):
            landed = [piece for turn, piece in enumerate(content) if not (apart and turn % 2)]
            assert storage.content(file.name, file.block_ids) == b"".join(landed)
            assert file.sha256 == hashlib.sha256(b"".join(content)).hexdigest()
            assert file.block_ids == sorted(file.block_ids)
            assert len({len(block_id) for block_id in file.block_ids}) <= 1, "the storage wants ids of one length"


@given(pieces)
def test_blocks_are_full_but_for_the_last(content: list[bytes]) -> None:
    """Each has at least a block's bytes, and none more than it needed of the piece that filled it."""
    storage = Storage()
    storage.gate.set()
    with Uploader(storage.stage) as uploader:
        file = write(uploader, *content)
        file.finish()
        uploader.settle()
    sizes = [len(storage.staged["file"][block_id]) for block_id in file.block_ids]
    assert all(BLOCK <= size < BLOCK + 25 for size in sizes[:-1])
    assert 0 not in sizes


def test_no_more_is_in_flight_than_the_budget() -> None:
    """Whoever writes is held up while the storage is slow: what was taken and not staged never exceeds the budget."""
    storage = Storage()
    in_flight: list[int] = []
    finished = threading.Event()

    def write_all(uploader: Uploader) -> None:
        file = uploader.upload("file", "x-")
        for written in range(1, 101):
            file.write(b"0123456789", b"")
            in_flight.append(written * BLOCK - storage.done_bytes)
        finished.set()

    with Uploader(storage.stage) as uploader:
        writer = threading.Thread(target=write_all, args=(uploader,))
        writer.start()
        for _ in range(BUDGET // BLOCK):
            assert storage.arrived.acquire(timeout=SECONDS), "as many stages run side by side as the budget allows"
        assert not finished.is_set()
        assert len(in_flight) <= BUDGET // BLOCK
        storage.gate.set()
        assert finished.wait(SECONDS)
        writer.join()
        uploader.settle()
    assert max(in_flight) <= BUDGET
    assert storage.done_bytes == 1000


def test_what_is_larger_than_the_budget_goes_alone() -> None:
    """It is staged when nothing else is in flight, rather than never."""
    storage = Storage()
    storage.gate.set()
    with Uploader(storage.stage) as uploader:
        write(uploader, *[b"x" * (BUDGET + 1)] * 3)
        uploader.settle()
    assert storage.done_bytes == 3 * (BUDGET + 1)


def test_small_files_are_staged_side_by_side() -> None:
    """A few bytes each: none waits for the round trip of another."""
    storage = Storage()
    with Uploader(storage.stage) as uploader:
        for n in range(BUDGET):
            file = uploader.upload(f"file-{n}", "x-")
            file.write(b"x", b"x")
            file.finish()
        settling = threading.Thread(target=uploader.settle)
        settling.start()
        for _ in range(module.THREADS):
            assert storage.arrived.acquire(timeout=SECONDS)
        storage.gate.set()
        settling.join()
    assert len(storage.staged) == BUDGET


@pytest.mark.parametrize(("stored", "content"), [(3, 8), (8, 3)])
def test_small_files_count_with_both_of_their_forms(stored: int, content: int) -> None:
    """Each holds eleven bytes in memory until it is hashed and sent, so only three fit into the budget."""
    storage = Storage()
    finished = threading.Event()

    def write_all(uploader: Uploader) -> None:
        for n in range(BUDGET):
            file = uploader.upload(f"file-{n}", "x-")
            file.write(b"x" * stored, b"y" * content)
            file.finish()
        finished.set()

    with Uploader(storage.stage) as uploader:
        writer = threading.Thread(target=write_all, args=(uploader,))
        writer.start()
        for _ in range(3):
            assert storage.arrived.acquire(timeout=SECONDS)
        assert not storage.arrived.acquire(timeout=0.1)
        storage.gate.set()
        assert finished.wait(SECONDS)
        writer.join()
        uploader.settle()
    assert storage.done_bytes == BUDGET * stored


def test_a_checksum_takes_its_steps_in_order_and_holds_up_what_is_too_much() -> None:
    """Also of a file that is one block as it is stored, and more as what it holds."""
    storage = Storage()
    with Uploader(storage.stage) as uploader:
        uploader.hash(lambda: storage.stage("slow", "", []), 0)
        file = uploader.upload("file", "x-")
        file.write(b"x", b"1" * BLOCK * 2)
        file.write(b"", b"2")
        with storage.opened_soon():
            file.finish()
        uploader.settle()
    assert file.sha256 == hashlib.sha256(b"1" * BLOCK * 2 + b"2").hexdigest()


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK * 3], ids="{} bytes".format)
def test_a_file_keeps_no_bytes_that_are_staged(size: int) -> None:
    """A day of many small files would otherwise be in memory as a whole."""
    gone: list[int] = []

    class Piece(bytes):
        def __del__(self) -> None:
            gone.append(len(self))

    storage = Storage()
    storage.gate.set()
    with Uploader(storage.stage) as uploader:
        file = write(uploader, Piece(size))
        file.finish()
        uploader.settle()
    gc.collect()
    assert gone == [size]
    assert file.sha256 == hashlib.sha256(bytes(size)).hexdigest()


def test_nothing_is_staged_before_a_block_is_full() -> None:
    """Bytes are handed on when a block is full, or at the end: each log entry stands where it must."""
    log: list[str] = []
    with Uploader(lambda _, block_id, pieces: log.append(f"{block_id} {sum(map(len, pieces))}")) as uploader:
        file = uploader.upload("file", "x-")
        for size in (4, 5, 3, 2):
            log.append(f"write {size}")
            file.write(b"x" * size, b"")
            uploader.settle()
        file.finish()
        uploader.settle()
    assert log == ["write 4", "write 5", "write 3", "x-00000 12", "write 2", "x-00001 2"]


def test_an_empty_file_has_no_blocks_and_the_checksum_of_nothing() -> None:
    with Uploader(failing()) as uploader:
        file = write(uploader, b"")
        file.finish()
        uploader.settle()
    assert (file.block_ids, file.sha256) == ([], hashlib.sha256().hexdigest())


def test_a_failed_block_fails_the_settling() -> None:
    """With the exception of the stage itself; and it is not remembered for what comes after."""
    with Uploader(failing("x-00001")) as uploader:
        write(uploader, *[b"x" * BLOCK] * 2)
        with pytest.raises(OSError, match="file x-00001 10"):
            uploader.settle()
        uploader.settle()


def test_a_failed_block_fails_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only at the end: nobody downloads gigabytes for a try that has failed."""
    # One block fits: the second is taken only when the first has ended, so at the third its failure is known.
    monkeypatch.setattr(module, "BYTES_IN_FLIGHT", BLOCK)
    with Uploader(failing()) as uploader:
        with pytest.raises(OSError, match="x-00000"):
            write(uploader, *[b"x" * BLOCK] * 3)
        uploader.discard()


def test_discard_waits_for_what_runs_and_forgets_what_waits() -> None:
    """Afterwards nothing of the failed answer is on its way any more, and the next can begin with a full budget."""
    storage = Storage()
    with Uploader(storage.stage) as uploader:
        write(uploader, *[b"x" * BLOCK] * (BUDGET // BLOCK))
        assert storage.arrived.acquire(timeout=SECONDS)
        with storage.opened_soon():
            uploader.discard()
        staged = storage.done_bytes
        again = uploader.upload("again", "y-")
        for _ in range(BUDGET // BLOCK):
            again.write(b"y" * BLOCK, b"y" * BLOCK)
        uploader.settle()
        assert len(storage.staged["again"]) == BUDGET // BLOCK
        assert storage.done_bytes == staged + BUDGET
    assert again.sha256 == hashlib.sha256(b"y" * BUDGET).hexdigest()


def test_discard_says_nothing_of_a_failure() -> None:
    """The answer that it belongs to is void anyway, and has an error of its own."""
    with Uploader(failing()) as uploader:
        write(uploader, b"x" * BLOCK)
        uploader.discard()
        uploader.settle()


def test_leaving_waits_for_what_runs() -> None:
    """No thread outlives the context, however it is left."""
    storage = Storage()
    threads = set(threading.enumerate())

    def leave() -> None:
        with Uploader(storage.stage) as uploader:
            write(uploader, b"x" * BLOCK)
            assert storage.arrived.acquire(timeout=SECONDS)
            raise KeyboardInterrupt

    with storage.opened_soon(), pytest.raises(KeyboardInterrupt):
        leave()
    assert set(threading.enumerate()) <= threads
    assert storage.done_bytes == BLOCK


def counted(count: list[int], error: Exception | None = None) -> Callable[[], None]:
    def task() -> None:
        count.append(1)
        if error:
            raise error

    return task


@pytest.mark.parametrize("busy", [True, False])
def test_threads_join_only_while_the_process_waits(monkeypatch: pytest.MonkeyPatch, *, busy: bool) -> None:
    """By the clocks of the process: tasks that compute would only hinder each other."""
    clock, processor = count(), count(step=module.BUSY_CORE if busy else 0)
    clocks = SimpleNamespace(monotonic=lambda: next(clock), process_time=lambda: next(processor))
    monkeypatch.setattr(module, "time", clocks)
    monkeypatch.setattr(module, "STALLED_SECONDS", SECONDS)
    threads: set[int] = set()
    with Uploader(failing()) as uploader:
        first, others = threading.Event(), threading.Barrier(1 if busy else 2, timeout=SECONDS)

        def task() -> None:
            if first.is_set():
                others.wait()
            first.set()
            threads.add(threading.get_ident())

        uploader.each([task] * 5)
    assert (len(threads) == 1) is busy


def test_tasks_run_side_by_side_and_all_of_them() -> None:
    barrier = threading.Barrier(module.THREADS, timeout=SECONDS)
    count: list[int] = []
    with Uploader(failing()) as uploader:
        uploader.each([lambda: count.append(barrier.wait()) for _ in range(module.THREADS)])
        uploader.each([])
    assert sorted(count) == list(range(module.THREADS))


def test_a_task_that_comes_later_does_not_wait_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the process waits, for example for a slow link."""
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=count().__next__, process_time=lambda: 0))
    monkeypatch.setattr(module, "STALLED_SECONDS", SECONDS)
    storage = Storage()
    with Uploader(storage.stage) as uploader:
        uploader.each([lambda: None])
        write(uploader, *[b"x" * BLOCK] * 3)
        for _ in range(3):
            assert storage.arrived.acquire(timeout=SECONDS)
        storage.gate.set()
        uploader.settle()


def test_a_failed_task_is_raised_once_none_runs() -> None:
    """What is to be cleaned up afterwards is not still being made."""
    began: list[int] = []
    with Uploader(failing()) as uploader:
        for others in (100, 10_000):  # the failure comes after all have been added, or before
            with pytest.raises(OSError, match="the third"):
                uploader.each([*[counted(began)] * 2, counted(began, OSError("the third")), *[counted(began)] * others])
            ended = len(began)
            uploader.each([counted(began)])
            assert len(began) == ended + 1


def test_tasks_are_never_waited_for_if_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses a thread: the first is missed, others are not."""
    start, allowed = threading.Thread.start, 0

    def refused(thread: threading.Thread) -> None:
        nonlocal allowed
        allowed -= 1
        if allowed < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    monkeypatch.setattr(module, "STALLED_SECONDS", 0.01)
    with Uploader(failing()) as uploader:
        with pytest.raises(RuntimeError, match="new thread"):
            write(uploader, b"x" * BLOCK)
        uploader.discard()
        allowed = 1
        began: list[int] = []
        slow = threading.Event()
        uploader.each([lambda: began.append(slow.wait(0.1))] * 3)
    assert len(began) == 3


class _Falsy(OSError):
    def __bool__(self) -> bool:
        return False


def test_no_failure_is_overlooked() -> None:
    """Not even an exception that counts as false."""

    def stage(*_: object) -> None:
        raise _Falsy

    with Uploader(stage) as uploader:
        write(uploader, b"x" * BLOCK)
        with pytest.raises(_Falsy):
            uploader.settle()
