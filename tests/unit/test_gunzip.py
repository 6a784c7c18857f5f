"""Deflate, gzip and lines: what is whole is read whatever its form, and what is not is told apart."""

from __future__ import annotations

import gzip
import struct
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.archive import gunzip
from shared.archive.gunzip import PIECE_OUT, EventCount, inflate
from shared.archive.reader import ByteReader
from shared.errors import BrokenArchive, SuspiciousArchive
from tests.unit.archives import File, build, chunked, deflate, event_name, read

LINES = b'{"text":"\xc3\xbc"}\n{"n":0.0}\n'
GZIP = gzip.compress(LINES, mtime=0)


def archive_of(data: bytes) -> bytes:
    return build([File(event_name(), data)])


@pytest.mark.parametrize(
    ("content", "events"),
    [
        *[(b"", 0), (b"{}", 1), (b"{}\n", 1), (b"{}\n{}", 2), (b"\n", 0), (b"\n\n", 0), (b"{}\n\n", 1)],
        (b" \n{}\n \t\r\n{}\n\x0b\x0c", 2),
        (b" {}\n  {}  \n  ", 2),
        (b"{}\n\0\n", 2),
        ("{\u2028}\n{\u2029}\n{\x85}".encode(), 3),
        (b"{}\r{}\x0b\x0c\x1c\x1e{}\r\n", 1),
    ],
)
def test_an_event_is_a_line_that_holds_more_than_white_space(content: bytes, events: int) -> None:
    r"""Only `\n` ends a line, and the last one may lack it; how the pieces fall does not matter."""
    for size in (1, 2, 3, 1 << 16):
        count = EventCount()
        for piece in chunked(content, size):
            count.add(piece)
        assert count.total == events, size


def _with_flags(flags: int, fields: bytes) -> bytes:
    """A gzip header with optional fields (RFC 1952), and its checksum if the flags have one."""
    header = struct.pack("<4BIBB", 0x1F, 0x8B, 8, flags, 0, 0, 3) + fields
    return header + struct.pack("<H", zlib.crc32(header) & 0xFFFF) * bool(flags & 2) + GZIP[10:]


EXTRA = struct.pack("<H", 4) + b"ab\0\0"
GZIP_FORMS = {
    "several members": (GZIP * 3, LINES * 3),
    "an empty member": (gzip.compress(b""), b""),
    "an empty member between others": (GZIP + gzip.compress(b"") + GZIP, LINES * 2),
    "a thousand empty members": (gzip.compress(b"") * 1000, b""),
    "a name": (_with_flags(8, b"a.json\0"), LINES),
    "a comment": (_with_flags(16, b"\xff\0"), LINES),
    "an extra field": (_with_flags(4, EXTRA), LINES),
    "a header checksum": (_with_flags(2, b""), LINES),
    "all of them": (_with_flags(2 | 4 | 8 | 16 | 1, EXTRA + b"a\0b\0"), LINES),
    "stored blocks": (gzip.compress(LINES, 0), LINES),
}


@pytest.mark.parametrize("form", GZIP_FORMS)
@pytest.mark.parametrize("size", [1, 2, 5, 1 << 16])
def test_reads_each_form_of_gzip(form: str, size: int) -> None:
    packed, content = GZIP_FORMS[form]
    assert gzip.decompress(packed) == content
    (member,), _ = read(chunked(archive_of(packed), size), compressed=True)
    assert (member.content, member.stored) == (content, packed)


