"""The container: staging, committing, listing, the two JSON documents of a day, and the lease that locks it.

All names are full blob names (see `names`). `connect` opens the container, `errors` translates the exceptions of
its library.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobLeaseClient, BlobPrefix, ContentSettings, LeaseProperties

from shared.errors import ConditionNotMet, InvalidManifest, StorageDenied
from shared.log import log
from shared.names import is_safe
from shared.storage.client import StagingClient
from shared.storage.errors import KINDS, code_of, translated

DOCUMENT_BYTES = 16 * 1024 * 1024
"""The largest document that is read into memory. A manifest of this size would list 50,000 files."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small blob that was read: its bytes, and the values for a conditional write."""

    data: bytes
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str]
    leased: bool
    """Somebody has a lease that expires unless it is renewed: probably a try."""
    leased_forever: bool = False
    """Somebody has an infinite lease. This app never takes one."""


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write: the blob's new etag, and the time by the storage's clock, in whole seconds."""

    etag: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob in a listing. `last_modified` is the time by the storage's clock, in whole seconds."""

    name: str
    last_modified: datetime
    metadata: Mapping[str, str]
    leased: bool
    """See `Document`."""


class Lease:
    """A lease that this process holds. It expires unless it is renewed."""

    def __init__(self, client: BlobLeaseClient, what: str) -> None:
        self.id = str(client.id)
        self._client = client
        self._what = what

    def renew(self) -> None:
        """Renew it. Raises ConditionNotMet if somebody else has it, or has written to the blob."""
        with translated(self._what, "renew the lease"):
            self._client.renew()

    def release(self) -> None:
        """Release it. Raises ConditionNotMet if it is no longer held."""
        with translated(self._what, "release the lease"):
            self._client.release()


