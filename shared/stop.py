"""A request to end this process: running work checks for it at safe points, and stops there.

Nothing is raised where a signal arrives, because that could leave an object or a clean-up half done.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import FrameType

from shared.errors import Interrupted

GRACE_SECONDS = 20
"""How long the process lives after SIGTERM if nothing else ends it. A run needs a fraction of that to stop."""
LOOK_SECONDS = 0.2
"""How often a wait looks at `received`."""
received: list[int] = []
"""The signals that asked this process to end, oldest first. Signal handlers append to it."""


def check_stop() -> None:
    """Raise Interrupted if the process is to end."""
    if received:
        raise Interrupted(
            "A signal stopped the run. A run from the queue comes back on its own. On the command line, export the "
            "day again."
        )


def wait_for(event: threading.Event, seconds: float = math.inf) -> bool:
    """Whether an event is set within that time. Returns early if the process is to end."""
    deadline = time.monotonic() + seconds
    while not received and not event.is_set() and (left := deadline - time.monotonic()) > 0:
        event.wait(min(left, LOOK_SECONDS))
    return event.is_set()


def pause(seconds: float) -> None:
    """Sleep. Raises Interrupted as soon as the process is to end."""
    wait_for(threading.Event(), seconds)
    check_stop()


def stoppable[T](work: Callable[[], T], seconds: float = math.inf) -> T:
    """Carry out work that may block. Raises TimeoutError after `seconds`, Interrupted if the process is to end."""
    future: Future[T] = Future()
    done = threading.Event()

    def carry_out() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            future.set_exception(error)
        done.set()

    threading.Thread(target=carry_out, daemon=True).start()
    if not wait_for(done, seconds):
        check_stop()
        raise TimeoutError
    return future.result()


def stop_on_sigterm() -> None:
    """Let SIGTERM stop a run at its next safe point. Outside the main thread this does nothing."""
    with suppress(ValueError):
        before = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            received.append(number)
            if callable(before):
                before(number, frame)  # that handler also ends the process
                return
            end = threading.Timer(GRACE_SECONDS, os._exit, [128 + signal.SIGTERM])
            end.daemon = True
            end.start()

        signal.signal(signal.SIGTERM, stop)
