"""Manifest and status: the two small JSON documents of a day, as values."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Self
from urllib.parse import quote, unquote

from shared.errors import ExportError, InvalidManifest
from shared.windows import HOURS

VERSION = 1
VOLUME_DAYS = 7
"""How many landed days the median volume is taken of."""
LOW_VOLUME = 0.5
"""A ratio to the median below this is worth a warning."""
_METADATA_TEXT = 1500
"""Characters of a text kept as metadata; all metadata of a blob together may have 8 KiB."""
_NOT_OURS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


def iso(moment: datetime) -> str:
    """An instant as `2025-11-05T03:30:02Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str | None) -> datetime | None:
    """The instant that `iso` wrote; None for None and for what is no instant."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class LandedFile:
    """One event blob of a day. `bytes` and `sha256` are those of the decompressed bytes, in either format."""

    name: str
    source: str
    hour: int
    part: int
    bytes: int
    events: int
    sha256: str

    @property
    def project(self) -> str:
        """The Amplitude project that the events belong to."""
        return self.source.partition("/")[0]

    @property
    def content(self) -> tuple[int, str]:
        """What two files with the same bytes have in common."""
        return self.bytes, self.sha256


@dataclass(frozen=True, slots=True)
class RequestMade:
    """One answer of the Export API that was used. `bytes` are those of its body."""

    start: str
    end: str
    status: int
    attempts: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Volume:
    """A day's events beside the median of the landed days before it; `ratio` is None where the median is 0."""

    median_events: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a manifest changed against the one it replaced, in files by hour and part."""

    added: int
    changed: int
    removed: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a day holds. `try_id` is called `try` in the document."""

    date: date
    run_id: str
    try_id: str
    trigger: str
    region: str
    started_at: datetime
    finished_at: datetime
    requests: tuple[RequestMade, ...]
    files: tuple[LandedFile, ...]
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]
    volume: Volume | None
    changes: Changes

    @property
    def status(self) -> str:
        """`complete`, or `empty` for a day without an event."""
        return "complete" if self.events else "empty"

    @property
    def events(self) -> int:
        """Events of the day."""
        return sum(file.events for file in self.files)

    @property
    def total_bytes(self) -> int:
        """Decompressed bytes of the day."""
        return sum(file.bytes for file in self.files)

    @property
    def download_bytes(self) -> int:
        """Bytes of the answers that were used."""
        return sum(request.bytes for request in self.requests)

    @property
    def empty_hours(self) -> list[int]:
        """Hours without an event."""
        return empty_hours(self.files)

    @property
    def totals(self) -> dict[str, int]:
        """The sums, as the document has them."""
        return {
            "files": len(self.files),
            "bytes": self.total_bytes,
            "events": self.events,
            "download_bytes": self.download_bytes,
        }

    def to_json(self) -> bytes:
        """The document, as it lands."""
        document = {
            "version": VERSION,
            "date": self.date.isoformat(),
            "status": self.status,
            "run_id": self.run_id,
            "try": self.try_id,
            "trigger": self.trigger,
            "region": self.region,
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
            "requests": [asdict(request) for request in self.requests],
            "files": [asdict(file) for file in self.files],
            "empty_hours": self.empty_hours,
            "ignored": list(self.ignored),
            "warnings": list(self.warnings),
            "totals": self.totals,
            "volume": asdict(self.volume) if self.volume else None,
            "changes": asdict(self.changes),
        }
        return json.dumps(document, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Self:
        """The manifest in a document; `name` is the blob's, for the error.

        Raises:
            InvalidManifest: the document is none of ours, of a later version, or of another day or prefix, or its sums
                do not hold.

        """
        try:
            document = json.loads(data)
            version = document["version"]
            if version != VERSION:
                raise InvalidManifest(
                    f"{name} is of version {version}, this app knows {VERSION}: a newer app wrote it. Deploy that one."
                )
            manifest = cls(
                date=date.fromisoformat(document["date"]),
                run_id=str(document["run_id"]),
                try_id=str(document["try"]),
                trigger=str(document["trigger"]),
                region=str(document["region"]),
                started_at=datetime.fromisoformat(document["started_at"]),
                finished_at=datetime.fromisoformat(document["finished_at"]),
                requests=tuple(RequestMade(**request) for request in document["requests"]),
                files=tuple(_landed_file(fields) for fields in document["files"]),
                ignored=tuple(map(str, document["ignored"])),
                warnings=tuple(map(str, document["warnings"])),
                volume=Volume(**document["volume"]) if document["volume"] else None,
                changes=Changes(**document["changes"]),
            )
            if (manifest.totals, manifest.empty_hours) != (document["totals"], document["empty_hours"]):
                raise ValueError("its sums do not hold")
            place = f"manifests/date={manifest.date}.json"
            folder = f"{name.removesuffix(place)}events/date={manifest.date}/"
            if not name.endswith(place) or not all(file.name.startswith(folder) for file in manifest.files):
                raise ValueError("it speaks of another day")
        except _NOT_OURS as error:
            raise InvalidManifest(
                f"{name} cannot be read as a manifest ({type(error).__name__}): somebody else wrote or changed it. "
                "Restore its last version; the app leaves the day as it is until then."
            ) from error
        return manifest

    def metadata(self) -> dict[str, str]:
        """The main figures, for the blob's metadata: a year of days is read by listing."""
        warnings = json.dumps(self.warnings).replace("\x7f", "\\u007f")
        if len(warnings) > _METADATA_TEXT:
            warnings = json.dumps([f"{len(self.warnings)} warnings"])
        figures = {
            "status": self.status,
            "run_id": self.run_id,
            "try": self.try_id,
            "events": str(self.events),
            "files": str(len(self.files)),
            "bytes": str(self.total_bytes),
            "empty_hours": ",".join(map(str, self.empty_hours)),
            "hour_events": ",".join(map(str, hour_events(self.files))),
            "started_at": iso(self.started_at),
            "finished_at": iso(self.finished_at),
        }
        return _as_metadata(figures) | {"warnings": warnings}


def _landed_file(fields: Mapping[str, Any]) -> LandedFile:
    file = LandedFile(**fields)
    texts = (file.name, file.source, file.sha256)
    if not (0 <= file.hour < HOURS and all(isinstance(text, str) for text in texts)):
        raise ValueError("no event file of a day")
    return file


def empty_hours(files: Iterable[LandedFile]) -> list[int]:
    """Hours of a day in which no file holds an event."""
    return [hour for hour, events in enumerate(hour_events(files)) if not events]


def hour_events(files: Iterable[LandedFile]) -> list[int]:
    """Events by hour: 24 numbers."""
    events = [0] * HOURS
    for file in files:
        events[file.hour] += file.events
    return events


def compare(old: Sequence[LandedFile], new: Sequence[LandedFile]) -> Changes:
    """What changed from `old` to `new`, by hour, part and bytes."""
    before = {(file.hour, file.part): file.content for file in old}
    after = {(file.hour, file.part): file.content for file in new}
    both = before.keys() & after.keys()
    unchanged = sum(before[key] == after[key] for key in both)
    return Changes(
        added=len(after) - len(both),
        changed=len(both) - unchanged,
        removed=len(before) - len(both),
        unchanged=unchanged,
    )


def compare_volume(events: int, before: Sequence[int]) -> Volume | None:
    """A day's events beside the median of the days before it; None without one."""
    if not before:
        return None
    median = round(statistics.median(before[-VOLUME_DAYS:]))
    return Volume(median, round(events / median, 2) if median else None)


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed, as users see it."""

    type: str
    message: str

    @classmethod
    def of(cls, error: ExportError) -> Self:
        """The error of a run that ended with this exception."""
        return cls(error.type, str(error))


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A day's latest run. `max_window_hours`: what proved too large for Amplitude is not asked for again."""

    date: date
    status: str
    run_id: str
    trigger: str
    replace: bool = False
    queued_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    try_id: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    error: RunError | None = None
    max_window_hours: int = HOURS

    def now(self, moment: datetime, **changes: Any) -> RunStatus:
        """The status, changed at `moment`."""
        return replace(self, updated_at=moment, **changes)

    def document(self) -> dict[str, Any]:
        """The document, as it lands and as users see it."""
        return {
            "date": self.date.isoformat(),
            "status": self.status,
            "run_id": self.run_id,
            "try": self.try_id,
            "trigger": self.trigger,
            "replace": self.replace,
            "queued_at": iso(self.queued_at) if self.queued_at else None,
            "started_at": iso(self.started_at) if self.started_at else None,
            "updated_at": iso(self.updated_at) if self.updated_at else None,
            "progress": dict(self.progress),
            "error": asdict(self.error) if self.error else None,
            "max_window_hours": self.max_window_hours,
        }

    def to_json(self) -> bytes:
        """The document's bytes."""
        return json.dumps(self.document(), indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Self:
        """The status in a document; `name` is the blob's, for the error.

        Raises:
            InvalidManifest: the document is none of ours.

        """
        try:
            document = json.loads(data)
            error = document.get("error")
            return cls(
                date=date.fromisoformat(document["date"]),
                status=str(document["status"]),
                run_id=str(document["run_id"]),
                trigger=str(document["trigger"]),
                replace=bool(document.get("replace")),
                queued_at=from_iso(document.get("queued_at")),
                started_at=from_iso(document.get("started_at")),
                updated_at=from_iso(document.get("updated_at")),
                try_id=document.get("try"),
                progress=dict(document.get("progress") or {}),
                error=RunError(str(error["type"]), str(error["message"])) if error else None,
                max_window_hours=min(max(int(document.get("max_window_hours") or HOURS), 1), HOURS),
            )
        except _NOT_OURS as broken:
            raise InvalidManifest(
                f"{name} cannot be read as a status ({type(broken).__name__}): somebody else wrote or changed it. "
                "Delete it; the next run writes it anew."
            ) from broken

    def metadata(self) -> dict[str, str]:
        """The main figures, for the blob's metadata."""
        figures = {
            "status": self.status,
            "run_id": self.run_id,
            "trigger": self.trigger,
            "queued_at": iso(self.queued_at) if self.queued_at else "",
            "started_at": iso(self.started_at) if self.started_at else "",
            "updated_at": iso(self.updated_at) if self.updated_at else "",
            **{key: str(self.progress[key]) for key in ("events", "files", "bytes") if key in self.progress},
            "error_type": self.error.type if self.error else "",
            "error_message": self.error.message if self.error else "",
        }
        return _as_metadata(figures)


def error_from_metadata(metadata: Mapping[str, str]) -> RunError | None:
    """The error that `RunStatus.metadata` noted; its message may be cut."""
    if "error_type" not in metadata:
        return None
    return RunError(metadata["error_type"], unquote(metadata.get("error_message", "")))


def _as_metadata(figures: Mapping[str, str]) -> dict[str, str]:
    # An empty value is no value: not every storage takes one.
    encoded = {name: _header_text(value) for name, value in figures.items()}
    return {name: value for name, value in encoded.items() if value}


def _header_text(text: str) -> str:
    # Metadata travels as HTTP headers: percent-encoded, and cut between characters rather than inside one.
    encoded = ""
    for character in text:
        piece = quote(character, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\"")
        if len(encoded) + len(piece) > _METADATA_TEXT:
            break
        encoded += piece
    return encoded.strip()
