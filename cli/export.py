"""`export`: exports one day, or a range of days, without a Functions host."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from rich.console import Console

from cli.codes import DONE, FAILED
from cli.coverage import DEFAULT_DAYS
from cli.interrupts import handled
from cli.output import SafeStream, stdout
from cli.progress import ExportProgress
from shared.app import App, open_app
from shared.dates import DAY, check_day, days_before, days_between, newest_complete_day, parse_day
from shared.days.coverage import read_coverage
from shared.days.manifest import Manifest
from shared.days.state import Trigger
from shared.errors import ExportError, Interrupted, InvalidDate
from shared.runs.messages import Order
from shared.runs.runs import utc_now
from shared.stop import check_stop, received


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser("export", help="export a day or a range of days")
    parser.add_argument("day", nargs="?", metavar="DAY", help="a UTC day like 2025-11-04, or: yesterday")
    parser.add_argument("--from", dest="first", metavar="DAY", help="export a range, oldest day first")
    parser.add_argument("--to", dest="last", metavar="DAY", help="its last day (default: the newest complete day)")
    parser.add_argument("--missing", action="store_true", help="only days that have not landed")
    parser.add_argument("--replace", action="store_true", help="allow fewer events than have landed")
    parser.add_argument("--json", action="store_true", help="print the manifest on stdout; for a range, one per line")
    return parser


def run(options: argparse.Namespace, environ: Mapping[str, str], messages: Console) -> int:
    """Export the requested days. If a day of a range fails, go on with the others; the exit code is then 1."""
    days = _days(options, utc_now())
    progress = ExportProgress(messages)
    with progress, open_app(environ, on_progress=progress.update) as app:
        for day in days:
            check_day(day, app.clock(), app.settings.retention_days)
        if options.missing:
            days = _not_landed(app, days)
        exports = _Exports(app, options, progress, messages, stdout() if options.json else None)
        landed = [exports.export(day) for day in days]
    exports.warn_if_lost()
    if len(days) != 1:
        messages.print(f"{sum(landed)} of {len(days)} days exported.")
    return DONE if all(landed) else FAILED


def _days(options: argparse.Namespace, now: datetime) -> list[date]:
    """The requested days. A day that cannot be exported yet is refused before any request to Amplitude."""
    if options.day is not None and (options.first or options.last):
        options.parser.error("give either DAY or --from and --to")
    if options.day is not None:
        days = [now.date() - DAY if options.day == "yesterday" else parse_day(options.day)]
    elif options.first or options.missing:
        last = parse_day(options.last) if options.last else newest_complete_day(now)
        first = parse_day(options.first) if options.first else days_before(last, DEFAULT_DAYS - 1)
        if first > last:
            raise InvalidDate(f"The range is empty: --from {first} is after --to {last}.")
        days = days_between(first, last)
    else:
        options.parser.error("which day? Give DAY, --from D --to D, or --missing")
    for day in (days[0], days[-1]):
        check_day(day, now, 0)
    return days


def _not_landed(app: App, days: list[date]) -> list[date]:
    """The missing ones among the days. Days before EXPORT_START_DATE are not missing."""
    rows = read_coverage(app.container, app.settings, days[0], days[-1], app.clock())
    return [row.date for row in rows if row.landed is None]


@dataclass(frozen=True, slots=True)
class _Exports:
    """Exports days one after the other, and prints the result of each."""

    app: App
    options: argparse.Namespace
    progress: ExportProgress
    messages: Console
    output: SafeStream | None

    def export(self, day: date) -> bool:
        """Export a day. Returns whether it landed. Raises Interrupted; without a range, also any other error."""
        order = Order(day, trigger=Trigger.CLI, replace=self.options.replace)
        try:
            with self.progress.of(day), handled(received.append):
                manifest = self.app.runs.run_now(order, on_wait=self.progress.waiting)
        except ExportError as error:
            if self.options.day is not None or isinstance(error, Interrupted):
                raise
            self.messages.print(f"{day} {error.type}: {error}", markup=False, style="red")
            return False
        _summary(manifest, self.app.settings.container, self.messages)
        if self.output:
            text = manifest.to_json().decode()
            self.output.write(
                (text if self.options.day is not None else json.dumps(json.loads(text), ensure_ascii=False)) + "\n"
            )
            self.output.flush()
        check_stop()  # after a signal, no other day follows
        return True

    def warn_if_lost(self) -> None:
        """Warn if standard output was lost. That does not affect the exports."""
        if self.output and self.output.lost:
            self.messages.print("Warning: standard output is closed or full. The exports went on.", style="yellow")


def _summary(manifest: Manifest, container: str, messages: Console) -> None:
    changes = manifest.changes
    messages.print(
        f"{manifest.date} {manifest.status}: {manifest.events:,} events in {len(manifest.files)} files, "
        f"{manifest.total_bytes / 1e6:,.1f} MB ({manifest.download_bytes / 1e6:,.1f} MB downloaded) in {container}; "
        f"{changes.added} added, {changes.changed} changed, {changes.removed} removed, {changes.unchanged} unchanged."
    )
    for warning in manifest.warnings:
        messages.print(f"Warning: {warning}", markup=False, style="yellow")
