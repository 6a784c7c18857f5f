"""Manifest and status: what is written is what is read, and their figures fit a blob's metadata."""

import json
import statistics
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.days.day import Landed
from shared.days.documents import from_iso, iso
from shared.days.manifest import (
    Changes,
    LandedFile,
    Manifest,
    RequestMade,
    Volume,
    compare,
    compare_volume,
    empty_hours,
    hour_events,
)
from shared.days.state import RunState
from shared.days.status import RunError, RunStatus
from shared.errors import BadRequest, FewerEvents, InvalidManifest

NOV_4 = date(2025, 11, 4)
METADATA_BYTES = 8 * 1024
"""All metadata of a blob together, names included (Azure's documentation of blob metadata)."""

counts = st.integers(0, 10**12)
instants = st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - see there
    lambda moment: moment.replace(microsecond=0)
)
texts = st.lists(st.text(), max_size=5).map(tuple)
files = st.builds(
    LandedFile, name=st.text(), source=st.text(), hour=st.integers(0, 23), part=counts, bytes=counts, events=counts,
    sha256=st.text("0123456789abcdef", max_size=64),
)  # fmt: skip
PREFIX = "a prefix/of-"


def placed(manifest: Manifest) -> Manifest:
    """The manifest with its files in the folder of its day."""
    folder = f"{PREFIX}events/date={manifest.date}/"
    return replace(manifest, files=tuple(replace(file, name=folder + file.name) for file in manifest.files))


manifests = st.builds(
    Manifest,
    date=st.dates(), run_id=st.text(max_size=64), try_id=st.text(max_size=8), trigger=st.text(max_size=32),
    region=st.sampled_from(["eu", "us"]), started_at=instants, finished_at=instants,
    requests=st.lists(
        st.builds(
            RequestMade, start=st.text(), end=st.text(), status=counts, attempts=counts, bytes=counts,
            seconds=st.floats(0, 1e6),
        ),
        max_size=3,
    ).map(tuple),
    files=st.lists(files, max_size=30).map(tuple),
    ignored=texts,
    warnings=st.lists(st.text(max_size=400), max_size=30).map(tuple),
    volume=st.none() | st.builds(Volume, counts, st.none() | st.floats(0, 1e6)),
    changes=st.builds(Changes, counts, counts, counts, counts),
).map(placed)  # fmt: skip
statuses = st.builds(
    RunStatus,
    date=st.dates(), status=st.sampled_from(RunState), run_id=st.text(max_size=64), trigger=st.text(max_size=32),
    replace=st.booleans(), queued_at=st.none() | instants, started_at=st.none() | instants,
    updated_at=st.none() | instants, try_id=st.text(max_size=8),
    progress=st.fixed_dictionaries({}, optional={"bytes": counts, "files": counts, "window": st.text(max_size=9)}),
    error=st.none() | st.builds(RunError, st.sampled_from(["BadRequest"]), st.text(max_size=4000)),
    max_window_hours=st.integers(1, 24),
)  # fmt: skip

NAME = "manifests/date=2025-11-04.json"
EXAMPLE = Manifest(
    date=NOV_4,
    run_id="run",
    try_id="5f3c9a1e",
    trigger="timer",
    region="eu",
    started_at=datetime(2025, 11, 5, 3, 30, 2, tzinfo=UTC),
    finished_at=datetime(2025, 11, 5, 3, 31, 40, tzinfo=UTC),
    requests=(RequestMade("2025-11-04T00", "2025-11-04T23", 200, 1, 138320119, 97.1),),
    files=(
        LandedFile("events/date=2025-11-04/a", "187520/187520_2025-11-04_0#0.json.gz", 0, 0, 500, 4, "aa"),
        LandedFile("events/date=2025-11-04/b", "187520/187520_2025-11-04_0#1.json.gz", 0, 1, 700, 6, "bb"),
        LandedFile("events/date=2025-11-04/c", "187520/187520_2025-11-04_5#0.json.gz", 5, 0, 0, 0, "cc"),
    ),
    ignored=(),
    warnings=("Only 10 events, 20% of the median of the days before (50).",),
    volume=Volume(50, 0.2),
    changes=Changes(3, 0, 0, 0),
)


def assert_fits(metadata: dict[str, str]) -> None:
    """Metadata travel as headers: names are identifiers, values printable ASCII without blanks around them."""
    for name, value in metadata.items():
        assert name.isidentifier()
        assert value == "".join(sign for sign in value.strip() if sign.isascii() and sign.isprintable())
    assert sum(len(name) + len(value) for name, value in metadata.items()) < METADATA_BYTES


