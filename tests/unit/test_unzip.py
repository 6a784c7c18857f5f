"""The zip layer: every form that a stream can have is read, and nothing that the directory disproves gets through."""

from __future__ import annotations

import io
import struct
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice, product
from pathlib import Path

import pytest

from shared.archive import unzip
from shared.archive.gunzip import PIECE_OUT
from shared.archive.unzip import MOST_DIRECTORY_BYTES, MOST_NAME_BYTES, MOST_SURE_ARCHIVE_BYTES, ZipStream
from shared.errors import BrokenArchive, ExportError, SuspiciousArchive, UnsupportedArchive
from tests.unit.archives import (
    DEFLATED,
    DESCRIPTORS,
    END,
    MOST_32,
    Descriptor,
    Ending,
    File,
    build,
    chunked,
    deflate,
    exhaust,
    little_memory,
    read,
    zeros,
)

TEXT = b"some text, some text, some text\n"
ONE = File(b"a.txt", TEXT)
TWO = File(b"b.txt", b"other text", deflated=True)


def _gzip_of(data: bytes, *, mtime: int, more: int = 0x0300) -> bytes:
    """A gzip member of one stored block and an empty one; `more` is two bytes of its header that mean nothing here."""
    header = struct.pack("<4BIH", 0x1F, 0x8B, 8, 0, mtime, more)
    block = b"\0" + struct.pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    return header + block + b"\x01\0\0\xff\xff" + struct.pack("<II", zlib.crc32(data), len(data))


GZIP, EMPTY_GZIP = _gzip_of(b"{}\n", mtime=1), _gzip_of(b"", mtime=1)
LIKE_GZIP = _gzip_of(b'{"a":1}\n', mtime=0x4D40D336)
"""Its CRC-32 is the first bytes of a gzip member, so a descriptor without a signature looks like one."""
LIKE_DESCRIPTOR = _gzip_of(b'{"b":"' + b"x" * 247 + b'"}\n', mtime=len(LIKE_GZIP), more=len(LIKE_GZIP))
"""It begins with the 12 bytes of the descriptor that could follow `LIKE_GZIP`: its CRC-32, and twice its size."""

FORMS = {
    "stored": build([ONE, replace(TWO, deflated=False)]),
    "deflated": build([replace(ONE, deflated=True), TWO]),
    "zip64": build([replace(ONE, zip64=True), replace(TWO, zip64=True)], Ending(zip64=True)),
    "zip64 end only": build([ONE, TWO], Ending(zip64=True)),
    "directories": build([File(b"d/", b""), replace(ONE, name=b"d/a.txt"), File(b"e/", b"", deflated=True), TWO]),
    "directory with a descriptor": build([File(b"d/", b"", descriptor="signed 32"), ONE]),
    "comments": build([replace(ONE, comment=b"of one"), TWO], Ending(comment=b"of all")),
    "extra fields": build([replace(ONE, extra=struct.pack("<HH3s", 0x5455, 3, b"abc")), replace(TWO, extra=b"?")]),
    "empty files": build(
        [File(b"a", b""), File(b"b", b"", deflated=True), File(b"c", b"", deflated=True, descriptor="signed 32")]
    ),
    "directory in another order": build([ONE, TWO], order=slice(None, None, -1)),
    "stored, size before and after": build(
        [replace(ONE, descriptor="signed 32", local={"packed": len(TEXT), "size": len(TEXT)}), TWO]
    ),
    "nothing": build([]),
    "nothing, zip64": build([], Ending(zip64=True)),
    **{
        f"descriptor {kind}{' and zip64' * zip64}": build(
            [replace(TWO, descriptor=kind, zip64=zip64), replace(ONE, deflated=True, descriptor=kind, zip64=zip64)]
        )
        for kind, zip64 in product(DESCRIPTORS, (False, True))
    },
    **{
        f"stored, size after, {kind}{' and zip64' * zip64}": build(
            File(name, data, descriptor=kind, zip64=zip64)
            for name, data in ((b"1.gz", GZIP + EMPTY_GZIP + GZIP), (b"2.gz", GZIP))
        )
        for kind, zip64 in product(DESCRIPTORS, (False, True))
    },
    "stored, size after, and all ones before": build(
        [File(b"1.gz", GZIP, descriptor="signed 32", local={"packed": MOST_32, "size": MOST_32}), ONE]
    ),
    "stored, a descriptor like gzip": build([File(b"1.gz", LIKE_GZIP, descriptor="bare 32"), ONE]),
    "stored, gzip like a descriptor": build([File(b"1.gz", LIKE_GZIP + LIKE_DESCRIPTOR, descriptor="bare 32"), ONE]),
}


