"""Reads deflate and gzip while they arrive: takes compressed bytes, returns compressed and decompressed pieces.

Only one piece is held in memory. ISA-L decompresses: it is several times as fast as zlib, and does not hold the
interpreter lock. Gzip headers and trailers are read here, because ISA-L reports a header as damaged if its checksum
(FHCRC) is split over two pieces.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import cast

from isal import igzip_lib, isal_zlib

from shared.archive.reader import ByteReader, Bytes
from shared.errors import BrokenArchive, SuspiciousArchive

Piece = tuple[Bytes, bytes]
"""Compressed bytes and decompressed bytes. Both are in order, but do not always come together: either may be empty."""

PIECE_OUT = 1024 * 1024
"""The most decompressed bytes in a piece."""
MOST_GZIP_MEMBERS = 100_000
"""Enough for a file of 6 GiB in blocks of 64 KiB, as bgzip writes it."""

_PIECE_IN = 96 * 1024  # at ten to one, it fills one piece of output
# ISA-L's type stubs call the class an instance.
_IsalError = cast("type[Exception]", igzip_lib.IsalError)
_MAGIC = b"\x1f\x8b\x08"  # the third byte is the method: there is only deflate (RFC 1952)
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_LONGEST_TEXT = 256 * 1024
_SPACE, _PRINTED = 0x20, re.compile(rb"\S")
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF


def inflate(reader: ByteReader, name: str) -> Iterator[Piece]:
    """Read one raw deflate stream, and no byte after it. Raises BrokenArchive if it is cut off or damaged."""
    stream = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
    while not stream.eof:
        packed = reader.take(_PIECE_IN)
        if not packed:
            raise reader.cut("in compressed data")
        content = _decompressed(stream, packed, name)
        while not (stream.eof or stream.needs_input):
            yield b"", content
            content = _decompressed(stream, b"", name)
        unused = len(stream.unused_data)
        reader.put_back(unused)
        yield packed[: len(packed) - unused], content


def _decompressed(stream: igzip_lib.IgzipDecompressor, packed: Bytes, name: str) -> bytes:
    try:
        content: bytes = stream.decompress(packed, PIECE_OUT)
    except _IsalError as error:
        raise BrokenArchive(f"{name}: the compressed data are damaged ({error}).") from error
    return content


def gunzip(reader: ByteReader, name: str, goes_on: Callable[[], bool] | None = None) -> Iterator[Piece]:
    """Read a gzip file (RFC 1952): one or more gzip members, each with its checksum and size.

    After each member, `goes_on` says whether another one follows. Without it, everything that follows must be members.

    Raises BrokenArchive if it is cut off or damaged, or if something other than gzip follows a member;
    SuspiciousArchive if it has more than `MOST_GZIP_MEMBERS` members.
    """
    goes_on = goes_on or (lambda: bool(reader.peek(1)))
    members = 0
    while members == 0 or goes_on():
        if members == MOST_GZIP_MEMBERS:
            raise SuspiciousArchive(f"{name}: more than {MOST_GZIP_MEMBERS} gzip members.")
        yield _header(reader, name, "it is not gzip" if members == 0 else "something other than gzip follows"), b""
        members += 1
        crc = size = 0
        for packed, content in inflate(reader, name):
            crc = isal_zlib.crc32(content, crc)
            size += len(content)
            yield packed, content
        trailer = reader.exactly(8, "in a gzip trailer")
        if struct.unpack("<II", trailer) != (crc, size & _MOST_32):
            raise BrokenArchive(f"{name}: the checksum or size of its gzip stream does not match.")
        yield trailer, b""


def _header(reader: ByteReader, name: str, otherwise: str) -> bytes:
    """Read the header of a gzip member. `otherwise` is the message if there is none."""
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
    """Read a text up to its zero byte, which is included."""
    text = b""
    while not text.endswith(b"\0"):
        ahead = reader.peek(1024)
        text += reader.exactly(ahead.find(b"\0") + 1 or max(len(ahead), 1), "in a gzip header")
        if len(text) > _LONGEST_TEXT:
            raise BrokenArchive(f"{name}: its gzip header has no end.")
    return text


class EventCount:
    r"""Counts the lines that are not blank. Only `\n` ends a line; the last line may lack it."""

    def __init__(self) -> None:
        self._ended = 0
        self._last_line = False

    def add(self, piece: bytes) -> None:
        """Count the next piece."""
        start, size, find = 0, len(piece), piece.find
        while start < size:
            if not self._last_line:
                # Most lines begin with a printable character. Blank lines are passed over all at once.
                if piece[start] <= _SPACE:
                    printed = _PRINTED.search(piece, start)
                    if printed is None:
                        return
                    start = printed.start()
                self._last_line = True
            # `find` jumps from newline to newline. Looking at each byte would take several times as long.
            end = find(b"\n", start)
            if end < 0:
                return
            self._ended += 1
            self._last_line = False
            start = end + 1

    @property
    def total(self) -> int:
        """The events so far."""
        return self._ended + self._last_line
