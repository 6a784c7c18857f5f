"""The names of blobs. Each is the full name of a blob, with the prefix in front, exactly as in the setting."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Literal

from shared.dates import parse_day
from shared.errors import InvalidDate

Format = Literal["json", "json.gz"]
Kind = Literal["events", "manifests", "status", "logs"]

CONTENT_TYPES: dict[Format, str] = {"json": "application/x-ndjson", "json.gz": "application/gzip"}


@dataclass(frozen=True, slots=True)
class Names:
    """The names under one prefix."""

    prefix: str

    def events(self, day: date) -> str:
        """The folder of a day's event blobs. Only the app writes into it."""
        return f"{self.prefix}events/date={day}/"

    def event_file(self, day: date, hour: int, stem: str, try_id: str, kind: Format) -> str:
        """One event blob. The try `try_id` writes it once."""
        return f"{self.events(day)}hour={hour:02d}/{stem}.{try_id}.{kind}"

    def manifest(self, day: date) -> str:
        """The manifest: the only blob that says what a day holds."""
        return f"{self.prefix}manifests/date={day}.json"

    def status(self, day: date) -> str:
        """The status of the latest run. The lease on this blob is the day's lock."""
        return f"{self.prefix}status/date={day}.json"

    def logs(self, day: date) -> str:
        """The folder of a day's run logs."""
        return f"{self.prefix}logs/date={day}/"

    def log(self, day: date, run_id: str, try_id: str) -> str:
        """The log of one try."""
        return f"{self.logs(day)}{run_id}_{try_id}.csv"

    def folder(self, kind: Kind) -> str:
        """What all names of one kind begin with: everything before the date."""
        return f"{self.prefix}{kind}/date="

    def day_of(self, name: str, kind: Kind) -> date | None:
        """The day of a name of this kind; None for a name that this app does not write."""
        start = self.folder(kind)
        day, behind = name[len(start) :][:10], name[len(start) + 10 :]
        ours = behind == ".json" if kind in ("manifests", "status") else behind.startswith("/")
        with suppress(InvalidDate):
            return parse_day(day) if ours and name.startswith(start) else None
        return None


def is_safe(name: str) -> bool:
    r"""Whether a name is safe in a URL: it has no `.`, `..` or empty segment, even if `\` counts as `/`."""
    return {"", ".", ".."}.isdisjoint(name.replace("\\", "/").split("/"))


def without_try_id(name: str) -> str:
    """An event blob's name without the try id: the part that is the same for every try."""
    folder, _, file = name.rpartition("/")
    stem, _, rest = file.partition(".")
    return f"{folder}/{stem}.{rest.partition('.')[2]}"
