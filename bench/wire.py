"""HTTP/1.1 over TLS in as little work as Python allows: a server must not be what a benchmark measures."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

_BUFFER_BYTES = 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body; the names of headers are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        """How many bytes follow."""
        return int(self.headers.get("content-length", "0"))


class Connection:
    """One client: heads in, answers out. What is read of a body is up to whoever answers."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._kept = b""

    def heads(self) -> Iterator[Head]:
        """Each request, until the client goes. Its body must have been taken before the next is asked for."""
        while True:
            while _END_OF_HEAD not in self._kept:
                count = self._socket.recv_into(self._buffer)
                if not count:
                    return
                self._kept += self._buffer[:count]
            head, _, self._kept = self._kept.partition(_END_OF_HEAD)
            yield _parse(head.decode("latin-1"))

    def discard(self, length: int) -> None:
        """Take a body, and forget it."""
        left = length - len(self._kept)
        self._kept = b""
        while left:
            count = self._socket.recv_into(self._buffer, min(left, _BUFFER_BYTES))
            if not count:
                raise ConnectionError("the client went away within a body")
            left -= count

    def body(self, length: int) -> bytes:
        """Take a small body."""
        while len(self._kept) < length:
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise ConnectionError("the client went away within a body")
            self._kept += self._buffer[:count]
        body, self._kept = self._kept[:length], self._kept[length:]
        return body

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"", *, length: int | None = None) -> None:
        """Send an answer; with `length`, its body comes by `send`, or never (HEAD)."""
        lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def send(self, data: memoryview) -> None:
        """Send a part of a body."""
        self._socket.sendall(data)


def _parse(text: str) -> Head:
    first, *lines = text.split("\r\n")
    method, target, _ = first.split(" ", 2)
    parts = urlsplit(target)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Head(method, unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True)), headers)


def serve(certificate: Path, talk: Callable[[Connection], None]) -> None:
    """Serve on a free port of the loopback interface, each client in a thread, until stdin ends.

    The port is printed as the first line, so that whoever started this process knows it.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    threading.Thread(target=_die_at_eof, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_talk, args=(connection, context, talk), daemon=True).start()


def _talk(connection: socket.socket, context: ssl.SSLContext, talk: Callable[[Connection], None]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
        talk(Connection(secured))


def _die_at_eof() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
