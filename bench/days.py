"""The days that are exported: simulated events in realistic archives, each in a file named after its day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from local.simulator import Form, Simulator
from local.simulator.events import lines
from shared.dates import HOURS

FIRST_DAY = date(2025, 11, 3)
PROJECT = 187520
_DISTINCT = 2000
_SAMPLE = 500


@dataclass(frozen=True, slots=True)
class Volume:
    """How large a day is. `size`: decompressed bytes, roughly; `parts`: files an hour."""

    size: int
    parts: int = 1
    deflated: bool = False


def make_days(folder: Path, volumes: list[Volume]) -> dict[Volume, date]:
    """Make an archive for each volume, unless the folder has it. Returns the day of each."""
    folder.mkdir(parents=True, exist_ok=True)
    days: dict[Volume, date] = {}
    for volume in dict.fromkeys(volumes):
        # The file is named after its volume, because the day of a volume depends on which other volumes are measured.
        kept = folder / f"{volume.size}-{volume.parts}-{'deflated' if volume.deflated else 'stored'}"
        day = FIRST_DAY + timedelta(weeks=len(days))
        archive = kept / f"{day:%Y%m%d}.zip"
        if not archive.exists():
            kept.mkdir(exist_ok=True)
            _make(archive, day, volume)
        link = folder / archive.name
        link.unlink(missing_ok=True)
        link.hardlink_to(archive)
        days[volume] = day
    return days


def _make(archive: Path, day: date, volume: Volume) -> None:
    sample = b"".join(lines(PROJECT, day, 0, 0, _SAMPLE))
    events = volume.size * _SAMPLE // len(sample)
    simulator = Simulator(
        project=PROJECT,
        events_per_hour=events // HOURS,
        parts=volume.parts,
        distinct_events=max(_DISTINCT // volume.parts, 1),
        form=Form(deflated=volume.deflated),
    )
    unfinished = archive.with_suffix(".part")
    with unfinished.open("wb") as file:
        file.writelines(simulator.archive(day))
    unfinished.rename(archive)