FOREIGN = sorted((Path(__file__).parent / "foreign").glob("*.zip"))


def contents(chunks: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    return [(entry.facts.name, b"".join(entry)) for entry in ZipStream(chunks)]


@pytest.mark.parametrize("form", FORMS)
def test_reads_each_form_as_the_standard_library_does(form: str) -> None:
    with zipfile.ZipFile(io.BytesIO(FORMS[form])) as standard:
        expected = {info.filename.encode(): standard.read(info) for info in standard.infolist()}
    found = contents([FORMS[form]])
    assert dict(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("end", [Ending(zip64=True, more_64=b"more"), Ending(comment=b"PK\x05\x06 like an end")])
def test_reads_forms_that_the_standard_library_refuses(end: Ending) -> None:
    assert contents([build([ONE, TWO], end)]) == [(ONE.name, ONE.content), (TWO.name, TWO.content)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_what_is_read_does_not_depend_on_the_chunks(form: str, size: int) -> None:
    assert contents(chunked(FORMS[form], size)) == contents([b"", FORMS[form], b""])


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_that_is_cut_anywhere_is_broken(form: str) -> None:
    for end in range(len(FORMS[form])):
        with pytest.raises(BrokenArchive):
            contents([FORMS[form][:end]])


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("form", FORMS)
def test_no_flipped_bit_makes_a_silent_difference(form: str, every: int) -> None:
    """What no reader uses, such as a time, may change; what is read may not. Each seventh bit is one in each byte."""
    expected = contents([FORMS[form]])
    for position, bit in islice(product(range(len(FORMS[form])), range(8)), 0, None, every):
        damaged = bytearray(FORMS[form])
        damaged[position] ^= 1 << bit
        try:
            found = contents([bytes(damaged)])
        except ExportError:
            continue
        assert found == expected, (position, bit)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_may_follow_the_end(form: str) -> None:
    with pytest.raises(BrokenArchive, match="follows the end"):
        contents([FORMS[form], b"\0"])


LIES = {
    "no record": build([ONE, TWO], order=slice(1)),
    "a record of nothing": build([ONE, TWO], order=slice(0)),
    "a record twice": build([ONE, ONE], order=slice(1)) + build([ONE]),
    "another name": build([replace(ONE, listed_as=b"c.txt")]),
    "another method": build([replace(ONE, central={"method": DEFLATED})]),
    "encrypted, by the directory alone": build([replace(ONE, central={"flags": 1})]),
    "another checksum": build([replace(ONE, central={"crc": 1})]),
    "another packed size": build([replace(ONE, central={"packed": 1})]),
    "another size": build([replace(ONE, central={"size": 1})]),
    "another place": build([replace(ONE, central={"offset": 1})]),
    "places swapped": build([replace(ONE, central={"offset": 67}), replace(ONE, name=b"b.txt", central={"offset": 0})]),
    "checksum before the data": build([replace(ONE, local={"crc": 1})]),
    "size before the data": build([replace(TWO, local={"size": 1})]),
    "checksum of the data": build([replace(ONE, local={"crc": 1}, central={"crc": 1})]),
    "size of the data": build([replace(TWO, local={"size": 1}, central={"size": 1})]),
    "packed size too small": build([replace(TWO, local={"packed": 3}, central={"packed": 3})]),
    "packed size too large": build([replace(TWO, local={"packed": 13}, data=deflate(TWO.content) + b"\0")]),
    "data that are no deflate": build([replace(TWO, data=b"\xff" * 12)]),
    "descriptor": build([replace(TWO, descriptor="signed 32", data=deflate(b"something else"))]),
    **{f"last record, {key}": build([ONE, TWO], Ending(says={key: 3})) for key in END},
    **{f"last record for zip64, {key}": build([ONE, TWO], Ending(zip64=True, says_64={key: 3})) for key in END},
    "last record beside zip64": build([ONE, TWO], Ending(zip64=True, says={"count": 3})),
    "no zip64 record where there must be one": build([ONE, TWO], Ending(says={"offset": MOST_32})),
    "place of the zip64 record": build([ONE], Ending(zip64=True, locator=1)),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_the_archive_says_twice_must_agree(lie: str) -> None:
    with pytest.raises(BrokenArchive):
        contents([LIES[lie]])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        *[([], "empty"), ([b""], "empty"), ([b"PK\x03"], "cut"), ([b'{"error": "no"}'], "JSON")],
        *[([b"<!doctype html><title>Sign in</title>"], "HTML"), ([b"\xef\xbb\xbf\r\n <html>"], "HTML")],
        *[([each], "something else") for each in (b"no", b"\x1f\x8b\x08 gzip without a zip", b"PK\x07\x08PK\x03\x04")],
    ],
)
def test_what_is_no_archive_is_broken_and_says_what_it_looks_like(body: list[bytes], words: str) -> None:
    with pytest.raises(BrokenArchive, match=words):
        contents(body)


def test_gzip_and_descriptors_that_look_alike_do() -> None:
    descriptor = struct.pack("<III", zlib.crc32(LIKE_GZIP), len(LIKE_GZIP), len(LIKE_GZIP))
    assert descriptor.startswith(b"\x1f\x8b\x08\0")
    assert LIKE_DESCRIPTOR.startswith(descriptor)


@pytest.mark.parametrize("data", [b"", b"no gzip", GZIP[:-1], GZIP + b"\0", GZIP[:-1] + b"\xff"])
def test_a_stored_file_of_unknown_size_must_be_whole_gzip(data: bytes) -> None:
    with pytest.raises(BrokenArchive, match=r"'1\.gz'"):
        contents([build([File(b"1.gz", data, descriptor="signed 32"), ONE])])


@pytest.mark.parametrize("archive", FOREIGN, ids=lambda path: path.stem)
def test_reads_archives_of_other_tools(archive: Path) -> None:
    """`foreign/make.sh` says how they were made."""
    members, _ = read(chunked(archive.read_bytes(), 7))
    assert {(member.source, member.content) for member in members} == {
        ("187520/187520_2025-11-04_0#0.json.gz", b'{"uuid":"1","n":0.0}\n{"uuid":"2"}\n'),
        ("187520/187520_2025-11-04_13#1.json.gz", b'{"uuid":"3"}\n{"uuid":"4"}'),
    }


def test_there_are_archives_of_other_tools() -> None:
    assert {path.stem.partition("-")[0] for path in FOREIGN} >= {"infozip", "7zip", "java", "macos", "zipstream"}
    stored = [path.read_bytes() for path in FOREIGN if "stored" in path.stem]
    assert any(data[6] & 8 and data[18:22] == bytes(4) and data.count(b".gz") for data in stored), "size only after it"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        *((replace(ONE, local={"flags": flag}), "encrypted") for flag in (0x0001, 0x0040, 0x2000)),
        (replace(ONE, local={"flags": 0x0020}), "patch"),
        (replace(ONE, local={"method": 12}), "method 12"),
        (replace(ONE, descriptor="signed 32"), "size comes only after it"),
        (replace(ONE, descriptor="signed 64", zip64=True), "size comes only after it"),
    ],
)
def test_what_no_stream_can_tell_is_unsupported(file: File, words: str) -> None:
    with pytest.raises(UnsupportedArchive, match=f"'a.txt'.*{words}"):
        contents([build([file])])


