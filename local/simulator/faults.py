"""Faults of an answer, as values: a `Fault` says how one answer differs from a good one."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Literal

from local.simulator import answers
from local.simulator.answers import Answer

Framing = Literal["length", "chunked", "close"]
"""How a client recognises the end of a body: by Content-Length, by a last chunk, or by the end of the connection."""


class Gate:
    """A pause without a fixed length: the answer waits until `open` is called or the simulator stops."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def open(self) -> None:
        """Let the answer continue."""
        self.opened.set()

    def wait_until_reached(self, seconds: float = 30) -> None:
        """Return as soon as an answer waits at the gate.

        Raises:
            TimeoutError: none came.

        """
        if not self.reached.wait(seconds):
            raise TimeoutError(f"no answer reached the gate within {seconds} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How one answer differs from a good one. All fields can be combined. Offsets count the bytes of the body."""

    status: int | None = None
    """The status to send. Without `body`, a short text then replaces the archive."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers to add. They replace headers with the same name."""
    body: bytes | None = None
    """The bytes to send instead: a page, an archive made by hand, or none."""
    framing: Framing = "length"
    flip: int | None = None
    """The offset of a byte to damage in one bit; a negative offset counts from the end."""
    cut: int | None = None
    """After how many bytes the connection ends; -1 means before the status line."""
    reset: bool = False
    """Whether the cut is a reset (RST) and not an orderly end (FIN)."""
    pause: float | Gate = 0
    """How many seconds, or at which gate, to wait at `pause_at`."""
    pause_at: int = -1
    """After how many bytes to pause; -1 means before the status line."""
    drip: float = 0
    """How many seconds to wait between two pieces of `drip_bytes`."""
    drip_bytes: int = 1024


def too_many_requests(retry_after: float | str | None = None) -> Fault:
    """429, with this `Retry-After` if given: seconds, or any text."""
    return Fault(status=429, headers={} if retry_after is None else {"Retry-After": str(retry_after)})


def http_date(seconds: float) -> str:
    """The time in that many seconds, as the date of a `Retry-After`."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def redirect(location: str, status: int = 302) -> Fault:
    """A redirect to another address."""
    return Fault(status=status, headers={"Location": location})


def page(text: str = "<!doctype html><title>Maintenance</title>", content_type: str = "text/html") -> Fault:
    """200 with a body that is not an archive."""
    return Fault(body=text.encode(), headers={"Content-Type": content_type})


def answered(answer: Answer) -> Fault:
    """One of the Export API's own answers, to any request."""
    return Fault(status=answer.status, body=b"".join(answer.body), headers=answer.headers)


SPELLINGS = (
    "a status (503; 407 as a proxy), empty, not-found-page, too-large, wrong-keys, early-hints, coded, html, chunked, "
    "close, cut:N, reset:N, flip:N, stall:SECONDS, drip:SECONDS, retry-after:SECONDS, redirect:URL"
)


def parse(text: str) -> Fault:
    """Parse a fault from the command line.

    Raises:
        ValueError: it is none of `SPELLINGS`.

    """
    name, _, number = text.partition(":")
    spellings: dict[str, Callable[[], Fault]] = {
        "empty": lambda: answered(answers.nothing_there()),
        "not-found-page": lambda: answered(answers.not_found_page()),
        "too-large": lambda: answered(answers.too_large()),
        "wrong-keys": lambda: answered(answers.wrong_keys()),
        "early-hints": lambda: Fault(status=103, body=b"", framing="close"),
        "coded": lambda: Fault(body=gzip.compress(b"{}", mtime=0), headers={"Content-Encoding": "gzip"}),
        "html": page,
        "chunked": lambda: Fault(framing="chunked"),
        "close": lambda: Fault(framing="close"),
        "cut": lambda: Fault(cut=int(number)),
        "reset": lambda: Fault(cut=int(number), reset=True),
        "flip": lambda: Fault(flip=int(number)),
        "stall": lambda: Fault(pause=float(number)),
        "drip": lambda: Fault(drip=float(number)),
        "retry-after": lambda: too_many_requests(number),
        "redirect": lambda: redirect(number),
    }
    if name.isdecimal() and not number:
        return Fault(status=int(name))
    try:
        return spellings[name]()
    except (KeyError, ValueError):
        raise ValueError(f"{text!r} is none of: {SPELLINGS}") from None
