"""`coverage`: what has landed, day by day. Reads the container only: Amplitude's keys are not needed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from rich.console import Console

from cli.codes import DONE, FAILED
from cli.output import console, stdout
from shared.dates import days_before, newest_complete_day, parse_day
from shared.days.calendar import read_calendar
from shared.days.state import State
from shared.errors import InvalidDate
from shared.runs.runs import utc_now
from shared.settings import load_storage_settings
from shared.storage.connect import open_container

DEFAULT_DAYS = 30
MAX_DAYS = 366


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser("coverage", help="show what has landed, day by day")
    parser.add_argument("--from", dest="first", metavar="DAY", help=f"default: the last {DEFAULT_DAYS} days")
    parser.add_argument("--to", dest="last", metavar="DAY", help="default: the newest complete day")
    parser.add_argument("--json", action="store_true", help="print the same JSON as GET /api/exports")
    parser.add_argument("--check", action="store_true", help="exit 1 if a day of the range is missing or failed")
    return parser


def run(options: argparse.Namespace, environ: Mapping[str, str], messages: Console) -> int:
    """Print the table of days, or its JSON."""
    now = utc_now()
    last = parse_day(options.last) if options.last else newest_complete_day(now)
    first = parse_day(options.first) if options.first else days_before(last, DEFAULT_DAYS - 1)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise InvalidDate(f"{first} to {last} is not a range of 1 to {MAX_DAYS} days.")
    settings = load_storage_settings(environ)
    with open_container(settings) as container:
        calendar = read_calendar(container, settings, first, last, now)
    output = stdout()
    if options.json:
        days = [day.row for day in calendar.known]
        document = {"from": first.isoformat(), "to": last.isoformat(), "days": days}
        output.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    else:
        from cli.calendar import render  # noqa: PLC0415 - only this command draws it

        console(output, wrap=True).print(render(calendar))
    output.flush()
    wrong = [day.date for day in calendar.known if day.state in (State.MISSING, State.FAILED)]
    if options.check and wrong:
        shown = ", ".join(map(str, wrong[:10])) + (" ..." if len(wrong) > 10 else "")  # noqa: PLR2004 - a line's worth
        messages.print(f"{len(wrong)} of {len(calendar.known)} days are missing or failed: {shown}", style="red")
        if calendar.unwanted:
            messages.print(
                f"{len(calendar.unwanted)} of them are before the first day that was ever requested. "
                "Export them, or set EXPORT_START_DATE to the first day that you want."
            )
        return FAILED
    return DONE
