"""The story of one day: windows → members → staged blobs → all verified → committed → manifest → tidied.

The day changes at one instant, the put of its manifest. Before it, everything is invisible or unlisted; after it, only
what no manifest lists any more is deleted. `docs/protocol.md` says which broken promise each rule prevents.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol

from shared.days.documents import metadata_number
from shared.days.manifest import LOW_VOLUME, LandedFile, Manifest, compare, compare_volume, empty_hours
from shared.errors import ConditionNotMet, Displaced, ExportError, FewerEvents, StorageUnavailable
from shared.export.fetch import FetchedWindow, StagedFile, Try
from shared.log import RunLog, log
from shared.names import CONTENT_TYPES, Names, without_try_id
from shared.storage.container import Blob, Document, Written


class DayContainer(Protocol):
    """What the story needs of the container; `storage.container.Container` is the real one."""

    def read(self, name: str) -> Document | None:
        """A small blob; None if there is none."""

    def blobs(self, start: str) -> Iterator[Blob]:
        """All blobs whose name starts so."""

    def commit(self, name: str, block_ids: list[str], content_type: str, metadata: Mapping[str, str]) -> None:
        """Make a blob of staged blocks, only where nothing is."""

    def put(self, name: str, data: bytes, metadata: Mapping[str, str], *, over: str | None) -> Written:
        """Write a small blob on condition that what is there still has the etag `over`."""

    def delete(self, name: str) -> bool:
        """Delete a blob; False if it was gone already."""


LONGEST_TRY = timedelta(hours=20)
"""A try that took longer puts no manifest: after 24 hours its unlisted blobs are swept."""

Each = Callable[[Sequence[Callable[[], None]]], None]
"""Runs tasks side by side; raises the first failure once none runs any more."""


@dataclass(slots=True)
class DayExport:
    """One try's view of the day: what has landed, and what this try puts in its place."""

    try_: Try
    names: Names
    container: DayContainer
    each: Each
    run_log: RunLog
    clock: Callable[[], datetime]

    def export(self, fetch: Callable[[], Iterator[FetchedWindow]], check: Callable[[], None]) -> Manifest:
        """Fetch all windows, and make the day what they hold. Returns the manifest that was put.

        `check` raises once the day's lock is lost; it is asked before anything is committed, and before the manifest.

        Raises:
            ExportError: whatever went wrong; the landed day is as it was. Blobs of this try are gone, unless the
                manifest put was sent and the storage did not refuse it for another try's.

        """
        document, landed = self._landed()
        windows = list(fetch())
        check()
        staged = [file for window in windows for file in window.files]
        if landed is not None and not self.try_.replace:
            refuse_fewer(self.try_.day, landed.files, [file.file for file in staged])
        commits, files = self._choose(staged, landed)
        manifest = self._manifest(windows, files, landed)
        try:
            self._commit(commits)
            check()
            self._check_age()
        except BaseException:
            self._take_away([file.file.name for file in commits])
            raise
        self._put(manifest, document, [file.file.name for file in commits])
        if landed is not None and manifest.events > landed.events:
            more = {"events": manifest.events, "events_before": landed.events}
            log(logging.INFO, "day_grew", **self.try_.fields, **more)
        self._tidy(manifest, landed)
        return manifest

    def _landed(self) -> tuple[Document | None, Manifest | None]:
        name = self.names.manifest(self.try_.day)
        document = self.container.read(name)
        return document, Manifest.from_json(document.data, name) if document else None

    def _choose(
        self, staged: Sequence[StagedFile], landed: Manifest | None
    ) -> tuple[list[StagedFile], tuple[LandedFile, ...]]:
        """What is to be committed, and what the manifest will list: a file with the same bytes keeps its blob."""
        old = landed.files if landed else ()
        # A blob that somebody has deleted or written over since is not kept: without our metadata it is not ours.
        there = {blob.name: blob.metadata.get("sha256") for blob in self._blobs()} if old else {}
        kept = {(without_try_id(file.name), file.content): file for file in old if there.get(file.name) == file.sha256}
        commits: list[StagedFile] = []
        files: list[LandedFile] = []
        for one in staged:
            same = kept.get((without_try_id(one.file.name), one.file.content))
            if same is None:
                commits.append(one)
            files.append(one.file if same is None else replace(one.file, name=same.name))
        return commits, tuple(sorted(files, key=lambda file: (file.hour, file.part, file.name)))

    def _blobs(self) -> Iterator[Blob]:
        """All event blobs of the day, listed or not."""
        return self.container.blobs(self.names.events(self.try_.day))

    def _manifest(
        self, windows: Sequence[FetchedWindow], files: tuple[LandedFile, ...], landed: Manifest | None
    ) -> Manifest:
        ignored = tuple(entry for window in windows for entry in window.ignored)
        events = sum(file.events for file in files)
        volume = compare_volume(events, self._volumes_before())
        warnings = [f"The archive holds {entry!r}, which is no event file: it was not read." for entry in ignored]
        if volume and events < LOW_VOLUME * volume.median_events:
            warnings.append(
                f"Only {events} events, {events / volume.median_events:.0%} of the median of the days before "
                f"({volume.median_events})."
            )
        return Manifest(
            date=self.try_.day,
            run_id=self.try_.run_id,
            try_id=self.try_.id,
            trigger=self.try_.trigger,
            region=self.try_.region,
            started_at=self.try_.started_at,
            finished_at=self.clock(),
            requests=tuple(window.request for window in windows),
            files=files,
            ignored=ignored,
            warnings=tuple(warnings),
            volume=volume,
            changes=compare(landed.files if landed else (), files),
        )

    def _volumes_before(self) -> list[int]:
        """Events of each landed day before this one, the latest last."""
        found: list[tuple[date, int]] = []
        for blob in self.container.blobs(self.names.folder("manifests")):
            day = self.names.day_of(blob.name, "manifests")
            if day is not None and day < self.try_.day and "events" in blob.metadata:
                found.append((day, metadata_number(blob.metadata, "events")))
        return [events for _, events in sorted(found)]

    def _commit(self, commits: Sequence[StagedFile]) -> None:
        self.each([_call(self._commit_one, file) for file in commits])

    def _commit_one(self, staged: StagedFile) -> None:
        file = staged.file
        metadata = {"sha256": file.sha256, "events": str(file.events), "run_id": self.try_.run_id}
        with self.run_log.timed(file.name, "commit", file.bytes):
            self.container.commit(file.name, list(staged.block_ids), CONTENT_TYPES[self.try_.format], metadata)

    def _put(self, manifest: Manifest, over: Document | None, own: Sequence[str]) -> None:
        """The moment. `own`: the blobs of this try.

        Once the put was sent it may have come through, so nothing is taken away but what `_tidy` may; except after a
        refusal for another try's manifest, for then no copy of the put can come through later.
        """
        name, data = self.names.manifest(self.try_.day), manifest.to_json()
        try:
            with self.run_log.timed(name, "put manifest", len(data)):
                self.container.put(name, data, manifest.metadata(), over=over.etag if over else None)
        except ConditionNotMet as error:
            _, landed = self._landed()
            if landed and landed.try_id == self.try_.id:
                return
            if landed or over:  # an etag never comes back, but an absence might
                listed = {file.name for file in landed.files} if landed else set()
                self._take_away([blob for blob in own if blob not in listed])
            raise Displaced(f"Another try has landed {self.try_.day} meanwhile; this one changed nothing.") from error
        except StorageUnavailable:
            _, landed = self._landed()
            if not landed or landed.try_id != self.try_.id:
                raise

    def _check_age(self) -> None:
        # The sweep takes what is older than any try lives: one that slept for so long may have lost its blobs to it.
        if self.clock() - self.try_.started_at > LONGEST_TRY:
            raise Displaced(f"The export of {self.try_.day} took longer than a try may live; it begins again.")

    def _tidy(self, manifest: Manifest, replaced: Manifest | None) -> None:
        """Delete what the day no longer lists: the replaced files, and what dead tries left before this one began."""
        listed = {file.name for file in manifest.files}
        old = {file.name for file in replaced.files} - listed if replaced else set()
        try:
            for blob in self._blobs():
                # Younger blobs stay: a try that wakes up late must not delete its successor's.
                if blob.name not in listed and blob.last_modified < self.try_.locked_at:
                    old.add(blob.name)
        except ExportError as error:
            self._not_deleted(self.names.events(self.try_.day), error)
        self._take_away(sorted(old))

    def _take_away(self, names: Sequence[str]) -> None:
        """Delete blobs as far as that can be done; what stays is left to the next try or the nightly sweep."""
        self.each([_call(self._take_away_one, name) for name in names])

    def _take_away_one(self, name: str) -> None:
        started = time.monotonic()
        try:
            gone = self.container.delete(name)
        except ExportError as error:
            self._not_deleted(name, error)
        else:
            self.run_log.add(name, "delete", "ok" if gone else "was gone", seconds=time.monotonic() - started)

    def _not_deleted(self, name: str, error: ExportError) -> None:
        self.run_log.add(name, "delete", error.type)
        log(logging.WARNING, "delete_failed", **self.try_.fields, blob=name, error_type=error.type)


def refuse_fewer(day: date, landed: Sequence[LandedFile], new: Sequence[LandedFile]) -> None:
    """Refuse an export that holds less than the day that has landed.

    Raises:
        FewerEvents: fewer events, none in an hour that had some, or those of another project.

    """
    before, after = sum(file.events for file in landed), sum(file.events for file in new)
    lost = sorted(set(empty_hours(new)) - set(empty_hours(landed)))
    old_project, new_project = _projects(landed), _projects(new)
    if old_project and new_project and old_project != new_project:
        raise FewerEvents(day, before, after, lost_hours=lost, landed_project=old_project, exported_project=new_project)
    if after < before or lost:
        raise FewerEvents(day, before, after, lost_hours=lost)


def _projects(files: Sequence[LandedFile]) -> str:
    return ", ".join(sorted({file.project for file in files}))


def _call[T](function: Callable[[T], None], argument: T) -> Callable[[], None]:
    return lambda: function(argument)