@given(manifests)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    name = f"{PREFIX}manifests/date={manifest.date}.json"
    assert Manifest.from_json(manifest.to_json(), name) == manifest


@given(manifests)
def test_a_manifests_figures_fit_the_metadata(manifest: Manifest) -> None:
    """However many warnings there are and whatever stands in them, and they say the same as the document."""
    metadata = manifest.metadata()
    assert_fits(metadata)
    assert metadata["events"] == str(manifest.events) == str(sum(map(int, metadata["hour_events"].split(","))))
    warnings = json.loads(metadata["warnings"])
    assert warnings in (list(manifest.warnings), [f"{len(manifest.warnings)} warnings"])


def test_the_largest_day_fits_the_metadata() -> None:
    """The most digits in every figure, and more warnings than can be kept."""
    huge = tuple(replace(EXAMPLE.files[0], hour=hour, events=10**15, bytes=10**18) for hour in range(24))
    manifest = replace(EXAMPLE, files=huge, warnings=("\x7f\u2028'\"\\\n" * 1000,) * 1000, run_id="é" * 64)
    assert_fits(manifest.metadata())
    assert manifest.metadata()["warnings"] == '["1000 warnings"]'


def test_the_document_is_the_one_that_users_know() -> None:
    document = json.loads(EXAMPLE.to_json())
    assert document["version"] == 1
    assert (document["date"], document["try"], document["status"]) == ("2025-11-04", "5f3c9a1e", "complete")
    for instants in (document, EXAMPLE.metadata()):
        assert (instants["started_at"], instants["finished_at"]) == ("2025-11-05T03:30:02Z", "2025-11-05T03:31:40Z")
    assert document["totals"] == {"files": 3, "bytes": 1200, "events": 10, "download_bytes": 138320119}
    assert document["empty_hours"] == list(range(1, 24)), "a file without an event makes no hour full"
    assert document["files"][1] == {
        "name": "events/date=2025-11-04/b", "source": "187520/187520_2025-11-04_0#1.json.gz",
        "hour": 0, "part": 1, "bytes": 700, "events": 6, "sha256": "bb",
    }  # fmt: skip
    assert document["volume"] == {"median_events": 50, "ratio": 0.2}
    assert document["changes"] == {"added": 3, "changed": 0, "removed": 0, "unchanged": 0}


def test_a_day_without_an_event_is_empty() -> None:
    """No files, or only files that hold none."""
    assert replace(EXAMPLE, files=()).status == replace(EXAMPLE, files=EXAMPLE.files[2:]).status == "empty"


def with_figure(**changes: Any) -> bytes:
    return json.dumps(json.loads(EXAMPLE.to_json()) | changes).encode()


def with_file(**changes: Any) -> bytes:
    document = json.loads(EXAMPLE.to_json())
    document["files"][0] |= changes
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"\xff", b"null", b"[]", b"{}", b'"text"', EXAMPLE.to_json()[:-1]],
        *[with_figure(date="yesterday"), with_figure(date="2025-11-05"), with_file(name="events/date=2025-11-05/a")],
        *[with_file(name="other/events/date=2025-11-04/a"), with_figure(files=None), with_figure(files=[{}])],
        with_figure(requests=[1]),
        *[
            with_figure(started_at=None),
            with_figure(started_at="2025-11-05T03:30:02"),
            with_figure(volume=[1]),
            with_figure(changes={"added": 1}),
        ],
        *[with_figure(totals={}), with_figure(empty_hours=[3]), with_figure(version=True)],
        *[with_file(hour=24), with_file(hour=-1), with_file(hour="0"), with_file(hour=0.5), with_file(events="4")],
        *[with_file(events=5), with_file(bytes=None), with_file(source=None), with_file(name=7)],
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    """No half of it is used: a manifest whose figures do not hold was changed by somebody."""
    with pytest.raises(InvalidManifest, match=r"manifests/date=2025-11-04\.json cannot be read as a manifest"):
        Manifest.from_json(data, NAME)


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused_and_says_so(version: int) -> None:
    with pytest.raises(InvalidManifest, match=f"has version {version}, but this app reads only version 1"):
        Manifest.from_json(with_figure(version=version), NAME)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(json.loads(EXAMPLE.to_json()))), values)
