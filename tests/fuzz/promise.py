"""What the archive reader promises for any bytes at all, as one function that raises where it does not hold."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections import Counter

from shared.errors import BrokenArchive, SuspiciousArchive, UnsupportedArchive
from tests.unit.archives import Read, chunked, read

Answer = tuple[list[Read], list[str]] | type[Exception]


def check(data: bytes) -> Answer:
    """Read `data` in several ways, and hand back what came of it.

    The reader may refuse anything, by one of its three errors; `RuntimeError`, `struct.error` and the like are faults.
    What it accepts must depend neither on chunks nor on the format, and be what the standard library finds.
    """
    answer = _answer(data, len(data) or 1)
    for size in (1, 5, 64):
        assert _answer(data, size) == answer, f"another answer in chunks of {size}"
    if isinstance(answer, type):
        assert _answer(data, 64, compressed=True) == answer, "another answer for json.gz"
    else:
        _compare_compressed(data, answer[0])
        _compare_with_standard_library(data, answer[0])
    return answer


def _answer(data: bytes, size: int, *, compressed: bool = False) -> Answer:
    try:
        return read(chunked(data, size), compressed=compressed)
    except (BrokenArchive, SuspiciousArchive, UnsupportedArchive) as error:
        refusal = error
    assert str(refusal).isprintable(), "a message that could break a log line"
    return type(refusal)


def _compare_compressed(data: bytes, members: list[Read]) -> None:
    packed, _ = read([data], compressed=True)
    for one, other in zip(members, packed, strict=True):
        assert (one.source, one.content, one.events) == (other.source, other.content, other.events)
        assert gzip.decompress(other.stored) == one.content == one.stored
        assert one.events == sum(bool(line.strip()) for line in one.content.split(b"\n"))


def _compare_with_standard_library(data: bytes, members: list[Read]) -> None:
    if data.count(b"PK\x05\x06") > 1:
        return  # it looks for the end from behind, and takes a comment for it
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = Counter(
                (info.orig_filename, gzip.decompress(archive.read(info)))
                for info in archive.infolist()
                if info.orig_filename.endswith(".json.gz")
            )
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, zlib.error):
        return  # it refuses fields that do not matter here
    assert found == Counter((member.source, member.content) for member in members)
