"""The mirror of a container, on a real emulator."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from downstream import source
from downstream.mirror import WORK, Copied, MirrorError, Range, mirror
from local.azurite import Azurite
from tests.downstream.conftest import ROOT
from tests.downstream.landed import THURSDAY, TUESDAY, WEDNESDAY, Landed, hour_of_events
from tests.forks import Forked

MORNING, EVENING = hour_of_events(TUESDAY, 9, 5), hour_of_events(TUESDAY, 20, 5)
ODD_BLOCK = gzip.compress(MORNING)[:10] + b"\xff" * 20


@pytest.fixture
def there(tmp_path: Path) -> Landed:
    """What the container holds, before it is uploaded."""
    return Landed(tmp_path / "there", "web-")


def upload(container: ContainerClient, landed: Landed) -> None:
    """Make the container hold what the folder holds."""
    for blob in container.list_blob_names():
        container.delete_blob(blob)
    for path in landed.folder.rglob("*.*"):
        if path.is_file():
            container.upload_blob(path.relative_to(landed.folder).as_posix(), path.read_bytes())


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def listed(landed: Landed, *manifests: dict[str, Any]) -> set[str]:
    days = {landed.manifest(manifest["date"]).relative_to(landed.folder).as_posix() for manifest in manifests}
    return days | {file["name"] for manifest in manifests for file in manifest["files"]}


def complaint(container: ContainerClient, here: Path) -> str:
    """What is said of the day that is not copied: it is skipped, or the reader of manifests refuses it."""
    try:
        (said,) = mirror(container, here, "web-").days_skipped
    except MirrorError as error:
        said = str(error)
    return said


def test_holds_what_manifests_list_and_nothing_else(container: ContainerClient, there: Landed, tmp_path: Path) -> None:
    """A second call fetches nothing; a changed day changes, an expired one goes."""
    here = tmp_path / "here"
    there.export(TUESDAY, {3: [MORNING]}, attempt="0dead000")
    tuesday = there.export(TUESDAY, {9: [MORNING], 20: [EVENING]}, attempt="aaaaaaaa")
    wednesday = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb", file_format="json.gz")
    upload(container, there)

    steps: list[str] = []
    assert mirror(container, here, "web-", on_progress=steps.append) == Copied(days=2, files=3)
    assert steps == [
        "web-manifests/date=2025-11-04.json: 1 of 2 days, 0 files fetched",
        "web-manifests/date=2025-11-05.json: 2 of 2 days, 2 files fetched",
    ]
    assert names(here) == listed(there, tuesday, wednesday)
    assert mirror(container, here, "web-") == Copied()

    tuesday = there.export(TUESDAY, {9: [EVENING]}, attempt="cccccccc")
    there.manifest(WEDNESDAY).unlink()
    upload(container, there)

    assert mirror(container, here, "web-") == Copied(days=1, files=1, removed=3)
    assert names(here) == listed(there, tuesday)
    for name in names(here):
        assert (here / name).read_bytes() == (there.folder / name).read_bytes()


def test_a_day_that_changes_while_it_is_copied_is_read_again(
    container: ContainerClient, there: Landed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.export(TUESDAY, {9: [MORNING], 20: [EVENING]}, attempt="aaaaaaaa")
    upload(container, there)
    download = container.download_blob

    def overtaken(name: str) -> Any:  # noqa: ANN401 - the client's own return type is generic
        if "_20_0.aaaaaaaa" in name:
            for path in there.folder.glob("web-events/*/*/*.aaaaaaaa.json"):
                path.unlink()
            there.export(TUESDAY, {9: [EVENING]}, attempt="bbbbbbbb")
            upload(container, there)
        return download(name)

    monkeypatch.setattr(container, "download_blob", overtaken)
    mirror(container, tmp_path / "here", "web-")

    assert names(tmp_path / "here") == names(there.folder)


def test_a_damaged_file_fails_and_leaves_the_day_as_it_was(
    container: ContainerClient, there: Landed, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    upload(container, there)
    mirror(container, here, "web-")
    before = there.manifest(TUESDAY).read_bytes()

    manifest = there.export(TUESDAY, {9: [EVENING]}, attempt="bbbbbbbb")
    (there.folder / manifest["files"][0]["name"]).write_bytes(EVENING[:-9])
    upload(container, there)

    with pytest.raises(MirrorError, match="checksum"):
        mirror(container, here, "web-")
    assert (here / "web-manifests" / there.manifest(TUESDAY).name).read_bytes() == before
    assert not [name for name in names(here) if "bbbbbbbb" in name]


def test_a_day_that_cannot_be_copied_stops_no_other(container: ContainerClient, there: Landed, tmp_path: Path) -> None:
    damaged = there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    (there.folder / damaged["files"][0]["name"]).write_bytes(EVENING)
    wednesday = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb")
    there.manifest(THURSDAY).write_text("{}")
    upload(container, there)

    with pytest.raises(MirrorError, match=r"checksum.*cannot be read.*All other days"):
        mirror(container, tmp_path / "here", "web-")
    assert names(tmp_path / "here") == listed(there, wednesday)


@pytest.mark.parametrize(
    "stored",
    [b"", b"{}", b"\x1f\x8b", gzip.compress(MORNING)[:-9], ODD_BLOCK, b"twice", b"large"],
    ids=["empty", "plain", "a magic number", "cut", "an odd block", "twice", "large"],
)
def test_a_file_that_is_no_gzip_stops_no_other_day(
    container: ContainerClient, there: Landed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bytes
) -> None:
    manifest = there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa", file_format="json.gz")
    wednesday = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb")
    path = there.folder / manifest["files"][0]["name"]
    path.write_bytes(path.read_bytes() if stored in (b"twice", b"large") else stored)
    if stored == b"twice":
        totals = {"files": 2, "bytes": 2 * len(MORNING), "events": 10, "download_bytes": 0}
        there.manifest(TUESDAY).write_text(json.dumps(manifest | {"files": manifest["files"] * 2, "totals": totals}))
    if stored == b"large":
        monkeypatch.setattr(source, "DOCUMENT_BYTES", 10_000)
        there.manifest(TUESDAY).write_text(json.dumps(manifest) + " " * 10_000)
    upload(container, there)

    assert "2025-11-04" in complaint(container, tmp_path / "here")
    assert names(tmp_path / "here") == listed(there, wednesday)


@pytest.mark.parametrize(
    "name",
    [
        "web-events/date=2025-11-04/hour=09/../../../../evil", "web-events/date=2025-11-04/../../../evil", "/evil",
        "web-events/date=2025-11-04/hour=09/..\\evil", "web-events/date=2025-11-04/hour=09/C:/evil", "//server/evil",
        "web-events/date=2025-11-04/hour=09/evil", "web-manifests/date=2025-11-05.json",
        "web-events/date=2025-11-05/hour=09/1_2025-11-05_09_0.aaaaaaaa.json",
        "web-events/date=2025-11-04/hour=09/1_2025-11-04_09_0.aaaaaaaa.json\n",
        f"web-events/date=2025-11-04/hour=09/{'1' * 240}_2025-11-04_09_0.aaaaaaaa.json",
    ],
)  # fmt: skip
def test_a_day_that_lists_a_foreign_name_is_named_and_skipped(
    container: ContainerClient, there: Landed, tmp_path: Path, name: str
) -> None:
    manifest = there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    manifest["files"][0]["name"] = name
    there.manifest(TUESDAY).write_text(json.dumps(manifest))
    wednesday = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb")
    upload(container, there)
    before = names(tmp_path)

    assert "2025-11-04" in complaint(container, tmp_path / "here")
    assert {f"here/{copied}" for copied in listed(there, wednesday)} == names(tmp_path) - before


def test_blobs_that_only_look_like_manifests_are_named_and_skipped(
    container: ContainerClient, there: Landed, tmp_path: Path
) -> None:
    tuesday = there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    upload(container, there)
    foreign = ["=..\\..\\evil.json", "=2025-11-06.json/evil", "=C:", "=2025-11-06.JSON"]
    for ending in foreign:
        container.upload_blob(f"web-manifests/date{ending}", b"{}")
    before = names(tmp_path)

    skipped = mirror(container, tmp_path / "here", "web-").skipped
    assert len(skipped) == len(foreign)
    assert {f"here/{copied}" for copied in listed(there, tuesday)} == names(tmp_path) - before


def test_a_prefix_may_hold_what_patterns_are_made_of(container: ContainerClient, tmp_path: Path) -> None:
    there = Landed(tmp_path / "there", "it's [web]*/")
    there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    upload(container, there)
    assert mirror(container, tmp_path / "la[n]ded", there.prefix) == Copied(days=1, files=1)

    tuesday = there.export(TUESDAY, {9: [EVENING]}, attempt="bbbbbbbb")
    upload(container, there)
    assert mirror(container, tmp_path / "la[n]ded", there.prefix) == Copied(days=1, files=1, removed=1)
    assert names(tmp_path / "la[n]ded") == listed(there, tuesday)


def test_a_range_leaves_other_days_alone(container: ContainerClient, there: Landed, tmp_path: Path) -> None:
    here = tmp_path / "here"
    tuesday = there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    wednesday = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb")
    upload(container, there)
    assert mirror(container, here, "web-", Range(WEDNESDAY, WEDNESDAY)) == Copied(days=1, files=1)
    assert names(here) == listed(there, wednesday)
    assert mirror(container, here, "web-", Range(last=TUESDAY)) == Copied(days=1, files=1)

    there.manifest(TUESDAY).unlink()
    there.export(WEDNESDAY, {9: [EVENING]}, attempt="cccccccc")
    upload(container, there)
    assert mirror(container, here, "web-", Range(THURSDAY)) == Copied()
    assert names(here) == listed(there, tuesday, wednesday)


def test_one_mirror_at_a_time_writes_to_a_folder(
    container: ContainerClient, there: Landed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is refused while the first is in the middle, whatever each has listed; then it is allowed."""
    there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    upload(container, there)
    download, refusals = container.download_blob, []

    def meanwhile(name: str) -> Any:  # noqa: ANN401 - the client's own return type is generic
        with pytest.raises(MirrorError, match="Another mirror is writing"):
            mirror(container, tmp_path / "here", "web-")
        refusals.append(name)
        return download(name)

    monkeypatch.setattr(container, "download_blob", meanwhile)
    assert mirror(container, tmp_path / "here", "web-") == Copied(days=1, files=1)
    assert len(refusals) == 2

    (tmp_path / "here" / WORK).mkdir()
    for left in ("lock", "dead.part"):
        (tmp_path / "here" / WORK / left).touch()  # by a process that was killed
    assert mirror(container, tmp_path / "here", "web-") == Copied()
    assert names(tmp_path / "here") == names(there.folder)


