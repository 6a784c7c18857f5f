"""An export's progress: a live line on a terminal, a plain line now and then where there is none."""

from __future__ import annotations

import time
from datetime import date
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from shared.dates import HOURS
from shared.export import fetch

PLAIN_SECONDS = 10
"""How often a plain line is written."""


class ExportProgress:
    """Shows how far the export of a day is, from `__enter__` to `__exit__`."""

    def __init__(self, console: Console, day: date) -> None:
        self._console = console
        self._day = day
        self._next_line = time.monotonic() + PLAIN_SECONDS
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[moved]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(f"{day}", total=HOURS, moved="asking Amplitude")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def waiting(self) -> None:
        """Say that another run has the day."""
        self._console.print(f"Another run has {self._day}; waiting for a minute, in case it is dead.")

    def update(self, progress: fetch.Progress) -> None:
        """Show the newest figures."""
        moved = f"{progress.bytes / 1e6:,.0f} MB from {progress.download_bytes / 1e6:,.0f} MB"
        self._bar.update(self._task, completed=progress.hours_done, moved=moved)
        if not self._console.is_terminal and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            self._console.print(f"{self._day}: {progress.hours_done} of {HOURS} hours, {moved}")
