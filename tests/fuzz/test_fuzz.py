"""The reader's promise on made-up archives: bounded here, longer in `make soak`, without end in `target.py`."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import BrokenArchive, SuspiciousArchive, UnsupportedArchive
from tests.fuzz.promise import check
from tests.unit.archives import DESCRIPTORS, Ending, File, as_gzip, build, deflate, event_file, event_name

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.zip"))
ANSWERS = {"broken": BrokenArchive, "suspicious": SuspiciousArchive, "unsupported": UnsupportedArchive}

texts = st.sampled_from([b"", b"\n", b"{}\n", b'{"a":1}\n{"b":2}', b"{" + b"x" * 300]) | st.binary(max_size=40)
gzips = st.lists(texts.map(lambda text: gzip.compress(text, mtime=0)), min_size=1, max_size=3).map(b"".join)
names = st.builds(event_name, st.integers(0, 25), st.integers(0, 2)) | st.sampled_from(
    [b"187520/", b"README", b"x.gz", b"", b"../a", b"\xff", b"/", b"187520/187520_2025-11-04_00#00.json.gz"]
)
numbers = st.sampled_from([0, 1, 2, 8, 20, 0x41, 0xFFFF]) | st.integers(0, 0xFFFF)
large_numbers = numbers | st.sampled_from([0xFFFFFFFF, 0xFFFFFFFE, 0x04034B50, 0x08074B50])
lies = st.dictionaries(st.sampled_from(["flags", "method", "time", "version"]), numbers, max_size=1) | st.dictionaries(
    st.sampled_from(["crc", "packed", "size"]), large_numbers, max_size=2
)
files = st.builds(
    File,
    name=names,
    content=gzips | texts,
    deflated=st.booleans(),
    descriptor=st.just("") | st.sampled_from(DESCRIPTORS),
    zip64=st.booleans(),
    extra=st.just(b"") | st.binary(max_size=12),
    comment=st.just(b"") | st.binary(max_size=12),
    local=st.just({}) | lies,
    central=st.just({}) | lies,
    data=st.none() | st.none() | st.none() | texts.map(deflate) | st.binary(max_size=30),
)
event_files = st.builds(event_file, st.integers(0, 23), texts, part=st.integers(0, 1), deflated=st.booleans())
endings = st.builds(
    Ending,
    comment=st.just(b"") | st.binary(max_size=8) | st.just(b"PK\x05\x06"),
    zip64=st.booleans(),
    more_64=st.just(b"") | st.binary(max_size=8),
    says=st.just({}) | st.dictionaries(st.sampled_from(["here", "count", "disk"]), numbers, max_size=1),
    locator=st.integers(0, 1),
)
archives = st.builds(build, st.lists(event_files | files, max_size=4), endings)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An archive with some of its bytes changed, left out, said twice or put in."""
    data = bytearray(draw(archives))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data[start:end] = draw(
            st.sampled_from([b"", bytes(data[start:end]) * 2, b"PK\x01\x02", b"PK\x05\x06"]) | st.binary(max_size=6)
        )
    return bytes(data)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.stem)
def test_what_was_found_before_stays_mended(case: Path) -> None:
    """A case is named for what it must come to: `ok`, `broken`, `suspicious` or `unsupported`."""
    answer = check(case.read_bytes())
    outcome = case.stem.partition("-")[0]
    assert answer == ANSWERS[outcome] if outcome in ANSWERS else not isinstance(answer, type)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | archives | damaged())
def test_the_promise_holds(data: bytes) -> None:
    check(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | gzips | st.builds(as_gzip, st.binary(max_size=40), large_numbers, large_numbers))
def test_the_promise_holds_for_gzip_in_a_whole_zip(data: bytes) -> None:
    check(build([File(event_name(), data)]))


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(archives | damaged())
def test_the_promise_holds_for_long(data: bytes) -> None:
    check(data)
