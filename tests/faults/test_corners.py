"""Corners where two rules meet: what a careful reader of the promises asks about."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import azure.functions as func
import pytest
from azure.storage.blob import ContainerClient

from local.simulator import Fault, Simulator
from shared.app import App, open_app
from shared.dates import newest_complete_day
from shared.errors import AmplitudeUnavailable, BadRequest, InvalidManifest, StorageDenied, StorageUnavailable
from shared.runs.lock import DayLock
from shared.runs.messages import Order
from shared.runs.nightly import Nightly
from shared.storage import container as module
from shared.web import routes
from tests.faults import storage_proxy, tries
from tests.faults.exports import DAY, SECRET_KEY, Exports
from tests.faults.reader import Reader
from tests.faults.scene import Scene

pytestmark = pytest.mark.in_memory

NEXT = date(2025, 11, 5)
AWAY = StorageUnavailable("away for a moment")


def failing(at: int, of: Callable[..., Any], failure: Exception = AWAY) -> Callable[..., Any]:
    """A function that fails as a storage account does, at one of its calls."""
    calls = iter(range(1, 1_000_000))

    def call(*args: object, **named: object) -> object:
        if next(calls) == at:
            raise failure
        return of(*args, **named)

    return call


def test_a_backfill_that_fails_half_way_sends_what_it_has_queued(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = func.HttpRequest(
        method="POST", url="http://x/api/exports", params={"from": "2025-11-01", "to": "2025-11-05"}, body=b""
    )
    sent: list[str] = []
    with open_app(environ) as app:
        monkeypatch.setattr(module.Container, "put", failing(3, module.Container.put))
        answer = routes.answer(request, lambda: routes.backfill(app, request, sent.extend), environ)
        statuses = [blob.metadata["run_id"] for blob in app.container.blobs("status/")]
    assert answer.status_code == 503
    assert sorted(json.loads(message)["run_id"] for message in sent) == sorted(statuses)
    assert len(sent) == 2


@pytest.mark.parametrize("failure", [AWAY, RuntimeError("a fault of the app")])
def test_a_night_whose_tidying_fails_queues_all_the_same(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def folders(_: module.Container, __: str) -> None:
        raise failure

    monkeypatch.setattr(module.Container, "folders", folders)
    with open_app(environ | {"EXPORT_RETENTION_DAYS": "30"}) as app:
        messages = Nightly(app.runs, app.container, app.settings).work()
        assert [json.loads(message)["date"] for message in messages] == [newest_complete_day(app.clock()).isoformat()]


def test_a_manifest_copied_to_another_day_takes_nothing_of_the_first_away(
    exports: Exports, container: ContainerClient, reader: Reader
) -> None:
    """Tidying goes by the manifest that it replaced: one that speaks of another day is not taken for this day's."""
    exports.run()
    landed = reader.files(DAY)
    copy = container.download_blob(f"manifests/date={DAY}.json").readall()
    container.upload_blob(f"manifests/date={NEXT}.json", copy)
    assert type(exports.error(NEXT, replace=True)) is InvalidManifest
    assert reader.files(DAY) == landed


def fail_by_hand(app: App, simulator: Simulator) -> str:
    """Work on a message that somebody wrote without a run, to a transient error. Returns the message."""
    message = json.dumps({"date": DAY.isoformat()})
    simulator.fail(*[Fault(status=503)] * 5)
    with pytest.raises(AmplitudeUnavailable):
        app.runs.work(Order.from_message(message), message_id="m1")
    return message


def test_giving_up_a_message_without_a_run_leaves_another_run_alone(
    environ: dict[str, str], simulator: Simulator, reader: Reader
) -> None:
    with open_app(environ) as app:
        by_hand = fail_by_hand(app, simulator)
        app.runs.ask(DAY, "http", replace=True)
        app.runs.give_up(by_hand)
        assert reader.outcome(DAY) == ("queued", None)


def test_giving_up_a_message_without_a_run_records_its_own(
    environ: dict[str, str], simulator: Simulator, reader: Reader
) -> None:
    with open_app(environ) as app:
        by_hand = fail_by_hand(app, simulator)
        app.runs.give_up(by_hand)
    assert reader.outcome(DAY) == ("failed", "AmplitudeUnavailable")


@pytest.mark.parametrize(
    "body", ["x" * 400 + " the export is too large", "<style>p{}</style>" * 30 + "exceeds", "<too large>"]
)
def test_too_large_is_found_wherever_the_body_says_it(
    exports: Exports, simulator: Simulator, reader: Reader, body: str
) -> None:
    simulator.fail(Fault(status=400, body=body.encode()))
    exports.run()
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.status(DAY)["max_window_hours"] == 12


