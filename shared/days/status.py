"""The status of a day's latest run, as a value."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Any, Self

from shared.dates import HOURS, UtcDay
from shared.days import documents
from shared.days.state import RunState
from shared.errors import ExportError

COUNTS = ("bytes", "events", "files", "hours_done", "download_bytes", "attempt")
TEXTS = ("window", "retry_at", "retry_reason")
"""The texts in the progress of a run, each of which may be null. All other fields are counts."""
INSTANTS = ("queued_at", "started_at", "updated_at")


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run, or its latest try, has failed, as users see it. `details`: the error's figures, if it has any."""

    type: str
    message: str
    details: Mapping[str, object] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, error: ExportError) -> Self:
        """The error of a run that ended with this exception."""
        return cls(error.type, str(error)[: documents.LONGEST_TEXT], error.details)

    def document(self) -> dict[str, str]:
        """The error as a JSON answer has it."""
        return {"type": self.type, "message": self.message}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A day's latest run. `max_window_hours`: larger windows were too large for Amplitude; none is requested again."""

    date: date
    status: RunState
    run_id: str
    trigger: str
    replace: bool = False
    queued_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    try_id: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)
    error: RunError | None = None
    max_window_hours: int = HOURS
    failures: int = 0
    """How many tries of this run have failed. Those that died or were stopped do not count."""

    @property
    def fields(self) -> dict[str, str]:
        """The fields by which a log line names the latest try."""
        return {"date": self.date.isoformat(), "run_id": self.run_id, "try": self.try_id}

    def changed(self, moment: datetime, **changes: Any) -> Self:
        """The status, changed at `moment`."""
        return replace(self, updated_at=moment, **changes)

    def to_json(self) -> bytes:
        """The document that is stored and that users see."""
        return json.dumps(documents.encode(self), indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self | None:
        """Read the status in a document; None if this app did not write it. The next run does not need it."""
        with suppress(*documents.NOT_OURS):
            document = json.loads(data)
            if document.get("error"):  # a long message is cut, not refused: the rest of the status matters more
                document["error"]["message"] = document["error"]["message"][: documents.LONGEST_TEXT]
            status = documents.decode(cls, document)
            if 1 <= status.max_window_hours <= HOURS:
                counts = {key: documents.whole(status.progress[key]) for key in COUNTS if key in status.progress}
                notes = {key: documents.text(said) for key in TEXTS if (said := status.progress.get(key)) is not None}
                return replace(status, progress={**counts, **notes})
        return None

    @classmethod
    def from_metadata(cls, day: UtcDay, metadata: Mapping[str, str]) -> Self | None:
        """Read what `metadata` wrote. It has fewer fields than the document. None if the app did not write it."""
        word = metadata.get("status", "")
        if word not in RunState:
            return None
        said, error = partial(documents.metadata_text, metadata), None
        if "error_type" in metadata:
            error = RunError(said("error_type"), said("error_message"))
            with suppress(*documents.NOT_OURS):
                error = replace(error, details=dict(json.loads(said("error_details") or "{}")))
        counts = {key: documents.metadata_number(metadata, key) for key in COUNTS if key in metadata}
        instants: dict[str, Any] = {key: documents.from_iso(metadata.get(key)) for key in INSTANTS}
        return cls(day, RunState(word), said("run_id"), said("trigger"), progress=counts, error=error, **instants)

    def metadata(self) -> dict[str, str]:
        """The main figures, for the blob's metadata."""
        document = documents.encode(self)
        figures = {key: document[key] or "" for key in ("status", "run_id", "trigger", *INSTANTS)}
        figures |= {key: str(self.progress[key]) for key in COUNTS if key in self.progress}
        if self.error:
            details = json.dumps(self.error.details) if self.error.details else ""
            figures |= {"error_type": self.error.type, "error_message": self.error.message, "error_details": details}
        return documents.as_metadata(figures)
