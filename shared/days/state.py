"""The states of days and runs, and who asks for runs, as types."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What is known of a day. The first two have landed, whatever a later run does."""

    COMPLETE = "complete"
    EMPTY = "empty"
    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    MISSING = "missing"
    EXPIRED = "expired"

    @property
    def landed(self) -> bool:
        """Whether there is a manifest."""
        return self in (State.COMPLETE, State.EMPTY)


class RunState(StrEnum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class Trigger(StrEnum):
    """Who asks for runs. A message written by hand may name any other word."""

    TIMER = "timer"
    HTTP = "http"
    QUEUE = "queue"
    CLI = "cli"