@pytest.mark.parametrize("after", range(0, len(FORMS["deflated"]), 7))
def test_what_the_source_raises_passes_through_as_it_is(after: int) -> None:
    error = BrokenArchive("the connection broke off", retry_after=3.0)

    def produce() -> Iterator[bytes]:
        yield FORMS["deflated"][:after]
        raise error

    with pytest.raises(BrokenArchive) as caught:
        read(produce())
    assert caught.value is error


def test_an_entry_must_be_read_before_the_next() -> None:
    with pytest.raises(RuntimeError, match=r"'a\.txt' was not read"):
        list(ZipStream([FORMS["stored"]]))


def test_an_entry_is_read_only_once() -> None:
    entry = next(iter(ZipStream([FORMS["stored"]])))
    assert b"".join(entry) == TEXT
    with pytest.raises(RuntimeError, match="only once"):
        list(entry)


def test_too_many_entries_are_suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unzip, "MOST_ENTRIES", 1000)
    header = File(b"a", b"").before_and_data()
    with pytest.raises(SuspiciousArchive, match="more than 1000 entries"):
        contents([header * 1001])


def test_names_that_no_directory_could_list_are_suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are what is held of an archive."""
    monkeypatch.setattr(unzip, "MOST_DIRECTORY_BYTES", 100_000)
    header = File(b"n" * 1000, b"").before_and_data()
    with pytest.raises(SuspiciousArchive, match="more than 100 entries"):
        contents([header * 101])


@pytest.mark.parametrize("length", [MOST_NAME_BYTES + 1, 0xFFFF])
def test_a_name_longer_than_any_file_has_is_refused_before_it_is_read(length: int) -> None:
    header = File(b"n" * length, b"").before_and_data()
    with pytest.raises(SuspiciousArchive, match=f"a name of {length} bytes"):
        contents([header[:30]])


def test_many_files_that_expand_are_a_bomb_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them alone is large enough to be one. What one has expanded to stays, though less follows."""
    monkeypatch.setattr(unzip, "MOST_SURE_ARCHIVE_BYTES", MOST_SURE_ARCHIVE_BYTES >> 10)
    data, crc = zeros(1)
    facts = {"crc": crc, "size": 1024**2}
    files = [File(b"%d" % n, b"", deflated=True, data=data, local=facts, central=facts) for n in range(5)]

    def read(files: list[File]) -> None:
        for entry in ZipStream([build(files)]):
            list(entry)
            entry.check_expansion(1)

    read(files[:4])
    with pytest.raises(SuspiciousArchive, match="the archive expand"):
        read(files)


