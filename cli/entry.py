"""Where the command line starts. It imports next to nothing, so that it can say what is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from cli.interrupts import install

if TYPE_CHECKING:
    from cli.main import More

NEEDED = (3, 12)


def main(more: Callable[[], More] = dict, program: str = "amplitude-export") -> None:
    """Carry out the command in `sys.argv`, and end the process with its exit code.

    `more`: returns further commands; called after the Python version has been checked.
    """
    install()
    if sys.version_info < NEEDED:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.stderr.write(f"{program} needs Python 3.12 or later; this is Python {found}.\n")
        sys.exit(2)
    try:
        from cli.main import main as run  # noqa: PLC0415 - what it imports may be missing

        code = run(program=program, more=more())
    except ModuleNotFoundError as error:
        sys.stderr.write(f"The Python package {error.name} is missing: pip install -r requirements-cli.txt\n")
        code = 2
    sys.exit(code)
