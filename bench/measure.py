"""Runs contenders, each in a process of its own and in several rounds, and keeps the medians."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench.days import Volume, make_days
from bench.servers import ROOT, Certificates, Server, make_certificates, running, settings

GB, MB, MIB = 10**9, 10**6, 1024**2
LINK_BYTES = 200 * MB
"""A second. A 2 Gbit/s link carries somewhat more; a small Functions instance hardly has as much."""


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured: a function of `bench.contenders`, on a day of some volume, with app settings of its own."""

    name: str
    function: str
    volume: Volume
    environ: tuple[tuple[str, str], ...] = ()
    link: bool = False
    """Into a sink that takes no more than a common network would bring."""
    root: Path = ROOT
    """The checkout that it runs from."""
    again: bool = False
    """The second run into the same container is measured: the first one has landed the day."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Processor time is that of the contender's own process; `server_seconds` that of both servers."""

    bytes: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    server_seconds: float

    @property
    def mb_per_second(self) -> float:
        """Decompressed megabytes a second."""
        return self.bytes / MB / self.seconds

    @property
    def cpu_per_gb(self) -> float:
        """Processor seconds for a decompressed gigabyte."""
        return self.cpu_seconds / self.bytes * GB

    @property
    def all_cpu_per_gb(self) -> float:
        """The same with that of the servers."""
        return (self.cpu_seconds + self.server_seconds) / self.bytes * GB

    @property
    def peak_mib(self) -> float:
        """Peak memory in MiB."""
        return self.peak_bytes / MIB


@dataclass(slots=True)
class Bench:
    """The two servers, and the days that the one of them has."""

    archives: Server
    sink: Server
    link_sink: Server
    certificates: Certificates
    days: Mapping[Volume, date]
    folder: Path
    _containers: Iterator[int]

    def run(self, contender: Contender) -> Figures:
        """One run, into a container of its own."""
        day = self.days[contender.volume]
        sink = self.link_sink if contender.link else self.sink
        environ = {
            **os.environ,
            **settings(self.archives, sink, self.certificates, f"bench-{next(self._containers)}"),
            "BENCH_ARCHIVE": str(self.folder / f"{day:%Y%m%d}.zip"),
            "BENCH_BYTES": str(contender.volume.size),
            **dict(contender.environ),
        }
        if contender.again:
            self._run(contender, day, environ)
        before = self._server_seconds()
        figures = json.loads(self._run(contender, day, environ))
        return Figures(**figures, server_seconds=self._server_seconds() - before)

    def _run(self, contender: Contender, day: date, environ: Mapping[str, str]) -> bytes:
        return subprocess.run(  # noqa: S603 - this very interpreter, and our own module
            [sys.executable, "-m", "bench.contend", *contender.function.split("."), day.isoformat()],
            cwd=contender.root,
            env=environ,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout

    def _server_seconds(self) -> float:
        return self.archives.cpu_seconds + self.sink.cpu_seconds + self.link_sink.cpu_seconds


@contextmanager
def open_bench(folder: Path, volumes: Sequence[Volume], *, sink_wait_seconds: float = 0) -> Iterator[Bench]:
    """Make the days, and serve them until the end of the context; the sink waits so long before each answer."""
    days = make_days(folder, list(volumes))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        certificates = make_certificates(Path(name))
        shown = str(certificates.server)
        with (
            running("bench.archives", [shown, str(folder.resolve())]) as archives,
            running("bench.sink", [shown, str(sink_wait_seconds)]) as sink,
            running("bench.sink", [shown, "0", str(LINK_BYTES)]) as link_sink,
        ):
            yield Bench(archives, sink, link_sink, certificates, days, folder.resolve(), itertools.count())


def run_rounds(
    bench: Bench, contenders: Sequence[Contender], rounds: int, on_run: Callable[[Contender, Figures], None]
) -> dict[str, Figures]:
    """All contenders in turn, round by round: what else the machine does meets each of them alike. Medians by name."""
    runs: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            figures = bench.run(contender)
            runs[contender.name].append(figures)
            on_run(contender, figures)
    return {name: median(figures) for name, figures in runs.items()}


def median(runs: Sequence[Figures]) -> Figures:
    """The median of each figure by itself."""
    return Figures(
        bytes=runs[0].bytes,
        seconds=statistics.median(run.seconds for run in runs),
        cpu_seconds=statistics.median(run.cpu_seconds for run in runs),
        peak_bytes=int(statistics.median(run.peak_bytes for run in runs)),
        server_seconds=statistics.median(run.server_seconds for run in runs),
    )
