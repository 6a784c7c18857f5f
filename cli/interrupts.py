"""Ctrl-C and SIGTERM in one place: a command decides what the first one does, and a second one ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def end_at_once(number: int) -> None:
    """For code that only loads or reads: there is nothing to clean up but a progress bar, which hides the cursor."""
    if os.isatty(2):
        os.write(2, b"\x1b[?25h\n")
    os._exit(128 + number)


def raise_at_once(number: int) -> None:
    """For commands that clean up by themselves, wherever they are."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def install() -> None:
    """Take both signals over, before anything else is imported: a command ends without a traceback at any time."""
    _take_over(end_at_once)


@contextmanager
def handled(first: Callable[[int], None]) -> Iterator[None]:
    """Inside the block, call `first` with the first signal's number."""
    before = _take_over(first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_over(first: Callable[[int], None]) -> dict[int, signal._HANDLER]:
    """Handle both signals, but not one that is ignored, as in a background job. Returns the previous handlers."""
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        received.append(number)
        (first if len(received) == 1 else end_at_once)(number)

    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    taken = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in taken:
        signal.signal(number, handle)
    return taken
