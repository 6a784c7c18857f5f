"""Expiry takes whole days away: its manifest first, whoever reads, runs or dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from azure.core.exceptions import HttpResponseError

from local.azurite import Azurite
from local.simulator import Gate
from shared.app import open_app
from shared.dates import DAY as ONE_DAY
from shared.errors import InvalidDate
from shared.runs.messages import Order
from shared.runs.nightly import Nightly
from shared.runs.runs import Clock
from tests.faults import tries
from tests.faults.conftest import DAY_FILES
from tests.faults.exports import DAY, log_events
from tests.faults.scene import Scene
from tests.faults.storage_proxy import ALWAYS, PROTECTED, Fault, HierarchicalProxy, StorageProxy, at, at_any, killed_by

TWO_DAYS = timedelta(days=2)
KEPT = DAY + ONE_DAY


def in_two_days() -> datetime:
    """A night at which no run has touched the days for more than 24 h."""
    return datetime.now(UTC) + TWO_DAYS


def beyond_retention(day: date, now: datetime) -> dict[str, str]:
    """The setting by which this day has just expired, and the one after it has not."""
    return {"EXPORT_RETENTION_DAYS": str((now.date() - day).days - 1), "EXPORT_START_DATE": f"{now.date()}"}


@pytest.fixture
def scene(scene: Scene) -> Scene:
    """Two days have landed; the second is within the retention."""
    scene.exports.run()
    scene.simulator.set_day(KEPT, DAY_FILES)
    scene.exports.run(KEPT)
    tries.next_second()  # expiry leaves what is not older than its lock
    return scene


def night(scene: Scene, *, clock: Clock = in_two_days, day: date = DAY, proxy: StorageProxy | None = None) -> None:
    """One night's work at that time."""
    environ = (scene.proxied if proxy else scene.environ) | beyond_retention(day, clock())
    with open_app(environ, clock=clock) as app:
        Nightly(app.runs, app.container, app.settings).work()


def assert_expired(scene: Scene, day: date = DAY) -> None:
    """Of the day there is nothing left but its status; the other one is as it was."""
    left = [name for name in scene.container.list_blob_names() if f"date={day}" in name]
    assert left == [f"status/date={day}.json"]
    assert scene.reader.outcome(day) == ("expired", None)
    assert not scene.reader.is_locked(day)
    assert scene.reader.files(KEPT) == DAY_FILES


def test_a_day_beyond_the_retention_goes_its_manifest_first(scene: Scene) -> None:
    """The status says so before, nothing goes before the manifest, and the next night has nothing to do."""
    with tries.Watch(scene.container, DAY, KEPT) as watch:
        night(scene, proxy=scene.proxy)
    assert watch.seen == {DAY: [DAY_FILES, None], KEPT: [DAY_FILES]}
    assert_expired(scene)
    writes = [asked for asked in scene.proxy.requests if asked.writes]
    assert [asked.step for asked in writes[:3]] == ["acquire", "put status", "delete"]
    assert writes[2].name == f"manifests/date={DAY}.json"
    before = len(writes)
    night(scene, proxy=scene.proxy)
    assert len([asked for asked in scene.proxy.requests if asked.writes]) == before


def test_nothing_expires_where_all_is_kept(scene: Scene) -> None:
    """0 days of retention mean for ever."""
    with open_app(scene.environ | {"EXPORT_START_DATE": f"{in_two_days():%Y-%m-%d}"}, clock=in_two_days) as app:
        Nightly(app.runs, app.container, app.settings).work()
    scene.assert_landed()


def test_an_expired_day_is_not_exported_again(scene: Scene) -> None:
    """Neither by hand; and its message, should there still be one, brings nothing back."""
    message = scene.ask()
    night(scene)
    with open_app(scene.environ | beyond_retention(DAY, in_two_days()), clock=in_two_days) as app:
        with pytest.raises(InvalidDate, match="beyond the retention"):
            app.runs.ask(DAY, "http")
        app.runs.work(Order.from_message(message))
    assert scene.reader.files(DAY) is None
    assert not scene.reader.event_blobs(DAY)