def test_an_extra_field_of_many_small_ones_takes_linear_time() -> None:
    """16,000 empty fields before the one that counts."""
    extra = struct.pack("<HH", 0xCAFE, 0) * 16_000
    started = time.process_time()
    contents([build([replace(ONE, extra=extra, zip64=True)] * 20)])
    assert time.process_time() - started < 2


def test_as_many_as_can_be_counted_in_16_bits_are_fine() -> None:
    assert len(contents([build([File(b"a", b"")] * 0xFFFF)])) == 0xFFFF


def test_a_directory_beyond_all_measure_is_suspicious_before_it_is_read() -> None:
    """The records are right but for a comment each; no more of them is asked for than the limit."""
    file = File(b"a", b"", comment=bytes(0xFFFF))
    header = file.before_and_data()
    count = MOST_DIRECTORY_BYTES // 0xFFFF + 10
    asked = []

    def records() -> Iterator[bytes]:
        for number in range(count):
            asked.append(number)
            yield file.record(number * len(header))

    with pytest.raises(SuspiciousArchive, match="directory has more than"):
        contents(chain([header * count], records()))
    assert len(asked) < count - 1


def test_an_end_record_beyond_all_measure_is_suspicious() -> None:
    with pytest.raises(SuspiciousArchive, match="last record"):
        contents([build([ONE], Ending(zip64=True, more_64=bytes(70_000)))])


@pytest.mark.parametrize("descriptor", ["", "signed 64"])
def test_a_bomb_is_refused_while_it_is_inflated_and_in_little_memory(descriptor: Descriptor) -> None:
    data, crc = zeros(1100)
    facts = {"crc": crc, "size": 1100 * 1024**2}
    whole = build([File(b"readme.txt", b"", deflated=True, descriptor=descriptor, data=data, local=facts)])
    with little_memory(8 * PIECE_OUT), pytest.raises(SuspiciousArchive, match=r"'readme\.txt'.*expand"):
        exhaust(ZipStream([whole]))


def test_a_large_entry_that_expands_moderately_is_no_bomb() -> None:
    """1.1 GiB, some 240 times its bytes in the archive."""
    noise = b"".join(zlib.crc32(n.to_bytes(4)).to_bytes(4) for n in range(720))
    data, crc = zeros(1100, every=noise)
    size = 1100 * 1024**2
    assert 230 < size / len(data) < 250
    facts = {"crc": crc, "size": size}
    exhaust(ZipStream([build([File(b"a", b"", deflated=True, data=data, local=facts, central=facts)])]))
