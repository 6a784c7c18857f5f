"""`python -m bench.contend MODULE FUNCTION DAY`: runs one contender, and measures it in its own process.

Prints one line of JSON. The clock starts once everything is imported. `BENCH_CORES` and `BENCH_MIB` in the environment
make this process a small instance: that many processors, and that much private memory, thread stacks included.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

_CHILDREN = resource.RUSAGE_CHILDREN
_SELF = resource.RUSAGE_SELF


def main() -> None:
    """Run the contender and measure it."""
    module, function, day = sys.argv[1:]
    if cores := os.environ.get("BENCH_CORES"):
        os.sched_setaffinity(0, range(int(cores)))
    if mib := os.environ.get("BENCH_MIB"):
        resource.setrlimit(resource.RLIMIT_DATA, (int(mib) * 1024 * 1024,) * 2)
    contender: Callable[[date], int] = getattr(importlib.import_module(f"bench.contenders.{module}"), function)
    cpu_before, started = _cpu_seconds(), time.perf_counter()
    size = contender(date.fromisoformat(day))
    seconds = time.perf_counter() - started
    figures = {"bytes": size, "seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu_before, "peak_bytes": _peak()}
    print(json.dumps(figures))


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (_SELF, _CHILDREN)]
    return sum(times.ru_utime + times.ru_stime for times in used)


def _peak() -> int:
    """The most resident memory that this process ever had."""
    status = Path("/proc/self/status")
    if status.exists():
        # `ru_maxrss` would start at the value of the parent process.
        match = re.search(r"VmHWM:\s+([0-9]+) kB", status.read_text())
        if match:
            return int(match[1]) * 1024
    return resource.getrusage(_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