def test_ctrl_c_in_a_commit_that_takes_long_leaves_nothing(scene: Scene) -> None:
    """The commit may come through after all: it is waited for, and then taken away."""
    scene.land()
    landed = scene.reader.files(DAY)
    attempt = tries.export(scene.proxied, DAY.isoformat())

    def interrupt() -> None:
        time.sleep(0.1)  # the process has come to where it waits for the answer
        attempt.interrupt()
        time.sleep(1)  # long enough to have deleted what is not there yet

    scene.proxy.rule = storage_proxy.at("commit", storage_proxy.Fault(before=interrupt))
    with attempt:
        assert attempt.end() == 130, attempt.output()
    assert scene.reader.files(DAY) == landed
    assert not scene.reader.unlisted(DAY)


@pytest.mark.parametrize("kind", ["json", "json.gz"])
def test_a_landed_blob_that_somebody_wrote_over_is_landed_anew(exports: Exports, reader: Reader, kind: str) -> None:
    """Its name alone does not make it what the manifest lists: a run of the day heals it, as it does a deleted one."""
    exports.run(EXPORT_FORMAT=kind)
    before = reader.files(DAY)
    name = min(reader.event_blobs(DAY))
    reader.container.upload_blob(name, b"{}\n", overwrite=True)
    assert exports.run(EXPORT_FORMAT=kind).changes.unchanged == len(before or ())
    assert reader.files(DAY) == before
    assert name not in reader.event_blobs(DAY)
    assert not reader.unlisted(DAY)


def test_keys_in_plain_text_go_through_no_proxy(
    exports: Exports, simulator: Simulator, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that an environment names would see them; and its 404 would be a day without events."""
    with Simulator(keys=simulator.keys) as proxy, monkeypatch.context() as patch:
        patch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        patch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        exports.run()
        assert proxy.requests == []
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_the_runs_log_has_what_failed_too(
    exports: Exports, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.Container, "commit", failing(1, module.Container.commit))
    assert type(exports.error()) is StorageUnavailable
    (name,) = container.list_blob_names(name_starts_with=f"logs/date={DAY}/")
    rows = list(csv.DictReader(io.StringIO(container.download_blob(name).readall().decode())))
    assert ("commit", "StorageUnavailable") in [(row["log_description"], row["status"]) for row in rows]
    assert SECRET_KEY not in str(rows)


def test_what_proved_too_large_is_kept_at_once(exports: Exports, simulator: Simulator, reader: Reader) -> None:
    """Before Amplitude is asked again: whatever ends the try then, the next one knows."""
    known: list[int] = []
    simulator.observe = lambda _: known.append(reader.status(DAY)["max_window_hours"])
    simulator.fail(Fault(status=400, body=b"too large"))
    exports.run()
    assert known == [24, 12, 12]


@pytest.mark.parametrize(("failure", "requests"), [(AWAY, 3), (StorageDenied("no longer allowed"), 1)])
def test_what_cannot_be_kept_ends_the_try_only_if_the_storage_denies_it(
    exports: Exports, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, failure: Exception, requests: int
) -> None:
    monkeypatch.setattr(DayLock, "write", failing(2, DayLock.write, failure))  # the first is the try's start
    simulator.fail(Fault(status=400, body=b"too large"))
    assert exports.attempt() is (failure if requests == 1 else None)
    assert len(simulator.requests) == requests


def test_a_damaged_name_does_not_spoil_the_next_attempt(exports: Exports, simulator: Simulator, reader: Reader) -> None:
    """A flipped bit made another project of the first member: that answer is broken, the next one is not suspicious."""
    body = b"".join(simulator.archive(DAY, 0, 23))
    where = body.index(b"187520/187520_")
    damaged = body.replace(b"187520", b"187521", 2) if where else body
    simulator.fail(Fault(body=damaged))
    exports.run()
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_a_longer_retry_after_ends_the_try_even_where_halving_was_due(exports: Exports, simulator: Simulator) -> None:
    simulator.fail(Fault(status=504), Fault(status=504, headers={"Retry-After": "3600"}))
    error = exports.error()
    assert "3600 seconds" in str(error)
    assert len(simulator.requests) == 2


def test_a_day_that_cannot_be_had_yet_says_from_when(environ: dict[str, str]) -> None:
    with open_app(environ) as app:
        today = app.clock().date()
        request = func.HttpRequest(
            method="GET", url="http://x/api/exports/x", route_params={"date": today.isoformat()}, body=b""
        )
        answer = routes.answer(request, lambda: routes.status(app, request), environ)
    assert answer.status_code == 404
    assert "can be exported from" in json.loads(answer.get_body())["detail"]


def test_a_400_without_a_word_of_size_is_not_halved(exports: Exports, simulator: Simulator) -> None:
    simulator.fail(Fault(status=400, body=b"bad range"))
    assert type(exports.error()) is BadRequest
    assert len(simulator.requests) == 1
