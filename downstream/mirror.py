"""Copies what the container's manifests list into a folder: `python -m downstream.mirror FOLDER`.

The folder keeps the container's promise: if it has a day's manifest, it has all files of that day, verified. The next
call fetches only what is new. One mirror at a time may write to a folder.
"""

from __future__ import annotations

import argparse
import glob
import gzip
import hashlib
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient
from filelock import FileLock, Timeout
from rich.console import Console

from cli.settings import SOURCES, find_settings
from downstream.source import read_document
from shared.dates import parse_day
from shared.days.manifest import LandedFile, Manifest
from shared.errors import ExportError, InvalidDate, InvalidManifest, SettingsError
from shared.names import Names
from shared.settings import load_storage_settings
from shared.storage.connect import open_client

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
DOWNLOADS = 8
"""Files that are fetched at a time."""
OVERTAKEN_LIMIT = 5
"""How often in a row a day may change while it is copied."""
LINE_SECONDS = 10
"""How often a line of progress is written if stderr is not a terminal."""

WORK = ".mirror"
"""Holds the lock and the files that are arriving; it is there only during a call."""
LONGEST_NAME = 255
"""The longest name of a file that file systems take."""
_EVENT_FILE = re.compile(r"hour=[0-9]{2}/[0-9]+_[0-9-]+_[0-9]+_[0-9]+\.[0-9a-f]{8}\.json(\.gz)?")

messages = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


class MirrorError(Exception):
    """The folder could not be brought up to date. Each day in it is as complete as before."""


class _BadNameError(MirrorError):
    """A manifest lists a name that the app does not write."""


@dataclass(slots=True)
class Copied:
    """What one call did."""

    days: int = 0
    files: int = 0
    removed: int = 0
    skipped: list[str] = field(default_factory=list)
    """Blobs next to the manifests that are not manifests."""
    days_skipped: list[str] = field(default_factory=list)
    """Days whose manifest lists a name that is not one of their event files. They are unchanged."""


@dataclass(frozen=True, slots=True)
class Range:
    """The days that a call handles; all days by default."""

    first: date = date.min
    last: date = date.max

    def __contains__(self, day: date | None) -> bool:
        return day is not None and self.first <= day <= self.last


