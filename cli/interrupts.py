"""Ctrl-C and SIGTERM in one place: the first ends the command and lets it clean up, a second ends it at once."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType

SOON = 0.01
"""How often a signal that a finalizer swallowed is sent again, in seconds, until it ends the command."""


class _Ends:
    """Raises what ends the command: KeyboardInterrupt for Ctrl-C, SystemExit for SIGTERM."""

    def __init__(self) -> None:
        self.number = 0
        self.swallowed = False
        self.in_hook = False

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.in_hook:
            return  # an exception would be swallowed here too; the signal is sent again
        if self.number and not self.swallowed:
            os._exit(128 + number)
        self.number, self.swallowed = number, False
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def unraisable(self, unraisable: sys.UnraisableHookArgs, /) -> None:
        """Deliver a signal again whose exception Python would print and forget: it was raised in a finalizer."""
        if self.number and issubclass(unraisable.exc_type, (KeyboardInterrupt, SystemExit)):
            self.in_hook = self.swallowed = True
            threading.Thread(target=self._send_again, daemon=True).start()
            self.in_hook = False
        else:
            sys.__unraisablehook__(unraisable)

    def _send_again(self) -> None:
        while self.swallowed:
            time.sleep(SOON)
            _deliver(self.number)


def _deliver(number: int) -> None:
    """Send a signal to the main thread, whatever it waits for. Windows can only wake it up between two steps."""
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def install() -> None:
    """Take both signals over; not one that is ignored, as in a background job. To be called before anything else."""
    ends = _Ends()
    sys.unraisablehook = ends.unraisable
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, ends)
