"""An export's progress: a live line on a terminal, otherwise a plain line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from shared.dates import HOURS
from shared.export.fetch import Progress
from shared.text import visible

PLAIN_SECONDS = 10
"""How often a plain line is written."""


class ExportProgress:
    """Shows how far the export of a day has come, from `__enter__` to `__exit__`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_line = 0.0
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._day = ""
        self._task = self._bar.add_task("", total=HOURS, text="connecting to the storage")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @contextmanager
    def of(self, day: date) -> Iterator[None]:
        """Show this day's export inside the block."""
        self._day = str(day)
        self._next_line = time.monotonic() + PLAIN_SECONDS
        self._bar.reset(self._task, description=self._day, text="taking the day's lock")
        yield

    def waiting(self) -> None:
        """Say that another run has locked the day."""
        self._bar.update(self._task, text="waiting for another run")
        self._console.print(f"Another run has locked {self._day}. Waiting up to a minute, in case that run has died.")

    def update(self, progress: Progress) -> None:
        """Show the newest figures."""
        text = describe(progress)
        self._bar.update(self._task, completed=progress.hours_done, text=text)
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            self._console.print(f"{self._day}: {progress.hours_done} of {HOURS} hours, {text}")


def describe(progress: Progress) -> str:
    """The figures of a running export in a few words."""
    if progress.retry_at:
        reason = visible(progress.retry_reason or "")
        return f"attempt {progress.attempt} failed, the next one begins at {progress.retry_at}: {reason}"
    if not progress.download_bytes:
        return "waiting for Amplitude's answer"
    return f"{progress.bytes / 1e6:,.0f} MB from {progress.download_bytes / 1e6:,.0f} MB"
