"""What the command line writes: if output is lost, this changes neither what a command did nor its exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

from rich.console import Console


class SafeStream:
    """A text stream that takes everything: once the other end is closed or the disk is full, it drops the rest.

    `lost` says whether something was dropped. Characters that the stream's encoding lacks are written as escapes.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.lost = stream is None
        self._stream = stream
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    @property
    def encoding(self) -> str:
        """The encoding of the stream beneath."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person is looking at a terminal."""
        return self._stream is not None and not self.lost and self._stream.isatty()

    def fileno(self) -> int:
        """The file descriptor beneath, for the terminal's size."""
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        if self._stream is not None and not self.lost:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self._give_up()
        return len(text)

    def flush(self) -> None:
        """Send what was written on its way, or drop it."""
        if self._stream is not None and not self.lost:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._give_up()

    def _give_up(self) -> None:
        self.lost = True
        with contextlib.suppress(OSError, ValueError):
            # What is still buffered goes nowhere, so that Python's own flush at the end does not fail.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def console(stream: SafeStream, *, wrap: bool = False) -> Console:
    """A console on a stream. `wrap`: break lines at its width, for a table."""
    return Console(file=stream, highlight=False, soft_wrap=not wrap)  # type: ignore[arg-type]  # all that a console uses


def stdout() -> SafeStream:
    """Standard output as it is now."""
    return SafeStream(sys.stdout)


def stderr() -> SafeStream:
    """Standard error as it is now."""
    return SafeStream(sys.stderr)
