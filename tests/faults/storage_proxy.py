"""A storage account that fails: an HTTP proxy in front of the emulator that breaks just the requests a rule names.

Shared-key signatures cover the path, not the host, so that a request goes through as it came. Loopback only. Besides,
it honours the first name that a listing asks for (`startFrom`), as Azure does; the emulator ignores it.
"""

from __future__ import annotations

import http
import http.client
import itertools
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

from local.azurite import ACCOUNT, KEY, Azurite
from local.simulator import Gate

PARTS_BEFORE_BLOB = 2
"""A path begins with the account and the container."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `what` is stage, commit, put, delete, read, list, lease or container."""

    what: str
    name: str
    """The whole name of the blob; empty where a request is about none."""
    lease_action: str = ""

    @property
    def step(self) -> str:
        """What the request is to the protocol: `put manifest`, `put status`, `commit`, `acquire`, and so on."""
        if self.what == "put":
            return f"put {self.name.partition('/')[0].removesuffix('s')}".replace("statu", "status")
        return self.lease_action or self.what

    @property
    def writes(self) -> bool:
        """Whether it changes what the container holds, or who holds a lease."""
        return self.what not in ("read", "list", "container")

    def __str__(self) -> str:
        return f"{self.step} {self.name.rpartition('/')[2]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request."""

    status: int | None = None
    """Answered by this, and never passed on."""
    code: str = ""
    """The storage's word for it."""
    hold: Gate | None = None
    """Passed on only once the gate is open, whether or not the one who asked still waits: a write in the network."""
    before: Callable[[], None] = lambda: None
    """Called before it is passed on."""
    after: Callable[[], None] = lambda: None
    """Called once the storage has carried it out, before the answer goes back."""
    dropped: bool = False
    """Never passed on: the connection ends without an answer."""
    lost: bool = False
    """Carried out, but the answer gets lost: the connection ends."""


BUSY = Fault(status=503, code="ServerBusy")
BROKEN = Fault(status=500, code="InternalError")
FORBIDDEN = Fault(status=403, code="AuthorizationPermissionMismatch")
PROTECTED = Fault(status=409, code="BlobImmutableDueToPolicy")
DROPPED = Fault(dropped=True)
LOST = Fault(lost=True)


class Killable(Protocol):
    """A process that can be ended at once."""

    def kill(self) -> None:
        """End it."""


def killed_by(process: Killable, *, carried_out: bool) -> Fault:
    """The process is killed at the request: once the storage has carried it out, or before, and it gets lost."""
    if carried_out:
        return Fault(after=process.kill, lost=True)
    return Fault(before=process.kill, dropped=True)


Rule = Callable[[Asked], Fault | None]
"""What goes wrong with a request; None lets it through."""


def at(step: str, fault: Fault, *, first: int = 1, times: int = 1) -> Rule:
    """The fault at the `first` request of this step and those after it, `times` in all; the others go through."""
    return at_any(lambda asked: asked.step == step, fault, first=first, times=times)


def at_any(test: Callable[[Asked], bool], fault: Fault, *, first: int = 1, times: int = 1) -> Rule:
    """The fault at the `first` request that passes a test and those after it, `times` in all."""
    count = itertools.count(1)
    lock = threading.Lock()

    def rule(asked: Asked) -> Fault | None:
        if not test(asked):
            return None
        with lock:
            number = next(count)
        return fault if first <= number < first + times else None

    return rule


def one_after_the_other(*rules: Rule) -> Rule:
    """The fault of the first rule that has one. Those after it are not asked then, and do not count."""
    return lambda asked: next((fault for rule in rules if (fault := rule(asked))), None)


ALWAYS = 1_000_000
"""Times: as often as it is asked."""


