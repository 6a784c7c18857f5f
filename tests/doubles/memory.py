"""Azure's container client in memory: as much of it as `shared.storage.container.Container` and the tests ask for.

A `Container` on it passes the same tests as one on the emulator (`tests/integration/test_container.py`): conditions,
leases, snapshots of nothing but the present, listings in the order of names, a clock in whole seconds. There is no
network in it, so no request is repeated, and no answer gets lost unless `fault` says so.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobPrefix, BlobProperties, ContentSettings

INFINITE = -1

_KINDS = {404: ResourceNotFoundError, 412: ResourceModifiedError}


def refusal(status: int, code: str) -> HttpResponseError:
    """What the client library raises for an answer."""
    kind = ResourceExistsError if code.endswith("AlreadyExists") else _KINDS.get(status, HttpResponseError)
    error = kind(message=f"{status} {code}")
    error.status_code, error.error_code = status, code  # type: ignore[attr-defined]  # set by the library on the way
    return error


@dataclass(slots=True)
class _Held:
    """A lease: whose, for how long from each renewal on, and until when. `until` is None where it never ends."""

    id: str
    seconds: int
    until: datetime | None
    over: str
    """The etag of the blob when somebody last wrote under this lease."""


@dataclass(slots=True)
class _Stored:
    data: bytes
    etag: str
    last_modified: datetime
    metadata: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    lease: _Held | None = None


class MemoryClient:
    """A container. `clock` is the storage's; `fault` is called before each request, with its kind and the blob's name.

    What it raises, the caller gets. Kinds are those of the methods here: `stage_block`, `upload_blob`, and so on.
    """

    url = "https://memory.example/container"

    def __init__(self, name: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.container_name = name
        self.clock = clock
        self.fault: Callable[[str, str], None] = lambda _, __: None
        self.lock = threading.RLock()
        self.blobs: dict[str, _Stored] = {}
        self.blocks: dict[str, dict[str, bytes]] = {}
        self._exists = True
        self._etags = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep everything: a client is closed, a container stays."""

    def create_container(self) -> None:
        if self._exists:
            raise refusal(409, "ContainerAlreadyExists")
        self._exists = True

    def delete_container(self) -> None:
        self._exists = False
        self.blobs.clear()

    def get_blob_client(self, name: str) -> MemoryBlob:
        """A blob, whether it is there or not."""
        return MemoryBlob(self, name)

    def delete_blob(self, name: str, **options: Any) -> None:
        self.get_blob_client(name).delete_blob(**options)

    def stage_block(self, name: str, block_id: str, pieces: Sequence[bytes]) -> None:
        """Keep a block, invisible until it is committed."""
        with self.asked("stage_block", name):
            self.blocks.setdefault(name, {})[block_id] = b"".join(pieces)

    def commit_block_list(
        self, name: str, block_ids: Sequence[str], content_type: str, metadata: Mapping[str, str]
    ) -> None:
        """Make a blob of staged blocks, if there is none with this name."""
        with self.asked("commit_block_list", name):
            self.get_blob_client(name).check(match_condition=MatchConditions.IfMissing)
            staged = self.blocks.get(name, {})
            if not staged.keys() >= set(block_ids):
                raise refusal(400, "InvalidBlockList")
            self.store(name, b"".join(staged[block_id] for block_id in block_ids), metadata, content_type)

    def upload_blob(self, name: str, data: bytes, **options: Any) -> dict[str, Any]:
        return self.get_blob_client(name).upload_blob(data, **options)

    def download_blob(self, name: str) -> Download:
        return self.get_blob_client(name).download_blob()

    def list_blobs(
        self, name_starts_with: str = "", include: object = None, results_per_page: int | None = None
    ) -> Iterator[BlobProperties]:
        """All blobs whose name starts so, as they are at the first step."""
        del include, results_per_page
        with self.asked("list_blobs", name_starts_with):
            names = sorted(name for name in self.blobs if name.startswith(name_starts_with))
            return iter([self.properties(name, self.blobs[name]) for name in names])

    def list_blob_names(self, name_starts_with: str = "") -> Iterator[str]:
        return (str(blob.name) for blob in self.list_blobs(name_starts_with))

    def walk_blobs(self, name_starts_with: str, delimiter: str) -> Iterator[BlobProperties | BlobPrefix]:
        """Blobs and folders on one level."""
        seen: set[str] = set()
        for blob in self.list_blobs(name_starts_with):
            head, slash, _ = str(blob.name)[len(name_starts_with) :].partition(delimiter)
            if not slash:
                yield blob
            elif head not in seen:
                seen.add(head)
                folder = BlobPrefix()
                folder.name = f"{name_starts_with}{head}{delimiter}"
                yield folder

    def asked(self, kind: str, name: str) -> threading.RLock:
        """One request: the lock to hold while it is carried out."""
        self.fault(kind, name)
        if not self._exists:
            raise refusal(404, "ContainerNotFound")
        return self.lock

    def store(self, name: str, data: bytes, metadata: Mapping[str, str], content_type: str) -> dict[str, Any]:
        """Write a blob. What was staged for it before is void."""
        old = self.blobs.get(name)
        etag, now = f'"0x{next(self._etags):X}"', self.clock().replace(microsecond=0)
        new = _Stored(data, etag, now, dict(metadata), content_type, old.lease if old else None)
        self.blobs[name] = new
        self.blocks.pop(name, None)
        if new.lease:
            new.lease.over = new.etag
        return {"etag": new.etag, "last_modified": new.last_modified}

    def properties(self, name: str, blob: _Stored) -> BlobProperties:
        """A blob as it is listed."""
        found = BlobProperties(metadata=dict(blob.metadata))
        found.name, found.size, found.etag = name, len(blob.data), blob.etag
        found.last_modified = blob.last_modified
        found.content_settings = ContentSettings(content_type=blob.content_type)
        held = self.held(blob)
        found.lease.state = "leased" if held else "expired" if blob.lease else "available"
        found.lease.duration = None if not held else "infinite" if held.until is None else "fixed"
        return found

    def held(self, blob: _Stored) -> _Held | None:
        """The lease that somebody has on a blob now."""
        lease = blob.lease
        return lease if lease and (lease.until is None or self.clock() < lease.until) else None


