"""Loads a simulated day into a Delta table, and with DuckDB's `COPY` into Parquet: `python -m bench.delta`.

Prints the MB/s of JSON, processor seconds and peak memory of each. Each runs in its own process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import psutil

from shared.days.manifest import Manifest
from tests.downstream.landed import Landed, hour_of_events

DAY = date(2025, 11, 4)
EVENT_BYTES = 2000
_COPY = """
import sys, duckdb
files, target = sys.argv[1:]
duckdb.sql(f"copy (from read_json('{files}')) to '{target}' (format parquet)")
"""


def measure(name: str, command: Sequence[str], size: int, environ: Mapping[str, str] = os.environ) -> None:
    """Run a command to its end, and print its time, memory and speed."""
    peak, cpu, start = 0, 0.0, time.monotonic()
    with psutil.Popen(command, env=environ, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, process.memory_info().rss)
            cpu = sum(process.cpu_times()[:2])
            try:
                process.wait(0.05)
            except psutil.TimeoutExpired:
                continue
    if process.returncode:
        raise SystemExit(f"{name} ended with {process.returncode}.")
    seconds = time.monotonic() - start
    print(
        f"{name}: {size / seconds / 1e6:.0f} MB/s, {cpu:.0f} s of processor, {peak / 2**20:.0f} MiB at most", flush=True
    )


def main() -> None:
    """Make the day and measure both."""
    parser = argparse.ArgumentParser(prog="python -m bench.delta", description=__doc__)
    parser.add_argument("--size", type=float, default=1.0, metavar="GB", help="of the day, decompressed (%(default)s)")
    events = round(parser.parse_args().size * 1e9 / EVENT_BYTES / 24)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "landed"
        landed = Landed(folder)
        landed.export(DAY, {hour: [hour_of_events(DAY, hour, events)] for hour in range(24)}, attempt="5f3c9a1e")
        size = Manifest.from_json(landed.manifest(DAY).read_bytes(), f"manifests/date={DAY}.json").total_bytes
        environ = {name: value for name, value in os.environ.items() if not name.startswith("EXPORT_")}
        command = [sys.executable, "-m", "downstream.delta", f"{home}/table", "--mirror", str(folder)]
        measure("Delta table", command, size, environ)
        measure(
            "DuckDB COPY to Parquet",
            [sys.executable, "-c", _COPY, f"{folder}/events/*/*/*.json", f"{home}/copy.parquet"],
            size,
        )


if __name__ == "__main__":
    main()
