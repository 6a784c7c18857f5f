"""What no export in Python can do without, with the standard library only: TLS in, TLS out, over one connection.

Inflating and checksums are in `legs`: for these, nothing is cheaper than the project's own code.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from urllib.parse import urlsplit

from shared.storage.uploader import BLOCK_BYTES

_BUFFER_BYTES = 256 * 1024
_END_OF_HEAD = b"\r\n\r\n"


def send(_: date) -> int:
    """Send as many bytes as the day has, from memory, in blocks of the project's size."""
    size, block = int(os.environ["BENCH_BYTES"]), memoryview(os.urandom(BLOCK_BYTES))
    url = os.environ["EXPORT_STORAGE"].partition("BlobEndpoint=")[2].rstrip(";")
    with _connection(url) as connection:
        for number, start in enumerate(range(0, size, BLOCK_BYTES)):
            body = block[: min(BLOCK_BYTES, size - start)]
            path = f"{urlsplit(url).path}/floor/day?comp=block&blockid={number:05d}"
            connection.sendall(_head("PUT", path, len(body)))
            connection.sendall(body)
            connection.recv(_BUFFER_BYTES)
    return size


def receive(day: date) -> int:
    """Receive the archive into one buffer."""
    url = os.environ["AMP_EXPORT_URL"]
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with _connection(url) as connection:
        connection.sendall(_head("GET", f"{urlsplit(url).path}?start={day:%Y%m%d}T00", 0))
        first = connection.recv(_BUFFER_BYTES)
        head, _, body = first.partition(_END_OF_HEAD)
        left = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]) - len(body)
        while left:
            left -= connection.recv_into(buffer)
    return int(os.environ["BENCH_BYTES"])


@contextmanager
def _connection(url: str) -> Iterator[ssl.SSLSocket]:
    address = urlsplit(url)
    context = ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])
    with (
        socket.create_connection((address.hostname or "", address.port or 443)) as plain,
        context.wrap_socket(plain, server_hostname=address.hostname) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def _head(method: str, target: str, length: int) -> bytes:
    return f"{method} {target} HTTP/1.1\r\nHost: bench\r\nContent-Length: {length}\r\n\r\n".encode()
