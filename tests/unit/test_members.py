"""What Amplitude's archive is taken for: events, damage, or something that nobody asked for."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.archive.gunzip import PIECE_OUT
from shared.archive.members import MOST_IGNORED, Archive
from shared.dates import Window
from shared.errors import BrokenArchive, SuspiciousArchive
from tests.unit.archives import (
    DAY,
    WINDOW,
    Descriptor,
    Ending,
    File,
    as_gzip,
    build,
    chunked,
    event_file,
    event_name,
    exhaust,
    little_memory,
    read,
    zeros,
)

LINES = b'{"text":"\xc3\xbc"}\n{"n":0.0}\n'
GZIP = gzip.compress(LINES, mtime=0)
README = File(b"187520/README.txt", b"not events")

FORMS = {
    "stored": build([event_file(0), event_file(1, LINES)]),
    "deflated": build([event_file(0, deflated=True), README, event_file(1, LINES, deflated=True)], Ending(zip64=True)),
    "with descriptors": build([replace(event_file(0, LINES), deflated=True, descriptor="signed 32")]),
    "stored, with descriptors": build([replace(event_file(n, LINES), descriptor="bare 32") for n in (0, 1)]),
}


def archive_of(data: bytes, name: bytes | None = None) -> bytes:
    return build([File(name or event_name(), data)])


@pytest.mark.parametrize("deflated", [False, True])
def test_members_are_named_for_their_blobs_and_counted(*, deflated: bool) -> None:
    files = [event_file(0, LINES, deflated=deflated), event_file(13, b"{}\n", part=27, deflated=deflated)]
    first, second = read([build(files)])[0]
    assert (first.source, first.stem) == ("187520/187520_2025-11-04_0#0.json.gz", "187520_2025-11-04_00_0")
    assert (first.content, first.bytes, first.events) == (LINES, len(LINES), 2)
    assert (second.source, second.stem) == ("187520/187520_2025-11-04_13#27.json.gz", "187520_2025-11-04_13_27")
    assert (second.content, second.bytes, second.events) == (b"{}\n", 3, 1)


def test_a_member_says_what_it_is_before_it_is_read() -> None:
    member = next(iter(Archive([FORMS["stored"]], WINDOW, compressed=False)))
    assert (member.project, member.hour, member.part, member.bytes, member.events) == ("187520", 0, 0, 0, 0)


@pytest.mark.parametrize("deflated", [False, True])
def test_what_lands_is_the_content_or_the_gzip_bytes_and_both_are_verified(*, deflated: bool) -> None:
    whole = build([replace(event_file(), content=GZIP + GZIP, deflated=deflated)])
    (plain,), (packed,) = read([whole])[0], read([whole], compressed=True)[0]
    assert (plain.stored, plain.content) == (LINES + LINES, LINES + LINES)
    assert (packed.stored, packed.content) == (GZIP + GZIP, LINES + LINES)
    assert (packed.bytes, packed.events) == (plain.bytes, plain.events) == (2 * len(LINES), 4)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_does_not_depend_on_the_chunks(form: str, *, compressed: bool) -> None:
    whole = FORMS[form]

    @given(st.lists(st.integers(0, len(whole)), max_size=12).map(sorted))
    def holds(cuts: list[int]) -> None:
        chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert read(chunks, compressed=compressed) == read([whole], compressed=compressed)

    holds()


def test_a_damaged_name_is_damage_and_no_suspicion() -> None:
    """A name that is wrong in one of its two places is tried again; one that is wrong in both needs someone."""
    start = 30
    for position, bit in product(range(start, start + len(event_name())), range(8)):
        damaged = bytearray(FORMS["stored"])
        damaged[position] ^= 1 << bit
        with pytest.raises(BrokenArchive):
            read([bytes(damaged)])


BAD_NAMES = [
    *[b"../187520_2025-11-04_0#0.json.gz", b"187520/../../etc/passwd", b"187520/../"],  # leads up
    *[b"/187520/187520_2025-11-04_0#0.json.gz", b"C:187520_2025-11-04_0#0.json.gz", b"C:notes.txt"],  # absolute
    *[b"187520\\187520_2025-11-04_0#0.json.gz", b"187520\\readme.txt"],  # backslashes
    *[b"187520/187520_2025-11-04_0#0.json.gz\0.txt", b"187520/187520_2025-11-04_0#0.json.gz\n"],
    *["readme\u2028.txt".encode(), b"\xff\xfe.txt", b""],
    *[b"a" * 1000, b"187520/" + b"a" * 65000 + b".json.gz"],
    *[b"187520_2025-11-04_0#0.json.gz", b"a/187520/187520_2025-11-04_0#0.json.gz"],  # no folder, a deeper one
    *[b"187520/187521_2025-11-04_0#0.json.gz", b"abc/abc_2025-11-04_0#0.json.gz"],  # two projects, or none
    *["187520/187520_2025-11-04_\u0663#0.json.gz".encode(), b"187520/187520_2025-11-04_24#0.json.gz"],  # no such hour
    *[b"187520/187520_2025-11-04#0.json.gz", b"187520/187520_2025-11-04_0.json.gz"],  # no hour, no part
    *[b"187520/187520_2025-11-04_0#-1.json.gz"],
    *[b"187520/187520_2025-11-05_0#0.json.gz", b"187520/187520_2025-13-41_0#0.json.gz"],  # another day, and no day
    *[b"187520/187520_2025-11-04_0#0.JSON.GZ", b"187520/187520_2025-11-04_0#0.json"],
    *[b"187520/more.ZIP", b"events.gz"],
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:50]))
def test_a_name_that_is_none_of_amplitudes_is_suspicious_and_told_briefly(name: bytes) -> None:
    whole = build([event_file(1), File(name, GZIP if not name.endswith(b"/") else b"")])
    with pytest.raises(SuspiciousArchive) as caught:
        read([whole])
    message = str(caught.value)
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize(("hour", "inside"), [(0, False), (5, False), (6, True), (7, True), (8, False), (23, False)])
def test_an_hour_outside_the_window_is_suspicious(hour: int, *, inside: bool) -> None:
    whole, window = build([event_file(hour)]), Window(DAY, 6, 8)
    says = "outside the requested hours, 2025-11-04T06 to 2025-11-04T07"
    with nullcontext() if inside else pytest.raises(SuspiciousArchive, match=says):
        assert len(read([whole], window)[0]) == 1


def test_a_second_project_is_suspicious() -> None:
    with pytest.raises(SuspiciousArchive, match=r"'9/9_.*second project, besides 187520"):
        read([build([event_file(0), File(event_name(1, project="9"), GZIP)])])


@pytest.mark.parametrize("twin", [b"0#0", b"00#0", b"0#00", b"00#000"])
def test_two_members_for_one_blob_are_suspicious(twin: bytes) -> None:
    whole = build([event_file(0), File(b"187520/187520_2025-11-04_" + twin + b".json.gz", GZIP)])
    with pytest.raises(SuspiciousArchive, match="same hour and part"):
        read([whole])


@pytest.mark.parametrize(
    "files", [[], [README], [File(b"187520/", b"")], [File(b"187520/", b""), README]], ids=["0", "1", "2", "3"]
)
def test_an_archive_without_an_event_file_is_suspicious(files: list[File]) -> None:
    with pytest.raises(SuspiciousArchive, match="no event file"):
        read([build(files)])


def test_a_directory_that_holds_bytes_is_suspicious() -> None:
    with pytest.raises(SuspiciousArchive, match="directory that holds bytes"):
        read([build([event_file(0), File(b"187520/", b"events?", deflated=True, descriptor="signed 32")])])


def test_directories_are_passed_over_and_other_entries_are_told() -> None:
    whole = build([File(b"187520/", b""), README, event_file(0), File("Ü.md".encode(), b"x", deflated=True)])
    members, ignored = read([whole])
    assert len(members) == 1
    assert ignored == ["187520/README.txt", "Ü.md"]


def test_what_is_ignored_is_verified_all_the_same() -> None:
    with pytest.raises(BrokenArchive, match="README"):
        read([build([event_file(0), replace(README, local={"crc": 1}, central={"crc": 1})])])


@pytest.mark.parametrize("content", [GZIP, b"[1]\n", b"\xef\xbb\xbf{}\n", b" \n x", b"\0", b"<html>"])
def test_content_that_is_not_events_is_suspicious(content: bytes) -> None:
    """Gzip inside gzip, for example. Nothing of it is handed out."""
    archive = Archive([build([event_file(0), event_file(1, content), event_file(2)])], WINDOW, compressed=False)
    seen: list[tuple[int, bytes]] = []

    with pytest.raises(SuspiciousArchive, match=r"_1#0\.json\.gz': its content does not begin with {"):
        seen.extend((member.hour, b"".join(piece for _, piece in member)) for member in archive)
    assert seen == [(0, b'{"a":1}\n{"a":2}\n'), (1, b"")]


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \n", b"\n {}\n"])
def test_white_space_before_or_instead_of_events_is_fine(content: bytes) -> None:
    (member,), _ = read(chunked(build([event_file(0, content)]), 1))
    assert (member.content, member.events) == (content, content.count(b"{"))


def test_damage_that_hides_the_beginning_is_damage() -> None:
    """Damage is tried again; a suspicion is not."""
    packed = bytearray(gzip.compress(LINES, 0, mtime=0))
    packed[packed.index(b"{")] ^= 1
    with pytest.raises(BrokenArchive):
        read([archive_of(bytes(packed))])


def test_too_many_entries_without_events_are_suspicious() -> None:
    files = [event_file(0), *(File(b"%d.txt" % n, b"") for n in range(MOST_IGNORED + 1))]
    assert len(read([build(files[:-1])])[1]) == MOST_IGNORED
    with pytest.raises(SuspiciousArchive, match="more than 1000 entries that hold no events"):
        read([build(files)])


def test_ten_thousand_members() -> None:
    files = [event_file(n % 24, b'{"n":%d}\n' % n, part=n // 24) for n in range(10_000)]
    members, _ = read(chunked(build(files), 1 << 16))
    assert [member.content for member in members] == [b'{"n":%d}\n' % n for n in range(10_000)]


def test_members_and_pieces_come_as_the_source_gives_them() -> None:
    """Producer and consumer write one log: nothing is pulled before the consumer has come to it."""
    log: list[str] = []
    # Neither gzip nor zip deflates here, so that each chunk holds events that can be handed on.
    first = File(event_name(0), gzip.compress(b"{1}\n{2}\n", 0, mtime=0))
    second = event_file(1, b"{three}\n")
    begins = len(first.before_and_data()) - len(first.content)
    next_begins = len(first.before_and_data())
    whole = build([first, second])
    cuts = [0, begins, begins + 19, next_begins, next_begins + begins, len(whole)]

    def produce() -> Iterator[bytes]:
        for number, (start, end) in enumerate(pairwise(cuts)):
            log.append(f"chunk {number}")
            yield whole[start:end]

    for member in Archive(produce(), WINDOW, compressed=False):
        log.append(f"member {member.hour}")
        log.extend(content.decode() for _, content in member if content)
    first_read = ["chunk 0", "member 0", "chunk 1", "{1}\n", "chunk 2", "{2}\n"]
    assert log == [*first_read, "chunk 3", "member 1", "chunk 4", "{three}\n"]


@pytest.mark.parametrize(("descriptor", "compressed"), [("", False), ("signed 32", True)])
def test_a_nested_bomb_is_refused_while_it_is_inflated_and_in_little_memory(
    descriptor: Descriptor, *, compressed: bool
) -> None:
    """2 GiB of zeros: gzip makes 2 MB of them, and deflate once more some 9 KB."""
    packed, crc = zeros(2048)
    bomb = replace(event_file(), content=as_gzip(packed, crc, 2048 * 1024**2), deflated=True, descriptor=descriptor)
    whole = build([bomb])
    assert len(whole) < 20_000
    with little_memory(8 * PIECE_OUT), pytest.raises(SuspiciousArchive, match=r"_0#0\.json\.gz'.* expand"):
        exhaust(Archive([whole], WINDOW, compressed=compressed))


def test_a_bomb_of_gzip_alone_is_refused() -> None:
    packed, crc = zeros(1100)
    with pytest.raises(SuspiciousArchive, match="expand"):
        exhaust(Archive([archive_of(as_gzip(packed, crc, 1100 * 1024**2))], WINDOW, compressed=False))


def test_up_to_a_gibibyte_any_ratio_is_fine() -> None:
    packed, crc = zeros(1024, every=b"{")
    exhaust(Archive([archive_of(as_gzip(packed, crc, 1024**3))], WINDOW, compressed=False))


def test_a_large_member_is_read_in_little_memory() -> None:
    """What is held is a few pieces, however large the member and the chunk."""
    packed, crc = zeros(200, every=b"{")
    chunks = list(chunked(archive_of(as_gzip(packed, crc, 200 * 1024**2)), 1 << 16))
    with little_memory(4 * PIECE_OUT):
        exhaust(Archive(chunks, WINDOW, compressed=False))


def test_pieces_are_large_and_bounded() -> None:
    packed, crc = zeros(20, every=b"{")
    member = next(iter(Archive([archive_of(as_gzip(packed, crc, 20 * 1024**2))], WINDOW, compressed=False)))
    sizes = [len(content) for _, content in member]
    assert max(sizes) <= PIECE_OUT
    assert len(sizes) < 30


def test_a_member_that_was_not_read_to_its_end_is_an_error_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="not read to its end"):
        list(Archive([FORMS["stored"]], WINDOW, compressed=False))


def test_a_member_is_read_only_once() -> None:
    member = next(iter(Archive([FORMS["stored"]], WINDOW, compressed=False)))
    list(member)
    with pytest.raises(RuntimeError, match="only once"):
        list(member)


def test_nothing_more_is_handed_out_once_something_is_suspicious() -> None:
    """The rest is read only to see whether the archive is damaged; what was suspicious first is told."""
    seen = []
    files = [event_file(0), File(b"x.json", b""), File(b"../y", b""), event_file(1)]
    archive = Archive([build(files)], WINDOW, compressed=False)

    def consume() -> None:
        for member in archive:
            seen.append(member.hour)
            list(member)

    with pytest.raises(SuspiciousArchive, match=r"'x\.json'"):
        consume()
    assert seen == [0]


def test_damage_counts_more_than_suspicion() -> None:
    whole = build([event_file(0), File(b"x.json", b"")])
    with pytest.raises(BrokenArchive):
        read([whole[:-1]])