class Container:
    """A blob container. All names are full blob names. Safe to use from several threads."""

    def __init__(self, client: StagingClient) -> None:
        self.name = str(client.container_name)
        self._client = client

    def ensure_exists(self) -> None:
        """Create the container if it is missing. Raises StorageUnavailable while one of this name is being deleted."""
        with suppress(ConditionNotMet), translated(self.name, "create the container"):
            self._client.create_container()

    def stage(self, name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        """Upload one block. It is invisible until it is committed. The storage deletes it after a week."""
        with translated(name, "stage a block"):
            self._client.stage_block(name, block_id, pieces)

    def commit(self, name: str, block_ids: list[str], content_type: str, metadata: Mapping[str, str]) -> None:
        """Make a blob of staged blocks. Raises ConditionNotMet if another blob has this name.

        If the first answer is lost, the repeated request finds the blob: it has this metadata.
        """
        try:
            with translated(name, "commit"):
                self._client.commit_block_list(name, block_ids, content_type, metadata)
        except ConditionNotMet:
            with translated(name, "look at the committed blob"):
                there = dict(self._client.get_blob_client(name).get_blob_properties().metadata)
            if there != dict(metadata):
                raise

    def delete(self, name: str, *, only: Document | None = None) -> bool:
        """Delete a blob and its snapshots; False if it did not exist. With `only`, the blob must be unchanged.

        Raises ConditionNotMet if somebody has written to it since; StorageDenied if the name has an empty, `.` or `..`
        segment, or if somebody protects the blob.
        """
        if not is_safe(name):
            # HTTP clients resolve `..`, so a request for such a name would delete another blob.
            raise StorageDenied(f"The name of a blob to delete has an empty, . or .. segment: {name!r}.")
        condition: Any = {"etag": only.etag, "match_condition": MatchConditions.IfNotModified} if only else {}
        with translated(name, "delete"):
            try:
                self._client.delete_blob(name, delete_snapshots="include", **condition)
            except HttpResponseError as error:
                kind = KINDS.get(code_of(error))
                # The first request may have deleted it, and its answer may be lost.
                if kind != "gone" and not (only and kind == "race" and self.read(name) is None):
                    raise
                return False
        return True

    def blobs(self, start: str, page_size: int | None = None) -> Iterator[Blob]:
        """All blobs whose name begins with `start`, with metadata, in order. Lazy: in pages of `page_size`, or 5,000.

        Directories of an account with a hierarchical namespace are not blobs. A name with an empty, `.` or `..` segment
        is skipped and logged: this app writes no such name, and a request for it would reach another blob.
        """
        with translated(start, "list"):
            for blob in self._client.list_blobs(start, include=["metadata"], results_per_page=page_size):
                metadata = {key: value or "" for key, value in (blob.metadata or {}).items()}
                if _is_directory(blob.size, metadata):
                    continue
                if not is_safe(blob.name):
                    log(logging.WARNING, "blob_skipped", blob=blob.name, reason="an empty, . or .. segment")
                    continue
                leased, _ = _lease_of(blob.lease)
                yield Blob(blob.name, blob.last_modified, metadata, leased)

    def blob_names(self, start: str) -> Iterator[str]:
        """All names that begin with `start`, in order, even those that `blobs` skips. Lazy, and 20 times as fast."""
        with translated(start, "list"):
            yield from self._client.list_blob_names(name_starts_with=start)

    def folders(self, start: str) -> Iterator[str]:
        """The folders whose name begins with `start`, each with its slash. Lazy. Their content is not listed."""
        with translated(start, "list"):
            for item in self._client.walk_blobs(name_starts_with=start, delimiter="/"):
                if isinstance(item, BlobPrefix):
                    yield str(item.name)

    def delete_directories(self, folder: str) -> None:
        """Delete the empty directories of a folder. Only accounts with a hierarchical namespace have directories."""
        top = folder.rstrip("/")
        with translated(folder, "list"):
            found = [
                blob.name
                for blob in self._client.list_blobs(name_starts_with=top, include=["metadata"])
                if _is_directory(blob.size, blob.metadata or {}) and f"{blob.name}/".startswith(folder)
            ]
        for name in sorted(found, reverse=True):
            with suppress(StorageDenied):
                self.delete(name)

    def read(self, name: str) -> Document | None:
        """Read a small blob; None if it does not exist. Raises InvalidManifest above `DOCUMENT_BYTES`."""
        with translated(name, "read"):
            try:
                stream = self._client.get_blob_client(name).download_blob()
                if stream.size > DOCUMENT_BYTES:
                    raise InvalidManifest(
                        f"{name} has {stream.size} bytes, far more than this app writes: somebody else wrote it. "
                        "Restore its last version."
                    )
                data: bytes = stream.readall()
            except HttpResponseError as error:
                if KINDS.get(code_of(error)) != "gone":
                    raise
                return None
            properties: Any = stream.properties
            return Document(
                data, properties.etag, properties.last_modified, properties.metadata or {}, *_lease_of(properties.lease)
            )

    def put(
        self, name: str, data: bytes, metadata: Mapping[str, str], *, over: str | None, lease: Lease | None = None
    ) -> Written:
        """Write a small blob in one request, if the existing one still has the etag `over` (None: if none exists).

        Raises ConditionNotMet if another version exists, or if `lease` is no longer held; StorageDenied with the code
        `LEASED` if the blob is leased, but no lease is given.
        """
        conditions: dict[str, Any] = {"overwrite": False}
        if over is not None:
            conditions = {"overwrite": True, "etag": over, "match_condition": MatchConditions.IfNotModified}
        if lease is not None:
            conditions["lease"] = lease.id
        with translated(name, "write"):
            written = self._client.get_blob_client(name).upload_blob(
                data,
                metadata=dict(metadata),
                content_settings=ContentSettings(content_type="application/json"),
                **conditions,
            )
            return Written(written["etag"], written["last_modified"])

    def put_text(self, name: str, data: bytes, content_type: str) -> None:
        """Write a small blob. Replaces an existing one."""
        with translated(name, "write"):
            self._client.get_blob_client(name).upload_blob(
                data, overwrite=True, content_settings=ContentSettings(content_type=content_type)
            )

    def lease(self, name: str, seconds: int) -> Lease | None:
        """Lease a blob for 15 to 60 seconds; None if somebody else has it. Raises ConditionNotMet if it is gone."""
        with translated(name, "take the lease"):
            try:
                return Lease(self._client.get_blob_client(name).acquire_lease(lease_duration=seconds), name)
            except HttpResponseError as error:
                if KINDS.get(code_of(error)) != "race":
                    raise
                return None


def _lease_of(lease: LeaseProperties) -> tuple[bool, bool]:
    """Whether the blob has a lease that expires, and whether it has an infinite one."""
    held, forever = lease.state == "leased", lease.duration == "infinite"
    return held and not forever, held and forever


def _is_directory(size: int, metadata: Mapping[str, str | None]) -> bool:
    return size == 0 and (metadata.get("hdi_isfolder") or "").lower() == "true"