@dataclass(frozen=True, slots=True)
class Download:
    """A blob that was read."""

    data: bytes
    properties: BlobProperties

    @property
    def size(self) -> int:
        return len(self.data)

    def readall(self) -> bytes:
        return self.data


@dataclass(slots=True)
class MemoryBlob:
    """One blob of a container."""

    container: MemoryClient
    blob_name: str

    def upload_blob(
        self,
        data: bytes,
        *,
        overwrite: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_settings: ContentSettings | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        with self.container.asked("upload_blob", self.blob_name):
            self.check(**({} if overwrite else {"match_condition": MatchConditions.IfMissing}) | options)
            kind = str(content_settings.content_type) if content_settings else "application/octet-stream"
            return self.container.store(self.blob_name, data, metadata or {}, kind)

    def download_blob(self) -> Download:
        with self.container.asked("download_blob", self.blob_name):
            blob = self._there()
            return Download(blob.data, self.container.properties(self.blob_name, blob))

    def get_blob_properties(self) -> BlobProperties:
        with self.container.asked("get_blob_properties", self.blob_name):
            return self.container.properties(self.blob_name, self._there())

    def delete_blob(self, delete_snapshots: str | None = None, **options: Any) -> None:
        del delete_snapshots
        with self.container.asked("delete_blob", self.blob_name):
            self._there()
            self.check(**options)
            del self.container.blobs[self.blob_name]

    def acquire_lease(self, lease_duration: int = INFINITE) -> MemoryLease:
        with self.container.asked("acquire_lease", self.blob_name):
            blob = self._there()
            if self.container.held(blob):
                raise refusal(409, "LeaseAlreadyPresent")
            blob.lease = _Held(str(uuid.uuid4()), lease_duration, None, blob.etag)
            lease = MemoryLease(self, blob.lease.id)
            lease.prolong(blob.lease)
            return lease

    def break_lease(self) -> None:
        with self.container.asked("break", self.blob_name):
            self._there().lease = None

    def _there(self) -> _Stored:
        blob = self.container.blobs.get(self.blob_name)
        if blob is None:
            raise refusal(404, "BlobNotFound")
        return blob

    def check(
        self, *, etag: str = "", match_condition: MatchConditions | None = None, lease: str | None = None
    ) -> None:
        """Refuse a write whose conditions are not met; the conditions before the lease."""
        blob = self.container.blobs.get(self.blob_name)
        if match_condition is MatchConditions.IfMissing and blob:
            raise refusal(409, "BlobAlreadyExists")
        if match_condition is MatchConditions.IfNotModified and (blob is None or blob.etag != etag):
            raise refusal(412, "ConditionNotMet")
        held = self.container.held(blob) if blob else None
        if held and lease is None:
            raise refusal(412, "LeaseIdMissing")
        if held and lease != held.id:
            raise refusal(412, "LeaseIdMismatchWithBlobOperation")
        if lease is not None and not held:
            raise refusal(412, "LeaseLost" if blob and blob.lease else "LeaseNotPresentWithBlobOperation")

    def leased_as(self, lease_id: str) -> _Held:
        """The lease of this id, held or run out."""
        lease = self._there().lease
        if lease is None:
            raise refusal(409, "LeaseNotPresentWithLeaseOperation")
        if lease.id != lease_id:
            raise refusal(409, "LeaseIdMismatchWithLeaseOperation")
        return lease


@dataclass(frozen=True, slots=True)
class MemoryLease:
    """A lease on a blob."""

    blob: MemoryBlob
    id: str

    def renew(self) -> None:
        """Hold it for another term, also after it ran out, unless somebody took it or wrote to the blob since."""
        with self.blob.container.asked("renew", self.blob.blob_name):
            lease = self.blob.leased_as(self.id)
            if not self._is_held() and lease.over != self.blob._there().etag:  # noqa: SLF001 - a part of it
                raise refusal(409, "LeaseNotPresentWithLeaseOperation")
            self.prolong(lease)

    def release(self) -> None:
        with self.blob.container.asked("release", self.blob.blob_name):
            self.blob.leased_as(self.id)
            self.blob._there().lease = None  # noqa: SLF001 - a part of it

    def break_lease(self, lease_break_period: int = 0) -> None:
        del lease_break_period
        self.blob.break_lease()

    def prolong(self, lease: _Held) -> None:
        forever = lease.seconds == INFINITE
        lease.until = None if forever else self.blob.container.clock() + timedelta(seconds=lease.seconds)

    def _is_held(self) -> bool:
        return self.blob.container.held(self.blob._there()) is not None  # noqa: SLF001 - a part of it
