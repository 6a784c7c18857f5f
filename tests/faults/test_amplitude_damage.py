"""Archives that arrive cut, damaged, or not at all: refused, or fetched again until the bytes are right."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.simulator import Fault, Form, Simulator, page
from shared.errors import BrokenArchive, SuspiciousArchive, UnsupportedArchive
from tests.faults.exports import DAY, Exports
from tests.faults.reader import Landed, Reader

pytestmark = pytest.mark.in_memory

PLACES = ("before the first byte", "inside a member", "between members", "before the directory", "before the last byte")
"""A sample: the unit tests of the reader cut archives at each byte."""
ENDS: list[dict[str, Any]] = [
    {"framing": "length"},
    {"framing": "chunked"},
    {"framing": "close"},
    {"framing": "close", "reset": True},
]


def offset(archive: bytes, place: str) -> int:
    """Where in an archive a place is."""
    second = archive.index(b"PK\x03\x04", 1)
    return (0, second - 100, second, archive.index(b"PK\x01\x02"), len(archive) - 1)[PLACES.index(place)]


@pytest.mark.parametrize(
    ("place", "end"), [*zip(PLACES, itertools.cycle(ENDS), strict=False), (PLACES[3], ENDS[2])], ids=str
)
def test_a_cut_is_never_the_end_of_a_day(
    simulator: Simulator, exports: Exports, reader: Reader, place: str, end: dict[str, Any]
) -> None:
    cut = Fault(cut=offset(b"".join(simulator.archive(DAY)), place), **end)
    simulator.fail(cut, cut, None)

    error = exports.error(EXPORT_MAX_ATTEMPTS="1")
    assert isinstance(error, BrokenArchive)
    assert reader.manifest(DAY) is None
    assert reader.event_blobs(DAY) == set()
    assert reader.outcome(DAY) == ("failed", "BrokenArchive")
    assert not reader.is_locked(DAY)

    manifest = exports.run()
    assert [request.attempts for request in manifest.requests] == [2]
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("complete", None)


NO_ARCHIVES = {
    "an HTML page": (page(), "an HTML page"),
    "JSON": (page('{"error": "internal"}', "application/json"), "JSON"),
    "text": (page("Bad gateway", "text/plain"), "something else"),
    "nothing": (Fault(body=b""), "empty"),
    "nothing, chunked": (Fault(body=b"", framing="chunked"), "empty"),
    "gzip": (Fault(body=b"\x1f\x8b\x08" + bytes(30)), "something else"),
}


@pytest.mark.parametrize("kind", NO_ARCHIVES)
def test_what_is_no_archive_changes_nothing(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, kind: str
) -> None:
    fault, what = NO_ARCHIVES[kind]
    simulator.rule = lambda _: fault
    error = exports.error(EXPORT_MAX_ATTEMPTS="3")
    assert isinstance(error, BrokenArchive)
    assert what in str(error)
    assert len(simulator.requests) == 3
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", "BrokenArchive")
    assert reader.status(DAY)["error"]["message"] == str(error)


def test_an_archive_without_members_is_no_empty_day(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed
) -> None:
    """No events are a 404: a whole archive with nothing in it is not believed."""
    simulator.rule = lambda _: Fault(body=b"PK\x05\x06" + bytes(18))
    assert isinstance(exports.error(replace=True), SuspiciousArchive)
    assert reader.files(DAY) == before
    assert reader.outcome(DAY) == ("failed", "SuspiciousArchive")


FORMS = {
    "stored": Form(),
    "deflated": Form(deflated=True, folder=True),
    "descriptors": Form(descriptors=True),
}


@pytest.mark.parametrize("examples", [4, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["json", "json.gz"])
@pytest.mark.parametrize("form", FORMS)
def test_no_flipped_byte_makes_a_silent_difference(  # noqa: PLR0913, PLR0917 - fixtures
    simulator: Simulator, exports: Exports, reader: Reader, form: str, kind: str, examples: int
) -> None:
    """One byte of an answer, and what lands then; each time under a prefix of its own."""
    simulator.form = FORMS[form]
    sent, size = simulator.member_bytes(DAY), simulator.archive(DAY).size

    @settings(max_examples=examples, deadline=None)
    @given(st.integers(0, size - 1))
    def holds(position: int) -> None:
        here = Reader(reader.container, f"{uuid.uuid4().hex}/")
        simulator.fail(Fault(flip=position))
        error = exports.attempt(EXPORT_PREFIX=here.prefix, EXPORT_FORMAT=kind)
        assert here.unlisted(DAY) == set()
        if error is None:
            assert here.files(DAY) == sent
        else:
            assert isinstance(error, SuspiciousArchive | UnsupportedArchive)
            assert here.outcome(DAY) == ("failed", error.type)
            assert here.manifest(DAY) is None

    holds()


@pytest.mark.parametrize("place", ["inside a member", "before the last byte"])
def test_damage_that_stays_is_given_up(simulator: Simulator, exports: Exports, reader: Reader, place: str) -> None:
    flip = Fault(flip=offset(b"".join(simulator.archive(DAY)), place))
    simulator.rule = lambda _: flip
    error = exports.error(EXPORT_MAX_ATTEMPTS="3")
    assert isinstance(error, BrokenArchive)
    assert "Attempts: 3" in str(error)
    assert len(simulator.requests) == 3
    assert reader.event_blobs(DAY) == set()


def test_what_was_staged_of_a_cut_answer_does_not_land(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """A file of the first answer that the second no longer holds must not be in the day."""
    archive = b"".join(simulator.archive(DAY))
    simulator.fail(Fault(body=archive, cut=offset(archive, "before the directory")))
    simulator.forget(DAY, 0)
    manifest = exports.run()
    assert {file.hour for file in manifest.files} == {11, 23}
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.unlisted(DAY) == set()


@pytest.mark.usefixtures("azurite")  # the command line is a process of its own
def test_the_exit_code_and_the_message_say_it(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    simulator.rule = lambda _: Fault(cut=1000)
    done = exports.cli("export", str(DAY), EXPORT_MAX_ATTEMPTS="2")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("BrokenArchive: 2025-11-04T00 to 2025-11-04T23 UTC: the answer broke off")
    assert "Traceback" not in done.stderr
    assert reader.outcome(DAY) == ("failed", "BrokenArchive")
    assert reader.event_blobs(DAY) == set()
