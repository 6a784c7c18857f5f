"""The archive itself at risk: what has landed stays, whatever Amplitude has forgotten, until somebody says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from local.host import FunctionsHost
from local.simulator import Simulator
from shared.errors import FewerEvents, InvalidManifest
from tests.faults.exports import DAY, Exports, call
from tests.faults.reader import Landed, Reader

pytestmark = pytest.mark.in_memory

MANIFEST = f"manifests/date={DAY}.json"


@pytest.fixture
def landed(exports: Exports, reader: Reader) -> Landed:
    """A day of 800 events, 200 in each of four files, two of these in one hour."""
    exports.run()
    return reader.files(DAY)


def forget_all(simulator: Simulator) -> None:
    simulator.forget(DAY)


def forget_half(simulator: Simulator) -> None:
    for hour, part in ((0, 0), (0, 1), (11, 0), (23, 0)):
        raw = simulator.member_bytes(DAY)[hour, part]
        simulator.put(DAY, hour, part, raw[: len(raw) // 2].rpartition(b"\n")[0] + b"\n")


def forget_one_event(simulator: Simulator) -> None:
    simulator.put(DAY, 11, 0, simulator.member_bytes(DAY)[11, 0].partition(b"\n")[2])


def forget_an_hour(simulator: Simulator) -> None:
    """More events than before, but none in an hour that had some."""
    simulator.forget(DAY, 11)
    simulator.put(DAY, 12, 0, b"{}\n" * 900)


def swap_the_keys(simulator: Simulator) -> None:
    """As many events in the same hours, of another project."""
    sent = simulator.member_bytes(DAY)
    simulator.project = 999999
    simulator.set_day(DAY, {})
    for (hour, part), raw in sent.items():
        simulator.put(DAY, hour, part, raw)


LOSSES: dict[Callable[[Simulator], None], list[str]] = {
    forget_all: ["800 events have landed", "The export has 0"],
    forget_half: ["800 events have landed", "The export has 408"],
    forget_one_event: ["800 events have landed", "The export has 799"],
    forget_an_hour: ["800 events have landed", "The export has 1500", "none in hour 11"],
    swap_the_keys: ["800 events of project 187520", "800 of project 999999", "keys"],
}
HOW_TO_GO_ON = ["stays as it is", f"POST /api/exports/{DAY}?replace=true"]


@pytest.mark.parametrize("lose", LOSSES)
def test_fewer_events_are_refused_with_both_numbers_until_somebody_says_so(
    simulator: Simulator, exports: Exports, reader: Reader, landed: Landed, lose: Callable[[Simulator], None]
) -> None:
    lose(simulator)
    blobs = reader.event_blobs(DAY)

    error = exports.error()
    assert isinstance(error, FewerEvents)
    assert [words for words in (*LOSSES[lose], *HOW_TO_GO_ON) if words not in str(error)] == []
    assert reader.files(DAY) == landed
    assert reader.event_blobs(DAY) == blobs, "nothing came, nothing went"
    assert reader.outcome(DAY) == ("failed", "FewerEvents")

    exports.run(replace=True)
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("complete", None)
    manifest = reader.manifest(DAY)
    assert manifest is not None
    assert manifest["status"] == ("complete" if simulator.member_bytes(DAY) else "empty")


@pytest.mark.usefixtures("azurite")  # the command line is a process of its own
def test_the_command_line_refuses_and_says_how_to_go_on(
    simulator: Simulator, exports: Exports, reader: Reader, landed: Landed
) -> None:
    forget_half(simulator)
    refused = exports.cli("export", str(DAY))
    assert refused.returncode == 1
    assert refused.stderr.startswith("FewerEvents: ")
    assert "--replace" in refused.stderr
    assert reader.files(DAY) == landed
    assert exports.cli("export", str(DAY), "--replace").returncode == 0
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_a_message_cannot_lose_events_either(
    simulator: Simulator, exports: Exports, reader: Reader, landed: Landed
) -> None:
    """It is done, for it would be refused at each delivery."""
    forget_all(simulator)
    assert exports.deliver(run_id="") is None
    assert reader.outcome(DAY) == ("failed", "FewerEvents")
    assert reader.files(DAY) == landed


def test_as_many_other_events_are_no_loss(
    simulator: Simulator, exports: Exports, reader: Reader, landed: Landed
) -> None:
    """Amplitude may have corrected them."""
    simulator.put(DAY, 11, 0, b'{"uuid":"corrected"}\n' * 200)
    exports.run()
    assert landed != reader.files(DAY) == simulator.member_bytes(DAY)


def test_what_was_empty_may_fill_and_what_fills_may_not_empty(
    simulator: Simulator, exports: Exports, reader: Reader
) -> None:
    full = simulator.member_bytes(DAY)
    simulator.forget(DAY)
    exports.run()
    assert reader.files(DAY) == {}
    simulator.set_day(DAY, full)
    exports.run()
    assert reader.files(DAY) == full
    simulator.forget(DAY)
    assert isinstance(exports.error(), FewerEvents)
    assert reader.files(DAY) == full


def damaged(**changes: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda manifest: json.dumps(manifest | changes).encode()


DAMAGES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "no JSON": lambda _: b"<xml/>",
    "nothing": lambda _: b"",
    "cut": lambda manifest: json.dumps(manifest).encode()[:300],
    "no UTF-8": lambda _: b"\xff\xfe",
    "a list": lambda _: b"[]",
    "null": lambda _: b"null",
    "a text": lambda _: b'"manifest"',
    "without files": lambda manifest: json.dumps({k: v for k, v in manifest.items() if k != "files"}).encode(),
    "files of nothing": damaged(files=[{}]),
    "files of null": damaged(files=None),
    "an hour that is none": lambda m: json.dumps(m | {"files": [m["files"][0] | {"hour": 24}]}).encode(),
    "an hour of text": lambda m: json.dumps(m | {"files": [m["files"][0] | {"hour": "0"}]}).encode(),
    "events of text": lambda m: json.dumps(m | {"files": [m["files"][0] | {"events": "many"}]}).encode(),
    "a later version": damaged(version=2),
    "a date that is none": damaged(date="yesterday"),
    "nested too deep": lambda _: b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_that_somebody_damaged_is_left_alone(
    container: ContainerClient, exports: Exports, reader: Reader, landed: Landed, damage: str
) -> None:
    """Its files may be all that is left of the day: no run takes them for garbage."""
    good = container.download_blob(MANIFEST).readall()
    blobs = reader.event_blobs(DAY)
    container.upload_blob(MANIFEST, DAMAGES[damage](json.loads(good)), overwrite=True)

    for replace in (False, True):
        error = exports.error(replace=replace)
        assert isinstance(error, InvalidManifest)
        assert MANIFEST in str(error)
    assert reader.event_blobs(DAY) == blobs
    assert reader.outcome(DAY) == ("failed", "InvalidManifest")

    container.upload_blob(MANIFEST, good, overwrite=True)
    assert reader.files(DAY) == landed
    exports.run()
    assert reader.files(DAY) == landed


def test_a_damaged_manifest_is_told_and_does_not_take_other_days_along(
    host: FunctionsHost, container: ContainerClient, exports: Exports, landed: Landed
) -> None:
    assert landed
    good = container.download_blob(MANIFEST).readall()
    for damage in ("no JSON", "a list", "without files", "a later version", "nested too deep"):
        container.upload_blob(MANIFEST, DAMAGES[damage](json.loads(good)), overwrite=True)
        exports.error()
        answer = call(host, "GET")
        assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
        assert answer.json()["title"] == "InvalidManifest"
        assert MANIFEST in answer.json()["detail"]
        answer = call(host, "GET", f"?from=2025-11-03&to={DAY}")
        assert answer.status_code == 200
        assert [day["error"] and day["error"]["type"] for day in answer.json()["days"]] == [None, "InvalidManifest"]


@pytest.mark.parametrize("content", [b"", b"<xml/>", b"[]", b"{}", b'{"date": "x"}', b"\xff", b"[" * 100_000])
def test_a_status_that_somebody_damaged_does_not_stop_the_day(
    container: ContainerClient, exports: Exports, reader: Reader, simulator: Simulator, content: bytes
) -> None:
    """It holds nothing that cannot be written anew."""
    container.upload_blob(f"status/date={DAY}.json", content)
    exports.run()
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.outcome(DAY) == ("complete", None)


def test_a_listed_blob_that_somebody_deleted_is_landed_again(
    container: ContainerClient, exports: Exports, reader: Reader, landed: Landed
) -> None:
    manifest = reader.manifest(DAY)
    assert manifest is not None
    container.delete_blob(manifest["files"][1]["name"])
    exports.run()
    assert reader.files(DAY) == landed
    assert reader.unlisted(DAY) == set()
