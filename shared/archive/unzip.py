"""A zip archive read as it arrives, and checked as a whole: what was read must be what its directory says.

    for entry in ZipStream(chunks):
        for content in entry:
            ...
    # Only here is the archive verified: an archive that is cut or damaged anywhere has raised before.

A zip file says everything twice: before each entry, and in the directory at its end. Who reads it as a stream has used
the first when the second comes, so that one proves the other: name, size, checksum and place of each entry, and their
number.
Format: PKWARE's APPNOTE.TXT 6.3.10, whose sections are named below.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from isal import isal_zlib

from shared.archive.gunzip import Bytes, Inflate
from shared.errors import BrokenArchive, SuspiciousArchive, UnsupportedArchive

MOST_RATIO, MOST_SURE_BYTES = 250, 1024**3
"""An entry may expand to so many times its bytes in the archive; up to the second number, to any size."""
MOST_ENTRIES = 100_000
MOST_DIRECTORY_BYTES = 64 * 1024**2

_PIECE_IN = 128 * 1024
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR, _PATCHED, _STRONG, _MASKED = 0x0001, 0x0008, 0x0020, 0x0040, 0x2000
_LOCAL, _CENTRAL, _DESCRIBED = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
_DESCRIPTOR_64, _END_64_REST = 24, 44


class Source:
    """The bytes of an archive, in order. Pulls a chunk only when it is out of the last."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._chunk = memoryview(b"")
        self._next = 0
        self.position = 0

    def some(self, most: int) -> memoryview:
        """The next bytes, as many as are there and at most `most`; none only at the end."""
        while self._next == len(self._chunk):
            chunk = next(self._chunks, None)
            if chunk is None:
                return memoryview(b"")
            self._chunk, self._next = memoryview(chunk), 0
        piece = self._chunk[self._next : self._next + most]
        self._next += len(piece)
        self.position += len(piece)
        return piece

    def upto(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        data = b""
        while len(data) < size and (piece := self.some(size - len(data))):
            data += piece
        return data

    def exactly(self, size: int, place: str) -> bytes:
        """The next `size` bytes, or a `BrokenArchive` that says where the archive is cut."""
        data = self.upto(size)
        if len(data) < size:
            raise self.cut(place)
        return data

    def give_back(self, unused: Bytes) -> None:
        """Take back the last bytes that were handed out."""
        self.position -= len(unused)
        if len(unused) <= self._next:
            self._next -= len(unused)
        else:
            self._chunk, self._next = memoryview(bytes(unused) + self._chunk[self._next :]), 0

    def cut(self, place: str) -> BrokenArchive:
        """The error for an archive that ends too early."""
        return BrokenArchive(f"The archive is cut {place}, after {self.position} bytes.")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the archive says twice of an entry. `packed` and `size`: its bytes in the archive, and unpacked."""

    method: int
    crc: int
    packed: int
    size: int


class Entry:
    """One entry. Iterate over it once for its content; `facts` are proven when that has ended."""

    def __init__(self, source: Source, offset: int) -> None:
        """Read the header at which the source stands, behind its signature (4.3.7)."""
        header = source.exactly(26, "in the header of an entry")
        _, flags, method, _, crc, packed, size, name_length, extra_length = struct.unpack("<HHHIIIIHH", header)
        self.name = source.exactly(name_length, "in the name of an entry")
        extra = source.exactly(extra_length, f"in the header of {self.shown}")
        size, packed = _widened(extra, size, packed)
        self.offset = offset
        self.facts = Facts(method, crc, packed, size)
        self.complete = False
        self._source = source
        self._start = source.position
        self._described = bool(flags & _DESCRIPTOR)
        self._check_supported(flags)

    @property
    def shown(self) -> str:
        """The name, fit for a message whatever it is."""
        return show(self.name)

    @property
    def is_directory(self) -> bool:
        """Whether the name is one of a directory (4.3.8)."""
        return self.name.endswith(b"/")

    def __iter__(self) -> Iterator[Bytes]:
        if self._source.position != self._start:
            raise RuntimeError(f"{self.shown} can be read only once, and only before the next")
        crc = size = 0
        for piece in self._inflated() if self.facts.method == _DEFLATED else self._stored():
            crc = isal_zlib.crc32(piece, crc)
            size += len(piece)
            self.check_expansion(size)
            yield piece
        proven = Facts(self.facts.method, crc, self._source.position - self._start, size)
        if self._described:
            self._check_descriptor(proven)
        elif proven != self.facts:
            raise BrokenArchive(f"{self.shown}: checksum or size do not hold.")
        self.facts = proven
        self.complete = True

    def check_expansion(self, size: int) -> None:
        """Refuse a bomb: `size` bytes have come out of the part of the entry that has been read.

        Raises:
            SuspiciousArchive: that is too much.

        """
        packed = self._source.position - self._start
        if size > MOST_SURE_BYTES and size > MOST_RATIO * packed:
            raise SuspiciousArchive(
                f"{self.shown}: {packed} bytes expand to more than {size - 1}, {MOST_RATIO} times as much and more. "
                "No events are packed like that."
            )

    def _check_supported(self, flags: int) -> None:
        if flags & (_ENCRYPTED | _STRONG | _MASKED):
            raise UnsupportedArchive(f"{self.shown}: it is encrypted.")
        if flags & _PATCHED:
            raise UnsupportedArchive(f"{self.shown}: it holds patch data.")
        if self.facts.method not in (_STORED, _DEFLATED):
            raise UnsupportedArchive(f"{self.shown}: compression method {self.facts.method} is not known here.")
        if self._described and self.facts.method == _STORED and not self.facts.packed and not self.is_directory:
            raise UnsupportedArchive(
                f"{self.shown}: it is stored, and its size only follows it, so a stream cannot tell where it ends."
            )

    def _stored(self) -> Iterator[Bytes]:
        left = self.facts.packed
        while left:
            piece = self._source.some(min(left, _PIECE_IN))
            if not piece:
                raise self._source.cut(f"inside {self.shown}")
            left -= len(piece)
            yield piece

    def _inflated(self) -> Iterator[Bytes]:
        inflate = Inflate(self.shown)
        left = None if self._described else self.facts.packed
        while not inflate.ended:
            piece = self._source.some(_PIECE_IN if left is None else min(left, _PIECE_IN))
            if not piece:
                if left == 0:
                    raise BrokenArchive(f"{self.shown}: the compressed data go on beyond their size.")
                raise self._source.cut(f"inside {self.shown}")
            left = None if left is None else left - len(piece)
            yield from inflate.feed(piece)
        self._source.give_back(inflate.unused)

    def _check_descriptor(self, proven: Facts) -> None:
        """What follows an entry of unknown size (4.3.9): with or without a signature, sizes of 32 or 64 bits."""
        # The longer form first: the other could be its beginning. At least as many bytes follow any entry.
        data = self._source.exactly(_DESCRIPTOR_64, f"behind {self.shown}")
        for signature in (_DESCRIBED, b""):
            for form, most in (("<IQQ", 2**64 - 1), ("<III", _MOST_32)):
                if max(proven.packed, proven.size) > most:
                    continue
                descriptor = signature + struct.pack(form, proven.crc, proven.packed, proven.size)
                if data.startswith(descriptor):
                    self._source.give_back(data[len(descriptor) :])
                    return
        raise BrokenArchive(f"{self.shown}: checksum or size do not hold.")


class ZipStream:
    """The entries of an archive, in the order in which they stand in it.

    Lazy: a chunk is pulled when its bytes are asked for; held are one chunk, one piece of output and the names. An
    entry must have been read to its end when the next is asked for. What the source raises passes through as it is.

    Raises, while it is iterated over:
        BrokenArchive: cut, damaged, or no zip archive at all.
        SuspiciousArchive: it expands beyond all measure, or has a directory beyond all measure.
        UnsupportedArchive: it cannot be read as a stream.

    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._source = Source(chunks)
        self._entries: list[Entry] = []

    def __iter__(self) -> Iterator[Entry]:
        signature = self._first_signature()
        while signature == _LOCAL:
            entry = Entry(self._source, self._source.position - len(signature))
            self._entries.append(entry)
            if len(self._entries) > MOST_ENTRIES:
                raise SuspiciousArchive(f"The archive has more than {MOST_ENTRIES} entries.")
            yield entry
            if not entry.complete:
                raise RuntimeError(f"{entry.shown} was not read to its end")
            signature = self._source.exactly(4, f"behind {entry.shown}")
        self._check_directory(signature)

    def _first_signature(self) -> bytes:
        beginning = self._source.upto(4)
        if beginning in (_LOCAL, _END, _END_64):
            return beginning
        if not beginning:
            raise BrokenArchive("The answer is empty.")
        if _LOCAL.startswith(beginning):
            raise self._source.cut("in its first bytes")
        beginning = (beginning + self._source.upto(60)).removeprefix(b"\xef\xbb\xbf").lstrip()
        what = {b"<": "an HTML page", b"{": "JSON", b"[": "JSON"}.get(beginning[:1], "something else")
        raise BrokenArchive(f"The answer is no zip archive but {what}.")

    def _check_directory(self, signature: bytes) -> None:
        """The central directory (4.3.12) lists the entries that were read, all of them and no other."""
        start = self._source.position - len(signature)
        pending = {entry.offset: entry for entry in self._entries}
        while signature == _CENTRAL:
            self._check_record(pending)
            if self._source.position - start > MOST_DIRECTORY_BYTES:
                raise SuspiciousArchive(f"The archive's directory has more than {MOST_DIRECTORY_BYTES} bytes.")
            signature = self._source.exactly(4, "in its directory")
        if pending:
            raise BrokenArchive(
                f"The archive's directory does not list {len(pending)} of its {len(self._entries)} entries, "
                f"the first {next(iter(pending.values())).shown}, or is damaged."
            )
        self._check_end(signature, start)
        if self._source.some(1):
            raise BrokenArchive("Something follows the end of the archive.")

    def _check_record(self, pending: dict[int, Entry]) -> None:
        record = self._source.exactly(42, "in its directory")
        _, _, method, _, crc, packed, size, *lengths, _, _, _, offset = struct.unpack("<IHHIIIIHHHHHII", record)
        name, extra, _ = (self._source.exactly(length, "in its directory") for length in lengths)
        size, packed, offset = _widened(extra, size, packed, offset)
        entry = pending.pop(offset, None)
        if entry is None or (name, Facts(method, crc, packed, size)) != (entry.name, entry.facts):
            raise BrokenArchive(f"What the archive's directory says of {show(name)} is not what was read.")

    def _check_end(self, signature: bytes, start: int) -> None:
        """The end records (4.3.14 to 4.3.16) count the entries that were read, and know where the directory stands."""
        place = "in its last record"
        end = self._source.position - len(signature)
        facts = (0, 0, len(self._entries), len(self._entries), end - start, start)
        wide = signature == _END_64
        if wide:
            (length,) = struct.unpack("<Q", self._source.exactly(8, place))
            if length > _MOST_16:
                raise SuspiciousArchive(f"The archive's last record has {length} bytes, where 44 are usual.")
            record = self._source.exactly(max(length, _END_64_REST), place)
            locator = self._source.exactly(20, place)
            if struct.unpack("<IIQQQQ", record[4:_END_64_REST]) != facts or locator[:16] != struct.pack(
                "<4sIQ", _LOCATOR_64, 0, end
            ):
                raise self._unlike_end()
            signature = self._source.exactly(4, place)
        if signature != _END:
            raise BrokenArchive(f"The archive is damaged behind its byte {self._source.position}.")
        *found, comment_length = struct.unpack("<HHHHIIH", self._source.exactly(18, place))
        most = (_MOST_16,) * 4 + (_MOST_32,) * 2
        if any(
            said != fact and not (wide and said == all_ones)
            for said, fact, all_ones in zip(found, facts, most, strict=True)
        ):
            raise self._unlike_end()
        self._source.exactly(comment_length, place)

    def _unlike_end(self) -> BrokenArchive:
        return BrokenArchive(
            f"{len(self._entries)} entries were read; the archive's last record has another number or place of them."
        )


def show(name: bytes) -> str:
    """A name from an archive, fit for a message whatever it is."""
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 100 else f"{text[:60]}…{text[-30:]}")  # noqa: PLR2004 - what fits a line


def _widened(extra: bytes, *values: int) -> list[int]:
    """The values, with those that did not fit 32 bits taken from the zip64 field among the extra ones (4.5.3)."""
    wide = _zip64_field(extra)
    widened = []
    for value in values:
        if value == _MOST_32 and len(wide) >= 8:  # noqa: PLR2004 - 64 bits
            widened.append(int.from_bytes(wide[:8], "little"))
            wide = wide[8:]
        else:
            widened.append(value)
    return widened


def _zip64_field(extra: bytes) -> bytes:
    while len(extra) >= 4:  # noqa: PLR2004 - two numbers of 16 bits
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""
