"""What has landed, day by day, from a few list calls: the figures stand in the blobs' metadata."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from shared.dates import days_between, newest_complete_day, oldest_kept_day
from shared.days.documents import from_iso
from shared.days.status import RunError, error_from_metadata
from shared.names import Kind, Names
from shared.settings import Settings
from shared.storage.container import Blob, Container

LANDED = ("complete", "empty")
_RUN_STATUSES = ("queued", "running", "complete", "failed", "withdrawn", "expired")


@dataclass(frozen=True, slots=True)
class Row:
    """One day. `bytes` are decompressed; `error` is the latest run's, whatever has landed before it."""

    date: date
    status: str
    events: int = 0
    bytes: int = 0
    files: int = 0
    empty_hours: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: RunError | None = None
    hour_events: list[int] = field(default_factory=list)
    """Events by hour, 24 numbers; empty where nothing has landed."""
    run_status: str = ""
    """The latest run's own status, beside what has landed; a run whose lock is gone is `failed`."""
    run_started_at: datetime | None = None

    @property
    def landed(self) -> bool:
        """Whether there is a manifest."""
        return self.status in LANDED

    def document(self) -> dict[str, Any]:
        """The row as it is answered."""
        return {
            "date": self.date.isoformat(),
            "status": self.status,
            "events": self.events,
            "bytes": self.bytes,
            "files": self.files,
            "empty_hours": self.empty_hours,
            "warnings": self.warnings,
            "error": asdict(self.error) if self.error else None,
        }


def read_coverage(container: Container, settings: Settings, first: date, last: date, now: datetime) -> list[Row]:
    """One row per day from `first` to `last`.

    Days before the start date, and days that are not complete yet, have a row only if something is known of them:
    they are not missing.
    """
    names = Names(settings.prefix)
    manifests = _by_day(container, names, "manifests", first, last)
    statuses = _by_day(container, names, "status", first, last)
    newest, oldest = newest_complete_day(now), oldest_kept_day(now, settings.retention_days)
    rows = []
    for day in days_between(first, last):
        manifest, status = manifests.get(day), statuses.get(day)
        if manifest or status:
            rows.append(_row(day, manifest, status))
        elif (settings.start_date and day < settings.start_date) or day > newest:
            continue
        else:
            rows.append(Row(day, "missing" if day >= oldest else "expired"))
    return rows


def _by_day(container: Container, names: Names, kind: Kind, first: date, last: date) -> Mapping[date, Blob]:
    common = _common_start(first.isoformat(), last.isoformat())
    found = {names.day_of(blob.name, kind): blob for blob in container.blobs(names.folder(kind) + common)}
    return {day: blob for day, blob in found.items() if day is not None and first <= day <= last}


def _common_start(one: str, other: str) -> str:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=True))
    return "".join(character for character, _ in same)


def _row(day: date, manifest: Blob | None, status: Blob | None) -> Row:
    run_status, error = _run(status)
    started = from_iso(status.metadata.get("started_at")) if status else None
    if manifest is None:
        # Without a manifest, somebody took a complete run's day away, and a withdrawn run landed nothing.
        word = "missing" if run_status in ("", "complete", "withdrawn") else run_status
        return Row(day, word, error=error, run_status=run_status, run_started_at=started)
    figures = manifest.metadata
    return Row(
        date=day,
        status="empty" if figures.get("status") == "empty" else "complete",
        events=_number(figures, "events"),
        bytes=_number(figures, "bytes"),
        files=_number(figures, "files"),
        empty_hours=_numbers(figures, "empty_hours"),
        warnings=_texts(figures, "warnings"),
        error=error,
        hour_events=_numbers(figures, "hour_events"),
        run_status=run_status,
        run_started_at=started or from_iso(figures.get("started_at")),
    )


def _run(status: Blob | None) -> tuple[str, RunError | None]:
    if status is None:
        return "", None
    word = status.metadata.get("status", "")
    if word not in _RUN_STATUSES:
        word = "failed"  # a status that somebody else wrote
    if status.leased:
        return "running", None
    if word == "running":
        return "failed", died()
    return word, error_from_metadata(status.metadata)


def died() -> RunError:
    """What is known of a run whose lock is gone though its status says that it is running."""
    return RunError(
        "RunDied",
        "The run ended without a word: its host was stopped, or ran out of time or memory. "
        "A run from the queue comes back within ten minutes; any other is to be run again.",
    )


def _number(metadata: Mapping[str, str], key: str) -> int:
    text = metadata.get(key, "")
    return int(text) if text.isdigit() else 0


def _numbers(metadata: Mapping[str, str], key: str) -> list[int]:
    return [int(text) for text in metadata.get(key, "").split(",") if text.isdigit()]


def _texts(metadata: Mapping[str, str], key: str) -> list[str]:
    try:
        texts = json.loads(metadata.get(key, "[]"))
    except ValueError:
        return []
    return [str(text) for text in texts] if isinstance(texts, list) else []
