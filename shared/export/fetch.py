"""Fetches a day's windows one after the other, and stages their files while they arrive. Repeats or halves a window."""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from shared.amplitude import Answer
from shared.archive.members import Archive, Member
from shared.dates import Window, whole_day
from shared.days.documents import iso
from shared.days.manifest import LandedFile, RequestMade
from shared.days.status import RunStatus
from shared.errors import AmplitudeUnavailable, BrokenArchive, ExportError, ExportTooLarge, SuspiciousArchive
from shared.log import RunLog, log
from shared.retry import LONGEST_ASKED, backoff_seconds
from shared.settings import Settings
from shared.stop import pause
from shared.storage.uploader import Upload, Uploader


class Source(Protocol):
    """The source of windows."""

    def fetch(self, window: Window) -> AbstractContextManager[Answer | None]:
        """A window's archive as a stream; None if the window has no events."""


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file whose blocks are all staged, but not visible yet. `file.name` is the name of the future blob."""

    file: LandedFile
    block_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FetchedWindow:
    """A window that has been read to its end and verified."""

    request: RequestMade
    files: tuple[StagedFile, ...] = ()
    ignored: tuple[str, ...] = ()


class Progress(NamedTuple):
    """How far a try has come. `bytes` are decompressed. A failed attempt sets all figures back.

    `window`: the current window; `attempt`: the number of its current request. `hours_done`: hours whose files have
    been read. `retry_at` and `retry_reason`: set while the try waits for the next attempt.
    """

    window: str = ""
    attempt: int = 0
    hours_done: int = 0
    files: int = 0
    events: int = 0
    bytes: int = 0
    download_bytes: int = 0
    retry_at: str | None = None
    retry_reason: str | None = None

    @property
    def fields(self) -> dict[str, str | int]:
        """The known figures, for the status blob."""
        return {name: value for name, value in self._asdict().items() if value is not None}


LONGEST_FETCH = 12 * 3600.0
"""Seconds after which a try makes no more requests. So it ends long before the sweep may delete its blobs."""


@dataclass(slots=True)
class Fetcher:
    """Fetches the windows of one day, for the latest try of a run. `jitter` gives fractions from 0 to 1."""

    run: RunStatus
    source: Source
    uploader: Uploader
    settings: Settings
    run_log: RunLog
    on_progress: Callable[[Progress], None]
    on_too_large: Callable[[int], None]
    sleep: Callable[[float], None] = pause
    jitter: Callable[[], float] = random.random
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    _progress: Progress = field(default_factory=Progress)
    _stagings: int = 0
    _project: str = ""

    def day(self, max_hours: int) -> Iterator[FetchedWindow]:
        """The verified windows of the day, fetched on demand. None has more hours than `max_hours` and the settings.

        If a window is too large, `on_too_large` gets the number of hours that later requests may cover.
        """
        limit = min(self.settings.window_hours, max_hours)
        pending = deque([whole_day(self.run.date)])
        deadline = self.monotonic() + LONGEST_FETCH
        while pending:
            window = pending.popleft()
            if window.hours > limit:
                pending.extendleft(reversed(window.split(limit)))
                continue
            fetched = self._window(window, deadline)
            if fetched is None:
                limit = (window.hours + 1) // 2
                self.on_too_large(limit)
                pending.appendleft(window)
                continue
            yield fetched

    def _window(self, window: Window, deadline: float) -> FetchedWindow | None:
        """One window, with as many attempts as the settings allow; None if it must be requested in parts."""
        error: AmplitudeUnavailable | BrokenArchive | None = None
        for attempt in range(1, self.settings.max_attempts + 1):
            slow_before = _is_slow(error)
            if self.monotonic() > deadline:
                raise error or AmplitudeUnavailable(f"{window}: the try takes too long; the next one begins again.")
            try:
                return self._attempt(window, attempt)
            except ExportTooLarge as too_large:
                if window.hours == 1:
                    raise
                self._log_halved(window, too_large)
                return None
            except (AmplitudeUnavailable, BrokenArchive) as failed:
                error = failed
            self._check_asked(error)
            last = attempt == self.settings.max_attempts
            if _is_slow(error) and window.hours > 1 and (slow_before or last):
                self._log_halved(window, error)
                self.sleep(error.retry_after or 0)
                return None
            if last:
                error.attempts = attempt
                raise error
            self._wait(window, attempt, error)
        raise AssertionError("there is at least one attempt")

    def _log_halved(self, window: Window, error: ExportError) -> None:
        log(logging.WARNING, "window_halved", **self._fields(window), **_what(error))

    def _check_asked(self, error: AmplitudeUnavailable | BrokenArchive) -> None:
        """End the try if Amplitude asks for a longer wait than a try may make."""
        if error.retry_after is not None and error.retry_after > LONGEST_ASKED:
            error.too_long = True
            raise error

    def _wait(self, window: Window, attempt: int, error: AmplitudeUnavailable | BrokenArchive) -> None:
        """Wait before the next attempt, for the time of `Retry-After` if there is one."""
        seconds = error.retry_after
        if seconds is None:
            throttled = isinstance(error, AmplitudeUnavailable) and error.throttled
            base = self.settings.retry_seconds * (2 if throttled else 1)
            seconds = backoff_seconds(attempt, base, self.jitter())
        what = {**self._fields(window), **_what(error)}
        log(logging.WARNING, "window_retry", **what, attempt=attempt, wait_seconds=round(seconds, 3))
        again = self.clock() + timedelta(seconds=seconds)
        self._note(window=str(window), attempt=attempt, retry_at=iso(again), retry_reason=f"{error.type}: {error}")
        self.sleep(seconds)

    def _attempt(self, window: Window, attempt: int) -> FetchedWindow:
        """Make one request. If the answer is bad, its staged blocks are discarded."""
        before, project, started = self._progress, self._project, self.monotonic()
        self._note(window=str(window), attempt=attempt, retry_at=None, retry_reason=None)
        try:
            with self.source.fetch(window) as answer:
                status, received = 404, 0
                files: tuple[StagedFile, ...] = ()
                ignored: tuple[str, ...] = ()
                if answer is not None:
                    files, ignored = self._read(window, answer)
                    status, received = answer.status, answer.received
        except BaseException as error:
            self.uploader.discard()
            self._progress, self._project = before, project
            self.run_log.add(str(window), "export", type(error).__name__, seconds=self.monotonic() - started)
            raise
        request = RequestMade(
            start=window.first_hour,
            end=window.last_hour,
            status=status,
            attempts=attempt,
            bytes=received,
            seconds=round(self.monotonic() - started, 3),
        )
        self._note(hours_done=before.hours_done + window.hours, download_bytes=before.download_bytes + received)
        events = sum(staged.file.events for staged in files)
        self.run_log.add(str(window), "export", status, size=received, seconds=request.seconds)
        log(logging.INFO, "window_done", **self.run.fields, **asdict(request), files=len(files), events=events)
        return FetchedWindow(request, files, ignored)

    def _read(self, window: Window, answer: Answer) -> tuple[tuple[StagedFile, ...], tuple[str, ...]]:
        """Stage each member while it is read. Returns only after the whole archive has been read and verified."""
        archive = Archive(answer.chunks, window, compressed=self.settings.format == "json.gz")
        before, staging, hours = self._progress, list[tuple[Member, Upload]](), set[int]()
        for member in archive:
            hours.add(member.hour)
            start = self._progress
            upload = self._upload(member)
            for stored, content in member:
                upload.write(stored, content)
                self._note(
                    # Files usually come in the order of their hours: the earlier ones are done.
                    hours_done=before.hours_done + len(hours) - 1,
                    files=before.files + len(staging),
                    bytes=start.bytes + member.bytes,
                    events=start.events + member.events,
                    download_bytes=before.download_bytes + answer.received,
                )
            upload.finish()
            staging.append((member, upload))
        self._note(files=before.files + len(staging))
        self.uploader.settle()
        files = tuple(_staged(member, upload) for member, upload in staging)
        return files, tuple(archive.ignored)

    def _upload(self, member: Member) -> Upload:
        if self._project not in ("", member.project):
            raise SuspiciousArchive(
                f"{member.source}: the day has events of project {self._project} and of {member.project}, but the keys "
                "of one project export that project only."
            )
        self._project = member.project
        # All block ids have one length. They are new for each attempt, so a late block of an earlier one replaces none.
        self._stagings += 1
        name = self.settings.names.event_file(
            self.run.date, member.hour, member.stem, self.run.try_id, self.settings.format
        )
        return self.uploader.upload(name, f"{self.run.try_id}-{self._stagings:07d}-")

    def _note(self, **changes: Any) -> None:
        self._progress = self._progress._replace(**changes)
        self.on_progress(self._progress)

    def _fields(self, window: Window) -> dict[str, str]:
        return {**self.run.fields, "start": window.first_hour, "end": window.last_hour}


def _staged(member: Member, upload: Upload) -> StagedFile:
    file = LandedFile(
        name=upload.name,
        source=member.source,
        hour=member.hour,
        part=member.part,
        bytes=member.bytes,
        events=member.events,
        sha256=upload.sha256,
    )
    return StagedFile(file, tuple(upload.block_ids))


def _is_slow(error: ExportError | None) -> bool:
    return isinstance(error, AmplitudeUnavailable) and error.slow


def _what(error: ExportError) -> dict[str, str]:
    return {"error_type": error.type, "error_message": str(error)}
