"""The container: staging, committing, listing, the two JSON documents of a day, and the lease that locks it.

All names are whole blob names (see `names`). Everything that `azure.storage.blob` raises is translated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from azure.core import MatchConditions
from azure.core.credentials import TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DeserializationError,
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import (
    BlobBlock,
    BlobLeaseClient,
    BlobPrefix,
    ContainerClient,
    ContentSettings,
    ExponentialRetry,
)
from requests.adapters import HTTPAdapter

from shared.errors import ConditionNotMet, ExportError, StorageDenied, StorageUnavailable
from shared.settings import Settings

CONNECT_SECONDS = 20
READ_SECONDS = 60
CONNECTIONS = 32
_BUSY = (408, 429, 500, 502, 503, 504)
_REFUSALS = 400
_REFUSED = (409, 412)


@dataclass(frozen=True, slots=True)
class Document:
    """A small blob as it was read: its bytes, and what a conditional write needs."""

    data: bytes
    etag: str
    last_modified: datetime
    leased: bool


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
        with _translated(self._what, "renew the lease"):
            self._client.renew()

    def release(self) -> None:
        """Give it back. Raises ConditionNotMet where it is held no more."""
        with _translated(self._what, "release the lease"):
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
        with _translated(self.name, "create the container"):
            try:
                self._client.create_container()
            except ResourceExistsError as error:
                # Being deleted is a conflict too, and must not pass for being there.
                if _code(error) != "ContainerAlreadyExists":
                    raise

    def stage(self, name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        """Upload one block. It stays invisible until it is committed, and goes by itself after a week."""
        body = _Body(pieces)
        with _translated(name, "stage a block"):
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
            with _translated(name, "commit"):
                blob.commit_block_list(
                    [BlobBlock(block_id=block_id) for block_id in block_ids],
                    content_settings=ContentSettings(content_type=content_type),
                    metadata=dict(metadata),
                    match_condition=MatchConditions.IfMissing,
                )
        except ConditionNotMet:
            with _translated(name, "look at the committed blob"):
                there = dict(blob.get_blob_properties().metadata)
            if there != dict(metadata):
                raise

    def delete(self, name: str) -> bool:
        """Delete a blob; False if it was gone already."""
        with _translated(name, "delete"):
            try:
                self._client.delete_blob(name)
            except HttpResponseError as error:
                if _code(error) != "BlobNotFound":
                    raise
                return False
        return True

    def blobs(self, start: str) -> Iterator[Blob]:
        """All blobs whose name starts so, with their metadata, in the order of their names; 5,000 a request."""
        with _translated(start, "list"):
            for blob in self._client.list_blobs(name_starts_with=start, include=["metadata"]):
                yield Blob(
                    name=blob.name,
                    last_modified=blob.last_modified,
                    metadata={key: value or "" for key, value in (blob.metadata or {}).items()},
                    leased=blob.lease.state == "leased",
                )

    def folders(self, start: str) -> Iterator[str]:
        """The folders whose name starts so, each with its slash, without looking into them."""
        with _translated(start, "list"):
            for item in self._client.walk_blobs(name_starts_with=start, delimiter="/"):
                if isinstance(item, BlobPrefix):
                    yield str(item.name)

    def read(self, name: str) -> Document | None:
        """A small blob; None if there is none."""
        with _translated(name, "read"):
            try:
                stream = self._client.get_blob_client(name).download_blob()
                data: bytes = stream.readall()
            except HttpResponseError as error:
                if _code(error) != "BlobNotFound":
                    raise
                return None
            properties: Any = stream.properties
            return Document(data, properties.etag, properties.last_modified, properties.lease.state == "leased")

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
        with _translated(name, "write"):
            written = self._client.get_blob_client(name).upload_blob(
                data,
                metadata=dict(metadata),
                content_settings=ContentSettings(content_type="application/json"),
                **conditions,
            )
            return Written(written["etag"], written["last_modified"])

    def put_text(self, name: str, data: bytes, content_type: str) -> None:
        """Write a small blob, whatever is there."""
        with _translated(name, "write"):
            self._client.get_blob_client(name).upload_blob(
                data, overwrite=True, content_settings=ContentSettings(content_type=content_type)
            )

    def delete_unless_changed(self, name: str, document: Document) -> None:
        """Delete a small blob on condition that it is still the one that was read.

        Raises:
            ConditionNotMet: it has been written since.

        """
        with _translated(name, "delete"):
            try:
                self._client.get_blob_client(name).delete_blob(
                    etag=document.etag, match_condition=MatchConditions.IfNotModified
                )
            except HttpResponseError as error:
                if _code(error) != "BlobNotFound":
                    raise

    def lease(self, name: str, seconds: int) -> Lease | None:
        """Take the lease on a blob that exists, for 15 to 60 seconds; None while somebody else holds it."""
        with _translated(name, "take the lease"):
            try:
                return Lease(self._client.get_blob_client(name).acquire_lease(lease_duration=seconds), name)
            except HttpResponseError as error:
                if _code(error) != "LeaseAlreadyPresent":
                    raise
                return None


@contextmanager
def open_container(settings: Settings) -> Iterator[Container]:
    """The container that the settings name, by connection string or by managed identity."""
    session = requests.Session()
    # What goes in plain text goes to this machine only, and through no proxy that an environment names.
    connection = settings.storage_connection.lower()
    session.trust_env = "http://" not in connection and "usedevelopmentstorage" not in connection
    session.mount("https://", HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS))
    session.mount("http://", HTTPAdapter(pool_connections=2, pool_maxsize=CONNECTIONS))
    options: dict[str, Any] = {
        # The time-outs are the transport's: beside one, the client leaves its own options of that name unread.
        "transport": RequestsTransport(session=session, connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS),
        "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=5, random_jitter_range=1),
    }
    if settings.storage_connection:
        try:
            client = ContainerClient.from_connection_string(settings.storage_connection, settings.container, **options)
        except ValueError:
            # The SDK's message may repeat parts of the string, and with them the account's key.
            raise StorageDenied(
                "EXPORT_STORAGE is no connection string that the storage library understands: copy it anew."
            ) from None
    else:
        client = ContainerClient(settings.storage_url, settings.container, credential=_credential(settings), **options)
    with client:
        container = Container(client)
        if settings.storage_connection:
            container.ensure_exists()
        yield container


def _credential(settings: Settings) -> TokenCredential:
    # Imported where it is used: it takes half as long to import as all the rest, and a laptop does without.
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415

    client_id = settings.storage_client_id or None
    if settings.in_azure:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(managed_identity_client_id=client_id)


@contextmanager
def _translated(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        raise _of_response(error, name, what) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise StorageUnavailable(
            f"The storage account did not answer when asked to {what} ({name}): {type(error).__name__}. "
            "Is the account reachable from here?"
        ) from error
    except (AzureError, DeserializationError) as error:
        raise StorageUnavailable(f"The storage failed to {what} ({name}): {type(error).__name__}.") from error


def _of_response(error: HttpResponseError, name: str, what: str) -> ExportError:
    status, code = error.status_code or 0, _code(error)
    if isinstance(error, ClientAuthenticationError) and not error.status_code:
        return StorageDenied(
            f"No token for the storage account to {what} ({name}): is the managed identity assigned to the app, and "
            "EXPORT_STORAGE__clientId its client id? Or, with a connection string: is its AccountKey whole?"
        )
    if code == "ContainerNotFound":
        return StorageDenied(
            f"The container does not exist (to {what}: {name}). Create the one that EXPORT_CONTAINER names, or deploy "
            "the template, which does."
        )
    # Below 400 the storage had said yes, and the answer broke off; without a status something stood in between.
    if code in ("ContainerBeingDeleted", "ContainerDisabled", "ServerBusy") or status in _BUSY or status < _REFUSALS:
        return StorageUnavailable(f"The storage account could not {what} ({name}) now: {status} {code}.")
    if status in _REFUSED:
        return ConditionNotMet(f"The storage refused to {what} ({name}): {code}.")
    return StorageDenied(
        f"The storage account refused to {what} ({name}): {status} {code}. Does the app's identity have the role "
        "Storage Blob Data Contributor on the container, and does the account's firewall let it in?"
    )


def _code(error: HttpResponseError) -> str:
    code: Any = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))
