"""The status of a day's latest run, as a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any, Self
from urllib.parse import unquote

from shared.dates import HOURS
from shared.days.documents import NOT_OURS, as_metadata, from_iso, iso
from shared.errors import ExportError, InvalidManifest


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
        except NOT_OURS as broken:
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
        return as_metadata(figures)


def read_status(data: bytes, name: str) -> RunStatus | None:
    """The status in a document; None where it cannot be understood: it says nothing that the next run needs."""
    try:
        return RunStatus.from_json(data, name)
    except ExportError:
        return None


def error_from_metadata(metadata: Mapping[str, str]) -> RunError | None:
    """The error that `RunStatus.metadata` noted; its message may be cut."""
    if "error_type" not in metadata:
        return None
    return RunError(metadata["error_type"], unquote(metadata.get("error_message", "")))
