"""Which days have landed, from a few list calls: the main figures are in the blobs' metadata."""

import os.path
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime

from shared.dates import days_between, newest_complete_day, oldest_kept_day
from shared.days.day import Day, Landed
from shared.days.manifest import Manifest
from shared.days.state import State
from shared.days.status import RunStatus
from shared.names import Kind, Names
from shared.settings import Settings
from shared.storage.container import Blob, Container, Document


def read_coverage(container: Container, settings: Settings, first: date, last: date, now: datetime) -> list[Day]:
    """The days from `first` to `last`, from listings.

    Days before the start date, and days that are not complete yet, are not missing. They are left out, unless they
    have a run or a manifest.
    """
    names = settings.names
    manifests = _by_day(container, names, "manifests", first, last)
    statuses = _by_day(container, names, "status", first, last)
    newest, oldest = newest_complete_day(now), oldest_kept_day(now, settings.retention_days)
    days = []
    for day in days_between(first, last):
        manifest, status = manifests.get(day), statuses.get(day)
        if not (manifest or status) and ((settings.start_date and day < settings.start_date) or day > newest):
            continue
        run = RunStatus.from_metadata(day, status.metadata) if status else None
        landed = Landed.from_metadata(manifest.metadata) if manifest else None
        nothing = State.EXPIRED if day < oldest else State.MISSING
        otherwise = State.FAILED if status else nothing  # a status that somebody else wrote
        days.append(Day.of(day, run, leased=bool(status and status.leased), landed=landed, otherwise=otherwise))
    return days


def read_manifest(container: Container, names: Names, day: date) -> tuple[Document | None, Manifest | None]:
    """A day's manifest, as a blob and as a value. Raises InvalidManifest if this app did not write it."""
    name = names.manifest(day)
    document = container.read(name)
    return document, Manifest.from_json(document.data, name) if document else None


def read_day(container: Container, names: Names, day: date) -> Day | None:
    """A day by its status and its manifest; None if it has neither. Raises InvalidManifest if it cannot be read."""
    status = container.read(names.status(day))
    document, manifest = read_manifest(container, names, day)
    if status is None and document is None:
        return None
    run = RunStatus.from_json(status.data) if status else None
    landed = Landed.of(manifest, document.metadata) if manifest and document else None
    found = Day.of(day, run, leased=bool(status and status.leased), landed=landed, otherwise=State.FAILED)
    return replace(found, manifest=manifest)


def _by_day(container: Container, names: Names, kind: Kind, first: date, last: date) -> Mapping[date, Blob]:
    """The blobs of one kind by day. A list call for each year, so that other years cost nothing."""
    found: dict[date, Blob] = {}
    for year in range(first.year, last.year + 1):
        ends = max(first, date(year, 1, 1)), min(last, date(year, 12, 31))
        common = os.path.commonprefix(list(map(str, ends)))  # noqa: RUF071 - characters, not folders
        for blob in container.blobs(names.folder(kind) + common):
            day = names.day_of(blob.name, kind)
            if day is not None and first <= day <= last:
                found[day] = blob
    return found
