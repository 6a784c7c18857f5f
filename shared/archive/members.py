"""Reads Amplitude's archive while it arrives: a zip of gzip files of JSON Lines. Does no I/O of its own.

    archive = Archive(answer.chunks, window, compressed=False)
    for member in archive:                    # '187520/187520_2025-11-04_0#0.json.gz', then the next
        for stored, content in member:       # pieces of at most 1 MiB of decompressed bytes
            upload.write(stored, content)    # content: what to hash; stored: what to store of the same events
        print(member.stem, member.bytes, member.events)
    print(archive.ignored)                    # entries that hold no events

The archive is verified only when the loop over it has ended without an exception. Then all checksums and sizes of zip
and gzip are right, and the members are exactly those of the archive's directory.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.archive.gunzip import EventCount
from shared.archive.unzip import Entry, ZipStream
from shared.dates import Window
from shared.errors import SuspiciousArchive

Piece = tuple[bytes, bytes]
"""The bytes to store, and the decompressed bytes of the same events; either may be empty."""

MOST_IGNORED = 1000
"""The most entries without events: the manifest names each, so more are suspicious."""

_EVENT_FILE = re.compile(
    r"(?P<project>[0-9]{1,20})/(?P=project)_(?P<date>[0-9-]{10})_(?P<hour>[0-9]{1,2})#(?P<part>[0-9]{1,9})\.json\.gz"
)
_DATA_FILE = re.compile(r".*\.(json|gz|zip)", re.IGNORECASE)
_LONGEST_NAME = 255


@dataclass(slots=True)
class Member:
    """An event file. Iterate over it once to get its pieces; `bytes` and `events` count them.

    `source`: its name in the archive; `stem`: its blob's name without folder, try id and suffix; `bytes`: decompressed;
    `events`: lines that are not blank. Both counts are final when the iteration has ended.
    """

    source: str
    project: str
    hour: int
    part: int
    stem: str
    _entry: Entry = field(repr=False)
    _compressed: bool = field(repr=False)
    bytes: int = field(default=0, init=False)
    events: int = field(default=0, init=False)
    suspicion: SuspiciousArchive | None = field(default=None, init=False, repr=False)
    """Set if the content is not events. Then no more pieces come."""

    def __iter__(self) -> Iterator[Piece]:
        count = EventCount()
        for packed, content in self._entry.gunzipped():
            if self.events == 0 and content.lstrip()[:1] not in (b"", b"{"):
                self.suspicion = SuspiciousArchive(
                    f"{self._entry.shown}: its content does not begin with {{, as events do."
                )
            count.add(content)
            self.events = count.total
            self.bytes += len(content)
            self._entry.check_expansion(self.bytes)
            if self.suspicion is None:
                yield bytes(packed) if self._compressed else content, content


class Archive:
    """The event files of one window's archive, in the archive's order.

    With `compressed`, a member's own gzip bytes are stored, otherwise its decompressed bytes. Both are verified in the
    same way. Lazy: bytes are taken from `chunks` on demand. Memory holds one chunk, one piece and the names. Read each
    member to its end before you ask for the next. Exceptions of `chunks` pass through unchanged.

    The iteration raises BrokenArchive if it is cut off, damaged, or not an archive; UnsupportedArchive if it cannot be
    read as a stream; SuspiciousArchive if it is complete, but not what was requested: other names, hours, projects or
    data files, content that is not events, two files for one blob, or no file at all. SuspiciousArchive comes at the
    end, when the archive is certainly not just damaged; at once only if something is too large or too many.
    """

    def __init__(self, chunks: Iterable[bytes], window: Window, *, compressed: bool) -> None:
        self.ignored: list[str] = []
        self._chunks = chunks
        self._window = window
        self._compressed = compressed
        self._sources: dict[str, str] = {}
        self._project = ""

    def __iter__(self) -> Iterator[Member]:
        suspicion: SuspiciousArchive | None = None
        for entry in ZipStream(self._chunks):
            member = None
            try:
                member = self._member(entry)
            except SuspiciousArchive as error:
                suspicion = suspicion or error
            if member and not suspicion:
                yield member
                suspicion = member.suspicion
                continue
            passed_over = sum(len(piece) for piece in entry)
            if entry.is_directory and passed_over:
                suspicion = suspicion or SuspiciousArchive(f"{entry.shown}: a directory that holds bytes.")
        if suspicion is None and not self._sources:
            suspicion = SuspiciousArchive("The archive has no event file. Without events, Amplitude would answer 404.")
        if suspicion:
            raise suspicion

    def _member(self, entry: Entry) -> Member | None:
        """The event file in the entry; None if the entry is not read as events."""
        name = _checked_name(entry)
        if entry.is_directory:
            return None
        match = _EVENT_FILE.fullmatch(name)
        if match:
            return self._event_file(entry, name, match)
        if _DATA_FILE.fullmatch(name):
            raise SuspiciousArchive(
                f"{entry.shown}: a data file that is not named like Amplitude's event files, "
                "<project>/<project>_<date>_<hour>#<part>.json.gz."
            )
        if len(self.ignored) == MOST_IGNORED:
            raise SuspiciousArchive(f"The archive has more than {MOST_IGNORED} entries that hold no events.")
        self.ignored.append(name)
        return None

    def _event_file(self, entry: Entry, name: str, match: re.Match[str]) -> Member:
        project, day, hour, part = match["project"], match["date"], int(match["hour"]), int(match["part"])
        if day != self._window.day.isoformat() or not self._window.start <= hour < self._window.end:
            raise SuspiciousArchive(f"{entry.shown}: outside the requested hours, {self._window}.")
        if self._project not in ("", project):
            raise SuspiciousArchive(f"{entry.shown}: a second project, besides {self._project}.")
        self._project = project
        stem = f"{project}_{day}_{hour:02d}_{part}"
        if stem in self._sources:
            raise SuspiciousArchive(f"{entry.shown} and {self._sources[stem]!r} are the same hour and part.")
        self._sources[stem] = name
        return Member(name, project, hour, part, stem, entry, self._compressed)


def _checked_name(entry: Entry) -> str:
    """The entry's name. Unsafe names are refused."""
    try:
        name = entry.facts.name.decode()
    except UnicodeDecodeError:
        raise SuspiciousArchive(f"{entry.shown}: the name is not UTF-8.") from None
    if not name or len(name) > _LONGEST_NAME:
        raise SuspiciousArchive(f"{entry.shown}: a name of {len(name)} characters.")
    if not name.isprintable() or "\\" in name:
        raise SuspiciousArchive(f"{entry.shown}: a name with a backslash or an unprintable character.")
    if re.match("/|[A-Za-z]:", name) or ".." in name.split("/"):
        raise SuspiciousArchive(f"{entry.shown}: a name that leads out of the archive.")
    return name
