"""The manifest: what a day holds, as a value."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Self

from shared.dates import HOURS
from shared.days.documents import METADATA_TEXT, NOT_OURS, as_metadata, decode, encode, iso, whole
from shared.days.state import State
from shared.errors import InvalidManifest

VERSION = 1
VOLUME_DAYS = 7
"""How many landed days the median volume is computed from."""
LOW_VOLUME = 0.5
"""Below this ratio to the median, the manifest gets a warning."""


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
        """The Amplitude project of the events."""
        return self.source.partition("/")[0]

    @property
    def content(self) -> tuple[int, str]:
        """Equal for two files with the same bytes."""
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
    """A day's events compared to the median of the landed days before it. `ratio` is None if the median is 0."""

    median_events: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class Changes:
    """How the files of a manifest differ from those of the one that it replaced, by hour and part."""

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
    def status(self) -> State:
        """`complete`, or `empty` for a day without an event."""
        return State.COMPLETE if self.events else State.EMPTY

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
        sums = {"bytes": self.total_bytes, "events": self.events, "download_bytes": self.download_bytes}
        return {"files": len(self.files), **sums}

    def document(self) -> dict[str, Any]:
        """The document that is stored and that users see."""
        sums = {"empty_hours": self.empty_hours, "totals": self.totals}
        return {"version": VERSION, "status": self.status, **encode(self), **sums}

    def to_json(self) -> bytes:
        """The document's bytes."""
        return json.dumps(self.document(), indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Self:
        """Read and validate a whole document; `name` is that of the blob. Unknown fields are ignored.

        Raises InvalidManifest if the app did not write this document, or a later version did; if it belongs to another
        day or prefix; or if its totals are wrong.
        """
        try:
            document = json.loads(data)
            version = whole(document["version"])
            if version != VERSION:
                raise InvalidManifest(
                    f"{name} has version {version}, but this app reads only version {VERSION}. If a newer version "
                    "of the app wrote it, deploy that one; otherwise restore the blob's last version."
                )
            if (document["volume"] or {}).get("median_events") is None:
                document["volume"] = None
            manifest = decode(cls, document)
            sums = document["empty_hours"], {key: document["totals"][key] for key in manifest.totals}
            if sums != (manifest.empty_hours, manifest.totals):  # this also finds an hour that does not exist
                raise ValueError("its totals are wrong")
            place = f"manifests/date={manifest.date}.json"
            folder = f"{name.removesuffix(place)}events/date={manifest.date}/"
            if not name.endswith(place) or not all(file.name.startswith(folder) for file in manifest.files):
                raise ValueError("it belongs to another day")
        except NOT_OURS as error:
            raise InvalidManifest(
                f"{name} cannot be read as a manifest ({type(error).__name__}): somebody else wrote or changed it. "
                "Restore its last version; until then the app leaves the day as it is."
            ) from error
        return manifest

    def metadata(self, events_before: int | None = None) -> dict[str, str]:
        """The main figures, for the blob's metadata. With them, a listing is enough to read a year of days.

        `events_before`: events of the manifest that this one replaces, if there is one.
        """
        warnings = json.dumps(self.warnings).replace("\x7f", "\\u007f")
        if len(warnings) > METADATA_TEXT:
            warnings = json.dumps([f"{len(self.warnings)} warnings"])
        figures = {"status": self.status, "run_id": self.run_id, "try": self.try_id}
        figures |= {key: str(self.totals[key]) for key in ("events", "files", "bytes")}
        hours = {"empty_hours": self.empty_hours, "hour_events": hour_events(self.files)}
        figures |= {key: ",".join(map(str, values)) for key, values in hours.items()}
        figures |= {"started_at": iso(self.started_at), "finished_at": iso(self.finished_at)}
        if events_before is not None:
            figures["events_before"] = str(events_before)
        return as_metadata(figures) | {"warnings": warnings}


def empty_hours(files: Iterable[LandedFile]) -> list[int]:
    """The hours of a day without events."""
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
    added, changed, removed = len(after) - len(both), len(both) - unchanged, len(before) - len(both)
    return Changes(added, changed, removed, unchanged)


def compare_volume(events: int, before: Sequence[int]) -> Volume | None:
    """Compare a day's events with the median of the days before it; None if there are no such days."""
    if not before:
        return None
    import statistics  # noqa: PLC0415 - its own imports are a twentieth of a cold start

    median = round(statistics.median(before[-VOLUME_DAYS:]))
    return Volume(median, round(events / median, 2) if median else None)
