"""The commands, their options and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, date or settings, 130 ended by Ctrl-C, 143 by a termination signal.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cli import coverage, doctor, export
from cli.codes import FAILED, WRONG
from cli.interrupts import handled, raise_at_once
from cli.output import console, stderr
from cli.settings import SOURCES, find_settings
from shared.errors import ExportError, Interrupted, InvalidDate, SettingsError
from shared.settings import unknown_settings
from shared.stop import received

Command = Callable[[Sequence[str]], int]
"""A command that parses its own arguments and returns its exit code."""

More = Mapping[str, tuple[str, Command]]
"""Further commands by name, each with its line of help."""


def main(
    arguments: Sequence[str] | None = None,
    *,
    program: str = "amplitude-export",
    more: More | None = None,
) -> int:
    """Carry out a command. Returns its exit code."""
    options, rest = _parser(program, {**_downstream(), **(more or {})}).parse_known_args(arguments)
    own = getattr(options, "own", None)
    if own:
        with handled(raise_at_once):
            return int(own(rest))
    if rest:
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    messages = console(stderr())
    _set_up_logging(verbose=options.verbose)
    try:
        environ = find_settings(Path.cwd())
        for warning in unknown_settings(environ):
            messages.print(f"Warning: {warning}", markup=False, style="yellow")
        return int(options.command(options, environ, messages))
    except SettingsError as error:
        messages.print(f"{error.type}: {len(error.problems)} to fix. {SOURCES}", markup=False, style="red")
        for problem in error.problems:
            messages.print(f"  {problem}", markup=False, style="red")
        return WRONG
    except InvalidDate as error:
        messages.print(f"{error.type}: {error}", markup=False, style="red")
        return WRONG
    except Interrupted:
        messages.print("Interrupted: the command left nothing half-done.")
        return 128 + received[0]
    except ExportError as error:
        messages.print(f"{error.type}: {error}", markup=False, style="red")
        return FAILED


def _set_up_logging(*, verbose: bool) -> None:
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=stderr(), format="%(levelname)s %(message)s")
        logging.getLogger("azure").setLevel(logging.WARNING)
    else:
        logging.getLogger("amplitude_export").addHandler(logging.NullHandler())


def _downstream() -> More:
    """The commands that read landed days. `delta` is listed only if its own requirements are installed."""

    def mirror(arguments: Sequence[str]) -> int:
        from downstream.mirror import main as run  # noqa: PLC0415 - each command loads what it needs

        return run(list(arguments))

    def delta(arguments: Sequence[str]) -> int:
        from downstream.delta import main as run  # noqa: PLC0415 - as above

        return run(list(arguments))

    commands: dict[str, tuple[str, Command]] = {"mirror": ("copy the landed days into a folder", mirror)}
    if importlib.util.find_spec("deltalake"):
        commands["delta"] = ("load the landed days into a Delta table", delta)
    return commands


def _parser(program: str, more: Mapping[str, tuple[str, Command]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Exports raw Amplitude events to Azure Blob Storage, from this machine.",
        epilog=SOURCES,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (export, coverage, doctor):
        command = module.add_to(commands)
        command.epilog = SOURCES
        command.add_argument("-v", "--verbose", action="store_true", help="write the app's log lines to stderr")
        command.set_defaults(command=module.run, parser=command)
    for name, (text, run) in more.items():
        commands.add_parser(name, help=text, add_help=False).set_defaults(own=run)
    return parser
