"""Types for the states of days and runs, and for what triggers a run. `day` decides which state a day has."""

from enum import StrEnum


class State(StrEnum):
    """The state of a day. With one of the first two the day has landed, even if a later run has failed."""

    COMPLETE = "complete"
    EMPTY = "empty"
    RUNNING = "running"
    QUEUED = "queued"
    FAILED = "failed"
    MISSING = "missing"
    EXPIRED = "expired"

    @property
    def landed(self) -> bool:
        """Whether the day has a manifest."""
        return self in (State.COMPLETE, State.EMPTY)


class RunState(StrEnum):
    """The state of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class Trigger(StrEnum):
    """What triggers a run. A message written by hand may use any other word."""

    TIMER = "timer"
    HTTP = "http"
    QUEUE = "queue"
    CLI = "cli"
