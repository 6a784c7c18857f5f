"""Deflate and gzip, read as they arrive: packed bytes in, packed and decompressed pieces out, nothing else held.

ISA-L does the inflating: several times as fast as zlib, and without the interpreter lock. Gzip headers and trailers are
read here, because ISA-L takes a header whose checksum (FHCRC) is split over two pieces for a damaged one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import cast

from isal import igzip_lib, isal_zlib

from shared.archive.reader import ByteReader, Bytes
from shared.errors import BrokenArchive, SuspiciousArchive

Piece = tuple[Bytes, bytes]
"""Packed bytes, and decompressed bytes. In order, but not always together: either may be empty."""

PIECE_OUT = 1024 * 1024
"""A piece has at most this many decompressed bytes."""
MOST_GZIP_MEMBERS = 100_000
"""A file of blocks of 64 KiB, as bgzip makes them, may have 6 GiB."""

_FIRST_PIECE_IN, _PIECE_IN = 4 * 1024, 96 * 1024  # ten to one, the second fills a piece of output
# ISA-L's type stubs call the class an instance.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
_MAGIC = b"\x1f\x8b\x08"  # the third byte is the method: deflate, the only one there is (RFC 1952)
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_LONGEST_TEXT = 256 * 1024
_SPACE = 0x20
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF


def inflate(reader: ByteReader, name: str) -> Iterator[Piece]:
    """One raw deflate stream. Afterwards the reader is at the first byte behind it.

    Raises:
        BrokenArchive: it is cut, or no deflate stream.

    """
    stream = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
    most = _FIRST_PIECE_IN  # what follows a short stream is copied: see `unused_data`
    while not stream.eof:
        packed = reader.take(most)
        if not packed:
            raise reader.cut("in compressed data")
        content = _decompressed(stream, packed, name)
        while not (stream.eof or stream.needs_input):
            yield b"", content
            content = _decompressed(stream, b"", name)
        unused = len(stream.unused_data)
        reader.put_back(unused)
        yield packed[: len(packed) - unused], content
        most = _PIECE_IN


def _decompressed(stream: igzip_lib.IgzipDecompressor, packed: Bytes, name: str) -> bytes:
    try:
        content: bytes = stream.decompress(packed, PIECE_OUT)
    except _IsalError as error:
        raise BrokenArchive(f"{name}: the compressed data are damaged ({error}).") from error
    return content


def gunzip(reader: ByteReader, name: str, goes_on: Callable[[], bool] | None = None) -> Iterator[Piece]:
    """A gzip file (RFC 1952): one gzip member or several, each with its checksum and size.

    `goes_on` is asked after each member whether another one follows; without it, whatever follows has to be one.

    Raises:
        BrokenArchive: it is cut or damaged, or something other than gzip follows a member.
        SuspiciousArchive: it has more than `MOST_GZIP_MEMBERS` members.

    """
    goes_on = goes_on or (lambda: bool(reader.peek(1)))
    members = 0
    while members == 0 or goes_on():
        if members == MOST_GZIP_MEMBERS:
            raise SuspiciousArchive(f"{name}: more than {MOST_GZIP_MEMBERS} gzip members.")
        yield _header(reader, name, "it is not gzip" if members == 0 else "more than gzip is in it"), b""
        members += 1
        crc = size = 0
        for packed, content in inflate(reader, name):
            crc = isal_zlib.crc32(content, crc)
            size += len(content)
            yield packed, content
        trailer = reader.exactly(8, "in a gzip trailer")
        if struct.unpack("<II", trailer) != (crc, size & _MOST_32):
            raise BrokenArchive(f"{name}: checksum or size of its gzip stream do not match.")
        yield trailer, b""


def _header(reader: ByteReader, name: str, otherwise: str) -> bytes:
    """A gzip member's header; `otherwise` says what it means if this is none."""
    place = "in a gzip header"
    if not _MAGIC.startswith(reader.peek(len(_MAGIC))):
        raise BrokenArchive(f"{name}: {otherwise}.")
    header = bytearray(reader.exactly(10, place))
    flags = header[3]
    if flags & _RESERVED:
        raise BrokenArchive(f"{name}: its gzip header has flags that gzip does not know.")
    if flags & _FEXTRA:
        length = reader.exactly(2, place)
        header += length + reader.exactly(int.from_bytes(length, "little"), place)
    for _ in range(bool(flags & _FNAME) + bool(flags & _FCOMMENT)):
        header += _text(reader, name)
    if flags & _FHCRC:
        found, said = isal_zlib.crc32(header) & _MOST_16, reader.exactly(2, place)
        if found != int.from_bytes(said, "little"):
            raise BrokenArchive(f"{name}: the checksum of its gzip header does not match.")
        header += said
    return bytes(header)


def _text(reader: ByteReader, name: str) -> bytes:
    """A text that ends with a zero byte, the zero included."""
    text = bytearray()
    while len(text) <= _LONGEST_TEXT:
        piece = reader.take(1024)
        if not piece:
            raise reader.cut("in a gzip header")
        length = bytes(piece).find(b"\0") + 1
        if length:
            reader.put_back(len(piece) - length)
            return bytes(text + piece[:length])
        text += piece
    raise BrokenArchive(f"{name}: its gzip header has no end.")


class EventCount:
    r"""Counts the lines that hold more than white space. Only `\n` ends a line; the last one may lack it."""

    def __init__(self) -> None:
        self._ended = 0
        self._last_line = False

    def add(self, piece: bytes) -> None:
        """Count what comes next."""
        start = 0
        # `find` jumps from newline to newline; anything that looks at each byte takes several times as long.
        while (end := piece.find(b"\n", start)) >= 0:
            # Most lines begin with a printable character, so that the rest need not be looked at.
            if self._last_line or piece[start] > _SPACE or piece[start:end].strip():
                self._ended += 1
            self._last_line = False
            start = end + 1
        if not self._last_line:
            self._last_line = bool(piece[start:].strip())

    @property
    def total(self) -> int:
        """The events so far."""
        return self._ended + self._last_line