def mirror(
    container: ContainerClient,
    folder: Path,
    prefix: str = "",
    days: Range | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Copied:
    """Bring the folder up to date with the container: copy new and changed days, remove expired ones.

    A day that cannot be copied stops no other day. Days outside of the range stay as they are.

    Raises:
        MirrorError: another mirror is writing to the folder, there is no manifest, or a day cannot be copied: a file is
            not what its manifest says, or the day changes too fast. All other days are up to date then.

    """
    with _lock(folder), ThreadPoolExecutor(DOWNLOADS) as pool:
        try:
            return _Mirror(container, folder, Names(prefix), days or Range(), pool, on_progress).run()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", blocking=False):
            for left in work.glob("*.part"):
                left.unlink()
            try:
                yield
            finally:
                # The lock file goes while it is held: whoever has just opened it notices, and opens a new one.
                with suppress(OSError):
                    shutil.rmtree(work)
    except Timeout:
        raise MirrorError(
            f"Another mirror is writing to {folder}. This one has copied nothing: run it again later."
        ) from None


@dataclass(frozen=True, slots=True)
class _Mirror:
    container: ContainerClient
    folder: Path
    names: Names
    days: Range
    pool: ThreadPoolExecutor
    on_progress: Callable[[str], None]

    def run(self) -> Copied:
        copied, problems = Copied(), []
        manifests = self._listed(copied)
        wanted = {name: blob for name, blob in manifests.items() if not _is_copied(blob, self.folder / name)}
        for number, name in enumerate(wanted, 1):
            self.on_progress(f"{name}: {number} of {len(wanted)} days, {copied.files} files fetched")
            try:
                self._copy_day(name, copied)
            except _BadNameError as error:
                copied.days_skipped.append(str(error))
            except (MirrorError, InvalidManifest) as error:
                problems.append(str(error))
            except HttpResponseError as error:  # one blob, in the archive tier for example
                problems.append(f"{name} or a file of the day cannot be read: {error.reason} ({error.status_code}).")
        for path in self._local_manifests():
            if path.relative_to(self.folder).as_posix() not in manifests:
                path.unlink()
        self._sweep(copied)
        if problems:
            raise MirrorError(
                " ".join([*problems, *copied.skipped, *copied.days_skipped, "All other days are up to date."])
            )
        return copied

    def _listed(self, copied: Copied) -> dict[str, BlobProperties]:
        """The manifests of the range, by name. A blob next to them that is not a manifest is named and skipped."""
        start = self.names.folder("manifests")
        listed, found = {}, False
        for blob in self.container.list_blobs(name_starts_with=start):
            day = self.names.day_of(blob.name, "manifests")
            found = found or day is not None
            if day is None or not self._is_inside(blob.name):
                copied.skipped.append(f"{blob.name!r} is not the name of a manifest.")
            elif day in self.days:
                listed[blob.name] = blob
        if not found:
            raise MirrorError(
                f"Container {self.container.container_name} has no manifest under {start}. Has a day been exported, "
                "and are EXPORT_CONTAINER and EXPORT_PREFIX those of the app?"
            )
        return listed

    def _copy_day(self, name: str, copied: Copied) -> None:
        for _ in range(OVERTAKEN_LIMIT):
            try:
                content = read_document(self.container, name)
            except ResourceNotFoundError:
                return  # it expired after it was listed
            manifest = Manifest.from_json(content, name)
            for file in manifest.files:
                self._check(manifest, file)
            if len({file.name for file in manifest.files}) < len(manifest.files):
                raise _BadNameError(f"{manifest.date}: its manifest lists a file twice.")
            try:
                copied.files += self._copy_files(manifest)
            except ResourceNotFoundError:
                continue  # a new export has replaced this one: its manifest is there by now
            arriving = self._arriving(name)
            arriving.write_bytes(content)
            self._arrive(arriving, self.folder / name)
            copied.days += 1
            return
        raise MirrorError(f"{name} changed {OVERTAKEN_LIMIT} times while its files were copied. Run this again later.")

    def _check(self, manifest: Manifest, file: LandedFile) -> None:
        start = self.names.events(manifest.date)
        ours = file.name.startswith(start) and _EVENT_FILE.fullmatch(file.name, len(start))
        fits = len(file.name.rpartition("/")[2]) <= LONGEST_NAME
        if not (ours and fits and self._is_inside(file.name)):
            raise _BadNameError(
                f"{manifest.date}: its manifest lists {file.name!r}, which is not an event file of the day."
            )

    def _is_inside(self, name: str) -> bool:
        return (self.folder / name).resolve().is_relative_to(self.folder.resolve())

    def _copy_files(self, manifest: Manifest) -> int:
        """Returns how many files were fetched. All downloads have ended when this returns or raises."""
        downloads = [self.pool.submit(self._copy_file, file) for file in manifest.files]
        wait(downloads)
        return sum(download.result() for download in downloads)

    def _copy_file(self, file: LandedFile) -> bool:
        """Fetch a listed file, unless the folder already has it: the content of a name never changes."""
        local = self.folder / file.name
        if local.exists():
            return False
        arriving = self._arriving(file.name)
        with arriving.open("wb") as target:
            self.container.download_blob(file.name).readinto(target)
        if _sha256(arriving, file.name) != file.sha256:
            arriving.unlink()
            raise MirrorError(f"{file.name} does not have the checksum that its manifest gives. Export the day again.")
        self._arrive(arriving, local)
        return True

    def _arriving(self, name: str) -> Path:
        # A name of its own for each file, and a short one: a blob's name may be longer than a file's.
        return self.folder / WORK / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.part"

    def _arrive(self, arriving: Path, local: Path) -> None:
        local.parent.mkdir(parents=True, exist_ok=True)
        arriving.replace(local)

    def _local_manifests(self) -> list[Path]:
        found = self.folder.glob(f"{glob.escape(self.names.folder('manifests'))}*.json")
        days = {path: self.names.day_of(path.relative_to(self.folder).as_posix(), "manifests") for path in found}
        return sorted(path for path, day in days.items() if day in self.days)

    def _sweep(self, copied: Copied) -> None:
        """Remove the files of the range that no manifest in the folder lists any more."""
        listed = set()
        for path in self._local_manifests():
            name = path.relative_to(self.folder).as_posix()
            listed |= {file.name for file in Manifest.from_json(path.read_bytes(), name).files}
        for path in self.folder.glob(f"{glob.escape(self.names.folder('events'))}*/hour=*/*"):
            name = path.relative_to(self.folder).as_posix()
            if self.names.day_of(name, "events") in self.days and name not in listed:
                path.unlink()
                copied.removed += 1


def _is_copied(blob: BlobProperties, local: Path) -> bool:
    """Whether the folder has exactly this manifest. If so, it also has its files, which are written first."""
    remote = blob.content_settings.content_md5
    return remote is not None and local.exists() and hashlib.md5(local.read_bytes()).digest() == bytes(remote)  # noqa: S324 - the storage's own checksum


def _sha256(path: Path, name: str) -> str:
    """The checksum of the events, which is the same in either format. Empty if the file should be gzip but is not."""
    with (
        suppress(gzip.BadGzipFile, EOFError, zlib.error),
        gzip.open(path) if name.endswith(".gz") else path.open("rb") as file,
    ):
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Shows each step on a terminal, otherwise a line now and then."""
    next_line = time.monotonic() + LINE_SECONDS

    def show(step: str) -> None:
        nonlocal next_line
        status.update(step)
        if not messages.is_terminal and time.monotonic() >= next_line:
            next_line = time.monotonic() + LINE_SECONDS
            messages.print(step)

    with messages.status("looking for what is new") as status:
        yield show


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns 0 if the folder is up to date, 1 if a day is not, 2 for wrong usage or settings, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m downstream.mirror", description=__doc__, epilog=SOURCES)
    parser.add_argument("folder", type=Path, help="the target folder; created if missing")
    parser.add_argument("--from", dest="first", metavar="DAY", default="0001-01-01", help="the first day; default: all")
    parser.add_argument("--to", dest="last", metavar="DAY", default="9999-12-31", help="the last day; default: all")
    options = parser.parse_args(arguments)
    try:
        days = Range(parse_day(options.first), parse_day(options.last))
        settings = load_storage_settings(find_settings(Path.cwd()))
        with open_client(settings) as container, _progress() as show:
            copied = mirror(container, options.folder, settings.prefix, days, show)
    except (InvalidDate, SettingsError) as error:
        messages.print(f"{error.type}: {error}")
        return WRONG
    except (MirrorError, AzureError, ExportError, OSError) as error:
        messages.print(f"{type(error).__name__}: {error}")
        return FAILED
    except KeyboardInterrupt:
        messages.print("Interrupted. Each day in the folder is complete; the next call copies the others.")
        return INTERRUPTED
    for skipped in copied.skipped + copied.days_skipped:
        messages.print(f"Skipped: {skipped}")
    print(
        f"{options.folder}: days new or changed: {copied.days}, {copied.files} files fetched, {copied.removed} removed"
    )
    return FAILED if copied.days_skipped else DONE


if __name__ == "__main__":
    sys.exit(main())
