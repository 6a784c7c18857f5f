"""The landed days, for readers that start from the manifests: in a container, or in the folder of its mirror."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import Protocol

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

from shared.days.manifest import LandedFile, Manifest
from shared.errors import InvalidManifest
from shared.names import Names
from shared.storage.container import DOCUMENT_BYTES

PIECE_BYTES = 4 * 1024 * 1024


class Source(Protocol):
    """The place of the manifests and of the files that they list."""

    def days(self) -> dict[date, str]:
        """The days that have a manifest, each with its `try`, or with an empty text if only the manifest has it."""

    def manifest(self, day: date) -> Manifest | None:
        """A day's manifest as it is now; None if the day has none."""

    def open(self, file: LandedFile) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of a file as they are stored, in pieces of a few MiB.

        Raises:
            FileNotFoundError: the file is gone; on entering or while reading.

        """


def read_document(client: ContainerClient, name: str) -> bytes:
    """The bytes of a manifest. Raises InvalidManifest if it is larger than any that the app writes."""
    stream = client.download_blob(name)
    if stream.size > DOCUMENT_BYTES:
        raise InvalidManifest(f"{name} has {stream.size} bytes: the app did not write it. Restore its last version.")
    return stream.readall()


class FolderSource:
    """The folder that `python -m downstream.mirror` keeps."""

    def __init__(self, folder: Path, prefix: str) -> None:
        self._folder = folder
        self._names = Names(prefix)

    def days(self) -> dict[date, str]:
        """See `Source`. The folder has no metadata, so each try is left to the manifest."""
        start = self._folder / self._names.folder("manifests")
        names = (path.relative_to(self._folder).as_posix() for path in start.parent.glob("*.json"))
        return {day: "" for name in names if (day := self._names.day_of(name, "manifests"))}

    def manifest(self, day: date) -> Manifest | None:
        """See `Source`."""
        name = self._names.manifest(day)
        try:
            return Manifest.from_json((self._folder / name).read_bytes(), name)
        except FileNotFoundError:
            return None

    @contextmanager
    def open(self, file: LandedFile) -> Iterator[Iterator[bytes]]:
        """See `Source`."""
        with (self._folder / file.name).open("rb") as stored:
            yield iter(lambda: stored.read(PIECE_BYTES), b"")


class ContainerSource:
    """The container that the app exports to."""

    def __init__(self, client: ContainerClient, prefix: str) -> None:
        self._client = client
        self._names = Names(prefix)

    def days(self) -> dict[date, str]:
        """See `Source`. A year of days is read with one listing."""
        blobs = self._client.list_blobs(name_starts_with=self._names.folder("manifests"), include=["metadata"])
        return {
            day: (blob.metadata or {}).get("try") or ""
            for blob in blobs
            if (day := self._names.day_of(blob.name, "manifests"))
        }

    def manifest(self, day: date) -> Manifest | None:
        """See `Source`."""
        name = self._names.manifest(day)
        try:
            return Manifest.from_json(read_document(self._client, name), name)
        except ResourceNotFoundError:
            return None

    @contextmanager
    def open(self, file: LandedFile) -> Iterator[Iterator[bytes]]:
        """See `Source`."""
        try:
            yield self._client.download_blob(file.name).chunks()
        except ResourceNotFoundError as error:
            raise FileNotFoundError(file.name) from error
