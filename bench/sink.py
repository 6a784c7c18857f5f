"""`python -m bench.sink CERTIFICATE [SECONDS [RATE]]`: the part of Blob Storage's REST API that contenders need.

It keeps only the sizes of blocks, but the whole content of small blobs. It waits SECONDS before each answer, and takes
at most RATE bytes a second, like a network. `GET /together` answers how many requests of each operation were under way
at the same time, at most.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from xml.sax.saxutils import escape

from bench.wire import Connection, Head, Steps, serve

_SMALL_BYTES = 4 * 1024 * 1024
_PACED_BYTES = 512 * 1024
_CREATED, _OK, _PARTIAL, _ACCEPTED, _NOT_FOUND, _CONFLICT, _NOT_MET = 201, 200, 206, 202, 404, 409, 412


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob. `data` is empty unless the blob is small."""

    size: int
    data: bytes
    etag: str
    headers: dict[str, str]


@dataclass(slots=True)
class Sink:
    """All blobs of all containers, by path."""

    wait_seconds: float = 0
    rate: float = 0
    """The most bytes a second, in all bodies together; 0 means no limit."""
    _free_at: float = field(default=0, init=False)
    _blobs: dict[str, Stored] = field(default_factory=dict, init=False)
    _blocks: dict[str, dict[str, int]] = field(default_factory=dict, init=False)
    _etags: itertools.count[int] = field(default_factory=lambda: itertools.count(1), init=False)
    _under_way: Counter[str] = field(default_factory=Counter, init=False)
    _together: Counter[str] = field(default_factory=Counter, init=False)

    def talk(self, connection: Connection) -> Steps:
        """Answer one client's requests."""
        while True:
            head = yield from connection.head()
            if head.path == "/together":
                yield from connection.answer(_OK, {}, json.dumps(self._together).encode())
                continue
            name = head.query.get("comp", head.query.get("restype", ""))
            self._under_way[name] += 1
            self._together |= self._under_way
            yield from self._operation(head.method, name)(connection, head)
            self._under_way[name] -= 1

    def _operation(self, method: str, name: str) -> Callable[[Connection, Head], Steps]:
        operations = {
            ("PUT", "block"): self._put_block,
            ("PUT", "blocklist"): self._put_block_list,
            ("PUT", "lease"): self._lease,
            ("PUT", "container"): self._put_container,
            ("PUT", ""): self._put,
            ("GET", "list"): self._list,
            ("GET", ""): self._get,
            ("HEAD", ""): self._get,
            ("DELETE", ""): self._delete,
        }
        return operations[method, name]

    def _put_container(self, connection: Connection, _: Head) -> Steps:
        yield from self._answer(connection, _CREATED)

    def _answer(
        self, connection: Connection, status: int, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> Steps:
        if self.wait_seconds:
            yield self.wait_seconds
        yield from connection.answer(status, headers or {}, body)

    def _refuse(self, connection: Connection, status: int, code: str) -> Steps:
        yield from self._answer(connection, status, {"x-ms-error-code": code})

    def _discard(self, connection: Connection, length: int) -> Steps:
        while self.rate and length:
            part = min(length, _PACED_BYTES)
            yield from connection.discard(part)
            length -= part
            self._free_at = max(self._free_at, time.monotonic()) + part / self.rate
            yield max(self._free_at - time.monotonic(), 0)
        yield from connection.discard(length)

    def _put_block(self, connection: Connection, head: Head) -> Steps:
        yield from self._discard(connection, head.length)
        self._blocks.setdefault(head.path, {})[head.query["blockid"]] = head.length
        yield from self._answer(connection, _CREATED)

    def _put_block_list(self, connection: Connection, head: Head) -> Steps:
        ids = re.findall(rb"<Latest>([^<]*)</Latest>", (yield from connection.body(head.length)))
        blocks = self._blocks.pop(head.path, {})
        yield from self._write(connection, head, sum(blocks[block_id.decode()] for block_id in ids), b"")

    def _put(self, connection: Connection, head: Head) -> Steps:
        data = b""
        if head.length <= _SMALL_BYTES:
            data = yield from connection.body(head.length)
        else:
            yield from self._discard(connection, head.length)
        yield from self._write(connection, head, head.length, data)

    def _write(self, connection: Connection, head: Head, size: int, data: bytes) -> Steps:
        there = self._blobs.get(head.path)
        if head.headers.get("if-none-match") == "*" and there:
            return (yield from self._refuse(connection, _CONFLICT, "BlobAlreadyExists"))
        expected = head.headers.get("if-match")
        if expected and (there is None or there.etag != expected):
            return (yield from self._refuse(connection, _NOT_MET, "ConditionNotMet"))
        kept = {name: value for name, value in head.headers.items() if name.startswith("x-ms-meta-")}
        kept |= {"ETag": f'"{next(self._etags)}"', "Last-Modified": formatdate(usegmt=True)}
        self._blobs[head.path] = Stored(size, data, kept["ETag"], kept)
        return (yield from self._answer(connection, _CREATED, {name: kept[name] for name in ("ETag", "Last-Modified")}))

    def _lease(self, connection: Connection, head: Head) -> Steps:
        there = self._blobs.get(head.path)
        if there is None:
            return (yield from self._refuse(connection, _NOT_FOUND, "BlobNotFound"))
        acquired = head.headers["x-ms-lease-action"] == "acquire"
        lease_id = str(uuid.uuid4()) if acquired else head.headers["x-ms-lease-id"]
        return (
            yield from self._answer(
                connection, _CREATED if acquired else _OK, {**there.headers, "x-ms-lease-id": lease_id}
            )
        )

    def _get(self, connection: Connection, head: Head) -> Steps:
        there = self._blobs.get(head.path)
        if there is None:
            return (yield from self._refuse(connection, _NOT_FOUND, "BlobNotFound"))
        headers = {**there.headers, "x-ms-blob-type": "BlockBlob", "x-ms-lease-state": "available"}
        if head.method == "HEAD":
            return (yield from connection.answer(_OK, headers, length=there.size))
        headers["Content-Range"] = f"bytes 0-{there.size - 1}/{there.size}"
        return (yield from self._answer(connection, _PARTIAL, headers, there.data))

    def _delete(self, connection: Connection, head: Head) -> Steps:
        if self._blobs.pop(head.path, None) is None:
            return (yield from self._refuse(connection, _NOT_FOUND, "BlobNotFound"))
        return (yield from self._answer(connection, _ACCEPTED))

    def _list(self, connection: Connection, head: Head) -> Steps:
        start = f"{head.path}/{head.query.get('prefix', '')}"
        found = {path: blob for path, blob in sorted(self._blobs.items()) if path.startswith(start)}
        items = "".join(
            f"<Blob><Name>{escape(path.removeprefix(head.path + '/'))}</Name><Properties>"
            f"<Last-Modified>{blob.headers['Last-Modified']}</Last-Modified><Etag>{escape(blob.etag)}</Etag>"
            f"<Content-Length>{blob.size}</Content-Length><BlobType>BlockBlob</BlobType>"
            f"<LeaseState>available</LeaseState></Properties><Metadata>{_metadata(blob)}</Metadata></Blob>"
            for path, blob in found.items()
        )
        body = f'<?xml version="1.0"?><EnumerationResults><Blobs>{items}</Blobs><NextMarker/></EnumerationResults>'
        yield from self._answer(connection, _OK, {"Content-Type": "application/xml"}, body.encode())


def _metadata(blob: Stored) -> str:
    kept = {name.removeprefix("x-ms-meta-"): value for name, value in blob.headers.items() if name.startswith("x-ms-")}
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in kept.items())


def main() -> None:
    """Serve until stdin ends."""
    certificate, *figures = sys.argv[1:]
    serve(Path(certificate), Sink(*map(float, figures)).talk)


if __name__ == "__main__":
    main()
