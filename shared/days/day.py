"""What is known about a day, as one typed value. JSON answers, pages and the terminal's calendar are views of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Self

from shared.dates import UtcDay
from shared.days.documents import encode, from_iso, iso, metadata_number, metadata_numbers, metadata_texts
from shared.days.manifest import Manifest
from shared.days.state import RunState, State, Trigger
from shared.days.status import COUNTS, INSTANTS, RunError, RunStatus
from shared.errors import RunDied

COMES_BACK_WITHIN = timedelta(minutes=11)
"""If a host dies, its message becomes visible again five to ten minutes later (measured with WebJobs 3.0.48). The last
write of the status is at most a minute before the death."""


@dataclass(frozen=True, slots=True)
class Landed:
    """The main figures of a landed day. `bytes` are decompressed; `hour_events`: 24 numbers, or none if unknown.

    `events_before`: events of the export that this one replaced; None if there was none or the number is unknown.
    """

    state: State
    events: int = 0
    bytes: int = 0
    files: int = 0
    empty_hours: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    hour_events: tuple[int, ...] = ()
    started_at: datetime | None = None
    events_before: int | None = None

    @classmethod
    def of(cls, manifest: Manifest, metadata: Mapping[str, str]) -> Self:
        """The figures of a manifest, with what only its metadata has."""
        before = cls.from_metadata(metadata).events_before
        found = cls.from_metadata(manifest.metadata(before))
        return replace(found, warnings=manifest.warnings)  # metadata may not have space for all

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Self:
        """The figures in a manifest's metadata. With them, one listing is enough to read a year."""
        return cls(
            state=State.EMPTY if metadata.get("status") == State.EMPTY else State.COMPLETE,
            events=metadata_number(metadata, "events"),
            bytes=metadata_number(metadata, "bytes"),
            files=metadata_number(metadata, "files"),
            empty_hours=metadata_numbers(metadata, "empty_hours"),
            warnings=metadata_texts(metadata, "warnings"),
            hour_events=metadata_numbers(metadata, "hour_events"),
            started_at=from_iso(metadata.get("started_at")),
            events_before=next(iter(metadata_numbers(metadata, "events_before")), None),
        )

    @property
    def grown(self) -> int:
        """By how many events this export holds more than the one it replaced, as far as that is known."""
        return max(self.events - self.events_before, 0) if self.events_before is not None else 0


@dataclass(frozen=True, slots=True)
class Day:
    """One day. `run` is its latest run, as failed if it died. `manifest` is set only if it was read."""

    date: date
    state: State
    run: RunStatus | None = None
    landed: Landed | None = None
    manifest: Manifest | None = None

    @classmethod
    def of(cls, day: UtcDay, run: RunStatus | None, *, leased: bool, landed: Landed | None, otherwise: State) -> Self:
        """Make a day from its status blob and its landed figures.

        `leased`: somebody holds the day's lock. `otherwise`: the state of a day with neither a run nor landed figures.
        """
        if leased:
            run = replace(run or RunStatus(day, RunState.RUNNING, "", ""), status=RunState.RUNNING, error=None)
        elif run and run.status is RunState.RUNNING:
            run = replace(run, status=RunState.FAILED, error=_died(run))
        state = landed.state if landed else otherwise
        if run and not landed:  # a run that was complete, and no manifest: somebody deleted it
            state = State.MISSING if run.status in (RunState.COMPLETE, RunState.WITHDRAWN) else State(run.status)
        return cls(day, state, run, landed)

    @property
    def error(self) -> RunError | None:
        """Why the latest run, or its latest try, has failed."""
        return self.run.error if self.run else None

    @property
    def latest_try(self) -> tuple[str, str]:
        """The run and the try that began last; empty if none is known."""
        if self.run and self.run.try_id:
            return self.run.run_id, self.run.try_id
        return (self.manifest.run_id, self.manifest.try_id) if self.manifest else ("", "")

    @property
    def row(self) -> dict[str, Any]:
        """The day as `GET /api/exports` answers it."""
        landed = self.landed or Landed(self.state)
        figures = {key: getattr(landed, key) for key in ("events", "bytes", "files", "empty_hours", "warnings")}
        error = self.error.document() if self.error else None
        return {"date": self.date.isoformat(), "status": self.state, **figures, "error": error}

    @property
    def document(self) -> dict[str, Any]:
        """The day as `GET /api/exports/{date}` answers it: its latest run, and its manifest."""
        run = encode(self.run) if self.run else {}
        return {
            "date": self.date.isoformat(),
            "status": run.get("status", self.state),
            "run_id": run.get("run_id", self.manifest.run_id if self.manifest else None),
            **{key: run.get(key) for key in ("trigger", *INSTANTS)},
            "progress": {**dict.fromkeys(COUNTS, 0), **self.run.progress} if self.run else None,
            "error": self.error.document() if self.error else None,
            "manifest": self.manifest.document() if self.manifest else None,
        }


def _died(run: RunStatus) -> RunError:
    """The error of a run whose lock is gone, although its status says that it is running."""
    text = "The run ended without recording a result: its host was stopped, or ran out of time or memory. "
    if run.trigger == Trigger.CLI or run.updated_at is None:
        return RunError.of(RunDied(f"{text}Run the day again."))
    until = iso(run.updated_at + COMES_BACK_WITHIN)
    return RunError(
        RunDied.__name__,
        f"{text}It comes back on its own, by {until} at the latest (plus the time to start a host). If it does not, "
        "run the day again.",
        {"comes_back_by": until},
    )