def test_a_day_that_a_run_has_touched_of_late_is_left_alone(scene: Scene) -> None:
    """For a try that froze may still wake up, and land: none lives for 24 h."""
    night(scene, clock=lambda: datetime.now(UTC) + timedelta(hours=23, minutes=59))
    scene.assert_landed()
    night(scene, clock=lambda: datetime.now(UTC) + timedelta(hours=24, minutes=1))
    assert_expired(scene)


def test_a_day_that_is_being_exported_is_left_alone(scene: Scene) -> None:
    """Whatever the clock says: the lock is held."""
    gate = Gate()
    scene.proxy.rule = at("stage", Fault(hold=gate))
    with tries.export(scene.proxied, DAY.isoformat()) as attempt:
        gate.wait_until_reached()
        night(scene)
        assert scene.reader.files(DAY) == DAY_FILES
        gate.open()
        assert attempt.end() == 0, attempt.output()
    scene.assert_landed()


def test_an_expiry_that_dies_goes_on_the_next_night(scene: Scene) -> None:
    """Killed at each of its writes, which is carried out: a reader meets the whole day or none, the next night none."""
    files = {file: DAY_FILES[file] for file in ((0, 0), (0, 1))}
    days = [DAY - number * ONE_DAY for number in range(1, len(files) + 8)]
    for day in days:
        scene.simulator.set_day(day, files)
        scene.exports.run(day)
    tries.next_second()
    # The oldest day first: each expires alone, for the ones after it are within the retention by then.
    for number, day in enumerate(reversed(days), 1):
        attempt = tries.night(scene.proxied | beyond_retention(day, in_two_days()), TWO_DAYS)
        fault = killed_by(attempt, carried_out=True)
        scene.proxy.rule = at_any(lambda asked: asked.writes, fault, first=number)
        with tries.Watch(scene.container, day) as watch, attempt:
            code = attempt.end()
        assert watch.seen[day] in ([files], [files, None])
        tries.break_lock(scene.container, day)
        night(scene, day=day)
        assert_expired(scene, day)
    assert code == 0, "the last one had fewer writes than that"


def test_an_expiry_that_a_run_overtakes_takes_nothing_away(scene: Scene) -> None:
    """It froze before its first delete, lost the lock, and a run has landed the day anew: that is what stands."""
    held = Gate()
    scene.proxy.rule = at("delete", Fault(hold=held))
    environ = scene.proxied | beyond_retention(DAY, in_two_days())
    with tries.night(environ, TWO_DAYS) as attempt, tries.Watch(scene.container, DAY) as watch:
        held.wait_until_reached()
        tries.break_lock(scene.container, DAY)
        scene.grow()
        scene.exports.run()
        held.open()
        assert attempt.end() == 0
        assert '"error_type": "ConditionNotMet"' in attempt.output()
    assert watch.seen[DAY] == [DAY_FILES, scene.amplitudes()]
    scene.assert_landed()


def test_a_manifest_that_lands_just_before_the_day_is_called_expired_stays(scene: Scene) -> None:
    """It belongs to a try that had frozen: expiry deletes the manifest that it read before, or none."""
    manifest = scene.container.get_blob_client(f"manifests/date={DAY}.json")

    def put_again() -> None:
        manifest.upload_blob(manifest.download_blob().readall(), overwrite=True)

    scene.proxy.rule = at("put status", Fault(before=put_again))
    night(scene, proxy=scene.proxy)
    assert scene.reader.files(DAY) == DAY_FILES


@pytest.mark.parametrize("froze_at", ["list", "delete"])
def test_an_expiry_that_loses_its_lock_after_the_manifest(scene: Scene, froze_at: str) -> None:
    """A run lands the day anew in between: expiry takes only what is older than its own lock."""
    held = Gate()
    folder = f"events/date={DAY}/"
    scene.proxy.rule = at_any(lambda asked: asked.what == froze_at and asked.name.startswith(folder), Fault(hold=held))
    environ = scene.proxied | beyond_retention(DAY, in_two_days())
    with tries.night(environ, TWO_DAYS) as attempt, tries.Watch(scene.container, DAY) as watch:
        held.wait_until_reached()
        tries.break_lock(scene.container, DAY)
        tries.next_second()
        scene.grow()
        scene.exports.run()
        held.open()
        assert attempt.end() == 0, attempt.output()
    assert watch.seen[DAY][-2:] == [None, scene.amplitudes()]
    scene.assert_landed()


