"""The Export API of one simulated project."""

from __future__ import annotations

import gzip
import ssl
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from local.simulator import answers
from local.simulator.answers import Answer, Asked
from local.simulator.archive import Archive, Entry, Form, Payload
from local.simulator.days import MEMBERS, Days, File, Volume, pack
from local.simulator.faults import Fault
from local.simulator.server import Server, phrase

EVENTS_PER_HOUR = 400
"""The default for `make run` and the command line. Tests use fewer."""
_AVAILABLE_AFTER = timedelta(hours=3)
"""Hour 20 can be exported from 23:00 on, hour 23 from 02:00 (Amplitude's documentation)."""


@dataclass(frozen=True, slots=True)
class Request(Asked):
    """One line of the simulator's log, written before the first byte is sent."""

    status: int
    fault: Fault | None


@dataclass
class Simulator:
    """The Export API of one project, on its own port. As a context manager it serves inside the block.

    By default it answers like Amplitude: simulated events for any day, 404 if there are none, and 401, 403 and 400 as
    documented. `set_day`, `put` and `forget` change the content of a day; `fail` and `rule` add faults. Archives are
    streamed, and never completely in memory. Public fields can be changed at any time, except those of the volume and
    the port.
    """

    project: int = 187520
    """Amplitude's id of the project. It is in each simulated event, and in the name of each file."""
    keys: tuple[str, str] = field(default=("simulator", "simulator"), repr=False)
    """The API key and the secret key that are accepted."""
    events_per_hour: int = 100
    """On average over a weekday; the evening has more, the night fewer."""
    parts: int = 1
    """Files an hour."""
    empty_hours: Collection[int] = ()
    """Hours without a file."""
    distinct_events: int | None = None
    """How many different events a file has. The rest repeats them, `uuid` included, to make large days quickly."""
    form: Form = field(default_factory=Form)
    """How archives are written."""
    member: Callable[[Payload], Payload] = MEMBERS["gzip"]
    """What becomes of each file on its way into the archive."""
    largest: int | None = None
    """If an archive would have more bytes, the answer is 400 "too large"."""
    latency: float = 0
    """Seconds before the first byte of each answer."""
    clock: Callable[[], datetime] | None = None
    """If set, an hour is available only when Amplitude would have it by this clock. Otherwise all are available."""
    host: str = "127.0.0.1"
    port: int = 0
    """The port; 0 means any free one, which then stays the same."""
    certificate: Path | None = None
    """Serve TLS with the private key and the certificates of this PEM file."""
    rule: Callable[[Asked], Fault | None] = field(default=lambda _: None, repr=False)
    """Returns the fault for a request, or None. Called if no fault of `fail` is left."""
    observe: Callable[[Request], None] = field(default=lambda _: None, repr=False)
    """Called for each request, in its thread, before the first byte is sent."""
    requests: list[Request] = field(default_factory=list, init=False, repr=False)
    """All requests so far, in order."""

    def __post_init__(self) -> None:
        self._days = Days(Volume(self.events_per_hour, self.parts, self.empty_hours, self.distinct_events))
        self._faults: deque[Fault | None] = deque()
        self._lock = threading.Lock()
        self._server: Server | None = None

    def start(self) -> Self:
        """Start to serve. After a stop, the port is the same as before."""
        tls = None
        if self.certificate:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(self.certificate)
        self._server = Server((self.host, self.port), self._respond, tls)
        self.port = self._server.server_port
        return self

    def stop(self) -> None:
        """End all connections and close the port; does nothing if it is not serving.

        Raises:
            ExceptionGroup: errors of the simulator itself, such as a fault outside the body.

        """
        server, self._server = self._server, None
        if server:
            server.stop()
            if server.errors:
                raise BaseExceptionGroup("the simulator failed", server.errors)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The endpoint, for `AMP_EXPORT_URL`."""
        return f"{'https' if self.certificate else 'http'}://{self.host}:{self.port}{answers.PATH}"

    def fail(self, *faults: Fault | None) -> None:
        """Answer the next requests with these faults, one for each request. None stands for a good answer."""
        with self._lock:
            self._faults.extend(faults)

    def set_day(self, day: date, files: Mapping[File, bytes]) -> None:
        """Replace all events of the day with these: decompressed files by (hour, part)."""
        self._days.set_day(day, files)

    def put(self, day: date, hour: int, part: int, raw: bytes) -> None:
        """Replace or add one file, given decompressed. The other files of the day stay."""
        self.put_gzip(day, hour, part, pack(raw))

    def put_gzip(self, day: date, hour: int, part: int, data: bytes) -> None:
        """Replace or add one file, given as in the archive: gzip, or anything else."""
        self._days.put_gzip(self.project, day, (hour, part), data)

    def forget(self, day: date, hour: int | None = None) -> None:
        """Remove all events of the day, or of one hour."""
        if hour is None:
            self._days.set_day(day, {})
        else:
            self._days.forget_hour(self.project, day, hour)

    def member_bytes(self, day: date) -> dict[File, bytes]:
        """The decompressed bytes of each file of a day by (hour, part): what must land."""
        files = self._days.files(self.project, day)
        return {file: gzip.decompress(b"".join(data.read())) for file, data in files.items()}

    def archive(self, day: date, first_hour: int = 0, last_hour: int = 23) -> Archive:
        """The archive that a good answer for these hours of a day holds."""
        asked = Asked(answers.PATH, f"{day:%Y%m%d}T{first_hour:02d}", f"{day:%Y%m%d}T{last_hour:02d}", "right")
        return Archive(self._entries(asked), self.form)

    def _respond(self, target: str, authorization: str | None) -> tuple[Answer, Fault]:
        asked = answers.read_request(target, authorization, self.keys)
        with self._lock:
            fault = self._faults.popleft() if self._faults else self.rule(asked)
        answer = self._answer(asked, fault)
        request = Request(asked.path, asked.start, asked.end, asked.credentials, answer.status, fault)
        with self._lock:
            self.requests.append(request)
        self.observe(request)
        fault = fault or Fault()
        if self.latency and not fault.pause:
            fault = replace(fault, pause=self.latency)
        return answer, fault

    def _answer(self, asked: Asked, fault: Fault | None) -> Answer:
        if fault and fault.body is not None:
            return Answer(fault.status or 200, (fault.body,), len(fault.body), {"Content-Type": "application/zip"})
        if fault and fault.status:
            return answers.text_answer(fault.status, phrase(fault.status))
        return answers.refusal(asked) or self._export(asked)

    def _export(self, asked: Asked) -> Answer:
        entries = self._entries(asked)
        if not entries:
            return answers.nothing_there()
        archive = Archive(entries, self.form)
        if self.largest is not None and archive.size > self.largest:
            return answers.too_large()
        return Answer(200, archive, archive.size, {"Content-Type": "application/zip"})

    def _entries(self, asked: Asked) -> list[Entry]:
        start, end = asked.range()
        if self.clock:
            end = min(end, self.clock() - _AVAILABLE_AFTER)
        entries = self._days.entries(self.project, start, end)
        return [replace(entry, data=self.member(entry.data)) for entry in entries]
