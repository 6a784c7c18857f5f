"""Everything that can go wrong with an export, as one tree: an error is transient or permanent, and has one meaning.

The class name is the `type` that users see. The first line of its docstring is what it means, and `advice` is what to
do; the pages and docs/operations.md say the same. A message never holds a credential, a URL with one, or an event's
content.
"""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import ClassVar, Self

_WAIT = "Wait first: this often passes, and the app tries the run again. "
_AGAIN = "Then run the day again."


class ExportError(Exception):
    """Any error of this app."""

    advice: ClassVar[str] = "Run the day again. If it fails again, look at the run's log and report it."

    @property
    def type(self) -> str:
        """The name by which status blobs, log lines and the docs call this error."""
        return type(self).__name__

    @property
    def details(self) -> Mapping[str, object]:
        """The error's figures, for the status blob: its message is made from them."""
        return {}


@dataclass(eq=False)
class TransientError(ExportError):
    """A later try may succeed.

    `retry_after`: how many seconds the other side asked to wait, if it did. `attempts`: how many requests were made for
    the window, if these were all that a try may make. `too_long`: `retry_after` is longer than a try may wait.
    """

    message: str
    retry_after: float | None = field(default=None, kw_only=True)
    attempts: int = field(default=0, init=False)
    too_long: bool = field(default=False, init=False)

    def __str__(self) -> str:
        text = self.message
        if self.too_long and self.retry_after is not None:
            text += f" It asks to wait {self.retry_after:.0f} seconds, longer than a try may wait."
        elif self.attempts:
            text += f" Attempts: {self.attempts} (EXPORT_MAX_ATTEMPTS)."
        return text

    @property
    def details(self) -> Mapping[str, object]:
        """The figures that are known."""
        figures = {"attempts": self.attempts or None, "retry_after": self.retry_after}
        return {name: value for name, value in figures.items() if value is not None}


class PermanentError(ExportError):
    """A further try would fail as well: somebody has to act."""


@dataclass(eq=False, kw_only=True)
class AmplitudeUnavailable(TransientError):
    """Amplitude did not answer, or answered each attempt with 429, 5xx or a page that is not from the Export API.

    `slow`: the answer took too long, so requesting less may help. `throttled`: the answer was 429.
    """

    advice = (
        f"{_WAIT}If it lasts for hours, look at Amplitude's status page. If only one day fails, lower "
        "EXPORT_WINDOW_HOURS."
    )
    slow: bool = False
    throttled: bool = False


class BrokenArchive(TransientError):
    """The answer is cut off, damaged, or not an archive at all."""

    advice = (
        f"{_WAIT}If one day keeps failing, lower EXPORT_WINDOW_HOURS. If that does not help, ask Amplitude's support, "
        "with the day and the hours from the message."
    )


class StorageUnavailable(TransientError):
    """The storage account did not answer, or not in time."""

    advice = f"{_WAIT}If it does not pass, check the account's health, firewall, private endpoints and DNS."


class DayLocked(TransientError):
    """Another run is exporting the day."""

    advice = "Do nothing: that run exports the day. If no run is active, break the lease on its status blob."


class ConditionNotMet(TransientError):
    """Another run wrote or deleted the same blob at the same moment."""

    advice = "Do nothing: the app tries the run again."


class Displaced(TransientError):
    """Another try has taken over the day, or this one took too long. It has changed nothing."""

    advice = "Do nothing: the other try exports the day, or the app tries the run again."


class RunDied(TransientError):
    """The run ended without recording a result: its host was stopped, or ran out of time or memory."""

    advice = (
        "Wait first: a run from the queue comes back on its own. If it dies each time, give the app more memory "
        "(instanceMemoryMB), or lower EXPORT_WINDOW_HOURS."
    )


class Interrupted(TransientError):
    """The run was stopped: Ctrl-C, a termination signal, or a host that shuts down."""

    advice = "A run from the queue comes back on its own. On the command line, run the day again."


class InternalError(TransientError):
    """The app itself has a fault."""

    advice = "Report it with the log line, which names the place in the code and contains no event."

    @classmethod
    def at(cls, error: Exception) -> Self:
        """Make one from an unexpected exception: its class and its place. Its text is left out: it may be an event."""
        last = traceback.extract_tb(error.__traceback__, limit=-1)
        place = f"{Path(last[0].filename).name}:{last[0].lineno}" if last else "?"
        return cls(f"A fault of the app itself: {type(error).__name__} at {place}. Please report it.")