def test_a_day_that_nobody_ran(scene: Scene) -> None:
    """Blobs without a status, as an old copy may have left them, go too."""
    scene.container.delete_blob(f"status/date={DAY}.json")
    with pytest.raises(HttpResponseError):
        scene.reader.is_locked(DAY)
    night(scene)
    assert_expired(scene)


def test_a_snapshot_goes_with_its_blob(scene: Scene) -> None:
    """Of an event blob and of the manifest: a backup tool may have made them."""
    manifest = scene.reader.manifest(DAY)
    assert manifest
    for name in (manifest["files"][0]["name"], f"manifests/date={DAY}.json"):
        scene.container.get_blob_client(name).create_snapshot()
    night(scene)
    assert_expired(scene)
    assert not list(scene.container.list_blobs(f"events/date={DAY}/", include=["snapshots"]))


def nightly_errors(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Day and message of each failure of a night."""
    return [(line["date"], line["error_message"]) for line in log_events(caplog, "nightly_failed")]


def test_a_blob_that_cannot_be_deleted_does_not_keep_the_others(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """It is named each night, until somebody lifts what protects it."""
    first = min(scene.reader.event_blobs(DAY))
    scene.proxy.rule = at_any(lambda asked: asked.what == "delete" and asked.name == first, PROTECTED, times=ALWAYS)
    for _ in range(2):
        caplog.clear()
        night(scene, proxy=scene.proxy)
        left = [name for name in scene.container.list_blob_names() if f"date={DAY}" in name]
        assert left == [first, f"status/date={DAY}.json"]
        assert scene.reader.outcome(DAY) == ("expired", None)
        assert [line["blob"] for line in log_events(caplog, "delete_failed")] == [first]
        ((day, message),) = nightly_errors(caplog)
        assert day == str(DAY)
        assert "BlobImmutableDueToPolicy" in message
        assert first in message
    scene.proxy.rule = lambda _: None
    night(scene, proxy=scene.proxy)
    assert_expired(scene)


@pytest.mark.parametrize("died", [False, True], ids=["", "an earlier night died after its first write"])
def test_a_manifest_that_cannot_be_deleted_keeps_its_day(
    scene: Scene, caplog: pytest.LogCaptureFixture, *, died: bool
) -> None:
    """The status does not say `expired` of a day that can be read."""
    if died:
        attempt = tries.night(scene.proxied | beyond_retention(DAY, in_two_days()), TWO_DAYS)
        scene.proxy.rule = at("delete", killed_by(attempt, carried_out=False))
        with attempt:
            attempt.end()
        tries.break_lock(scene.container, DAY)
        assert scene.reader.outcome(DAY) == ("expired", None)
    scene.proxy.rule = at("delete", PROTECTED, times=ALWAYS)
    night(scene, proxy=scene.proxy)
    assert scene.reader.files(DAY) == DAY_FILES
    assert scene.reader.outcome(DAY) == ("complete", "StorageDenied")
    assert [day for day, _ in nightly_errors(caplog)] == [str(DAY)]
    scene.proxy.rule = lambda _: None
    night(scene, proxy=scene.proxy)
    assert_expired(scene)


class TestHierarchicalNamespace:
    """Accounts of Fabric and Databricks users: directories are in the listings, and stay when their blobs go."""

    @pytest.fixture
    def proxy(self, azurite: Azurite) -> Iterator[HierarchicalProxy]:
        """Such an account."""
        with HierarchicalProxy(azurite) as proxy:
            yield proxy

    def test_a_day_lands_again_and_expires(self, scene: Scene, proxy: HierarchicalProxy) -> None:
        """No directory is taken for a blob, and nothing is left of the day but its status."""
        assert scene.run()[0] == 0
        scene.grow()
        assert scene.run()[0] == 0
        scene.assert_landed()
        scene.container.upload_blob(f"events/date={DAY}/hour=07/left-by-a-dead-try.json", b"{}")
        tries.next_second()
        assert any(name.startswith(f"events/date={DAY}") for name in proxy.directories)
        night(scene, proxy=proxy)
        assert_expired(scene)
        assert not [name for name in proxy.directories if f"date={DAY}" in name]
        assert [name for name in proxy.directories if name.startswith("events")], "the folder of all days stays"
        before = proxy.steps()
        night(scene, proxy=proxy)
        assert proxy.steps() == before, "the next night has nothing to do"
