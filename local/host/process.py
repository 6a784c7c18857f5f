"""Starts the host as a separate process, from a test or a command."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, ClassVar, NamedTuple, Self

import requests

from local.host.config import STORAGE

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
STOP_SECONDS = 15
REQUEST_SECONDS = 60
HOST_LOGGER = "local.host"
KEY_VARIABLE = "LOCAL_HOST_KEY"

_INDENT = "    "
_LINE = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) ([^ :]+): (.*)")


class HostError(Exception):
    """The host did not start or died, or a function failed."""


class LogLine(NamedTuple):
    """One log record. If its message has several lines, `message` has all of them."""

    level: str
    logger: str
    message: str


class _Format(logging.Formatter):
    """Writes one record per line, and indents the further lines of a message."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", f"\n{_INDENT}")


def log_format() -> logging.Formatter:
    """How the host writes its log, so that `FunctionsHost` can read it."""
    return _Format("%(levelname)s %(name)s: %(message)s")


class FunctionsHost:
    """Hosts an app in a separate process from `__enter__` to `__exit__`. The process also ends if its parent dies.

    The app gets this process's environment, and then `environ` and `connection_string` (as AzureWebJobsStorage).
    Settings that are still missing come from `settings_file`, a local.settings.json, if one is given.
    `lease_seconds`, `retry_seconds` and `max_dequeue_count` are whole numbers. They replace the values of the real
    host and of host.json: 10 minutes for which a message is hidden, the pause between tries, and the number of tries.
    `idle_seconds` is the longest pause before an idle queue is polled again. The real host's default is a minute.
    """

    popen: ClassVar[Callable[..., subprocess.Popen[str]]] = subprocess.Popen
    """What starts the process. Tests use something faster."""

    def __init__(  # noqa: PLR0913 - by keyword, most with a default
        self,
        *,
        app_dir: Path,
        connection_string: str,
        environ: Mapping[str, str] | None = None,
        key: str = "test-host-key",
        port: int = 0,
        settings_file: Path | None = None,
        lease_seconds: int = 600,
        retry_seconds: int | None = None,
        max_dequeue_count: int | None = None,
        idle_seconds: float = 0,
    ) -> None:
        self.key = key
        self.url = ""
        self._environ = {**os.environ, **(environ or {}), STORAGE: connection_string, "PYTHONUNBUFFERED": "1"}
        self._environ[KEY_VARIABLE] = key  # not an argument, because every user of the machine can see arguments
        options = {
            "app-dir": app_dir.resolve(),
            "port": port,
            "settings": settings_file.resolve() if settings_file else "",
            "lease-seconds": lease_seconds,
            "retry-seconds": retry_seconds,
            "max-dequeue-count": max_dequeue_count,
            "idle-seconds": idle_seconds,
        }
        self._options = [f"--{name}={value}" for name, value in options.items() if value is not None]
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[threading.Thread] = []
        self._open_streams = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running.pid

    @property
    def auth(self) -> dict[str, str]:
        """The header that lets a request through to a function of auth level FUNCTION."""
        return {"x-functions-key": self.key}

    def start(self) -> None:
        """Start the process and wait until it takes requests.

        Raises:
            HostError: the app could not be loaded; the message has the host's output.

        """
        self._process = self.popen(
            [sys.executable, "-m", "local.host", "--until-eof", *self._options],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self._process.stdout, self._process.stderr)
        ]
        self._open_streams = len(self._readers)
        for reader in self._readers:
            reader.start()
        try:
            ready = self.wait_for(lambda line: line.startswith('{"url": '), START_SECONDS)
        except HostError as error:
            self.kill()
            raise HostError(f"the host did not start:\n{self.output()}") from error
        self.url = json.loads(ready)["url"]

    def stop(self) -> None:
        """Tell the host to stop: it takes no more work, and waits a few seconds for functions. May be repeated."""
        process = self._running
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        self._close(process)

    def kill(self) -> None:
        """End it at once, like a crash (SIGKILL)."""
        self._running.kill()
        self._close(self._running)

    def fire_timer(self, name: str, *, past_due: bool = False) -> None:
        """Run a timer function now, and wait for its end.

        Raises:
            HostError: there is no such timer, or the function failed.

        """
        timer = json.dumps({"IsPastDue": past_due})
        answer = requests.post(
            f"{self.url}/admin/functions/{name}", json={"input": timer}, headers=self.auth, timeout=REQUEST_SECONDS
        )
        if answer.status_code != requests.codes.accepted:
            raise HostError(f"timer {name}: the host answered {answer.status_code}")
        mark = f"Id={answer.headers['x-ms-invocation-id']}, Duration="
        end = self.wait_for(lambda line: mark in line, REQUEST_SECONDS)
        if "(Succeeded" not in end:
            raise HostError(f"timer {name} failed:\n{self.output()}")

    def log_lines(self) -> list[LogLine]:
        """The app's log lines so far, oldest first, without the host's own lines."""
        found: list[LogLine] = []
        for line in self.output().splitlines():
            match = _LINE.fullmatch(line)
            if match:
                found.append(LogLine(*match.groups()))
            elif line.startswith(_INDENT) and found:
                found[-1] = found[-1]._replace(message=f"{found[-1].message}\n{line.removeprefix(_INDENT)}")
        return [line for line in found if line.logger != HOST_LOGGER]

    def output(self) -> str:
        """All output of the process so far."""
        with self._news:
            return "\n".join(self._lines)

    def wait_for(self, test: Callable[[str], bool], timeout: float) -> str:
        """The first line of the output that passes a test. Waits for it if it is not there yet.

        Raises:
            HostError: no such line came in time, or the process ended before.

        """
        with self._news:
            self._news.wait_for(lambda: any(map(test, self._lines)) or not self._open_streams, timeout)
            found = next(filter(test, self._lines), None)
        if found is None:
            raise HostError(f"the line did not come. The host wrote:\n{self.output()}")
        return found

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise HostError("the host was not started")
        return self._process

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._news:
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._open_streams -= 1
            self._news.notify_all()

    def _close(self, process: subprocess.Popen[str]) -> None:
        process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()
