"""The whole way of a day, through Microsoft's worker library: trigger, queue, Amplitude, blobs, manifest."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import azure.functions as func
import pytest
import requests
from azure.storage.blob import ContainerClient

from local.host import FunctionsHost
from local.simulator import Fault, Simulator
from shared.app import App, open_app
from shared.dates import newest_complete_day
from shared.days.coverage import read_coverage, read_day
from shared.days.manifest import Manifest
from shared.errors import Displaced, FewerEvents, StorageDenied, StorageUnavailable
from shared.export.fetch import Progress
from shared.runs.lock import DayLock
from shared.runs.messages import Order
from shared.storage.container import Container
from shared.web import routes
from tests.doubles.memory import MemoryBlob, MemoryClient, refusal

DAY = date(2025, 11, 4)
WAIT_SECONDS = 60


@pytest.mark.in_memory
@pytest.mark.parametrize(
    "before",
    [
        [DAY - timedelta(n) for n in (1, 2, 3, 4, 30, 31, 32, 33)],
        [DAY - timedelta(n) for n in (1, 2, 40, 80, 120, 300, 700, 800)],
    ],
    ids=["in two months", "few and far between"],
)
def test_the_volume_is_compared_with_the_seven_landed_days_before(
    environ: dict[str, str], container: ContainerClient, before: list[date]
) -> None:
    """However far back they are. Neither the day itself nor later ones count."""
    # The oldest of the seven has the median: whatever day came in its place would be seen.
    counts = (100, 101, 102, 104, 105, 106, 103, 500)
    events = dict(zip(before, counts, strict=True)) | {DAY + timedelta(1): 10**6}

    def run(events: dict[date, int]) -> Manifest:
        for day, number in events.items():
            figures = {"status": "complete", "events": str(number), "files": "1", "bytes": "1"}
            container.upload_blob(f"manifests/date={day}.json", b"{}", metadata=figures, overwrite=True)
        return app.runs.run_now(Order(DAY, trigger="test"))

    with open_app(environ) as app:
        first, second = run(events), run({})
        assert [one.volume.median_events for one in (first, second) if one.volume] == [103, 103]
        assert run(dict.fromkeys(before, 2 * first.events)).warnings == (), "half of the median is enough"
        assert len(run(dict.fromkeys(before, 2 * first.events + 1)).warnings) == 1


@pytest.mark.in_memory
def test_a_wait_before_a_retry_is_noted_at_once(environ: dict[str, str], simulator: Simulator) -> None:
    """No other note comes until it is over."""
    notes: list[Progress] = []
    simulator.fail(Fault(status=503))
    with open_app(environ, on_progress=notes.append) as app:
        app.runs.run_now(Order(DAY, trigger="test"))
    assert [note.attempt for note in notes if note.retry_at] == [1]


@pytest.mark.in_memory
def test_with_a_prefix_each_view_shows_the_landed_day(environ: dict[str, str], simulator: Simulator) -> None:
    """JSON, page, list and downloads go by whole blob names, prefix included."""
    with open_app(environ | {"EXPORT_PREFIX": "shop/a "}) as app:
        app.runs.run_now(Order(DAY, trigger="test"))

        def get(route: Callable[..., func.HttpResponse], accept: str, **params: str) -> str:
            url, day = f"http://app.example/api/exports/{DAY}", {"date": str(DAY)}
            request = func.HttpRequest(
                "GET", url, headers={"Accept": accept}, params=params, route_params=day, body=b""
            )
            answer = route(app, request)
            assert answer.status_code == 200
            return answer.get_body().decode()

        names = [file["name"] for file in json.loads(get(routes.status, "*/*"))["manifest"]["files"]]
        assert {name.partition(f"events/date={DAY}/")[0] for name in names} == {"shop/a "}
        page = get(routes.status, "text/html")
        assert [name for name in names if name not in page] == []
        assert "failed" not in re.sub(
            "<style>.*?</style>|<script>.*?</script>|<svg.*?</svg>", "", page, flags=re.DOTALL
        )
        assert json.loads(get(routes.status, "*/*", download="manifest"))["files"][0]["name"] == names[0]
        assert "put manifest" in get(routes.status, "*/*", download="log")
        (row,) = json.loads(get(routes.coverage, "*/*", **{"from": str(DAY), "to": str(DAY)}))["days"]
        assert row["status"] == "complete"
    assert len(names) == len(simulator.member_bytes(DAY))


def post(host: FunctionsHost, path: str) -> requests.Response:
    return requests.post(f"{host.url}/api/exports{path}", headers=host.auth, timeout=30)


def follow(host: FunctionsHost, day: date, *states: str) -> dict[str, Any]:
    """The status of a day, once it is one of `states`."""
    for _ in range(WAIT_SECONDS * 10):
        answer = requests.get(f"{host.url}/api/exports/{day}", headers=host.auth, timeout=30)
        if answer.ok and answer.json()["status"] in states:
            document: dict[str, Any] = answer.json()
            return document
        time.sleep(0.1)
    raise AssertionError(f"{day} did not become {states}: {answer.text}\n{host.output()}")


def events_of(host: FunctionsHost) -> list[dict[str, Any]]:
    return [json.loads(line.message) for line in host.log_lines() if line.logger == "amplitude_export"]


def landed(container: ContainerClient, manifest: dict[str, Any]) -> dict[tuple[int, int], bytes]:
    return {(file["hour"], file["part"]): container.download_blob(file["name"]).readall() for file in manifest["files"]}


def test_post_lands_what_amplitude_sent(host: FunctionsHost, container: ContainerClient, simulator: Simulator) -> None:
    asked = post(host, f"/{DAY}")
    assert asked.status_code == 202
    assert asked.headers["Location"] == asked.json()["status_url"]

    manifest = follow(host, DAY, "complete")["manifest"]

    sent = simulator.member_bytes(DAY)
    assert landed(container, manifest) == sent
    assert manifest["totals"]["events"] == sum(raw.count(b"\n") for raw in sent.values())
    assert {file["sha256"] for file in manifest["files"]} == {hashlib.sha256(raw).hexdigest() for raw in sent.values()}
    assert {blob.name for blob in container.list_blobs("events/")} == {file["name"] for file in manifest["files"]}
    assert manifest["trigger"] == "http"
    assert manifest["changes"] == {"added": len(sent), "changed": 0, "removed": 0, "unchanged": 0}
    assert "run_complete" in [event["event"] for event in events_of(host)]


def test_the_timer_queues_yesterday(host: FunctionsHost, container: ContainerClient, simulator: Simulator) -> None:
    yesterday = newest_complete_day(datetime.now(UTC))
    host.fire_timer("nightly")
    manifest = follow(host, yesterday, "complete")["manifest"]
    assert manifest["trigger"] == "timer"
    assert landed(container, manifest) == simulator.member_bytes(yesterday)


def test_a_permanent_error_finishes_the_message(host: FunctionsHost, simulator: Simulator) -> None:
    simulator.fail(Fault(status=403, body=b'{"error":"Invalid API Key"}'))
    post(host, f"/{DAY}")
    failed = follow(host, DAY, "failed")
    assert failed["error"]["type"] == "BadCredentials"
    assert failed["manifest"] is None
    assert [event["error_type"] for event in events_of(host) if event["event"] == "run_failed"] == ["BadCredentials"]
    assert len(simulator.requests) == 1


def test_a_transient_error_lets_the_message_come_back(host: FunctionsHost, simulator: Simulator) -> None:
    simulator.fail(*[Fault(status=503)] * 5)
    post(host, f"/{DAY}")
    manifest = follow(host, DAY, "complete")["manifest"]
    assert [request.status for request in simulator.requests] == [503] * 5 + [200]
    assert manifest["requests"][0]["attempts"] == 1


def test_a_poisoned_message_becomes_a_failed_run(host: FunctionsHost, simulator: Simulator) -> None:
    simulator.rule = lambda _: Fault(status=500)
    post(host, f"/{DAY}")
    failed = follow(host, DAY, "failed")
    assert failed["error"]["type"] == "AmplitudeUnavailable"
    assert len(simulator.requests) == 25, "five tries of the message, five attempts each"
    assert [event["error_type"] for event in events_of(host) if event["event"] == "run_failed"] == [
        "AmplitudeUnavailable"
    ]


@pytest.mark.in_memory
class TestOneDay:
    """What a run makes of a day, without a host and an emulator."""

    @pytest.fixture
    def app(self, environ: dict[str, str]) -> Iterator[App]:
        """The app on a container in memory."""
        with open_app(environ) as app:
            yield app

    def run(self, app: App, *, replace: bool = False) -> dict[str, Any]:
        """Run the day. Returns the manifest, as it landed."""
        app.runs.run_now(Order(DAY, trigger="test", replace=replace))
        return self.manifest(app)

    def manifest(self, app: App) -> dict[str, Any]:
        """What has landed."""
        document = app.container.read(app.settings.names.manifest(DAY))
        assert document
        found: dict[str, Any] = json.loads(document.data)
        return found

    def row(self, app: App) -> dict[str, Any]:
        """The day's row in the coverage."""
        (day,) = read_coverage(app.container, app.settings, DAY, DAY, app.clock())
        return day.row

    def test_unchanged_files_keep_their_blobs(self, app: App, container: ContainerClient, simulator: Simulator) -> None:
        first = self.run(app)
        simulator.put(DAY, 5, 0, b'{"uuid":"a"}\n' * 500)
        second = self.run(app)
        assert second["changes"] == {"added": 0, "changed": 1, "removed": 0, "unchanged": len(first["files"]) - 1}
        before, after = ({file["name"] for file in manifest["files"]} for manifest in (first, second))
        assert len(before & after) == len(before) - 1
        assert {blob.name for blob in container.list_blobs("events/")} == after
        assert landed(container, second) == simulator.member_bytes(DAY)
        whole, (listed,) = (
            read_day(app.container, app.settings.names, DAY),
            read_coverage(app.container, app.settings, DAY, DAY, app.clock()),
        )
        assert whole
        assert whole.landed == listed.landed
        assert listed.landed
        assert listed.landed.events_before == first["totals"]["events"]
        assert listed.landed.grown == second["totals"]["events"] - first["totals"]["events"] > 0

    def test_a_day_without_events_is_empty_and_not_missing(self, app: App, simulator: Simulator) -> None:
        simulator.forget(DAY)
        manifest = self.run(app)
        assert (manifest["status"], manifest["files"], manifest["empty_hours"]) == ("empty", [], list(range(24)))
        row = self.row(app)
        assert (row["status"], row["events"]) == ("empty", 0)

    def test_fewer_events_are_refused_until_somebody_says_so(
        self, app: App, container: ContainerClient, simulator: Simulator
    ) -> None:
        first = self.run(app)
        simulator.forget(DAY, 7)
        with pytest.raises(FewerEvents, match=str(first["totals"]["events"])):
            self.run(app)
        assert self.manifest(app) == first
        assert {blob.name for blob in container.list_blobs("events/")} == {file["name"] for file in first["files"]}
        row = self.row(app)
        assert (row["status"], row["error"]["type"]) == ("complete", "FewerEvents")
        replaced = self.run(app, replace=True)
        assert replaced["empty_hours"] == [7]
        assert landed(container, replaced) == simulator.member_bytes(DAY)

    @pytest.mark.parametrize("largest", [60_000, 20_000])
    def test_what_is_too_large_is_halved_and_lands_once(
        self, app: App, container: ContainerClient, simulator: Simulator, largest: int
    ) -> None:
        simulator.largest = largest
        manifest = self.run(app)
        assert landed(container, manifest) == simulator.member_bytes(DAY)
        assert len(manifest["requests"]) > 1
        sizes = [(request.start, request.end) for request in simulator.requests if request.status == 400]
        assert len(sizes) == len(set(sizes)), "what proved too large is not asked for again"

    def test_gzip_lands_amplitudes_own_bytes(
        self, environ: dict[str, str], container: ContainerClient, simulator: Simulator
    ) -> None:
        """What lands is gzip, and decompresses to what was sent."""
        with open_app(environ | {"EXPORT_FORMAT": "json.gz"}) as app:
            manifest = self.run(app)
        sent = simulator.member_bytes(DAY)
        assert {key: gzip.decompress(raw) for key, raw in landed(container, manifest).items()} == sent
        for file in manifest["files"]:
            assert file["name"].endswith(".json.gz")
            assert file["bytes"] == len(sent[file["hour"], file["part"]])
            settings = container.get_blob_client(file["name"]).get_blob_properties().content_settings
            assert (settings.content_type, settings.content_encoding) == ("application/gzip", None)


