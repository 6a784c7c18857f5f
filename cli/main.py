"""The commands `export` and `coverage`, their options and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, date or settings, 130 ended by Ctrl-C, 143 by a termination signal.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

from rich.console import Console

from cli.progress import ExportProgress
from cli.settings import find_settings
from shared.app import open_app
from shared.dates import DAY, check_day, newest_complete_day, parse_day
from shared.days.coverage import read_coverage
from shared.days.manifest import Manifest
from shared.errors import ExportError, InvalidDate, SettingsError
from shared.runs.messages import Order
from shared.runs.runs import utc_now

DONE, FAILED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
DEFAULT_DAYS = 30
MAX_DAYS = 366

messages = Console(stderr=True, highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command. Returns its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except (InvalidDate, SettingsError) as error:
        return _complain(error, WRONG)
    except ExportError as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        messages.print("Interrupted: nothing partial was left behind.")
        return INTERRUPTED


def _complain(error: ExportError, code: int) -> int:
    messages.print(f"{error.type}: {error}", markup=False, style="red")
    return code


def _terminate(number: int, _: object) -> None:
    raise SystemExit(TERMINATED if number == signal.SIGTERM else FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local", description="Amplitude's raw events into Azure Blob Storage, from this machine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    export = commands.add_parser("export", help="export a day, without a Functions host")
    export.add_argument("day", metavar="DAY", help="a UTC day like 2025-11-04, or: yesterday")
    export.add_argument("--replace", action="store_true", help="allow fewer events than have landed")
    export.add_argument("-v", "--verbose", action="store_true", help="write the app's log lines to stderr")
    export.add_argument("--json", action="store_true", help="print the manifest on stdout")
    export.set_defaults(command=_export)

    coverage = commands.add_parser("coverage", help="what has landed, day by day")
    coverage.add_argument("--from", dest="first", metavar="DAY", help="default: 30 days")
    coverage.add_argument("--to", dest="last", metavar="DAY", help="default: the newest complete day")
    coverage.set_defaults(command=_coverage)
    return parser


def _export(options: argparse.Namespace) -> int:
    if options.verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
        logging.getLogger("azure").setLevel(logging.WARNING)
    else:
        logging.getLogger("amplitude_export").addHandler(logging.NullHandler())
    now = utc_now()
    day = _exported_day(options.day, now)
    environ = find_settings(Path.cwd())
    with ExportProgress(messages, day) as progress, open_app(environ, on_progress=progress.update) as app:
        order = Order(day, trigger="cli", replace=options.replace)
        manifest = app.runs.run_now(order, on_wait=progress.waiting)
    _summary(manifest, app.settings.container)
    if options.json:
        sys.stdout.write(manifest.to_json().decode() + "\n")
    return DONE


def _exported_day(text: str, now: datetime) -> date:
    """The day that is meant. A day that cannot be exported yet is refused before anything is asked for."""
    day = now.date() - DAY if text == "yesterday" else parse_day(text)
    check_day(day, now, 0)
    return day


def _summary(manifest: Manifest, container: str) -> None:
    changes = manifest.changes
    messages.print(
        f"{manifest.date} {manifest.status}: {manifest.events:,} events in {len(manifest.files)} files, "
        f"{manifest.total_bytes / 1e6:,.1f} MB ({manifest.download_bytes / 1e6:,.1f} MB downloaded) in {container}; "
        f"{changes.added} added, {changes.changed} changed, {changes.removed} removed, {changes.unchanged} unchanged."
    )
    for warning in manifest.warnings:
        messages.print(f"Warning: {warning}", markup=False, style="yellow")


def _coverage(options: argparse.Namespace) -> int:
    from cli.calendar import render  # noqa: PLC0415 - only this command draws it

    now = utc_now()
    last = parse_day(options.last) if options.last else newest_complete_day(now)
    first = parse_day(options.first) if options.first else last - min(timedelta(days=DEFAULT_DAYS - 1), last - date.min)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise InvalidDate(f"{first} to {last} is no range of 1 to {MAX_DAYS} days.")
    with open_app(find_settings(Path.cwd())) as app:
        rows = read_coverage(app.container, app.settings, first, last, now)
    Console(highlight=False).print(render(rows, first, last))
    return DONE
