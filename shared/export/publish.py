"""The story of one day: windows → members → staged blobs → all verified → committed → manifest → tidied.

The put of the manifest publishes the day. Before it, everything is invisible or unlisted. After it, only files that
no manifest lists any more are deleted. `docs/protocol.md` says what goes wrong without each rule.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

from shared.dates import DAY
from shared.days.coverage import read_manifest
from shared.days.documents import metadata_number
from shared.days.manifest import LOW_VOLUME, VOLUME_DAYS, LandedFile, Manifest, compare, compare_volume, empty_hours
from shared.days.status import RunStatus
from shared.errors import ConditionNotMet, Displaced, ExportError, FewerEvents, StorageUnavailable
from shared.export.fetch import FetchedWindow, StagedFile
from shared.log import RunLog, log
from shared.names import CONTENT_TYPES, without_try_id
from shared.settings import Settings
from shared.storage.container import Blob, Container, Document

LONGEST_TRY = timedelta(hours=20)
"""A try that took longer puts no manifest, because after 24 hours the sweep deletes its unlisted blobs."""

Each = Callable[[Sequence[Callable[[], None]]], None]
"""Runs tasks in parallel. If one fails, no more begin; after all have ended, raises the first failure."""


@dataclass(slots=True)
class DayExport:
    """The export of a day by the latest try of a run: replaces what has landed with what this try has fetched.

    `locked_at`: when it took the lock, by the storage's clock.
    """

    run: RunStatus
    locked_at: datetime
    settings: Settings
    container: Container
    each: Each
    run_log: RunLog
    clock: Callable[[], datetime]

    def export(self, fetch: Callable[[], Iterator[FetchedWindow]], check: Callable[[], None]) -> Manifest:
        """Fetch all windows, and publish their files as the day. Returns the manifest that was put.

        `check` raises if the day's lock is lost. It is called before the commits and before the put of the manifest.

        If the export raises an ExportError, the landed day is unchanged, and this try's blobs were deleted as far as
        possible, unless the put was sent and may still take effect.
        """
        document, landed = read_manifest(self.container, self.settings.names, self.run.date)
        windows = list(fetch())
        check()
        staged = [file for window in windows for file in window.files]
        if landed is not None and not self.run.replace:
            refuse_fewer(self.run.date, landed.files, [file.file for file in staged])
        commits, files = self._choose(staged, landed)
        manifest = self._manifest(windows, files, landed)
        try:
            self.each([partial(self._commit, file) for file in commits])
            there = self._check_there(files)
            check()
            self._check_age()
        except BaseException:
            self._take_away([file.file.name for file in commits])
            raise
        metadata = manifest.metadata(landed.events if landed else None)
        self._put(manifest, metadata, document, [file.file.name for file in commits])
        if landed is not None and manifest.events > landed.events:
            more = {"events": manifest.events, "events_before": landed.events}
            log(logging.INFO, "day_grew", **self.run.fields, **more)
        self._tidy(manifest, landed, there)
        return manifest

    def _choose(
        self, staged: Sequence[StagedFile], landed: Manifest | None
    ) -> tuple[list[StagedFile], tuple[LandedFile, ...]]:
        """The files to commit, and all files for the manifest. A file with the same bytes keeps its blob."""
        old = landed.files if landed else ()
        # Keep only blobs that still exist unchanged: one without this app's metadata was overwritten by somebody else.
        there = {blob.name: blob.metadata.get("sha256") for blob in self._blobs()} if old else {}
        kept = {(without_try_id(file.name), file.content): file for file in old if there.get(file.name) == file.sha256}
        pairs = [(one, kept.get((without_try_id(one.file.name), one.file.content))) for one in staged]
        files = [replace(one.file, name=same.name) if same else one.file for one, same in pairs]
        commits = [one for one, same in pairs if same is None]
        return commits, tuple(sorted(files, key=lambda file: (file.hour, file.part, file.name)))

    def _blobs(self) -> Iterator[Blob]:
        """All event blobs of the day, listed or not."""
        return self.container.blobs(self.settings.names.events(self.run.date))

    def _manifest(
        self, windows: Sequence[FetchedWindow], files: tuple[LandedFile, ...], landed: Manifest | None
    ) -> Manifest:
        ignored = tuple(entry for window in windows for entry in window.ignored)
        events = sum(file.events for file in files)
        volume = compare_volume(events, self._volumes_before())
        warnings = [f"The archive holds {entry!r}, which is not an event file: it was not read." for entry in ignored]
        if volume and events < LOW_VOLUME * volume.median_events:
            warnings.append(
                f"Only {events} events, {events / volume.median_events:.0%} of the median of the days before "
                f"({volume.median_events})."
            )
        return Manifest(
            date=self.run.date,
            run_id=self.run.run_id,
            try_id=self.run.try_id,
            trigger=self.run.trigger,
            region=self.settings.region,
            started_at=self.run.started_at or self.locked_at,
            finished_at=self.clock(),
            requests=tuple(window.request for window in windows),
            files=files,
            ignored=ignored,
            warnings=tuple(warnings),
            volume=volume,
            changes=compare(landed.files if landed else (), files),
        )

    def _volumes_before(self) -> list[int]:
        """Events of landed days before this one, oldest first: at least the latest seven, if that many have landed."""
        day = self.run.date
        month, month_before = f"{day:%Y-%m}", f"{day.replace(day=1) - DAY:%Y-%m}"
        found: dict[date, int] = {}
        for start in (month, month_before, ""):  # the last one lists all days, if few have landed
            for blob in self.container.blobs(self.settings.names.folder("manifests") + start):
                landed = self.settings.names.day_of(blob.name, "manifests")
                if landed is not None and landed < day and "events" in blob.metadata:
                    found[landed] = metadata_number(blob.metadata, "events")
            if len(found) >= VOLUME_DAYS:
                break
        return [found[landed] for landed in sorted(found)]

    def _commit(self, staged: StagedFile) -> None:
        file = staged.file
        metadata = {"sha256": file.sha256, "events": str(file.events), "run_id": self.run.run_id}
        with self.run_log.timed(file.name, "commit", file.bytes):
            self.container.commit(file.name, list(staged.block_ids), CONTENT_TYPES[self.settings.format], metadata)

    def _check_there(self, files: Sequence[LandedFile]) -> set[str]:
        """All names in the day's folder. Raises StorageUnavailable if a file is not among them."""
        # A proxy may give an answer that belongs to another request, and anybody may have deleted a kept file.
        there = set(self.container.blob_names(self.settings.names.events(self.run.date)))
        missing = [file.name for file in files if file.name not in there]
        if missing:
            raise StorageUnavailable(
                f"{len(missing)} of {len(files)} files are not in the container after the commits. The first of them "
                f"is {missing[0]}."
            )
        return there

    def _put(self, manifest: Manifest, metadata: Mapping[str, str], over: Document | None, own: Sequence[str]) -> None:
        """Publish the day. `own`: the blobs of this try.

        After the put was sent, it may have taken effect, so this try's blobs stay. They are deleted only if the storage
        refuses the put, and no copy of it can take effect later.
        """
        name, data = self.settings.names.manifest(self.run.date), manifest.to_json()
        try:
            with self.run_log.timed(name, "put manifest", len(data)):
                self.container.put(name, data, metadata, over=over.etag if over else None)
        except (ConditionNotMet, StorageUnavailable) as error:
            _, landed = read_manifest(self.container, self.settings.names, self.run.date)
            if landed and landed.try_id == self.run.try_id:
                return
            if isinstance(error, StorageUnavailable):
                raise
            if landed or over:  # an etag never occurs twice, but "no manifest" may be true again later
                listed = {file.name for file in landed.files} if landed else set()
                self._take_away([blob for blob in own if blob not in listed])
            raise Displaced(f"Another try has landed {self.run.date} first. This one changed nothing.") from error

    def _check_age(self) -> None:
        # The sweep deletes old unlisted blobs. If this try has slept for that long, its own blobs may be gone.
        if self.clock() - (self.run.started_at or self.locked_at) > LONGEST_TRY:
            raise Displaced(f"The export of {self.run.date} took longer than a try may take. It begins again.")

    def _tidy(self, manifest: Manifest, replaced: Manifest | None, there: set[str]) -> None:
        """Delete unlisted files: those that were replaced, and those that dead tries left before this one began.

        `there`: the names in the day's folder.
        """
        listed = {file.name for file in manifest.files}
        old = {file.name for file in replaced.files} - listed if replaced else set()
        try:
            for blob in self._blobs() if there - listed - old else ():
                # Younger blobs stay, because a try that wakes up late must not delete the blobs of its successor.
                if blob.name not in listed and blob.last_modified < self.locked_at:
                    old.add(blob.name)
        except ExportError as error:
            self._not_deleted(self.settings.names.events(self.run.date), error)
        self._take_away(sorted(old))

    def _take_away(self, names: Sequence[str]) -> None:
        """Delete blobs as far as possible. The next try or the nightly sweep deletes the rest."""
        self.each([partial(self._take_away_one, name) for name in names])

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
        log(logging.WARNING, "delete_failed", **self.run.fields, blob=name, error_type=error.type)


def refuse_fewer(day: date, landed: Sequence[LandedFile], new: Sequence[LandedFile]) -> None:
    """Raise FewerEvents if there are fewer events, none in an hour that had some, or those of another project."""
    before, after = sum(file.events for file in landed), sum(file.events for file in new)
    lost = sorted(set(empty_hours(new)) - set(empty_hours(landed)))
    old_project, new_project = (", ".join(sorted({file.project for file in files})) for files in (landed, new))
    if old_project and new_project and old_project != new_project:
        raise FewerEvents(day, before, after, lost_hours=lost, landed_project=old_project, exported_project=new_project)
    if after < before or lost:
        raise FewerEvents(day, before, after, lost_hours=lost)
