"""Deflate and gzip, fed piece by piece: bytes in, decompressed bytes out, nothing held but the piece at hand.

Inflating is ISA-L's, several times as quick as zlib, and done without the interpreter lock. Gzip headers and trailers
are read here: ISA-L takes a header whose checksum (FHCRC) is split over two pieces for a damaged one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Iterator
from typing import cast

from isal import igzip_lib, isal_zlib

from shared.errors import BrokenArchive

Bytes = bytes | memoryview
"""Bytes in either dress: slices of what the source handed out need no copy."""

PIECE_OUT = 1024 * 1024
"""Decompressed bytes come in pieces of at most so many."""

# ISA-L's type stubs call the class an instance.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
_MAGIC = b"\x1f\x8b\x08"  # the third byte is the method: deflate, the only one there is (RFC 1952)
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_FIXED_HEADER, _TRAILER = 10, 8
_LONGEST_HEADER = 256 * 1024
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
_COUNTED_AT_ONCE = 64 * 1024  # stays in the cache, and needs no fresh memory from the system as 1 MiB would


class Inflate:
    """One raw deflate stream, called `name` in errors. Feed it until `ended`; `unused` then is what followed it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)

    def feed(self, data: Bytes) -> Iterator[bytes]:
        """What `data` decompresses to, in pieces of at most `PIECE_OUT` bytes.

        Raises:
            BrokenArchive: this is no deflate stream.

        """
        while True:
            try:
                piece: bytes = self._stream.decompress(data, PIECE_OUT)
            except _IsalError as error:
                raise BrokenArchive(f"{self._name}: the compressed data are damaged ({error}).") from error
            yield piece
            if self.ended or self._stream.needs_input:
                return
            data = b""

    @property
    def ended(self) -> bool:
        """Whether the stream has come to its end."""
        return bool(self._stream.eof)

    @property
    def unused(self) -> bytes:
        """What was fed beyond the stream's end."""
        return bytes(self._stream.unused_data)


class Gunzip:
    """A gzip file: one member or several, each with its checksum and size, and nothing else (RFC 1952).

    `feed` all of the file, then `finish`: only once that has returned is the file whole. Both raise `BrokenArchive`;
    `name` is what the file is called there.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._step: Callable[[Bytes], Generator[bytes, None, Bytes]] = self._header
        self._kept = b""
        self._members = 0

    def feed(self, data: Bytes) -> Iterator[bytes]:
        """What `data` decompresses to, in pieces of at most `PIECE_OUT` bytes."""
        while data:
            data = yield from self._step(data)

    def finish(self) -> None:
        """The file has no more bytes."""
        if self._members == 0 or self._kept or self._step != self._header:
            raise self._broken("its gzip stream is cut")

    def _header(self, data: Bytes) -> Generator[bytes, None, Bytes]:
        yield from ()
        self._kept += data
        if not self._kept.startswith(_MAGIC[: len(self._kept)]):
            raise self._broken("more than gzip is in it" if self._members else "it is not gzip")
        length = self._header_length(self._kept)
        if length is None:
            if len(self._kept) > _LONGEST_HEADER:
                raise self._broken("its gzip header has no end")
            return b""
        rest, self._kept = memoryview(self._kept)[length:], b""
        self._members += 1
        self._inflate = Inflate(self._name)
        self._crc = self._size = 0
        self._step = self._body
        return rest

    def _body(self, data: Bytes) -> Generator[bytes, None, Bytes]:
        for piece in self._inflate.feed(data):
            self._crc = isal_zlib.crc32(piece, self._crc)
            self._size += len(piece)
            yield piece
        if not self._inflate.ended:
            return b""
        self._step = self._trailer
        return self._inflate.unused

    def _trailer(self, data: Bytes) -> Generator[bytes, None, Bytes]:
        yield from ()
        missing = _TRAILER - len(self._kept)
        self._kept += data[:missing]
        if len(self._kept) == _TRAILER:
            if struct.unpack("<II", self._kept) != (self._crc, self._size & _MOST_32):
                raise self._broken("checksum or size of its gzip stream do not hold")
            self._kept = b""
            self._step = self._header
        return data[missing:]

    def _header_length(self, data: bytes) -> int | None:
        """How long the gzip header is that `data` begins with; None if it goes on beyond `data`."""
        if len(data) < _FIXED_HEADER:
            return None
        flags, position = data[3], _FIXED_HEADER
        if flags & _RESERVED:
            raise self._broken("its gzip header has flags that gzip does not know")
        if flags & _FEXTRA:
            position += 2 + int.from_bytes(data[position : position + 2], "little")
        for _ in range(bool(flags & _FNAME) + bool(flags & _FCOMMENT)):
            end = data.find(b"\0", position)
            if end < 0:
                return None
            position = end + 1
        if flags & _FHCRC:
            checksum = isal_zlib.crc32(data[:position]) & _MOST_16
            position += 2
            if len(data) >= position and checksum != int.from_bytes(data[position - 2 : position], "little"):
                raise self._broken("the checksum of its gzip header does not hold")
        return position if len(data) >= position else None

    def _broken(self, what: str) -> BrokenArchive:
        return BrokenArchive(f"{self._name}: {what}.")


class LineCount:
    r"""How many lines the pieces hold: only `\n` ends a line, and a last one without it counts."""

    def __init__(self) -> None:
        self._ended = 0
        self._last = b"\n"

    def add(self, piece: bytes) -> None:
        """Count what comes next."""
        if piece:
            for start in range(0, len(piece), _COUNTED_AT_ONCE):
                part = piece[start : start + _COUNTED_AT_ONCE]
                # Leaving the newlines out searches for them; `count` looks at each byte, and takes four times as long.
                self._ended += len(part) - len(part.replace(b"\n", b""))
            self._last = piece[-1:]

    @property
    def total(self) -> int:
        """The lines so far."""
        return self._ended + (self._last != b"\n")
