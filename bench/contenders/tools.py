"""C programs in a pipe unpack the archive: what the machine can do without Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import date

UNZIP = {"bsdtar": ["-xOf"], "unzip": ["-p"]}
GUNZIP = {"igzip": ["-dc"], "pigz": ["-dc"], "gzip": ["-dc"]}
"""The faster ones first."""


def found(programs: dict[str, list[str]]) -> str:
    """The first of these programs that is on the PATH; empty if none is."""
    return next((name for name in programs if shutil.which(name)), "")


def inflate(_: date) -> int:
    """Unzip and gunzip the archive, and discard the events."""
    unzip, gunzip = found(UNZIP), found(GUNZIP)
    with (
        subprocess.Popen([unzip, *UNZIP[unzip], os.environ["BENCH_ARCHIVE"]], stdout=subprocess.PIPE) as unpacking,  # noqa: S603 - named above
        subprocess.Popen([gunzip, *GUNZIP[gunzip]], stdin=unpacking.stdout, stdout=subprocess.DEVNULL) as inflating,  # noqa: S603 - named above
    ):
        if unpacking.stdout:
            unpacking.stdout.close()
    if unpacking.returncode or inflating.returncode:
        raise RuntimeError(f"{unzip} ended with {unpacking.returncode}, {gunzip} with {inflating.returncode}")
    return int(os.environ["BENCH_BYTES"])