@pytest.mark.in_memory
def test_the_lock_is_checked_before_the_commits_and_before_the_manifest(
    environ: dict[str, str], container: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that has lost its day commits nothing and publishes nothing."""
    steps = {"stage_block": "stage", "commit_block_list": "commit"}
    seen: list[str] = []

    def see(kind: str, name: str) -> None:
        seen.append("manifest" if (kind, name[:9]) == ("upload_blob", "manifests") else steps.get(kind, ""))

    container.fault = see
    monkeypatch.setattr(DayLock, "note", lambda *_, **__: None)
    monkeypatch.setattr(DayLock, "check", lambda _: seen.append("check"))
    with open_app(environ) as app:
        app.runs.run_now(Order(DAY))
    order = [step for step, _ in itertools.groupby(step for step in seen if step)]
    assert order[order.index("stage") :][:5] == ["stage", "check", "commit", "check", "manifest"]


@pytest.mark.in_memory
@pytest.mark.parametrize("rerun", [False, True], ids=["a new day", "a rerun"])
def test_no_manifest_lists_a_file_that_is_not_there(
    environ: dict[str, str],
    container: MemoryClient,
    monkeypatch: pytest.MonkeyPatch,
    simulator: Simulator,
    *,
    rerun: bool,
) -> None:
    """Whatever the answer to its commit was, or whoever has deleted a file that a rerun keeps."""
    commit, once = Container.commit, threading.Lock()

    def lose(store: Container, name: str, *arguments: Any) -> None:
        commit(store, name, *arguments)
        if once.acquire(blocking=False):
            container.delete_blob(min(container.list_blob_names(name_starts_with="events/")))

    with open_app(environ) as app:
        if rerun:
            app.runs.run_now(Order(DAY))
            simulator.put(DAY, 5, 0, b'{"uuid":"a"}\n' * 5000)
        monkeypatch.setattr(Container, "commit", lose)
        with pytest.raises(StorageUnavailable, match="1 of 24 files are not in the container"):
            app.runs.run_now(Order(DAY))
        monkeypatch.setattr(Container, "commit", commit)
        landed = app.runs.run_now(Order(DAY))
    assert {file.name for file in landed.files} == set(container.list_blob_names(name_starts_with="events/"))


@pytest.mark.in_memory
@pytest.mark.parametrize("stays", [True, False], ids=["in place", "gone again"])
def test_a_refused_manifest_takes_no_blob_away_that_a_manifest_may_list(
    environ: dict[str, str], container: MemoryClient, monkeypatch: pytest.MonkeyPatch, *, stays: bool
) -> None:
    """The one in place lists files of this try; or there is none any more, and a late copy of the put may land."""
    put = MemoryBlob.upload_blob

    def put_after_another(blob: MemoryBlob, data: bytes, **options: Any) -> dict[str, Any]:
        if not blob.blob_name.startswith("manifests/"):
            return put(blob, data, **options)
        put(blob, json.dumps(json.loads(data) | {"try": "00000000"}).encode())
        try:
            return put(blob, data, **options)
        finally:
            if not stays:
                blob.delete_blob()

    monkeypatch.setattr(MemoryBlob, "upload_blob", put_after_another)
    with open_app(environ) as app, pytest.raises(Displaced):
        app.runs.run_now(Order(DAY))
    assert len(list(container.list_blob_names(name_starts_with="events/"))) == 24


@pytest.mark.in_memory
def test_a_manifest_that_lands_during_the_commits_stays(environ: dict[str, str], container: MemoryClient) -> None:
    """The put's condition is the manifest that was read at the start, not one looked up just before."""
    name = f"manifests/date={DAY}.json"
    with open_app(environ) as app:
        app.runs.run_now(Order(DAY))
        another = container.download_blob(name).readall()
        container.blobs.clear()

        def land(kind: str, _: str) -> None:
            if kind == "commit_block_list" and name not in container.blobs:
                container.upload_blob(name, another)

        container.fault = land
        with pytest.raises(Displaced):
            app.runs.run_now(Order(DAY))
    assert container.download_blob(name).readall() == another


@pytest.mark.in_memory
def test_a_status_that_may_not_be_written_is_no_lock(environ: dict[str, str], container: MemoryClient) -> None:
    def refuse(kind: str, name: str) -> None:
        if kind == "upload_blob" and name.startswith("status/"):
            raise refusal(403, "AuthorizationPermissionMismatch")

    container.fault = refuse
    with open_app(environ) as app, pytest.raises(StorageDenied, match="AuthorizationPermissionMismatch"):
        app.runs.ask(DAY, "http")


@pytest.mark.in_memory
def test_a_blob_of_the_very_second_of_the_lock_is_not_a_leftover(
    environ: dict[str, str], container: MemoryClient
) -> None:
    """The storage's clock knows whole seconds only: another try may have written it after this one took the lock."""
    moment = container.clock()
    container.clock = lambda: moment
    young = f"events/date={DAY}/hour=00/1_{DAY}_00_0.deadbeef.json"
    container.upload_blob(young, b"{}\n")
    with open_app(environ) as app:
        app.runs.run_now(Order(DAY))
    assert young in container.list_blob_names(name_starts_with="events/")
