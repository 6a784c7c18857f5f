"""Everything that can go wrong with an export, as one tree.

    ExportError
    ├── TransientError            a later try may succeed: the message comes back
    │   ├── AmplitudeUnavailable      no answer, 429, 5xx, time-outs, all tries used up
    │   ├── BrokenArchive             cut, damaged, or no archive at all
    │   ├── StorageUnavailable        the storage account does not answer, or not in time
    │   ├── DayLocked                 another run is exporting the day
    │   ├── ConditionNotMet           a conditional write found another state than was read
    │   ├── Displaced                 another try has taken the day over
    │   ├── RunDied                   a run ended without a word
    │   └── InternalError             a fault of the app itself
    └── PermanentError            the same try would fail again: someone has to act
        ├── SettingsError             app settings missing or wrong
        ├── InvalidDate               no date, in the future, not complete yet, beyond the retention
        ├── InvalidMessage            a queue message that asks for nothing that can be done
        ├── BadCredentials            401, 403
        ├── BadRequest                400, with Amplitude's own words
        ├── ExportTooLarge            a single hour is too large
        ├── UnexpectedAnswer          a status that the Export API does not document
        ├── SuspiciousArchive         a whole archive that is not what was asked for
        ├── UnsupportedArchive        an archive that cannot be read as a stream
        ├── FewerEvents               fewer events than have landed, and nobody said that this is wanted
        ├── StorageDenied             no permission, or no such container or account
        └── InvalidManifest           a manifest or status blob that is not ours to understand

A message never holds a credential, a URL with one, or an event's content.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self


class ExportError(Exception):
    """What every error of this app is. The class name is the `type` that users see."""

    @property
    def type(self) -> str:
        """The name by which status blobs, log lines and the docs call this error."""
        return type(self).__name__


class TransientError(ExportError):
    """A later try may succeed. `retry_after`: seconds that the other side asked to wait, where it did."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(ExportError):
    """The same try would fail again: someone has to act."""


class AmplitudeUnavailable(TransientError):
    """Amplitude did not answer, or only with 429 or 5xx, at all tries.

    `slow`: it took too long (504 or a read time-out), so that asking for less may help. `throttled`: it said 429.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, slow: bool = False, throttled: bool = False
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.slow = slow
        self.throttled = throttled


class BrokenArchive(TransientError):
    """The answer is cut, damaged, or no archive at all."""


class StorageUnavailable(TransientError):
    """The storage account did not answer, or not in time."""


class DayLocked(TransientError):
    """Another run is exporting the day."""


class ConditionNotMet(TransientError):
    """A conditional write found another state than was read: somebody else was there first."""


class Displaced(TransientError):
    """Another try has taken the day over; what this one did is void."""


class RunDied(TransientError):
    """A run ended without a word: its host was stopped, or ran out of time or memory."""


class InternalError(TransientError):
    """A fault of the app itself."""

    @classmethod
    def at(cls, error: Exception) -> Self:
        """The fault that an unforeseen exception shows: its kind and its place, for its text may hold anything."""
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
        return cls(f"A fault of the app itself: {type(error).__name__} at {place}. Please report it.")


class SettingsError(PermanentError):
    """App settings are missing or wrong; one message names them all. `problems`: one text for each of them."""

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class InvalidDate(PermanentError):
    """No date, in the future, not complete yet, or beyond the retention."""


class InvalidMessage(PermanentError):
    """A queue message that asks for nothing that can be done."""


class BadCredentials(PermanentError):
    """401 or 403: keys or region are wrong."""


class BadRequest(PermanentError):
    """400 for another reason than size."""


class ExportTooLarge(PermanentError):
    """Even a single hour is too large for the Export API."""


class UnexpectedAnswer(PermanentError):
    """A status that the Export API does not document."""


class SuspiciousArchive(PermanentError):
    """A whole archive that is not what was asked for."""


class UnsupportedArchive(PermanentError):
    """An archive that cannot be read as a stream."""


class FewerEvents(PermanentError):
    """The export holds less than what has landed, and nobody said that this is wanted."""


class StorageDenied(PermanentError):
    """The storage account refuses: no permission, no such container or account, or a blob that somebody protects.

    `code` is the storage's own word for it; empty where it gave none.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class InvalidManifest(PermanentError):
    """A manifest or status blob that this version cannot understand."""
