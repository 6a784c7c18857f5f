"""Windows of a day: how far a try is while they download, and when it gives up."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from threading import Event

import pytest

from shared.amplitude import Answer
from shared.dates import Window
from shared.days.state import RunState
from shared.days.status import RunStatus
from shared.errors import AmplitudeUnavailable, BrokenArchive, ExportTooLarge, StorageUnavailable
from shared.export.fetch import LONGEST_FETCH, FetchedWindow, Fetcher, Progress
from shared.log import RunLog
from shared.retry import LONGEST_ASKED
from shared.settings import Settings, load_settings
from shared.storage.uploader import Stage, Uploader
from tests.unit.archives import DAY, File, build, chunked, event_name

NOW = datetime(2025, 11, 5, 3, 30, tzinfo=UTC)
LINES = b'{"n":1}\n{"n":2}\n\n'
RUN = RunStatus(DAY, RunState.RUNNING, "run", "timer", try_id="5f3c9a1e", started_at=NOW)
NEEDED = {"AMP_API_KEY": "key", "AMP_SECRET_KEY": "secret", "EXPORT_STORAGE": "UseDevelopmentStorage=true"}
SETTINGS = load_settings(NEEDED)


def archive(window: Window) -> bytes:
    """Two files for each hour of the window but the second, stored, so that bytes come as they are sent."""
    hours = [hour for hour in range(window.start, window.end) if hour != window.start + 1]
    return build(File(event_name(hour, part), gzip.compress(LINES, 0, mtime=0)) for hour in hours for part in (0, 1))


@dataclass
class Amplitude:
    """Answers with what `answers` holds, an error or the bytes of an archive, and with good archives after that."""

    answers: list[Exception | bytes] = field(default_factory=list)

    @contextmanager
    def fetch(self, window: Window) -> Iterator[Answer | None]:
        """The archive in chunks of 100 bytes."""
        told = self.answers.pop(0) if self.answers else archive(window)
        if isinstance(told, Exception):
            raise told
        answer = Answer(200, iter(()))

        def chunks() -> Iterator[bytes]:
            for chunk in chunked(told, 100):
                answer.received += len(chunk)
                yield chunk

        answer.chunks = chunks()
        yield answer


def stage(name: str, block_id: str, block: Sequence[bytes]) -> None:
    """Forget the block."""


def fetch(
    amplitude: Amplitude,
    settings: Settings = SETTINGS,
    monotonic: Callable[[], float] = lambda: 0.0,
    put: Stage = stage,
    sleep: Callable[[float], None] = lambda _: None,
) -> tuple[list[FetchedWindow], list[Progress]]:
    """All windows, and each note of progress."""
    notes: list[Progress] = []
    with Uploader(put) as uploader:
        fetcher = Fetcher(
            run=RUN, source=amplitude, uploader=uploader, settings=settings, run_log=RunLog(lambda: NOW),
            on_progress=notes.append, on_too_large=lambda _: None, sleep=sleep, jitter=lambda: 1.0,
            clock=lambda: NOW, monotonic=monotonic,
        )  # fmt: skip
        return list(fetcher.day(24)), notes


@pytest.mark.parametrize(
    ("answers", "starts"), [([], [0, 5, 10, 15, 20]), ([ExportTooLarge("")], [0, 3, 5, 8, 10, 13, 15, 18, 20, 23])]
)
def test_all_figures_move_while_a_window_downloads_and_end_at_the_totals(
    answers: list[Exception | bytes], starts: list[int]
) -> None:
    windows, notes = fetch(Amplitude([*answers]), replace(SETTINGS, window_hours=5))
    assert [int(window.request.start[-2:]) for window in windows] == starts
    files = [staged.file for window in windows for staged in window.files]
    last = notes[-1]
    assert (last.hours_done, last.files, last.events) == (24, len(files), 2 * len(files))
    assert last.bytes == sum(file.bytes for file in files)
    assert last.download_bytes == sum(window.request.bytes for window in windows)
    for name in ("hours_done", "files", "events", "bytes", "download_bytes"):
        values = [getattr(note, name) for note in notes]
        assert values == sorted(values)
        assert len(set(values)) > 15, f"{name} moves"
    assert {note.attempt for note in notes} == {1}


@pytest.mark.parametrize("retry_after", [None, LONGEST_ASKED])
def test_a_pending_retry_is_told_with_its_reason_and_time(retry_after: float | None) -> None:
    first = AmplitudeUnavailable("Amplitude answered 503.", retry_after=retry_after)
    _, notes = fetch(Amplitude([first, archive(Window(DAY, 0, 24))[:-1]]))
    pending = [note for note in notes if note.retry_at]
    waits = (1, 2) if retry_after is None else (LONGEST_ASKED, 2)
    assert [note.retry_at for note in pending] == [
        f"{NOW + timedelta(seconds=wait):%Y-%m-%dT%H:%M:%SZ}" for wait in waits
    ]
    assert [note.attempt for note in pending] == [1, 2]
    assert pending[0].retry_reason == "AmplitudeUnavailable: Amplitude answered 503."
    assert str(pending[1].retry_reason).startswith("BrokenArchive: The archive is cut")
    assert "retry_at" in pending[0].fields
    assert "retry_at" not in notes[-1].fields
    assert (notes[-1].attempt, notes[-1].hours_done) == (3, 24)


def test_what_an_answer_brought_that_failed_does_not_count() -> None:
    """Nor may a block of it that arrives late be taken for one of the next."""
    broken = archive(Window(DAY, 0, 24))[:-1].replace(b"187520", b"999999")
    ids: list[str] = []
    _, notes = fetch(Amplitude([broken]), put=lambda _, block_id, __: ids.append(block_id))
    _, good = fetch(Amplitude())
    assert notes[-1]._replace(attempt=1) == good[-1]
    assert len(set(ids)) == len(ids)


def test_what_is_slow_twice_is_asked_for_in_halves_after_the_wait_that_is_asked_for() -> None:
    waits: list[float] = []
    windows, _ = fetch(Amplitude([AmplitudeUnavailable("", retry_after=7.0, slow=True)] * 2), sleep=waits.append)
    assert (waits, len(windows)) == ([7.0, 7.0], 2)


def test_a_try_asks_for_nothing_more_once_it_takes_too_long() -> None:
    """It ends with the reason of the last attempt, as an error that lets the run come back."""
    clock = iter([0.0, 0.0, 0.0, 0.0, LONGEST_FETCH + 1])
    amplitude = Amplitude([BrokenArchive("damaged")] * 3)
    with pytest.raises(BrokenArchive, match="damaged"):
        fetch(amplitude, monotonic=lambda: next(clock))
    assert len(amplitude.answers) == 2


def test_a_block_of_a_bad_answer_that_fails_late_fails_no_other_attempt() -> None:
    ended = Event()

    class Ending(Amplitude):
        """Says when its answer has ended."""

        @contextmanager
        def fetch(self, window: Window) -> Iterator[Answer | None]:
            """See above."""
            try:
                with super().fetch(window) as answer:
                    yield answer
            finally:
                ended.set()

    def late(*_: object) -> None:
        if not ended.is_set():
            ended.wait()
            raise StorageUnavailable("late")

    windows, _ = fetch(Ending([archive(Window(DAY, 0, 24))[:-1]]), put=late)
    assert windows[0].request.attempts == 2
