"""The simulator's sockets. They are plain sockets, so that an answer can be cut, damaged or paused at any byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from local.simulator.answers import Answer
from local.simulator.faults import Fault, Gate

Respond = Callable[[str, str | None], tuple[Answer, Fault]]
"""Takes a request's target and its Authorization header, and returns the answer and its fault."""

_PIECE = 256 * 1024
_POLL_SECONDS = 0.02


class Server(ThreadingHTTPServer):
    """Serves in its own threads, from its creation until `stop`."""

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], respond: Respond, tls: ssl.SSLContext | None) -> None:
        self.respond = respond
        self.stopping = threading.Event()
        self.errors: list[BaseException] = []
        """Errors of the simulator itself, which no client has caused."""
        self._tls = tls
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all connections at once, and close the port."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        self.server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Its own thread does the TLS handshake."""
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        return connection, address

    def close_request(self, request: Any) -> None:  # noqa: ANN401 - the signature of socketserver
        """Close a connection."""
        self._open.discard(request)
        super().close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - as above
        """Keep an error, so that `stop` can report it. Ignore errors that only say that the client has disconnected."""
        error = sys.exception()
        if error and not isinstance(error, OSError):
            self.errors.append(error)


class _CutError(Exception):
    """The connection is to end here."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        answer, fault = self.server.respond(self.path, self.headers["Authorization"])
        _check(fault, answer.length)
        try:
            self._send(answer, fault)
        except _CutError:
            self.close_connection = True
            if fault.reset:
                # A reset discards what the client has not read yet: give it a moment.
                time.sleep(0.02)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

    do_CONNECT = do_GET  # noqa: N815 - as its base: a proxy that refuses, such as with 407

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of http.server
        """Print nothing: the simulator has its own log."""

    def _send(self, answer: Answer, fault: Fault) -> None:
        self._reach(-1, fault)
        self.wfile.write(_head(answer, fault))
        if fault.framing == "close":
            self.close_connection = True
        sent = 0
        flip = None if fault.flip is None else fault.flip % answer.length
        for piece in _pieces(answer.body, fault):
            self._reach(sent, fault)
            if fault.drip and sent:
                self._sleep(fault.drip)
            self._write(_flipped(piece, flip - sent) if flip is not None else piece, fault)
            sent += len(piece)
        self._reach(sent, fault)
        self._finish_body(fault)

    def _reach(self, position: int, fault: Fault) -> None:
        """Pause or cut, if the fault says so at this position of the body."""
        if position == fault.pause_at and fault.pause:
            if isinstance(fault.pause, Gate):
                fault.pause.reached.set()
                while not fault.pause.opened.wait(_POLL_SECONDS) and not self.server.stopping.is_set():
                    pass
            else:
                self._sleep(fault.pause)
        if position == fault.cut or self.server.stopping.is_set():
            raise _CutError

    def _sleep(self, seconds: float) -> None:
        if self.server.stopping.wait(seconds):
            raise _CutError

    def _write(self, piece: bytes, fault: Fault) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if fault.framing == "chunked" else piece)

    def _finish_body(self, fault: Fault) -> None:
        if fault.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")
        elif fault.framing == "close" and isinstance(self.connection, ssl.SSLSocket):
            # Only TLS's close message shows that the body ends here and was not cut.
            self.connection.settimeout(1)
            with contextlib.suppress(OSError):
                self.connection.unwrap()


def _check(fault: Fault, length: int) -> None:
    """Refuse a fault that would have no effect: a test would pass without it."""
    flip = 0 if fault.flip is None else fault.flip
    if max(fault.cut or 0, fault.pause_at) > length or (fault.flip is not None and not -length <= flip < length):
        raise ValueError(f"{fault} lies outside the body of {length} bytes")


def _head(answer: Answer, fault: Fault) -> bytes:
    headers = {"Server": "amplitude-simulator", **answer.headers}
    match fault.framing:
        case "length":
            headers["Content-Length"] = str(answer.length)
        case "chunked":
            headers["Transfer-Encoding"] = "chunked"
        case "close":
            headers["Connection"] = "close"
    headers |= fault.headers
    lines = [
        f"HTTP/1.1 {answer.status} {phrase(answer.status)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def phrase(status: int) -> str:
    """The standard phrase of a status, if it has one."""
    return HTTPStatus(status).phrase if status in HTTPStatus else "Unknown"


def _pieces(chunks: Iterable[bytes], fault: Fault) -> Iterator[bytes]:
    """The same bytes in pieces of a suitable size. No piece crosses a position at which the fault acts."""
    most = fault.drip_bytes if fault.drip else _PIECE
    marks = [mark for mark in (fault.cut, fault.pause_at) if mark is not None]
    buffer, position = bytearray(), 0
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= (size := min([most, *(mark - position for mark in marks if mark > position)])):
            yield bytes(buffer[:size])
            del buffer[:size]
            position += size
    if buffer:
        yield bytes(buffer)


def _flipped(piece: bytes, at: int) -> bytes:
    if not 0 <= at < len(piece):
        return piece
    return piece[:at] + bytes([piece[at] ^ 0x10]) + piece[at + 1 :]