def test_a_manifest_that_is_read_can_be_used(key: str, value: object) -> None:
    """One field of any other kind: the document is refused, or all of it can be used."""
    try:
        manifest = Manifest.from_json(with_figure(**{key: value}), NAME)
    except InvalidManifest:
        return
    assert Manifest.from_json(manifest.to_json(), NAME) == manifest
    assert_fits(manifest.metadata())


@given(statuses)
def test_a_status_is_read_as_it_was_written(status: RunStatus) -> None:
    assert RunStatus.from_json(status.to_json()) == status


@given(statuses)
def test_a_status_fits_the_metadata(status: RunStatus) -> None:
    """Its error is kept, whole or its beginning, whatever stands in it."""
    metadata = status.metadata()
    assert_fits(metadata)
    read = RunStatus.from_metadata(status.date, metadata)
    assert read is not None
    error = read.error
    assert (error is None) == (status.error is None)
    if error and status.error:
        assert error.type == status.error.type
        message = status.error.message.strip(" ")
        assert message.startswith(error.message)
        assert error.message == message or len(message) > 100


def test_an_errors_figures_come_with_the_listing() -> None:
    """The page asks with them whether fewer events may replace the day."""
    error = RunError.of(FewerEvents(NOV_4, 10, 5))
    read = RunStatus.from_metadata(NOV_4, RunStatus(NOV_4, RunState.FAILED, "run", "http", error=error).metadata())
    assert read is not None
    assert read.error is not None
    assert read.error.details == error.details != {}


@given(st.sampled_from([*json.loads(RunStatus(NOV_4, RunState.FAILED, "run", "http").to_json()), "error"]), values)
def test_any_status_is_read_or_refused(key: str, value: object) -> None:
    """One field of any other kind: it is refused, or can be used."""
    document = json.loads(RunStatus(NOV_4, RunState.FAILED, "run", "http").to_json()) | {key: value}
    status = RunStatus.from_json(json.dumps(document).encode())
    if status is None:
        return
    assert 1 <= status.max_window_hours <= 24
    assert_fits(status.metadata())


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b"{}", b'{"date": "2025-11-04"}'])
def test_what_is_no_status_is_refused(data: bytes) -> None:
    assert RunStatus.from_json(data) is None
    status = RunStatus(NOV_4, RunState.QUEUED, "run", "http", max_window_hours=0)
    assert RunStatus.from_json(status.to_json()) is None


def test_an_error_of_a_run_is_named_as_users_see_it() -> None:
    """However long it is, the rest of the status is read."""
    assert RunError.of(BadRequest("words")) == RunError("BadRequest", "words")
    long = RunStatus(NOV_4, RunState.FAILED, "run", "http", error=RunError("BadRequest", "w" * 5000))
    assert RunStatus.from_json(long.to_json()) == replace(long, error=RunError("BadRequest", "w" * 4000))


def test_warnings_too_long_for_metadata_are_counted_there() -> None:
    assert replace(EXAMPLE, warnings=("w" * 100,) * 20).metadata()["warnings"] == '["20 warnings"]'


def test_a_status_changes_at_a_moment() -> None:
    moment = datetime(2025, 11, 5, 3, 30, tzinfo=UTC)
    before = RunStatus(NOV_4, RunState.QUEUED, "run", "http")
    after = before.changed(moment, status=RunState.RUNNING)
    assert (after.status, after.updated_at, before.status, before.updated_at) == ("running", moment, "queued", None)


@given(instants)
def test_an_instant_is_read_as_it_was_written(moment: datetime) -> None:
    assert from_iso(iso(moment)) == moment


@example("0001-01-01T00:00:00+23:59")
@given(st.text() | st.none())
def test_what_is_no_instant_is_none(text: str | None) -> None:
    assert from_iso(text) is None or isinstance(from_iso(text), datetime)


@given(st.lists(files, max_size=40))
def test_hours_have_all_events_of_the_day(landed: list[LandedFile]) -> None:
    by_hour = hour_events(landed)
    assert (len(by_hour), sum(by_hour)) == (24, sum(file.events for file in landed))
    assert empty_hours(landed) == [hour for hour in range(24) if by_hour[hour] == 0]


parts = st.tuples(st.integers(0, 3), st.integers(0, 3))
contents = st.sampled_from([(0, "aa"), (1, "aa"), (1, "bb")])
days = st.dictionaries(parts, contents).map(
    lambda day: [LandedFile("", "", hour, part, size, 1, sha256) for (hour, part), (size, sha256) in day.items()]
)


