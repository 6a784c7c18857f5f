"""Archives of each form land byte by byte, and hostile ones leave nothing behind: the whole way, socket to blob."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace

import pytest

from local.simulator import Fault, Simulator
from shared.errors import PermanentError
from tests.faults.exports import DAY, Exports, log_events
from tests.faults.reader import File as Place
from tests.faults.reader import Landed, Reader
from tests.unit.archives import DESCRIPTORS, Ending, File, as_gzip, build, event_file, event_name, zeros

pytestmark = pytest.mark.in_memory

LINES = b'{"uuid":"1","n":0.0}\n{"uuid":"2"}\n'
CONTENTS: dict[Place, bytes] = {
    (0, 0): LINES,
    (0, 1): LINES.rstrip(b"\n"),
    (1, 0): b"",
    (2, 0): '{"text":"a\u2028b\u2029c\u0085d"}\n{"text":"\U0001f600"}'.encode(),
    (3, 0): b'{"crlf":1}\r\n\r\n{"cr":1}\r{}\x0b\x0c\x1c\n',
    (4, 0): b'{"\xff\xfe no UTF-8":"\x00"}\n',
    (5, 27): b"\n\n\n",
    (23, 0): b'{"n":%d}\n' % 10**18 * 20_000,
}
"""A day of files that a careless reader would change."""
PACKED = {place: gzip.compress(raw, mtime=0) for place, raw in CONTENTS.items()}
FILES = [File(event_name(hour, part), packed) for (hour, part), packed in PACKED.items()]


def each(files: Sequence[File], **changes: object) -> list[File]:
    return [replace(file, **changes) for file in files]  # type: ignore[arg-type]


FORMS = {
    "stored": build(FILES),
    "deflated": build(each(FILES, deflated=True)),
    "zip64": build(each(FILES, zip64=True), Ending(zip64=True)),
    "directory entries": build([File(b"187520/", b""), *FILES, File(b"187520/more/", b"")]),
    "comments and extra fields": build(each(FILES, extra=b"UT\x05\0\0abcd", comment=b"c"), Ending(comment=b"of all")),
    "in another order": build(FILES[::-1], order=slice(None, None, -1)),
    "descriptors": build(each(FILES, deflated=True, descriptor="signed 32")),
    **{f"stored, descriptors, {kind}": build(each(FILES, descriptor=kind)) for kind in DESCRIPTORS},
}


def serve(simulator: Simulator, archive: bytes) -> None:
    """Answer each request with this archive."""
    simulator.rule = lambda _: Fault(body=archive, framing="chunked")


@pytest.mark.parametrize("form", FORMS)
def test_each_form_lands_byte_by_byte(simulator: Simulator, exports: Exports, reader: Reader, form: str) -> None:
    serve(simulator, FORMS[form])
    manifest = exports.run()
    assert reader.files(DAY) == CONTENTS
    assert reader.unlisted(DAY) == set()
    assert (manifest.ignored, manifest.warnings) == ((), ())
    assert {(file.hour, file.part): file.events for file in manifest.files} == {
        (0, 0): 2,
        (0, 1): 2,
        (1, 0): 0,
        (2, 0): 2,
        (3, 0): 2,
        (4, 0): 1,
        (5, 27): 0,
        (23, 0): 20_000,
    }
    assert {1, 5} <= set(manifest.empty_hours), "a file without an event is no event"


@pytest.mark.parametrize("form", ["stored", "deflated"])
def test_as_gzip_each_file_is_amplitudes_own(simulator: Simulator, exports: Exports, reader: Reader, form: str) -> None:
    serve(simulator, FORMS[form])
    manifest = exports.run(EXPORT_FORMAT="json.gz")
    assert reader.files(DAY) == CONTENTS
    stored = {(f.hour, f.part): reader.container.download_blob(f.name).readall() for f in manifest.files}
    assert stored == PACKED


@pytest.mark.parametrize("kind", ["json", "json.gz"])
def test_several_gzip_members_are_one_file(simulator: Simulator, exports: Exports, reader: Reader, kind: str) -> None:
    pieces = [LINES, b"", LINES[:7], LINES[7:], b"{}"]
    serve(simulator, build([File(event_name(), b"".join(map(gzip.compress, pieces)), deflated=True)]))
    exports.run(EXPORT_FORMAT=kind)
    assert reader.files(DAY) == {(0, 0): b"".join(pieces)}


def test_a_changed_format_lands_the_day_again(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """No day is half one, half the other."""
    serve(simulator, FORMS["stored"])
    for kind in ("json", "json.gz", "json"):
        exports.run(EXPORT_FORMAT=kind)
        assert reader.files(DAY) == CONTENTS
        assert reader.unlisted(DAY) == set()
        assert all(name.endswith(f".{kind}") for name in reader.event_blobs(DAY))


def test_unknown_entries_are_told_and_not_read(
    simulator: Simulator, exports: Exports, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    more = [File(b"187520/README.txt", b"hello"), File("über.csv".encode(), b"1,2", deflated=True)]
    serve(simulator, build([more[0], *FILES, more[1]]))
    manifest = exports.run()
    assert reader.files(DAY) == CONTENTS
    assert manifest.ignored == ("187520/README.txt", "über.csv")
    assert len(manifest.warnings) == 2
    assert all(name in warning for name, warning in zip(manifest.ignored, manifest.warnings, strict=True))
    assert [line["warnings"] for line in log_events(caplog, "run_complete")] == [2]


GOOD = event_file(0)
GZIP = gzip.compress(LINES)
BOMB = as_gzip(zeros(1200)[0], zeros(1200)[1], 1200 * 1024**2)
HOSTILE: dict[str, tuple[str, list[File]]] = {  # a sample: the unit tests of the reader have all of them
    "leads up": ("SuspiciousArchive", [GOOD, File(b"187520/../../etc/passwd", b"x")]),
    "two for one blob": ("SuspiciousArchive", [GOOD, File(b"187520/187520_2025-11-04_00#0.json.gz", GZIP)]),
    "a second project": ("SuspiciousArchive", [GOOD, File(event_name(1, project="9"), GZIP)]),
    "no event file": ("SuspiciousArchive", [File(b"README", b"x")]),
    "encrypted": ("UnsupportedArchive", [GOOD, replace(event_file(1), local={"flags": 1}, central={"flags": 1})]),
    "gzip inside gzip": ("SuspiciousArchive", [GOOD, File(event_name(1), gzip.compress(GZIP))]),
    "a bomb": ("SuspiciousArchive", [GOOD, File(event_name(1), BOMB, deflated=True)]),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_leaves_nothing_behind(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, kind: str
) -> None:
    """It is asked for once, refused with its reason, and what has landed stays; nor does `replace` let it in."""
    expected, files = HOSTILE[kind]
    serve(simulator, build(files))
    everything = set(reader.container.list_blob_names())
    # As gzip, a bomb's blocks are small on their way to the storage.
    error = exports.error(replace=True, EXPORT_FORMAT="json.gz")
    assert isinstance(error, PermanentError)
    assert error.type == expected
    assert str(error).isprintable()
    assert len(simulator.requests) == 1
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", expected)
    new = set(reader.container.list_blob_names()) - everything
    assert {name.partition("/")[0] for name in new} <= {"status", "logs"}


def test_an_hour_that_was_not_asked_for_is_refused(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """An hour of the day, but of another window: it would come twice."""
    serve(simulator, build(FILES))
    error = exports.error(EXPORT_WINDOW_HOURS="12")
    assert (error.type, "2025-11-04T00 to 2025-11-04T11" in str(error)) == ("SuspiciousArchive", True)
    assert reader.event_blobs(DAY) == set()


def test_a_second_project_in_a_later_window_is_refused(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """Keys that somebody swaps in the middle of a run do not mix two projects in one day."""
    simulator.fail(Fault(body=build([GOOD])), Fault(body=build([File(event_name(12, project="9"), GZIP)])))
    error = exports.error(EXPORT_WINDOW_HOURS="12")
    assert (error.type, "187520" in str(error)) == ("SuspiciousArchive", True)
    assert reader.event_blobs(DAY) == set()


@pytest.mark.parametrize("number", [200, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_many_members_land(simulator: Simulator, exports: Exports, reader: Reader, number: int) -> None:
    raws = {(n % 24, n // 24): b'{"n":%d}\n' % n for n in range(number)}
    serve(simulator, build([event_file(hour, raw, part=part) for (hour, part), raw in raws.items()]))
    manifest = exports.run()
    assert len(manifest.files) == number
    assert reader.files(DAY) == raws