def test_a_container_without_manifests_empties_no_folder(
    container: ContainerClient, there: Landed, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    upload(container, there)
    mirror(container, here, "web-")

    with pytest.raises(MirrorError, match="EXPORT_PREFIX"):
        mirror(container, here, "app-")
    assert names(here) == names(there.folder)


def test_the_command_takes_the_settings_of_the_app(
    container: ContainerClient, azurite: Azurite, there: Landed, tmp_path: Path
) -> None:
    """From the same files, and of Amplitude it needs none."""
    (tmp_path / ".env").write_text(f"EXPORT_STORAGE='{azurite.connection_string}'\nEXPORT_PREFIX=web-\n")
    values = {"EXPORT_CONTAINER": container.container_name, "EXPORT_PREFIX": "app-"}
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": values}))
    environ = os.environ | {"PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9"}

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "downstream.mirror", "here", *options]
        with Forked(command, cwd=tmp_path, env=environ) as process:
            out, err = process.communicate()
            return subprocess.CompletedProcess(command, process.wait(), out, err)

    empty = run()
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "has no manifest under web-manifests/" in empty.stderr
    assert run("--from", "yesterday").returncode == 2

    there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    manifest = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb")
    manifest["files"][0]["name"] = "web-events/date=2025-11-05/hour=09/..\\evil"
    there.manifest(WEDNESDAY).write_text(json.dumps(manifest))
    upload(container, there)
    done = run("--to", "2025-11-04")
    assert (done.returncode, done.stderr) == (0, "")
    assert "days new or changed: 1, 1 files fetched, 0 removed" in done.stdout
    partly = run()
    assert partly.returncode == 1
    assert "Skipped: 2025-11-05" in partly.stderr