@given(days, days)
def test_changes_count_each_file_once(old: list[LandedFile], new: list[LandedFile]) -> None:
    """By hour, part and bytes; seen from the other side, what was added was removed."""
    changes, back = compare(old, new), compare(new, old)
    assert changes.changed + changes.removed + changes.unchanged == len(old)
    assert changes.changed + changes.added + changes.unchanged == len(new)
    assert (back.added, back.removed) == (changes.removed, changes.added)
    assert (back.changed, back.unchanged) == (changes.changed, changes.unchanged)
    assert compare(old, old) == Changes(0, 0, 0, len(old))
    assert compare((), new) == Changes(len(new), 0, 0, 0)


def test_a_file_of_the_same_size_with_other_bytes_has_changed() -> None:
    old = LandedFile("events/a", "", 1, 0, 10, 1, "aa")
    assert compare([old], [replace(old, sha256="bb")]) == Changes(0, 1, 0, 0)
    assert compare([old], [replace(old, name="events/b")]) == Changes(0, 0, 0, 1), "a blob's name does not count"


@given(counts, st.lists(counts, min_size=1))
def test_volume_is_compared_with_the_last_seven_days(events: int, before: list[int]) -> None:
    volume = compare_volume(events, before)
    assert volume is not None
    assert volume.median_events == round(statistics.median(before[-7:]))
    assert volume == compare_volume(events, [*range(100), *before[-7:]]) or len(before) < 7
    if volume.ratio is not None:
        assert volume.ratio == pytest.approx(events / volume.median_events, abs=0.006)


def test_volume_without_days_before_or_events_on_them() -> None:
    """There is nothing to compare with, and nothing is divided by zero."""
    assert compare_volume(5, []) is None
    assert compare_volume(5, [0, 0, 9]) == Volume(0, None)
    assert compare_volume(768000, [755120]) == Volume(755120, 1.02)


def with_new_field(text: bytes, path: tuple[str | int, ...]) -> bytes:
    document = json.loads(text)
    place: Any = document
    for key in path:
        place = place[key]
    place["new"] = {"field": 1}
    return json.dumps(document).encode()


LEVELS: list[tuple[str | int, ...]] = [(), ("requests", 0), ("files", 0), ("totals",), ("volume",), ("changes",)]


@pytest.mark.parametrize("path", LEVELS, ids=lambda path: ".".join(map(str, path)) or "manifest")
def test_a_manifest_of_a_newer_version_is_read_at_every_level(path: tuple[str | int, ...]) -> None:
    """After a roll-back: fields that this version does not know are ignored."""
    assert Manifest.from_json(with_new_field(EXAMPLE.to_json(), path), NAME) == EXAMPLE


@pytest.mark.parametrize("path", [(), ("progress",), ("error",), ("error", "details")], ids=str)
def test_a_status_of_a_newer_version_is_read_at_every_level(path: tuple[str, ...]) -> None:
    status = RunStatus(NOV_4, RunState.FAILED, "r", "http", progress={"bytes": 1}, error=RunError("A", "b", {"c": 1}))
    assert RunStatus.from_json(with_new_field(status.to_json(), path)) == status


def test_figures_in_metadata_that_a_stranger_wrote_are_bounded() -> None:
    """Thousands of digits cost time and raise an error of their own: they count as none."""
    found = Landed.from_metadata({"events": "9" * 4301, "bytes": "-1", "files": "x", "empty_hours": "1," * 9999})
    assert (found.events, found.bytes, found.files, len(found.empty_hours)) == (0, 0, 0, 24)


def test_a_manifests_figures_are_its_own() -> None:
    """Whoever restores a manifest may leave the metadata of the one that it replaces."""
    every_hour = replace(EXAMPLE, files=tuple(replace(EXAMPLE.files[0], hour=hour) for hour in range(24)))
    found = Landed.of(every_hour, {"empty_hours": "3,4", "events": "1", "events_before": "7"})
    assert (found.empty_hours, found.events, found.events_before) == ((), every_hour.events, 7)


@pytest.mark.parametrize("field", ["run_id", "trigger", "error"])
def test_half_a_surrogate_pair_is_refused(field: str) -> None:
    """No answer, and no status that is written back, could hold it."""
    status = {"date": "2025-11-04", "status": "failed", "run_id": "r", "trigger": "timer"}
    half = {"type": "T", "message": "m", "details": {"of": "\ud800"}} if field == "error" else "\ud800"
    assert RunStatus.from_json(json.dumps(status).encode())
    assert RunStatus.from_json(json.dumps(status | {field: half}).encode()) is None
