"""Copies what the container's manifests list into a folder: `python -m downstream.mirror FOLDER`.

The folder keeps the promise of the container: where a manifest stands, its files stand beside it, whole. A second
call fetches only what is new. The container is found by the app's own settings, read from the environment.
"""

from __future__ import annotations

import argparse
import glob
import gzip
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobProperties, BlobServiceClient, ContainerClient

OVERTAKEN_LIMIT = 5
"""So often in a row may a day change while it is copied."""


class MirrorError(Exception):
    """The folder could not be brought up to date. What it holds is as whole as before."""


@dataclass(slots=True)
class Copied:
    """What one call did."""

    days: int = 0
    files: int = 0
    removed: int = 0


def mirror(container: ContainerClient, folder: Path, prefix: str = "") -> Copied:
    """Bring the folder up to date with the container: new and changed days come, expired ones go.

    Raises:
        MirrorError: no manifest is there, a file is not what its manifest says, or a day changes too fast to copy it.

    """
    manifests = {blob.name: blob for blob in container.list_blobs(name_starts_with=f"{prefix}manifests/date=")}
    if not manifests:
        raise MirrorError(
            f"Container {container.container_name} has no manifest under {prefix}manifests/. Has a day been exported, "
            "and are EXPORT_CONTAINER and EXPORT_PREFIX those of the app?"
        )
    copied = Copied()
    for name, blob in manifests.items():
        if not _is_copied(blob, folder / name):
            _copy_day(container, name, folder, copied)
    for local in _manifests(folder, prefix):
        if local.relative_to(folder).as_posix() not in manifests:
            local.unlink()
    _sweep(folder, prefix, copied)
    return copied


def _is_copied(blob: BlobProperties, local: Path) -> bool:
    """Whether this very manifest stands in the folder. Its files came before it."""
    remote = blob.content_settings.content_md5
    return remote is not None and local.exists() and hashlib.md5(local.read_bytes()).digest() == bytes(remote)  # noqa: S324 - the storage's own checksum


def _copy_day(container: ContainerClient, name: str, folder: Path, copied: Copied) -> None:
    for _ in range(OVERTAKEN_LIMIT):
        try:
            content = container.download_blob(name).readall()
        except ResourceNotFoundError:
            return  # it expired after it was listed
        try:
            for file in json.loads(content)["files"]:
                copied.files += _copy_file(container, file, folder)
        except ResourceNotFoundError:
            continue  # a new export has taken the place of this one: its manifest is there by now
        _put(folder / name, content)
        copied.days += 1
        return
    raise MirrorError(f"{name} changed {OVERTAKEN_LIMIT} times while its files were copied. Run this again later.")


def _copy_file(container: ContainerClient, file: dict[str, Any], folder: Path) -> bool:
    """Fetch a listed file unless it is there already: a name never gets another content."""
    name = file["name"]
    if ".." in PurePosixPath(name).parts or name.startswith("/"):
        raise MirrorError(f"A manifest lists {name!r}, which would lie outside of the folder.")
    local = folder / name
    if local.exists():
        return False
    local.parent.mkdir(parents=True, exist_ok=True)
    arriving = local.with_name(f"{local.name}.part")
    with arriving.open("wb") as target:
        container.download_blob(name).readinto(target)
    if _sha256(arriving) != file["sha256"]:
        arriving.unlink()
        raise MirrorError(f"{name} does not have the checksum that its manifest gives. Export the day again.")
    arriving.replace(local)
    return True


def _sha256(path: Path) -> str:
    """The checksum of the events, which is the same in either format."""
    with gzip.open(path) if ".json.gz" in path.name else path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arriving = path.with_name(f"{path.name}.part")
    arriving.write_bytes(content)
    arriving.replace(path)


def _manifests(folder: Path, prefix: str) -> list[Path]:
    return sorted(folder.glob(f"{glob.escape(prefix)}manifests/date=*.json"))


def _sweep(folder: Path, prefix: str, copied: Copied) -> None:
    """Remove the files that no manifest of the folder lists any more, and what a broken call left."""
    listed = {file["name"] for path in _manifests(folder, prefix) for file in json.loads(path.read_bytes())["files"]}
    for path in folder.glob(f"{glob.escape(prefix)}events/date=*/hour=*/*"):
        if path.relative_to(folder).as_posix() not in listed:
            path.unlink()
            copied.removed += 1


def _container(environ: Mapping[str, str]) -> ContainerClient:
    connection, url = environ.get("EXPORT_STORAGE", ""), environ.get("EXPORT_STORAGE__blobServiceUri", "")
    if bool(connection) == bool(url):
        raise MirrorError("Set just one of EXPORT_STORAGE and EXPORT_STORAGE__blobServiceUri.")
    if connection:
        service = BlobServiceClient.from_connection_string(connection)
    else:
        service = BlobServiceClient(url, credential=DefaultAzureCredential())
    return service.get_container_client(environ.get("EXPORT_CONTAINER") or "amplitude-events")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 1 where the folder could not be brought up to date."""
    parser = argparse.ArgumentParser(prog="python -m downstream.mirror", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to: made if missing")
    folder: Path = parser.parse_args(arguments).folder
    try:
        copied = mirror(_container(os.environ), folder, os.environ.get("EXPORT_PREFIX", ""))
    except (MirrorError, AzureError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: days new or changed: {copied.days}, {copied.files} files fetched, {copied.removed} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
