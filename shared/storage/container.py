"""The container: staging, committing, listing, the two JSON documents of a day, and the lease that locks it.

All names are whole blob names (see `names`). `connect` makes a container, `errors` translates what its
library raises.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import (
    BlobBlock,
    BlobLeaseClient,
    BlobPrefix,
    ContainerClient,
    ContentSettings,
    LeaseProperties,
)

from shared.errors import ConditionNotMet, InvalidManifest, StorageDenied
from shared.log import log
from shared.names import is_safe
from shared.storage.errors import KINDS, code_of, translated

DOCUMENT_BYTES = 16 * 1024 * 1024
"""No manifest is larger: this one would list 50,000 files. More is not read into memory."""


@dataclass(frozen=True, slots=True)
class Document:
    """A small blob as it was read: its bytes, and what a conditional write needs."""

    data: bytes
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str]
    leased: bool
    """A try may hold it: somebody has a lease that ends by itself unless it is renewed."""
    leased_forever: bool = False
    """Somebody has a lease without an end, which this app never takes."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left: the blob's new etag, and the time of the write by the storage's clock, in whole seconds."""

    etag: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob as a listing shows it. `last_modified` is by the storage's clock, in whole seconds."""

    name: str
    last_modified: datetime
    metadata: Mapping[str, str]
    leased: bool
    """A try may hold it, see `Document`."""


class Lease:
    """A lease that is held. It ends by itself unless it is renewed."""

    def __init__(self, client: BlobLeaseClient, what: str) -> None:
        self._client = client
        self._what = what

    @property
    def id(self) -> str:
        """What a write to the leased blob must name."""
        return str(self._client.id)

    def renew(self) -> None:
        """Hold it for another term. Raises ConditionNotMet where somebody else has it, or wrote to the blob."""
        with translated(self._what, "renew the lease"):
            self._client.renew()

    def release(self) -> None:
        """Give it back. Raises ConditionNotMet where it is held no more."""
        with translated(self._what, "release the lease"):
            self._client.release()


class _Body:
    """A request's body in pieces, sent one after the other, and again if the request is repeated."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return sum(map(len, self._pieces))


class Container:
    """A blob container, by whole blob names. Safe to use from several threads."""

    def __init__(self, client: ContainerClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self._client.container_name)

    def ensure_exists(self) -> None:
        """Create the container if it is missing."""
        with translated(self.name, "create the container"):
            try:
                self._client.create_container()
            except ResourceExistsError as error:
                # Being deleted is a conflict too, and must not pass for being there.
                if code_of(error) != "ContainerAlreadyExists":
                    raise

    def stage(self, name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        """Upload one block. It stays invisible until it is committed, and goes by itself after a week."""
        body = _Body(pieces)
        with translated(name, "stage a block"):
            self._client.get_blob_client(name).stage_block(block_id, body, length=len(body))

    def commit(self, name: str, block_ids: list[str], content_type: str, metadata: Mapping[str, str]) -> None:
        """Make a blob of staged blocks, only where nothing is.

        A first answer may get lost, and the repeated request then finds the blob: what is there under this name, with
        this metadata, is what was committed.

        Raises:
            ConditionNotMet: another blob has this name.

        """
        blob = self._client.get_blob_client(name)
        try:
            with translated(name, "commit"):
                blob.commit_block_list(
                    [BlobBlock(block_id=block_id) for block_id in block_ids],
                    content_settings=ContentSettings(content_type=content_type),
                    metadata=dict(metadata),
                    match_condition=MatchConditions.IfMissing,
                )
        except ConditionNotMet:
            with translated(name, "look at the committed blob"):
                there = dict(blob.get_blob_properties().metadata)
            if there != dict(metadata):
                raise

    def delete(self, name: str, *, only: Document | None = None) -> bool:
        """Delete a blob and its snapshots; False if it was gone already. `only`: if it is still as it was read then.

        HTTP clients fold `..`: the request for such a name would delete another blob.

        Raises:
            ConditionNotMet: it has been written since.
            StorageDenied: the name has an empty, `.` or `..` segment, or somebody protects the blob.

        """
        if not is_safe(name):
            raise StorageDenied(f"The name of a blob to delete has an empty, . or .. segment: {name!r}.")
        condition: dict[str, Any] = {}
        if only is not None:
            condition = {"etag": only.etag, "match_condition": MatchConditions.IfNotModified}
        with translated(name, "delete"):
            try:
                self._client.delete_blob(name, delete_snapshots="include", **condition)
            except HttpResponseError as error:
                kind = KINDS.get(code_of(error))
                # A first request may have deleted it, and its answer got lost.
                if kind != "gone" and not (only and kind == "race" and self.read(name) is None):
                    raise
                return False
        return True

    def blobs(self, start: str) -> Iterator[Blob]:
        """All blobs whose name starts so, with their metadata, in the order of their names; 5,000 a request.

        Directories of an account with a hierarchical namespace are no blobs. A name with an empty, `.` or `..` segment
        is skipped and logged: this app writes none, and a request for it would reach another blob.
        """
        with translated(start, "list"):
            for blob in self._client.list_blobs(name_starts_with=start, include=["metadata"]):
                metadata = {key: value or "" for key, value in (blob.metadata or {}).items()}
                if _is_directory(blob.size, metadata):
                    continue
                if not is_safe(blob.name):
                    log(logging.WARNING, "blob_skipped", blob=blob.name, reason="an empty, . or .. segment")
                    continue
                leased, _ = _lease_of(blob.lease)
                yield Blob(blob.name, blob.last_modified, metadata, leased)

    def folders(self, start: str) -> Iterator[str]:
        """The folders whose name starts so, each with its slash, without looking into them."""
        with translated(start, "list"):
            for item in self._client.walk_blobs(name_starts_with=start, delimiter="/"):
                if isinstance(item, BlobPrefix):
                    yield str(item.name)

    def delete_directories(self, folder: str) -> None:
        """Delete what a folder leaves behind once its blobs are gone, on an account with a hierarchical namespace.

        A directory that is not empty stays. On other accounts there is nothing to delete.
        """
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
        """A small blob, of `DOCUMENT_BYTES` at the most; None if there is none.

        Raises:
            InvalidManifest: it is larger than any document of this app.

        """
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
        """Write a small blob in one request, on condition that what is there still has the etag `over` (None: nothing).

        A blob that is leased can be written with its lease only.

        Raises:
            ConditionNotMet: something else is there, or somebody else holds the lease.

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
        """Write a small blob, whatever is there."""
        with translated(name, "write"):
            self._client.get_blob_client(name).upload_blob(
                data, overwrite=True, content_settings=ContentSettings(content_type=content_type)
            )

    def lease(self, name: str, seconds: int) -> Lease | None:
        """Take the lease on a blob that exists, for 15 to 60 seconds; None while somebody else holds it."""
        with translated(name, "take the lease"):
            try:
                return Lease(self._client.get_blob_client(name).acquire_lease(lease_duration=seconds), name)
            except HttpResponseError as error:
                if code_of(error) not in ("LeaseAlreadyPresent", "LeaseIsBreakingAndCannotBeAcquired"):
                    raise
                return None


def _lease_of(lease: LeaseProperties) -> tuple[bool, bool]:
    """Whether somebody holds a lease that a try may have taken, and whether somebody holds one without an end."""
    held, forever = lease.state == "leased", lease.duration == "infinite"
    return held and not forever, held and forever


def _is_directory(size: int, metadata: Mapping[str, str | None]) -> bool:
    return size == 0 and (metadata.get("hdi_isfolder") or "").lower() == "true"
