"""Runs contenders, each in its own process and in several rounds, and returns the medians."""

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
"""Bytes a second. A link of 2 Gbit/s carries a little more; a small Functions instance hardly has that much."""


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured: a function of `bench.contenders`, on a day of a given volume, with its own app settings."""

    name: str
    function: str
    volume: Volume
    environ: tuple[tuple[str, str], ...] = ()
    link: bool = False
    """Upload to a sink that takes only `LINK_BYTES` a second, like a common network."""
    root: Path = ROOT
    """The checkout that it runs from."""
    again: bool = False
    """Measure the second run into the same container, when the day has already landed."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Processor time is that of the contender's own process; `server_seconds` that of the servers."""

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
        """The same, with the processor time of the servers."""
        return (self.cpu_seconds + self.server_seconds) / self.bytes * GB

    @property
    def peak_mib(self) -> float:
        """Peak memory in MiB."""
        return self.peak_bytes / MIB


@dataclass(slots=True)
class Bench:
    """The running servers, and the days that the Export API has."""

    archives: Server
    sink: Server
    link_sink: Server
    certificates: Certificates
    days: Mapping[Volume, date]
    folder: Path
    _containers: Iterator[int]

    def run(self, contender: Contender) -> Figures:
        """Run a contender once, into a new container."""
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
        return subprocess.run(  # noqa: S603 - this interpreter, and our own module
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
    """Make the days, and serve them inside the context. The sink waits `sink_wait_seconds` before each answer."""
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
    """Run all contenders in each round, so that other load hits all of them alike. Returns the medians by name."""
    runs: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            figures = bench.run(contender)
            runs[contender.name].append(figures)
            on_run(contender, figures)
    return {name: median(figures) for name, figures in runs.items()}


def median(runs: Sequence[Figures]) -> Figures:
    """The median of each figure on its own."""
    return Figures(
        bytes=runs[0].bytes,
        seconds=statistics.median(run.seconds for run in runs),
        cpu_seconds=statistics.median(run.cpu_seconds for run in runs),
        peak_bytes=int(statistics.median(run.peak_bytes for run in runs)),
        server_seconds=statistics.median(run.server_seconds for run in runs),
    )
