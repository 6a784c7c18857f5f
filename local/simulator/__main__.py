"""`python -m local.simulator`: Amplitude's Export API on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from local.simulator import EVENTS_PER_HOUR, Form, Request, Simulator
from local.simulator.days import MEMBERS
from local.simulator.faults import SPELLINGS, Fault, parse


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal says to stop, and print a line for each request, never a credential."""
    options = _parser().parse_args(arguments)
    simulator = Simulator(
        project=options.project,
        keys=(options.key, options.secret),
        events_per_hour=options.events_per_hour,
        parts=options.parts,
        empty_hours=options.empty_hours,
        distinct_events=options.distinct_events,
        form=Form(**{form.name: getattr(options, form.name) for form in fields(Form)}),
        member=MEMBERS[options.member],
        largest=options.largest,
        latency=options.latency,
        clock=lambda: datetime.now(UTC),
        port=options.port,
        certificate=options.certificate,
        observe=_print,
    )
    simulator.fail(*options.fault)
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        simulator.start()
    except OSError as error:
        print(f"Port {options.port} is not available ({error.strerror}): choose another with --port.", file=sys.stderr)
        return 1
    print(f"Simulated Amplitude project {options.project}: {simulator.url}", flush=True)
    stop.wait()
    simulator.stop()
    return 0


def _print(request: Request) -> None:
    print(
        f"{datetime.now(UTC):%H:%M:%S} {request.start} to {request.end}: {request.status}", file=sys.stderr, flush=True
    )


def _hours(text: str) -> set[int]:
    return {int(hour) for hour in text.split(",") if hour}


def _fault(text: str) -> Fault:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=8321, help="0 takes a free one (default: %(default)s)")
    add("--project", type=int, default=187520, help="Amplitude's project id (default: %(default)s)")
    add("--key", default="simulator", help="API key that is accepted (default: %(default)s)")
    add("--secret", default="simulator", help="secret key that is accepted (default: %(default)s)")
    add("--events-per-hour", type=int, default=EVENTS_PER_HOUR, metavar="N", help="on average (default: %(default)s)")
    add("--parts", type=int, default=1, metavar="N", help="files an hour (default: %(default)s)")
    add("--empty-hours", type=_hours, default=set(), metavar="H,H", help="hours without events, such as 3,4")
    add("--distinct-events", type=int, metavar="N", help="repeat the first N events of a file, for big days")
    add("--deflated", action="store_true", help="deflate the archive's members instead of storing them")
    add("--descriptors", action="store_true", help="write sizes and checksums after each member only")
    add("--zip64", action="store_true", help="write all sizes with 64 bits")
    add("--folder", action="store_true", help="begin the archive with a directory entry")
    add("--member", choices=MEMBERS, default="gzip", help="how each file is packed (default: %(default)s)")
    add("--largest", type=int, metavar="BYTES", help='answer 400 "too large" if the archive would be larger')
    add("--latency", type=float, default=0, metavar="SECONDS", help="before the first byte of each answer")
    add("--certificate", type=Path, metavar="PEM", help="serve TLS with this private key and certificates")
    add("--fault", type=_fault, action="append", default=[], metavar="FAULT", help=f"of the next request: {SPELLINGS}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
