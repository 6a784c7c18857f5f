"""A reader of the container that holds the app to its promise: a day with a manifest is whole, always."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient

File = tuple[int, int]
"""Hour and part."""

Landed = dict[File, bytes] | None
"""The decompressed bytes of a day's files; None for a day that has not landed."""


@dataclass
class Reader:
    """Reads days by their manifests alone, and checks whatever it reads. Keep one over a whole test.

    A broken promise is an AssertionError: a listed blob that is not there, that has other bytes than the manifest says
    or than it had before, or a manifest whose figures do not fit its files.
    """

    container: ContainerClient
    prefix: str = ""
    _seen: dict[str, str] = field(default_factory=dict)
    """The checksum of each blob read so far: an event blob never changes."""

    def manifest(self, day: date) -> dict[str, Any] | None:
        """The manifest as it stands; None for a day that has not landed."""
        data = self._blob(f"{self.prefix}manifests/date={day}.json")
        if data is None:
            return None
        document: dict[str, Any] = json.loads(data)
        self._check_figures(document, day)
        return document

    def files(self, day: date) -> Landed:
        """The decompressed bytes of each file of a whole day; None for a day that has not landed."""
        while True:
            manifest = self.manifest(day)
            if manifest is None:
                return None
            found = {(file["hour"], file["part"]): self._file(file) for file in manifest["files"]}
            if None not in found.values():
                return {key: data for key, data in found.items() if data is not None}
            # Overtaken, or lied to: what is gone must be gone from the manifest too.
            assert self.manifest(day) != manifest, f"a listed blob of {day} is gone: {manifest['files']}"

    def status(self, day: date) -> dict[str, Any]:
        """The status blob; empty where there is none."""
        data = self._blob(f"{self.prefix}status/date={day}.json")
        document: dict[str, Any] = json.loads(data) if data is not None else {}
        return document

    def outcome(self, day: date) -> tuple[str, str | None]:
        """What the status blob says of the latest run: its status, and the type of its error."""
        status = self.status(day)
        return status["status"], status["error"] and status["error"]["type"]

    def is_locked(self, day: date) -> bool:
        """Whether somebody holds the day's lock."""
        properties = self.container.get_blob_client(f"{self.prefix}status/date={day}.json").get_blob_properties()
        return properties.lease.state == "leased"

    def event_blobs(self, day: date) -> set[str]:
        """All that stands in the day's folder, listed or not."""
        return set(self.container.list_blob_names(name_starts_with=f"{self.prefix}events/date={day}/"))

    def unlisted(self, day: date) -> set[str]:
        """What stands in the day's folder and in no manifest: garbage, which the app has to take away in time."""
        manifest = self.manifest(day)
        return self.event_blobs(day) - {file["name"] for file in (manifest["files"] if manifest else ())}

    def everything(self) -> Iterator[str]:
        """Each blob's name, metadata, headers and content, as text."""
        for blob in self.container.list_blobs(include=["metadata"]):
            content = self.container.download_blob(blob.name).readall()
            yield f"{blob.name}\n{dict(blob.metadata or {})}\n{content.decode(errors='replace')}"

    def _blob(self, name: str) -> bytes | None:
        try:
            data: bytes = self.container.download_blob(name).readall()
        except ResourceNotFoundError:
            return None
        return data

    def _file(self, file: dict[str, Any]) -> bytes | None:
        name = file["name"]
        stored = self._blob(name)
        if stored is None:
            return None
        assert self._seen.setdefault(name, hashlib.sha256(stored).hexdigest()) == hashlib.sha256(stored).hexdigest()
        data = gzip.decompress(stored) if name.endswith(".gz") else stored
        lines = sum(bool(line.strip()) for line in data.split(b"\n"))
        assert (len(data), hashlib.sha256(data).hexdigest(), lines) == (
            file["bytes"],
            file["sha256"],
            file["events"],
        ), f"{name} is not what the manifest says"
        return data

    def _check_figures(self, manifest: dict[str, Any], day: date) -> None:
        files = manifest["files"]
        events, size = (sum(file[key] for file in files) for key in ("events", "bytes"))
        assert (manifest["version"], manifest["date"]) == (1, day.isoformat())
        assert manifest["status"] == ("complete" if events else "empty")
        assert {key: manifest["totals"][key] for key in ("files", "bytes", "events")} == {
            "files": len(files),
            "bytes": size,
            "events": events,
        }
        assert len({(file["hour"], file["part"]) for file in files}) == len(files)
        assert all(
            file["name"].startswith(f"{self.prefix}events/date={day}/hour={file['hour']:02d}/") for file in files
        )
        full = {file["hour"] for file in files if file["events"]}
        assert manifest["empty_hours"] == [hour for hour in range(24) if hour not in full]
