"""HTTP/1.1 over TLS with as little work as Python allows: a benchmark must not measure its own servers.

One thread serves all clients, each in a generator that yields what it waits for. Threads would take twice as long,
because they would pass the interpreter lock on for every 16 KB that TLS returns.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import selectors
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qsl, unquote, urlsplit

_BUFFER_BYTES = 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"

Wish = float
"""What a generator yields: `READABLE`, `WRITABLE`, or seconds to sleep."""
READABLE, WRITABLE = -1.0, -2.0

Steps = Generator[Wish]


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
    """One client: reads heads and sends answers. Whoever answers must also read the body of the request."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._socket = connection
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._kept = b""
        self._echo = dict[str, str]()

    def head(self) -> Generator[Wish, None, Head]:
        """The next request. The body of the one before must have been taken."""
        while _END_OF_HEAD not in self._kept:
            count = yield from self._receive(_BUFFER_BYTES)
            self._kept += self._buffer[:count]
        head, _, self._kept = self._kept.partition(_END_OF_HEAD)
        parsed = _parse(head.decode("latin-1"))
        # As the storage, which repeats this header in its answer.
        self._echo = {name: value for name, value in parsed.headers.items() if name == "x-ms-client-request-id"}
        return parsed

    def body(self, length: int) -> Generator[Wish, None, bytes]:
        """Take a small body."""
        while len(self._kept) < length:
            count = yield from self._receive(_BUFFER_BYTES)
            self._kept += self._buffer[:count]
        body, self._kept = self._kept[:length], self._kept[length:]
        return body

    def discard(self, length: int) -> Steps:
        """Take a body, and forget it."""
        taken, self._kept = self._kept[:length], self._kept[length:]
        left = length - len(taken)
        while left:
            left -= yield from self._receive(min(left, _BUFFER_BYTES))

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"", *, length: int | None = None) -> Steps:
        """Send an answer. With `length`, its body follows by `send`, or there is none (HEAD)."""
        lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body) if length is None else length}"]
        lines += [f"{name}: {value}" for name, value in {**self._echo, **headers}.items()]
        yield from self.send(memoryview("\r\n".join([*lines, "", ""]).encode("latin-1") + body))

    def send(self, data: memoryview) -> Steps:
        """Send a part of a body."""
        while data:
            try:
                data = data[self._socket.send(data) :]
            except ssl.SSLWantWriteError:
                yield WRITABLE

    def _receive(self, most: int) -> Generator[Wish, None, int]:
        while True:
            try:
                count = self._socket.recv_into(self._buffer, most)
            except ssl.SSLWantReadError:
                yield READABLE
                continue
            if not count:
                raise ConnectionError("the client went away")
            return count


def _parse(text: str) -> Head:
    first, *lines = text.split("\r\n")
    method, target, _ = first.split(" ", 2)
    parts = urlsplit(target)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Head(method, unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True)), headers)


def serve(certificate: Path, talk: Callable[[Connection], Steps]) -> None:
    """Serve on a free port of the loopback interface, until stdin ends.

    The port is printed as the first line, so that whoever started this process knows it.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    threading.Thread(target=_die_at_eof, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        _Loop(listener, context, talk).run()


class _Loop:
    def __init__(self, listener: socket.socket, context: ssl.SSLContext, talk: Callable[[Connection], Steps]) -> None:
        self._listener = listener
        self._context = context
        self._talk = talk
        self._selector = selectors.DefaultSelector()
        self._sleepers: list[tuple[float, int, socket.socket, Steps]] = []
        self._order = itertools.count()

    def run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            due = max(self._sleepers[0][0] - time.monotonic(), 0) if self._sleepers else None
            for key, _ in self._selector.select(due):
                client = cast("socket.socket", key.fileobj)
                if client is self._listener:
                    self._accept()
                else:
                    self._selector.unregister(client)
                    self._go_on(client, key.data)
            while self._sleepers and self._sleepers[0][0] <= time.monotonic():
                _, _, client, steps = heapq.heappop(self._sleepers)
                self._go_on(client, steps)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(0)
        secured = self._context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        self._go_on(secured, self._begin(secured))

    def _begin(self, client: ssl.SSLSocket) -> Steps:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield READABLE
        yield from self._talk(Connection(client))

    def _go_on(self, client: socket.socket, steps: Steps) -> None:
        try:
            wish = next(steps)
        except (StopIteration, OSError):
            client.close()
            return
        if wish >= 0:
            heapq.heappush(self._sleepers, (time.monotonic() + wish, next(self._order), client, steps))
        else:
            self._selector.register(client, selectors.EVENT_READ if wish == READABLE else selectors.EVENT_WRITE, steps)


def _die_at_eof() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
