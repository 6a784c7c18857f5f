"""Writes zip archives as streams, in any form that Amplitude might use. Their size is known in advance."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from isal import isal_zlib

_STORED, _DEFLATED = 0, 8
_MOST_16, _MOST_32 = 0xFFFF, 0xFFFFFFFF
_DESCRIPTOR_FLAG, _UTF8_FLAG = 0x0008, 0x0800
_KEPT = 256 * 1024
_DATE_AND_TIME = 0x5B64_0000
"""4 November 2025, 00:00, in DOS format."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an archive is written. By default as Amplitude most likely does it: stored members, sizes before the data."""

    deflated: bool = False
    zip64: bool = False
    """Use 64 bits for all sizes and counts. Values that do not fit into 32 bits always get 64."""
    descriptors: bool = False
    """CRC and sizes come after the data; before it there are zeros."""
    folder: bool = False
    """A directory entry comes first."""


class Payload:
    """Bytes that need not be in memory: each call of `read` gives the same bytes. Small ones are kept."""

    def __init__(self, read: Callable[[], Iterable[bytes]]) -> None:
        self.read = read

    @classmethod
    def of(cls, data: bytes) -> Payload:
        """Bytes that are in memory."""
        return cls(lambda: (data,))

    @cached_property
    def size_and_crc(self) -> tuple[int, int]:
        """Size and CRC-32. The first access reads all bytes once."""
        size = crc = 0
        kept: list[bytes] = []
        for chunk in self.read():
            size += len(chunk)
            crc = isal_zlib.crc32(chunk, crc)
            if size <= _KEPT:
                kept.append(chunk)
        if size <= _KEPT:
            whole = b"".join(kept)
            self.read = lambda: (whole,)
        return size, crc

    @cached_property
    def deflated(self) -> Payload:
        """The same as a raw deflate stream."""
        self.size_and_crc  # noqa: B018 - fixes the chunks, so that deflating them always gives the same bytes

        def read() -> Iterator[bytes]:
            deflate = isal_zlib.compressobj(1, zlib.DEFLATED, -15)
            for chunk in self.read():
                yield deflate.compress(chunk)
            yield deflate.flush()

        return Payload(read)


@dataclass(frozen=True, slots=True)
class Entry:
    """A member: its bytes, and its name in the archive. Names are not checked, so that tests can write bad ones."""

    name: bytes
    data: Payload


class Archive:
    """A zip archive that can be read as chunks, any number of times. It holds no member in memory."""

    def __init__(self, entries: Sequence[Entry], form: Form | None = None) -> None:
        self._form = form or Form()
        folder = [Entry(entries[0].name.partition(b"/")[0] + b"/", Payload.of(b""))] if entries else []
        self._entries = [*(folder if self._form.folder else []), *entries]
        self._members = [_Member(entry, self._form) for entry in self._entries]

    @cached_property
    def size(self) -> int:
        """How many bytes the archive has. The first access reads each member once."""
        return sum(member.size for member in self._members) + len(b"".join(self._end()))

    def __iter__(self) -> Iterator[bytes]:
        for member in self._members:
            yield member.header()
            yield from member.packed.read()
            yield member.descriptor()
        yield from self._end()

    def _end(self) -> Iterator[bytes]:
        """The central directory and the records that close the archive."""
        start, length, count = 0, 0, len(self._members)
        for member in self._members:
            record = member.directory_record(start)
            yield record
            start += member.size
            length += len(record)
        if self._form.zip64 or start > _MOST_32 or count > _MOST_16:
            # The record's size does not include the fields before it, hence 44.
            yield struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
            yield struct.pack("<4sIQI", b"PK\x06\x07", 0, start + length, 1)
            count, start, length = _MOST_16, _MOST_32, _MOST_32
        yield struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, length, start, 0)


class _Member:
    """One member's records. The first access to its size or CRC reads its data."""

    def __init__(self, entry: Entry, form: Form) -> None:
        self._name = entry.name
        self._data = entry.data
        self._form = form
        self.packed = entry.data.deflated if form.deflated else entry.data

    @property
    def size(self) -> int:
        """Header, data and descriptor together."""
        return len(self.header()) + self.packed.size_and_crc[0] + len(self.descriptor())

    @property
    def _wide(self) -> bool:
        return self._form.zip64 or max(self._sizes()) >= _MOST_32

    def _sizes(self) -> tuple[int, int]:
        return self.packed.size_and_crc[0], self._data.size_and_crc[0]

    def _common(self, crc: int, packed: int, size: int, extra: int) -> bytes:
        """The fields that the local header and the directory have in common."""
        flags = _UTF8_FLAG | (_DESCRIPTOR_FLAG if self._form.descriptors else 0)
        method = _DEFLATED if self._form.deflated else _STORED
        version = 45 if self._wide else 20
        return struct.pack(
            "<HHHIIIIHH", version, flags, method, _DATE_AND_TIME, crc, packed, size, len(self._name), extra
        )

    def header(self) -> bytes:
        """The local header."""
        crc, (packed, size) = self._data.size_and_crc[1], self._sizes()
        if self._form.descriptors:
            crc = packed = size = 0
        extra = b""
        if self._wide:
            # The specification has the uncompressed size first here, and second everywhere else.
            extra = struct.pack("<HHQQ", 1, 16, size, packed)
            packed = size = _MOST_32
        return b"PK\x03\x04" + self._common(crc, packed, size, len(extra)) + self._name + extra

    def descriptor(self) -> bytes:
        """What follows the data, if anything."""
        if not self._form.descriptors:
            return b""
        return struct.pack(
            "<4sIQQ" if self._wide else "<4sIII", b"PK\x07\x08", self._data.size_and_crc[1], *self._sizes()
        )

    def directory_record(self, start: int) -> bytes:
        """The entry in the central directory of a member that begins at `start`."""
        packed, size = self._sizes()
        extra = b""
        if self._wide or start >= _MOST_32:
            extra = struct.pack("<HHQQQ", 1, 24, size, packed, start)
            packed = size = start = _MOST_32
        common = self._common(self._data.size_and_crc[1], packed, size, len(extra))
        made_by = 20
        rest = struct.pack("<HHHII", 0, 0, 0, 0, start)  # no comment, first disk, no attributes
        return struct.pack("<4sH", b"PK\x01\x02", made_by) + common + rest + self._name + extra
