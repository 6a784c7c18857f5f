"""`python -m local`: the command line, and for a clone `run` and `bench` besides."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

from cli.main import main as cli_main


def main(arguments: list[str]) -> int:
    """Carry out a command. Returns its exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "bench":
        os.execv(sys.executable, [sys.executable, "-m", "bench", *rest])  # noqa: S606 - our own interpreter
    return _run(rest) if command == "run" else cli_main(arguments)


def _run(arguments: list[str]) -> int:
    from rich.console import Console  # noqa: PLC0415 - see below

    from local.run import run  # noqa: PLC0415 - starts what the other commands do without

    parser = argparse.ArgumentParser(prog="python -m local run", description="Exports the newest complete day here.")
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save the output as an SVG file")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, record=options.picture is not None, width=100 if options.picture else None)
    code = run(console, stay=options.stay)
    if options.picture:
        # Without the font that the format would have a reader's browser fetch.
        svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make run"), flags=re.DOTALL)
        options.picture.write_text(svg, encoding="utf-8")
    return code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: Ctrl-C would only show a traceback of Python's own end
    sys.exit(code)
