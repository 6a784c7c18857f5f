"""Tries in processes of their own, to be killed, frozen and woken; and a reader that looks at all times."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobLeaseClient, ContainerClient, ExponentialRetry

from cli import main as cli
from shared.app import open_app
from shared.errors import TransientError
from shared.runs.messages import Order
from shared.runs.nightly import Nightly
from shared.runs.runs import utc_now
from tests.doubles.memory import MemoryBlob
from tests.faults.exports import leaks
from tests.faults.reader import File, Reader
from tests.forks import forks

Patches = Mapping[str, object]
"""New values for constants, by `module.NAME`."""

DEADLINE_SECONDS = 120


class Try:
    """A try at a day in a process of its own, which runs from the begin of a `with` block on, and not beyond its end.

    What acts on the process waits until there is one, so that it can be handed on before.
    """

    def __init__(self, run: Callable[[], int], environ: Mapping[str, str], patches: Patches) -> None:
        self._output = tempfile.NamedTemporaryFile(prefix="try-")  # noqa: SIM115 - closed with the try
        self._process = forks.Process(target=_run, args=(run, dict(environ), dict(patches), self._output.name))
        self._started = threading.Event()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._send(signal.SIGKILL)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._send(signal.SIGINT)

    def freeze(self) -> None:
        """Stop it where it is."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        assert self._started.wait(DEADLINE_SECONDS)
        assert self._process.pid
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(self._process.pid, number)

    def end(self) -> int:
        """Its exit code, once it has ended: that of the command line; -9 if it was killed."""
        self._process.join(DEADLINE_SECONDS)
        assert self._process.exitcode is not None, f"the try does not end:\n{self.output()}"
        return self._process.exitcode

    def output(self) -> str:
        """What it has written; no secret is in it."""
        written = Path(self._output.name).read_text()
        assert not leaks(written)
        return written

    def __enter__(self) -> Self:
        self._process.start()
        self._started.set()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._output.close()


def export(environ: Mapping[str, str], *arguments: str, patches: Patches | None = None) -> Try:
    """`python -m local export` with arguments."""
    return command(environ, "export", "--verbose", *arguments, patches=patches)


def command(environ: Mapping[str, str], *arguments: str, patches: Patches | None = None) -> Try:
    """`python -m local` with arguments."""
    return Try(_Command(arguments), environ, patches or {})


def delivery(environ: Mapping[str, str], message: str, *, patches: Patches | None = None) -> Try:
    """A worker that gets a message. Exit code 0: the message is done; 1: it comes back."""
    return Try(_Delivery(message), environ, patches or {})


def night(environ: Mapping[str, str], later: timedelta, *, patches: Patches | None = None) -> Try:
    """What the timer does, by a clock that is so much ahead."""
    return Try(_Night(later), environ, patches or {})


class _Night:
    def __init__(self, later: timedelta) -> None:
        self._later = later

    def __call__(self) -> int:
        logging.basicConfig(level=logging.INFO)
        with open_app(os.environ, clock=lambda: utc_now() + self._later) as app:
            Nightly(app.runs, app.container, app.settings).work()
        return 0


class _Command:
    def __init__(self, arguments: Collection[str]) -> None:
        self._arguments = list(arguments)

    def __call__(self) -> int:
        return cli.main(self._arguments)


class _Delivery:
    def __init__(self, message: str) -> None:
        self._message = message

    def __call__(self) -> int:
        return deliver(os.environ, self._message)


def deliver(environ: Mapping[str, str], message: str) -> int:
    """Do with a message what a worker does. Returns 0 if it is done, 1 if it comes back."""
    with open_app(environ) as app:
        try:
            app.runs.work(Order.from_message(message))
        except TransientError as error:
            sys.stderr.write(f"{error.type}: {error}\n")
            return 1
    return 0


def _run(run: Callable[[], int], environ: Mapping[str, str], patches: Patches, output: str) -> None:
    with open(output, "w") as file:  # noqa: PTH123 - its descriptor is what counts
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir("/")
    os.environ.update(environ)
    for name, value in patches.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(module), constant, value)
    sys.exit(run())


def hurried(retry_total: int, **_: int) -> ExponentialRetry:
    """The retries of the landing, as many as ever, without the pauses between them."""
    return ExponentialRetry(initial_backoff=0, increment_base=0, retry_total=retry_total, random_jitter_range=0)


HURRIED: dict[str, object] = {"shared.storage.connect.ExponentialRetry": hurried}


def break_lock(container: ContainerClient, day: date) -> None:
    """End the lease of a dead or frozen try now, rather than wait until it runs out."""
    blob = container.get_blob_client(f"status/date={day}.json")
    if isinstance(blob, MemoryBlob):
        blob.break_lease()
        return
    lease = BlobLeaseClient(blob)
    with suppress(ResourceExistsError):  # nobody holds it
        lease.break_lease(0)


def wait_until(test: Callable[[], bool]) -> None:
    """Return once a test holds; fail if it does not in good time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not test():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


def next_second() -> None:
    """Wait until the clock's second turns: the storage tells times in whole seconds."""
    time.sleep(1.01 - time.time() % 1)


class Watch:
    """A reader in a thread of its own that reads days all the while; a context manager.

    At its end it raises what it has found wrong, in no other order: a broken promise is an AssertionError.
    """

    def __init__(self, container: ContainerClient, *days: date) -> None:
        self.seen: dict[date, list[dict[File, bytes] | None]] = {day: [] for day in days}
        """What each day has held, in order, without repetitions; None: nothing that has landed."""
        self._reader = Reader(container)
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._error:
            raise self._error

    def _watch(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._look()
                self._stop.wait(max(0.03, 3 * (time.monotonic() - began)))  # leave the processor to those it watches
            self._look()
        except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
            self._error = error

    def _look(self) -> None:
        for day, seen in self.seen.items():
            held = self._reader.files(day)
            if not seen or seen[-1] != held:
                seen.append(held)
