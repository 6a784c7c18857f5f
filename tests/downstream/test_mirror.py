"""The mirror of a container, on a real emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from downstream.mirror import Copied, MirrorError, mirror
from local.azurite import Azurite
from tests.downstream.landed import Landed, hour_of_events

TUESDAY = date(2025, 11, 4)
WEDNESDAY = date(2025, 11, 5)
MORNING = hour_of_events(TUESDAY, 9, 5)
EVENING = hour_of_events(TUESDAY, 20, 5)


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


def test_holds_what_manifests_list_and_nothing_else(container: ContainerClient, there: Landed, tmp_path: Path) -> None:
    """A second call fetches nothing; a changed day changes, an expired one goes."""
    here = tmp_path / "here"
    there.export(TUESDAY, {3: [MORNING]}, attempt="0dead000")
    tuesday = there.export(TUESDAY, {9: [MORNING], 20: [EVENING]}, attempt="aaaaaaaa")
    wednesday = there.export(WEDNESDAY, {9: [MORNING]}, attempt="bbbbbbbb", file_format="json.gz")
    upload(container, there)

    assert mirror(container, here, "web-") == Copied(days=2, files=3)
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
    settings = os.environ | {
        "EXPORT_STORAGE": azurite.connection_string,
        "EXPORT_CONTAINER": container.container_name,
        "EXPORT_PREFIX": "web-",
    }
    command = [sys.executable, "-m", "downstream.mirror", str(tmp_path / "here")]

    empty = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert (empty.returncode, empty.stdout) == (1, "")
    assert "has no manifest under web-manifests/" in empty.stderr

    there.export(TUESDAY, {9: [MORNING]}, attempt="aaaaaaaa")
    upload(container, there)
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert "days new or changed: 1, 1 files fetched, 0 removed" in done.stdout
