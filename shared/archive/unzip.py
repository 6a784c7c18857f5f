"""Reads a zip archive while it arrives, and checks all of it: the entries must be exactly those of its directory.

    for entry in ZipStream(chunks):
        for content in entry:
            ...
    # The archive is verified only here: if anything is cut off or damaged, an exception came before.

A zip file describes each entry twice: in a local header before it, and in the directory at the end. By the time the
directory arrives, a streaming reader has already used the local headers. So this reader compares both: the name, size,
checksum and place of each entry, and their number. This is why we do not use stream-unzip, the library for this job: it
skips the directory, so it accepts an archive with lost or changed entries. It also decompresses with zlib, at a third
of the speed, and cannot read a stored entry whose size comes only after its data. Format: PKWARE's APPNOTE.TXT 6.3.10,
whose sections are named below.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from isal import isal_zlib

from shared.archive.gunzip import Piece, gunzip, inflate
from shared.archive.reader import ByteReader, Bytes
from shared.errors import BrokenArchive, SuspiciousArchive, UnsupportedArchive

MOST_RATIO, MOST_SURE_BYTES, MOST_SURE_ARCHIVE_BYTES = 250, 1024**3, 4 * 1024**3
"""Content may expand to 250 times its bytes in the archive. The ratio does not matter for an entry of up to 1 GiB, and
for a total of up to 4 GiB."""
MOST_ENTRIES = 100_000
MOST_DIRECTORY_BYTES = 64 * 1024**2
MOST_NAME_BYTES = 1024

_PIECE_IN = 96 * 1024
_STORED, _DEFLATED = 0, 8
_DESCRIPTOR, _PATCHED, _ENCRYPTED = 0x0008, 0x0020, 0x0001 | 0x0040 | 0x2000
_LOCAL, _CENTRAL, _DESCRIBED = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
_DESCRIPTOR_64, _END_64_REST = 24, 44


class Facts(NamedTuple):
    """What the archive says twice about an entry. `packed` and `size`: its compressed and decompressed bytes."""

    name: bytes
    method: int
    crc: int
    packed: int
    size: int


class Entry:
    """One entry. Iterate once, over the entry or over `gunzipped`. After that, its `facts` are verified."""

    def __init__(self, reader: ByteReader, expanded_before: int) -> None:
        """Read the header (4.3.7) after its signature. `expanded_before`: the decompressed bytes of earlier entries."""
        header = reader.exactly(26, "in the header of an entry")
        _, flags, method, _, crc, packed, size, name_length, extra_length = struct.unpack("<HHHIIIIHH", header)
        if name_length > MOST_NAME_BYTES:
            raise SuspiciousArchive(f"An entry has a name of {name_length} bytes. No event file has such a name.")
        name = reader.exactly(name_length, "in the name of an entry")
        self.shown = show(name)
        self.is_directory = name.endswith(b"/")  # 4.3.8
        size, packed = _widened(reader.exactly(extra_length, f"in the header of {self.shown}"), size, packed)
        self.facts = Facts(name, method, crc, packed, size)
        self.complete = False
        self.expanded = 0
        self._expanded_before = expanded_before
        self._reader = reader
        self._start = reader.position
        self._crc = self._size = 0
        self._described = bool(flags & _DESCRIPTOR)
        self._size_follows = self._described and method == _STORED and packed in (0, _MOST_32) and not self.is_directory
        self._check_supported(flags)

    def __iter__(self) -> Iterator[Bytes]:
        """The entry's content."""
        if self._size_follows:
            return (packed for packed, _ in self.gunzipped())
        return self._checked(self._stored() if self.facts.method == _STORED else self._inflated())

    def gunzipped(self) -> Iterator[Piece]:
        """The content of an entry that is a gzip file: both compressed and decompressed."""
        if self._size_follows:
            # A gzip stream shows its own end, and the descriptor after it has to agree.
            yield from self._checked_pieces(gunzip(self._reader, self.shown, lambda: not self._descriptor()))
            return
        yield from gunzip(ByteReader(self, f"{self.shown}: its gzip stream"), self.shown)

    def check_expansion(self, size: int) -> None:
        """Raise SuspiciousArchive for a zip bomb: so far, the entry has expanded to `size` bytes."""
        self.expanded = max(self.expanded, size)
        packed, archive = self._reader.position - self._start, self._reader.position
        if size > MOST_SURE_BYTES and size > MOST_RATIO * packed:
            raise SuspiciousArchive(
                f"{self.shown}: {packed} bytes expand to more than {size - 1}, over {MOST_RATIO} times as much. "
                "Events never compress that much."
            )
        total = self._expanded_before + self.expanded
        if total > MOST_SURE_ARCHIVE_BYTES and total > MOST_RATIO * archive:
            raise SuspiciousArchive(
                f"{archive} bytes of the archive expand to more than {total - 1}, over {MOST_RATIO} times as much. "
                "Events never compress that much."
            )

    def _check_supported(self, flags: int) -> None:
        if flags & _ENCRYPTED:
            raise UnsupportedArchive(f"{self.shown}: it is encrypted.")
        if flags & _PATCHED:
            raise UnsupportedArchive(f"{self.shown}: it holds patch data.")
        if self.facts.method not in (_STORED, _DEFLATED):
            raise UnsupportedArchive(f"{self.shown}: this app cannot read compression method {self.facts.method}.")
        if self._size_follows and not self.facts.name.endswith(b".gz"):
            raise UnsupportedArchive(
                f"{self.shown}: it is stored, and its size comes only after it. Only a gzip file shows its own end."
            )

    def _stored(self) -> Iterator[Bytes]:
        left = self.facts.packed
        while left:
            piece = self._reader.take(min(left, _PIECE_IN))
            if not piece:
                raise self._reader.cut(f"inside {self.shown}")
            left -= len(piece)
            yield piece

    def _inflated(self) -> Iterator[Bytes]:
        if self._described:
            yield from (content for _, content in inflate(self._reader, self.shown))
            return
        packed = ByteReader(self._stored(), f"{self.shown}, by the size that the archive gives it,")
        yield from (content for _, content in inflate(packed, self.shown))
        if packed.take(1):
            raise BrokenArchive(f"{self.shown}: something follows its compressed data.")

    def _checked(self, content: Iterable[Bytes]) -> Iterator[Bytes]:
        return (packed for packed, _ in self._checked_pieces((piece, b"") for piece in content))

    def _checked_pieces(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The same pairs. At the end, the first parts of all pairs must match the size and checksum in the archive."""
        if self._reader.position != self._start:
            raise RuntimeError(f"{self.shown} can be read only once, and only before the next")
        for piece in pieces:
            self._crc = isal_zlib.crc32(piece[0], self._crc)
            self._size += len(piece[0])
            self.check_expansion(self._size)
            yield piece
        descriptor = self._descriptor()
        whole = bool(descriptor) if self._described else self._proven() == self.facts
        if not whole:
            raise BrokenArchive(f"{self.shown}: the checksum or size does not match.")
        self.facts = self._proven()
        self._reader.exactly(len(descriptor), f"right after {self.shown}")
        self.complete = True

    def _proven(self) -> Facts:
        """The facts, computed from the bytes that were read."""
        return self.facts._replace(crc=self._crc, packed=self._reader.position - self._start, size=self._size)

    def _descriptor(self) -> bytes:
        """The descriptor after an entry of unknown size (4.3.9). Empty if the entry goes on, or its size is known.

        A descriptor has a signature or not, and sizes of 32 or 64 bits. The next header follows it.
        """
        if not self._described:
            return b""
        _, _, *figures = self._proven()
        behind = self._reader.peek(_DESCRIPTOR_64 + 4)
        for form, most in (("<IQQ", 2**64 - 1), ("<III", _MOST_32)):
            for signature in (_DESCRIBED, b""):
                if max(figures) <= most:
                    descriptor = signature + struct.pack(form, *figures)
                    if behind.startswith((descriptor + _LOCAL, descriptor + _CENTRAL)):
                        return descriptor
        return b""


class ZipStream:
    """The entries of an archive, in order.

    Lazy: chunks are taken on demand. Memory holds one chunk, one piece of output and the names. Read each entry to its
    end before you ask for the next. Exceptions of the source pass through unchanged.

    The iteration raises BrokenArchive if it is cut off, damaged, or not a zip archive; UnsupportedArchive if it cannot
    be read as a stream; SuspiciousArchive if it has more entries, names, directory or decompressed bytes than any
    archive of events.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._reader = ByteReader(chunks, "The archive")
        self._facts: dict[int, Facts] = {}
        """The facts of the entries that were read, by their place in the archive."""

    def __iter__(self) -> Iterator[Entry]:
        expanded = name_bytes = 0
        signature = self._first_signature()
        while signature == _LOCAL:
            offset = self._reader.position - len(signature)
            entry = Entry(self._reader, expanded)
            name_bytes += len(entry.facts.name)
            if len(self._facts) == MOST_ENTRIES or name_bytes > MOST_DIRECTORY_BYTES:
                raise SuspiciousArchive(f"The archive has more than {len(self._facts)} entries, too many to be events.")
            yield entry
            if not entry.complete:
                raise RuntimeError(f"{entry.shown} was not read to its end")
            self._facts[offset] = entry.facts
            expanded += entry.expanded
            signature = self._reader.exactly(4, f"right after {entry.shown}")
        self._check_directory(signature)

    def _first_signature(self) -> bytes:
        beginning = self._reader.peek(4)
        if beginning in (_LOCAL, _END, _END_64):
            return self._reader.exactly(4, "in its first bytes")
        if not beginning:
            raise BrokenArchive("The answer is empty.")
        if _LOCAL.startswith(beginning):
            raise self._reader.cut("in its first bytes")
        beginning = self._reader.peek(64).removeprefix(b"\xef\xbb\xbf").lstrip()
        what = {b"<": "an HTML page", b"{": "JSON", b"[": "JSON"}.get(beginning[:1], "something else")
        raise BrokenArchive(f"The answer is not a zip archive, but {what}.")

    def _check_directory(self, signature: bytes) -> None:
        """The directory (4.3.12) must list exactly the entries that were read, each once."""
        start = self._reader.position - len(signature)
        count = len(self._facts)
        while signature == _CENTRAL:
            self._check_record()
            if self._reader.position - start > MOST_DIRECTORY_BYTES:
                raise SuspiciousArchive(f"The archive's directory has more than {MOST_DIRECTORY_BYTES} bytes.")
            signature = self._reader.exactly(4, "in its directory")
        if self._facts:
            raise BrokenArchive(
                f"The archive's directory is damaged, or does not list {len(self._facts)} of {count} entries. "
                f"The first of them is {show(next(iter(self._facts.values())).name)}."
            )
        self._check_end(signature, start, count)
        if self._reader.take(1):
            raise BrokenArchive("Something follows the end of the archive.")

    def _check_record(self) -> None:
        record = self._reader.exactly(42, "in its directory")
        _, flags, method, _, crc, packed, size, *lengths, _, _, _, offset = struct.unpack("<IHHIIIIHHHHHII", record)
        name, extra, _ = (self._reader.exactly(length, "in its directory") for length in lengths)
        size, packed, offset = _widened(extra, size, packed, offset)
        read = self._facts.pop(offset, None) == Facts(name, method, crc, packed, size)
        if not read or flags & (_ENCRYPTED | _PATCHED):
            raise BrokenArchive(f"The archive's directory and its entry {show(name)} do not match.")

    def _check_end(self, signature: bytes, start: int, count: int) -> None:
        """The end records (4.3.14 to 4.3.16) must have the right number of entries and place of the directory."""
        place = "in its last record"
        end = self._reader.position - len(signature)
        facts = (0, 0, count, count, end - start, start)
        wide = signature == _END_64
        if wide:
            (length,) = struct.unpack("<Q", self._reader.exactly(8, place))
            if length > _MOST_16:
                raise SuspiciousArchive(f"The archive's last record has {length} bytes, where 44 are usual.")
            record = self._reader.exactly(max(length, _END_64_REST), place)
            locator = self._reader.exactly(20, place)
            if struct.unpack("<IIQQQQ", record[4:_END_64_REST]) != facts or locator[:16] != struct.pack(
                "<4sIQ", _LOCATOR_64, 0, end
            ):
                raise _unlike_end(count)
            signature = self._reader.exactly(4, place)
        if signature != _END:
            raise BrokenArchive(f"The archive is damaged after byte {self._reader.position}.")
        *found, comment_length = struct.unpack("<HHHHIIH", self._reader.exactly(18, place))
        most = (_MOST_16,) * 4 + (_MOST_32,) * 2
        if any(
            said != fact and not (wide and said == all_ones)
            for said, fact, all_ones in zip(found, facts, most, strict=True)
        ):
            raise _unlike_end(count)
        self._reader.exactly(comment_length, place)


def _unlike_end(count: int) -> BrokenArchive:
    return BrokenArchive(f"The archive has {count} entries, but its last record says otherwise, or is damaged.")


def show(name: bytes) -> str:
    """A name from an archive, in a form that is safe in a message."""
    text = name.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 100 else f"{text[:60]}…{text[-30:]}")  # noqa: PLR2004 - what fits into a line


def _widened(extra: bytes, *values: int) -> list[int]:
    """The values. Those that did not fit into 32 bits come from the zip64 field among the extra fields (4.5.3)."""
    field = _zip64_field(extra)
    wide = (number for (number,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8]))
    return [next(wide, value) if value == _MOST_32 else value for value in values]


def _zip64_field(extra: bytes) -> bytes:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        position += 4
        if kind == 1:
            return extra[position : position + length]
        position += length
    return b""
