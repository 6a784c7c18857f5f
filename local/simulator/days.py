"""The content of a simulated project: files of events for each day, generated or set by a test."""

from __future__ import annotations

import gzip
import itertools
import struct
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache, lru_cache

from isal import isal_zlib

from local.simulator.archive import Entry, Payload
from local.simulator.events import events_in_hour, lines
from shared.dates import HOURS

_LINES_A_CHUNK = 128
_LEVEL = 2
"""Compresses events about ten to one, as in real exports."""
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x03\x00"
"""An empty final block closes a deflate stream."""

File = tuple[int, int]
"""Hour and part."""


@dataclass(frozen=True, slots=True)
class Volume:
    """How many events are generated for a day that no test has set."""

    events_per_hour: int = 100
    """On average over a weekday; the evening has more, the night fewer."""
    parts: int = 1
    """Files an hour."""
    empty_hours: Collection[int] = ()
    """Hours without a file."""
    distinct_events: int | None = None
    """How many different events a file has. The rest repeats them, `uuid` included, to make large days quickly."""


@dataclass
class Days:
    """The files of all days. Safe to change while requests are answered."""

    volume: Volume
    _said: dict[date, dict[File, Payload]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def files(self, project: int, day: date) -> dict[File, Payload]:
        """The gzip files of a day by hour and part, in order."""
        with self._lock:
            said = self._said.get(day)
            return dict(sorted((self._made_up(project, day) if said is None else said).items()))

    def entries(self, project: int, start: datetime, end: datetime) -> list[Entry]:
        """The archive members of the hours from `start` to `end`, both included."""
        days = [start.date() + timedelta(n) for n in range((end.date() - start.date()).days + 1)]
        return [
            Entry(member_name(project, day, hour, part), data)
            for day in days
            for (hour, part), data in self.files(project, day).items()
            if start <= datetime.combine(day, time(hour), start.tzinfo) <= end
        ]

    def set_day(self, day: date, files: Mapping[File, bytes]) -> None:
        """Replace all events of the day with these files, by (hour, part)."""
        with self._lock:
            self._said[day] = {file: Payload.of(pack(raw)) for file, raw in files.items()}

    def put_gzip(self, project: int, day: date, file: File, data: bytes) -> None:
        """Replace or add one file. The bytes of its archive member may be anything."""
        with self._lock:
            self._said.setdefault(day, self._made_up(project, day))[file] = Payload.of(data)

    def forget_hour(self, project: int, day: date, hour: int) -> None:
        """Remove all events of this hour; the others stay."""
        with self._lock:
            held = self._said.get(day, self._made_up(project, day))
            self._said[day] = {file: data for file, data in held.items() if file[0] != hour}

    def _made_up(self, project: int, day: date) -> dict[File, Payload]:
        volume = self.volume
        files = {}
        for hour in sorted(set(range(HOURS)) - set(volume.empty_hours)):
            count = events_in_hour(day, hour, volume.events_per_hour)
            for part in range(volume.parts):
                events = count * (part + 1) // volume.parts - count * part // volume.parts
                if events:
                    files[hour, part] = _file(project, day, (hour, part), events, volume.distinct_events)
        return files


def member_name(project: int, day: date, hour: int, part: int) -> bytes:
    """A file's name in the archive: the hour is not padded, parts count from 0."""
    return f"{project}/{project}_{day.isoformat()}_{hour}#{part}.json.gz".encode()


def pack(raw: bytes) -> bytes:
    """Events as one gzip stream, the same at every call."""
    return gzip.compress(raw, 1, mtime=0)


def _nested(member: Payload) -> Payload:
    return Payload.of(pack(b"".join(member.read())))


def _with_blank_line(member: Payload) -> Payload:
    return Payload.of(b"".join(member.read()) + pack(b"\n"))


MEMBERS: dict[str, Callable[[Payload], Payload]] = {
    "gzip": lambda member: member,
    "gzip-in-gzip": _nested,
    "two-gzips": _with_blank_line,
}
"""Ways to pack a file, by name. `two-gzips`: the second gzip member is a blank line."""


@lru_cache(maxsize=256)
def _file(project: int, day: date, file: File, count: int, distinct: int | None) -> Payload:
    """One generated file, gzipped. It is generated when it is read."""
    if distinct is None or count <= distinct:
        return Payload(lambda: _gzip(lines(project, day, *file, count)))

    @cache
    def pieces() -> list[bytes]:
        return _gzip_repeated(list(lines(project, day, *file, distinct)), count)

    return Payload(pieces)


def _gzip(events: Iterator[bytes]) -> Iterator[bytes]:
    yield _GZIP_HEADER
    deflate = isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    size = crc = 0
    while chunk := b"".join(itertools.islice(events, _LINES_A_CHUNK)):
        size += len(chunk)
        crc = isal_zlib.crc32(chunk, crc)
        yield deflate.compress(chunk)
    yield deflate.flush()
    yield struct.pack("<II", crc, size & 0xFFFFFFFF)


def _gzip_repeated(distinct: list[bytes], count: int) -> list[bytes]:
    """One gzip stream of `count` lines that repeats the same compressed block. The block is in memory only once."""
    repeats, rest = divmod(count, len(distinct))
    blocks = [b"".join(distinct)] * repeats + [b"".join(distinct[:rest])]
    size = crc = 0
    for block in blocks:
        size += len(block)
        crc = isal_zlib.crc32(block, crc)
    packed = [_block(blocks[0])] * repeats + [_block(blocks[-1])]
    return [_GZIP_HEADER, *packed, _LAST_BLOCK, struct.pack("<II", crc, size & 0xFFFFFFFF)]


def _block(raw: bytes) -> bytes:
    """A piece of a deflate stream without references to earlier data, so that it can be at any place."""
    deflate = isal_zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    return deflate.compress(raw) + deflate.flush(zlib.Z_FULL_FLUSH)