class SettingsError(PermanentError):
    """App settings are missing or wrong; the message names all of them.

    `problems`: one text for each of them.
    """

    advice = (
        "Correct the settings that the message names. A value that starts with @Microsoft.KeyVault( means that the "
        f"secret is not in the vault, or that the app may not read it. {_AGAIN}"
    )

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class InvalidDate(PermanentError):
    """The day is not a date, is in the future, is not complete yet, or is beyond the retention."""

    advice = "Choose another day. For a day that is not complete yet, the message says from when it can be exported."


class InvalidMessage(PermanentError):
    """A queue message is not a valid request for an export."""

    advice = "Request the day on the page or with POST /api/exports/{date}, and find out who writes into the queue."


class BadCredentials(PermanentError):
    """Amplitude answered 401 or 403: the keys or the region are wrong."""

    advice = (
        "Check AMP_API_KEY, AMP_SECRET_KEY and AMP_DATA_REGION: all three must belong to one Amplitude project. "
        f"{_AGAIN}"
    )


class BadRequest(PermanentError):
    """Amplitude answered 400, for a reason other than size."""

    advice = f"Fix the cause: the message quotes Amplitude's answer. {_AGAIN}"


class ExportTooLarge(PermanentError):
    """Even a single hour is too large for the Export API, or the project is empty or the wrong one."""

    advice = (
        "Check that the keys belong to the right project: Amplitude refuses an empty or wrong project with the same "
        "words. If a single hour really is too large, ask Amplitude's support for its events."
    )


class UnexpectedAnswer(PermanentError):
    """Amplitude answered with a status that the Export API does not document."""

    advice = f"Check AMP_EXPORT_URL, and whether a proxy answers instead of Amplitude. {_AGAIN}"


class SuspiciousArchive(PermanentError):
    """The archive is complete, but not what was requested: other hours, two projects, unknown names."""

    advice = (
        "Do not trust this answer. Look at what the message names, and run the day again. If it fails again, ask "
        "Amplitude's support."
    )


class UnsupportedArchive(PermanentError):
    """The archive cannot be read as a stream."""

    advice = "Amplitude has changed the format of its archives: look for a newer version of this app, or report it."


@dataclass(eq=False)
class FewerEvents(PermanentError):
    """The export would remove events from the landed day, or belongs to another project; the landed day stays.

    `landed`, `exported`: events. `lost_hours`: hours that had events and have none now. `landed_project`,
    `exported_project`: set if they differ.
    """

    day: date
    landed: int
    exported: int
    lost_hours: Sequence[int] = ()
    landed_project: str = ""
    exported_project: str = ""

    advice = (
        "Amplitude may have deleted events, or the keys may belong to another project. If you want what Amplitude has "
        "now, run the day again with replace=true; otherwise do nothing."
    )

    def difference(self, thousands: str = "") -> str:
        """What was found, in a text for users. `thousands`: separates the digits of large numbers."""
        landed, exported = (f"{count:,}".replace(",", thousands) for count in (self.landed, self.exported))
        if self.landed_project != self.exported_project:
            return (
                f"{landed} events of project {self.landed_project} have landed. The export has "
                f"{exported} of project {self.exported_project}. Do the keys belong to the right project?"
            )
        hours = ", ".join(map(str, self.lost_hours)) if self.exported >= self.landed else ""
        lost = f", but none in hour {hours}, which had some" if hours else ""
        return f"{landed} events have landed. The export has {exported}{lost}."

    def __str__(self) -> str:
        return (
            f"{self.day}: {self.difference()} The landed day stays as it is. If Amplitude's answer is what you want, "
            f"run the day again with replace: POST /api/exports/{self.day}?replace=true (on the command line: "
            f"export {self.day} --replace)."
        )

    @property
    def details(self) -> Mapping[str, object]:
        """All figures."""
        figures = {"landed": self.landed, "exported": self.exported, "lost_hours": list(self.lost_hours)}
        return {**figures, "difference": self.difference(",")}


class StorageDenied(PermanentError):
    """The storage account refuses: no permission, no such container or account, or a lease or policy forbids it.

    `code` is the storage's own word for it; empty if it gave none.
    """

    advice = (
        "Check that the container exists, and that the app's identity has the role Storage Blob Data Contributor on it "
        f"(azd provision sets both). If the message names a lease or a policy, remove it. {_AGAIN}"
    )

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class InvalidManifest(PermanentError):
    """A manifest or status blob cannot be read by this version of the app."""

    advice = (
        "If an older version of the app was deployed over a newer one, deploy the newer one. Otherwise restore the "
        f"last version of the blob that the message names. {_AGAIN}"
    )


def leaves(kind: type[ExportError] = ExportError) -> dict[str, type[ExportError]]:
    """All errors that can occur, by type."""
    below = kind.__subclasses__()
    return {name: leaf for one in below for name, leaf in leaves(one).items()} if below else {kind.__name__: kind}
