"""Processes of `python -m` that start in no time: they are forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(
    [__name__, "tests.faults.tries", "cli.main", "cli.export", "cli.coverage", "local.host.web", "local.host.queues"]
)


class Forked:
    """As much of `subprocess.Popen` as is asked for here, of a command `[python, "-m", module, *arguments]`.

    Its streams are pipes of text. It does not outlive a `with` block, nor this process.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], **_: object) -> None:
        self.args = command
        pipes = [forks.Pipe(duplex=False) for _ in range(3)]
        theirs = (pipes[0][0], pipes[1][1], pipes[2][1])
        self._process = forks.Process(target=_run, args=(command[2:], cwd, dict(env), theirs), daemon=True)
        self._process.start()
        self.stdin, self.stdout, self.stderr = (
            open(os.dup(ours.fileno()), mode, encoding="utf-8", errors="replace")  # noqa: PTH123, SIM115 - closed by their user
            for ours, mode in ((pipes[0][1], "w"), (pipes[1][0], "r"), (pipes[2][0], "r"))
        )
        for pipe in pipes:
            for end in pipe:
                end.close()
        self.pid = self._process.pid
        self.terminate, self.kill = self._process.terminate, self._process.kill

    @property
    def returncode(self) -> int | None:
        """The exit code; negative after a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """All that it writes to stdout and stderr, to its end."""
        with ThreadPoolExecutor() as pool:
            out, err = pool.map(lambda stream: stream.read(), (self.stdout, self.stderr))
        self.wait()
        return out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.kill()
        self.wait()
        for stream in (self.stdin, self.stdout, self.stderr):
            stream.close()


def _run(command: Sequence[str], folder: Path, environ: Mapping[str, str], pipes: Sequence[Connection]) -> None:
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115 - as in any new one
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv[1:] = command[1:]
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)