class StorageProxy:
    """Stands in front of an emulator; a context manager that serves from start to end. `rule` can be set at any time.

    Requests of one rule are asked about one at a time; `requests` holds all so far, in order of their arrival,
    `answers` what the storage said to those that were passed on.
    """

    def __init__(self, azurite: Azurite) -> None:
        self.rule: Rule = lambda _: None
        self.requests: list[Asked] = []
        self.answers: list[tuple[Asked, int]] = []
        self.azurite = azurite
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="storage proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def connection_string(self) -> str:
        """For `EXPORT_STORAGE`. It has blobs only."""
        port = self._server.server_address[1]
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )

    def settle(self) -> None:
        """Return once all that a process has sent before its end is carried out, or lost."""
        last = http.client.HTTPConnection("127.0.0.1", self._server.server_address[1])  # after those of the process
        last.request("GET", "/")
        last.getresponse().read()
        last.close()
        while self._connections:
            time.sleep(0.02)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Count a connection while it is served."""
        with self._lock:
            self._connections += 1
        try:
            yield
        finally:
            with self._lock:
                self._connections -= 1

    def fault_of(self, asked: Asked) -> Fault | None:
        """Note a request, and say what is to go wrong with it."""
        with self._lock:
            self.requests.append(asked)
        return self.rule(asked)

    def landed(self, day: date) -> bool:
        """Whether a manifest of the day went through here, and was accepted."""
        name = f"manifests/date={day}.json"
        with self._lock:
            return any(
                asked.what == "put" and asked.name == name and status == http.HTTPStatus.CREATED
                for asked, status in self.answers
            )

    def answered(self, asked: Asked, status: int) -> None:
        """Note what the storage has said."""
        with self._lock:
            self.answers.append((asked, status))

    def changed(self, asked: Asked, content: bytes) -> bytes:
        """The body of an answer, as it goes back."""
        del asked
        return content

    def steps(self) -> list[str]:
        """The steps of all writes so far, in order of their arrival."""
        with self._lock:
            return [asked.step for asked in self.requests if asked.writes]


class HierarchicalProxy(StorageProxy):
    """An account with a hierarchical namespace, as the Blob API shows it: blobs leave directories behind.

    A directory is listed as an empty blob with the metadata `hdi_isfolder`; it can be deleted once it is empty.
    """

    def __init__(self, azurite: Azurite) -> None:
        super().__init__(azurite)
        self.directories: set[str] = set()
        self._blobs: set[str] = set()

    def fault_of(self, asked: Asked) -> Fault | None:
        """Answer what is about a directory: the emulator knows none."""
        if asked.what == "delete" and asked.name in self.directories:
            if any(name.startswith(f"{asked.name}/") for name in self.directories | self._blobs):
                return Fault(status=http.HTTPStatus.CONFLICT, code="DirectoryIsNotEmpty")
            self.directories.remove(asked.name)
            return Fault(status=http.HTTPStatus.ACCEPTED)
        return super().fault_of(asked)

    def answered(self, asked: Asked, status: int) -> None:
        """Note which blobs there are, and that each makes its directories."""
        super().answered(asked, status)
        if asked.what in ("put", "commit") and status == http.HTTPStatus.CREATED:
            self._blobs.add(asked.name)
            self.directories |= {str(parent) for parent in PurePosixPath(asked.name).parents} - {"."}
        elif asked.what == "delete":
            self._blobs.discard(asked.name)

    def changed(self, asked: Asked, content: bytes) -> bytes:
        """A listing with the directories in it."""
        if asked.what != "list":
            return content
        listing = ET.fromstring(content)  # noqa: S314 - from our own emulator
        blobs, delimiter = listing.find("Blobs"), listing.findtext("Delimiter")
        assert blobs is not None
        for name in sorted(self.directories):
            below = name.removeprefix(asked.name)
            if name.startswith(asked.name) and not (delimiter and "/" in below):
                blobs.append(ET.XML((_PREFIX if delimiter else _DIRECTORY) % name))
        seen = {}
        for entry in list(blobs):
            seen[entry.tag, entry.findtext("Name")] = entry
            blobs.remove(entry)
        blobs.extend(seen[key] for key in sorted(seen, key=lambda key: key[1] or ""))
        return b"<?xml version='1.0' encoding='utf-8'?>" + ET.tostring(listing, encoding="unicode").encode()


_PREFIX = "<BlobPrefix><Name>%s/</Name></BlobPrefix>"
_DIRECTORY = (
    "<Blob><Name>%s</Name><Properties><Last-Modified>Tue, 04 Nov 2025 00:00:00 GMT</Last-Modified><Etag>0x1</Etag>"
    "<ResourceType>directory</ResourceType><Content-Length>0</Content-Length><BlobType>BlockBlob</BlobType>"
    "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState></Properties>"
    "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>"
)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    proxy: StorageProxy

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as its base
        with self.proxy.connected():
            super().process_request_thread(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def _handle(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = _asked(self.command, self.path, self.headers.get("x-ms-lease-action", ""))
        fault = proxy.fault_of(asked) or Fault()
        if fault.status:
            self._refuse(fault)
            return
        if fault.hold:
            fault.hold.reached.set()
            while not fault.hold.opened.wait(0.02):
                if proxy.stopping.is_set():
                    self._hang_up()
                    return
        fault.before()
        if fault.dropped:
            self._hang_up()
            return
        try:
            answer, content = self._pass_on(body)
        except (OSError, http.client.HTTPException):
            self._hang_up()  # the emulator is away
            return
        proxy.answered(asked, answer.status)
        fault.after()
        if fault.lost:
            self._hang_up()
            return
        content = _from_start(content, self.path)
        self._answer(answer.status, answer.reason, answer.getheaders(), proxy.changed(asked, content))

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST = _handle  # noqa: N815 - names that the base class asks for

    def _pass_on(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        to = urlsplit(self.server.proxy.azurite.blob_url)
        connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, reason: str, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status, reason)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "keep-alive", "content-length"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _refuse(self, fault: Fault) -> None:
        content = f'<?xml version="1.0"?><Error><Code>{fault.code}</Code><Message>Broken.</Message></Error>'.encode()
        headers = [("x-ms-error-code", fault.code), ("Content-Type", "application/xml")]
        self._answer(fault.status or 0, "Broken", headers, b"" if self.command == "HEAD" else content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: `requests` tells it all."""


def _from_start(content: bytes, path: str) -> bytes:
    """A page of a listing without the names before the one that it was to start from; other answers as they are."""
    start = parse_qs(urlsplit(path).query).get("startFrom", [""])[0]
    if not start:
        return content
    page = ET.fromstring(content)  # noqa: S314 - the emulator's own answer
    for blobs in page.iter("Blobs"):
        for blob in list(blobs):
            if blob.findtext("Name", "") < start:
                blobs.remove(blob)
    return bytes(ET.tostring(page, encoding="utf-8", xml_declaration=True))


def _asked(method: str, path: str, lease_action: str) -> Asked:
    parts = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    name = unquote("/".join(parts.path.lstrip("/").split("/")[PARTS_BEFORE_BLOB:]))
    comp = query.get("comp", "")
    if comp == "list":
        return Asked("list", query.get("prefix", ""))
    if query.get("restype") == "container":
        return Asked("container", "")
    if method == "PUT":
        what = {"block": "stage", "blocklist": "commit", "lease": "lease"}.get(comp, "put")
        return Asked(what, name, lease_action)
    return Asked("delete" if method == "DELETE" else "read", name)
