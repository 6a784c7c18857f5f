"""Builds zip archives by hand, right ones and hostile ones: each field can be made to lie."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Literal

from isal import isal_zlib

from shared.archive.members import Archive
from shared.dates import Window

STORED, DEFLATED = 0, 8
MOST_16, MOST_32 = 0xFFFF, 0xFFFFFFFF

DAY = date(2025, 11, 4)
WINDOW = Window(DAY, 0, 24)

Descriptor = Literal["", "signed 32", "signed 64", "bare 32", "bare 64"]
DESCRIPTORS: tuple[Descriptor, ...] = ("signed 32", "signed 64", "bare 32", "bare 64")
Fields = Mapping[str, int]

_LOCAL = ("version", "flags", "method", "time", "crc", "packed", "size")
_CENTRAL = (*_LOCAL, "disk", "inside", "outside", "offset")
END = ("disk", "first_disk", "here", "count", "length", "offset")


@dataclass(frozen=True, slots=True)
class File:
    """One entry. `local` and `central` override what its header and its record in the directory say."""

    name: bytes
    content: bytes
    deflated: bool = False
    descriptor: Descriptor = ""
    zip64: bool = False
    extra: bytes = b""
    comment: bytes = b""
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    listed_as: bytes | None = None
    data: bytes | None = None
    """What stands in the archive instead of the packed content."""

    def before_and_data(self) -> bytes:
        """Header, data and descriptor."""
        says = self._says()
        if self.descriptor:
            says |= {"crc": 0, "packed": 0, "size": 0}
        extra = self.extra
        if self.zip64:
            extra += struct.pack("<HHQQ", 1, 16, says["size"], says["packed"])
            says |= {"packed": MOST_32, "size": MOST_32}
        says |= self.local
        header = struct.pack("<4sHHHIIII", b"PK\x03\x04", *(says[key] for key in _LOCAL))
        lengths = struct.pack("<HH", len(self.name), len(extra))
        return header + lengths + self.name + extra + self._packed() + self._descriptor()

    def record(self, offset: int) -> bytes:
        """The record in the directory."""
        name = self.name if self.listed_as is None else self.listed_as
        says = self._says() | {"disk": 0, "inside": 0, "outside": 0, "offset": offset}
        extra = self.extra
        if self.zip64:
            extra += struct.pack("<HHQQQ", 1, 24, says["size"], says["packed"], offset)
            says |= {"packed": MOST_32, "size": MOST_32, "offset": MOST_32}
        says |= self.central
        values = [says[key] for key in _CENTRAL]
        lengths = [len(name), len(extra), len(self.comment)]
        return (
            struct.pack("<4sHHHHIIIIHHHHHII", b"PK\x01\x02", 45, *values[:7], *lengths, *values[7:])
            + name
            + extra
            + self.comment
        )

    def _packed(self) -> bytes:
        if self.data is not None:
            return self.data
        return deflate(self.content) if self.deflated else self.content

    def _says(self) -> dict[str, int]:
        return {
            "version": 45,
            "flags": 0x0008 if self.descriptor else 0,
            "method": DEFLATED if self.deflated else STORED,
            "time": 0x5B640000,
            "crc": zlib.crc32(self.content),
            "packed": len(self._packed()),
            "size": len(self.content),
        }

    def _descriptor(self) -> bytes:
        if not self.descriptor:
            return b""
        signature = b"PK\x07\x08" if "signed" in self.descriptor else b""
        form = "<IQQ" if "64" in self.descriptor else "<III"
        return signature + struct.pack(form, zlib.crc32(self.content), len(self._packed()), len(self.content))


@dataclass(frozen=True, slots=True)
class Ending:
    """What stands behind the directory. `says` and `says_64` override the fields of the two end records."""

    comment: bytes = b""
    zip64: bool = False
    more_64: bytes = b""
    says: Fields = field(default_factory=dict)
    says_64: Fields = field(default_factory=dict)
    locator: int = 0
    """How far the locator of the zip64 record points beside it."""


def build(files: Iterable[File], ending: Ending | None = None, *, order: slice = slice(None)) -> bytes:
    """A whole archive; `order` picks what the directory lists, and in which order."""
    ending = ending or Ending()
    body, records = bytearray(), []
    for file in files:
        records.append(file.record(len(body)))
        body += file.before_and_data()
    directory = b"".join(records[order])
    says = {"disk": 0, "first_disk": 0, "here": len(records), "count": len(records)}
    says |= {"length": len(directory), "offset": len(body)}
    end = b""
    if ending.zip64:
        wide = says | dict(ending.says_64)
        position = len(body) + len(directory)
        size = 44 + len(ending.more_64)
        end += struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", size, 45, 45, *(wide[key] for key in END))
        end += ending.more_64 + struct.pack("<4sIQI", b"PK\x06\x07", 0, position + ending.locator, 1)
        says |= {"here": MOST_16, "count": MOST_16, "length": MOST_32, "offset": MOST_32}
    says |= ending.says
    end += struct.pack("<4sHHHHIIH", b"PK\x05\x06", *(says[key] for key in END), len(ending.comment))
    return bytes(body) + directory + end + ending.comment


def deflate(data: bytes) -> bytes:
    """A raw deflate stream."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


@cache
def zeros(mebibytes: int, every: bytes = b"") -> tuple[bytes, int]:
    """A raw deflate stream of so many MiB and its CRC: zeros, with `every` at the start of each MiB."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = every + bytes(1024**2 - len(every))
    block = stream.compress(piece) + stream.flush(zlib.Z_FULL_FLUSH)
    crc, of_piece = 0, zlib.crc32(piece)
    for _ in range(mebibytes):
        crc = isal_zlib.crc32_combine(crc, of_piece, len(piece))
    return block * mebibytes + b"\x03\x00", crc


def as_gzip(packed: bytes, crc: int, size: int) -> bytes:
    """A gzip file around a raw deflate stream."""
    return gzip.compress(b"", mtime=0)[:10] + packed + struct.pack("<II", crc, size & MOST_32)


def event_name(hour: int = 0, part: int = 0, project: str = "187520", day: date = DAY) -> bytes:
    """A file's name as Amplitude writes it."""
    return f"{project}/{project}_{day}_{hour}#{part}.json.gz".encode()


def event_file(hour: int = 0, lines: bytes = b'{"a":1}\n{"a":2}\n', *, part: int = 0, deflated: bool = False) -> File:
    """An event file as Amplitude writes it."""
    return File(event_name(hour, part), gzip.compress(lines, mtime=0), deflated=deflated)


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    """The data in chunks of one size."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def exhaust(files: Iterable[Iterable[object]]) -> None:
    """Read everything, and keep nothing."""
    for file in files:
        for _ in file:
            pass


@contextmanager
def little_memory(most: int) -> Iterator[None]:
    """What is done here holds at most so many bytes."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


@dataclass(frozen=True, slots=True)
class Read:
    """All that a reader hands out of one member."""

    source: str
    stem: str
    stored: bytes
    content: bytes
    bytes: int
    events: int


def read(chunks: Iterable[bytes], window: Window = WINDOW, *, compressed: bool = False) -> tuple[list[Read], list[str]]:
    """Read an archive to its end: the members, and the entries that were ignored."""
    archive = Archive(chunks, window, compressed=compressed)
    members = []
    for member in archive:
        stored, content = bytearray(), bytearray()
        for to_land, decompressed in member:
            stored += to_land
            content += decompressed
        members.append(Read(member.source, member.stem, bytes(stored), bytes(content), member.bytes, member.events))
    return members, archive.ignored
