"""A request that this process ends: a run looks at it at safe points, and stops there by itself."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType

from shared.errors import Interrupted

GRACE_SECONDS = 20
"""How long after SIGTERM a process lives that nothing else ends. A run needs a fraction of it to stop."""
_asked = threading.Event()


def check_stop() -> None:
    """Raise Interrupted if the process is to end."""
    if _asked.is_set():
        raise Interrupted("The host stops this process, so the run has stopped too. It comes back by itself.")


def stop_on_sigterm() -> None:
    """Let SIGTERM stop a run at its next safe point. Outside the main thread this does nothing."""
    with suppress(ValueError):
        before = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            _asked.set()
            if callable(before):
                before(number, frame)  # whoever handles the signal also ends the process
                return
            end = threading.Timer(GRACE_SECONDS, _end)
            end.daemon = True
            end.start()

        signal.signal(signal.SIGTERM, stop)


def _end() -> None:
    os._exit(128 + signal.SIGTERM)