def test_a_trailer_has_only_the_low_digits_of_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 bits (RFC 1952). Of eight here, or the test would take more than 4 GiB."""
    monkeypatch.setattr("shared.archive.gunzip._MOST_32", 0xFF)
    packed = gzip.compress(LINES * 20)[:-4] + struct.pack("<I", len(LINES * 20) & 0xFF)
    assert b"".join(content for _, content in gunzip.gunzip(ByteReader([packed], "a"), "a")) == LINES * 20


def _flipped(data: bytes, position: int) -> bytes:
    damaged = bytearray(data)
    damaged[position] ^= 1
    return bytes(damaged)


BROKEN_GZIP = {
    "nothing": (b"", "cut"),
    "cut in the header": (GZIP[:5], "cut"),
    "cut in the data": (GZIP[:-9], "cut"),
    "cut in the trailer": (GZIP[:-1], "cut"),
    "second member cut": (GZIP + GZIP[:-1], "cut"),
    "second header cut": (GZIP + GZIP[:1], "cut"),
    "zeros behind it": (GZIP + bytes(512), "something other than gzip follows"),
    "a byte behind it": (GZIP + b"\n", "something other than gzip follows"),
    "no gzip": (LINES, "not gzip"),
    "another method": (_flipped(GZIP, 2), "not gzip"),
    "checksum": (_flipped(GZIP, -8), "checksum or size"),
    "last byte of the checksum": (_flipped(GZIP, -5), "checksum or size"),
    "size": (_flipped(GZIP, -4), "checksum or size"),
    "last byte of the size": (_flipped(GZIP, -1), "checksum or size"),
    "checksum of an empty member": (_flipped(gzip.compress(b""), -8), "checksum or size"),
    "data": (GZIP[:10] + b"\xff" + GZIP[11:], "damaged"),
    "unknown flags": (_with_flags(0x20, b""), "flags"),
    "header checksum": (_flipped(_with_flags(2, b""), 10), "checksum of its gzip header"),
    "an endless name": (_with_flags(8, b"n" * 500_000), "no end"),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("size", [1, 1 << 16])
@pytest.mark.parametrize("form", BROKEN_GZIP)
def test_gzip_that_is_not_whole_is_broken_and_the_message_names_the_member(
    form: str, size: int, *, compressed: bool
) -> None:
    """The zip around it is whole, and its checksum holds."""
    packed, words = BROKEN_GZIP[form]
    with pytest.raises(BrokenArchive, match=rf"^'187520/187520_2025-11-04_0#0\.json\.gz': .*{words}"):
        read(chunked(archive_of(packed), size if len(packed) < 1000 else 1 << 16), compressed=compressed)


@given(data=st.data(), text=st.binary(max_size=300), level=st.integers(0, 9), flush=st.booleans())
def test_inflate_is_what_zlib_makes_of_it(data: st.DataObject, text: bytes, level: int, *, flush: bool) -> None:
    """What follows the stream stays to be read, and what was packed comes out beside it."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -15)
    packed = stream.compress(text) + (stream.flush(zlib.Z_FULL_FLUSH) if flush else b"") + stream.flush()
    rest = data.draw(st.binary(max_size=10))
    reader = ByteReader(chunked(packed + rest, data.draw(st.integers(1, 40))), "It")
    pieces = list(inflate(reader, "a"))
    assert b"".join(content for _, content in pieces) == text
    assert b"".join(bytes(piece) for piece, _ in pieces) == packed
    assert reader.position == len(packed)
    assert reader.peek(100) == rest


@pytest.mark.parametrize("beside", range(-2, 3))
@pytest.mark.parametrize("make", [bytes, lambda size: b"0123456789abcdef" * (size // 16) + b"!" * (size % 16)])
def test_output_that_just_fills_a_piece_is_not_left_inside(beside: int, make: Callable[[int], bytes]) -> None:
    text = make(2 * PIECE_OUT + beside)
    assert b"".join(content for _, content in inflate(ByteReader([deflate(text)], "It"), "a")) == text


def test_too_many_gzip_members_are_suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gunzip, "MOST_GZIP_MEMBERS", 1000)
    with pytest.raises(SuspiciousArchive, match="more than 1000 gzip members"):
        read([archive_of(gzip.compress(b"") * 1001)])


def test_blank_lines_take_less_time_than_events() -> None:
    """A tiny gzip file can hold a gigabyte of them."""

    def seconds(piece: bytes) -> float:
        started = time.process_time()
        EventCount().add(piece)
        return time.process_time() - started

    assert seconds(b"\n" * 2_000_000) < seconds(b"{\n" * 1_000_000)


def test_a_long_header_in_small_chunks_takes_linear_time() -> None:
    """Its cost a byte is the same for a header ten times as long, give or take."""

    def seconds(length: int) -> float:
        packed = archive_of(_with_flags(8, b"n" * length + b"\0"))
        started = time.process_time()
        read(chunked(packed, 1))
        return time.process_time() - started

    assert seconds(200_000) < 40 * seconds(20_000)
