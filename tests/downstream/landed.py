"""Lays out a folder as an export leaves a container: files under names of their own, and a manifest a day."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from local.simulator.events import lines

PROJECT = 187520
SEEN_AT = datetime(2025, 11, 5, 3, 31, 40, tzinfo=UTC)


def hour_of_events(day: date, hour: int, count: int) -> bytes:
    """A file of events, the same at every call."""
    return b"".join(lines(PROJECT, day, hour, 0, count))


@dataclass(frozen=True, slots=True)
class Landed:
    """A folder with what a container holds."""

    folder: Path
    prefix: str = ""

    def export(
        self,
        day: date,
        hours: Mapping[int, Sequence[bytes]],
        *,
        attempt: str,
        file_format: str = "json",
        finished_at: datetime = SEEN_AT,
    ) -> dict[str, Any]:
        """Write a day: for each hour the contents of its files. Leaves the files of earlier exports where they are."""
        files = [
            self._write(day, hour, part, content, f"{attempt}.{file_format}")
            for hour, parts in hours.items()
            for part, content in enumerate(parts)
        ]
        manifest = {
            "version": 1,
            "date": day.isoformat(),
            "status": "complete" if files else "empty",
            "run_id": f"run-{attempt}",
            "try": attempt,
            "trigger": "timer",
            "region": "eu",
            "started_at": finished_at.isoformat(),
            "finished_at": finished_at.isoformat(),
            "requests": [],
            "files": files,
            "empty_hours": [hour for hour in range(24) if hour not in hours],
            "ignored": [],
            "warnings": [],
            "totals": {
                "files": len(files),
                "bytes": sum(file["bytes"] for file in files),
                "events": sum(file["events"] for file in files),
                "download_bytes": 0,
            },
            "volume": None,
            "changes": {"added": len(files), "changed": 0, "removed": 0, "unchanged": 0},
        }
        path = self.manifest(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))
        return manifest

    def manifest(self, day: date) -> Path:
        """Where a day's manifest stands."""
        return self.folder / f"{self.prefix}manifests/date={day}.json"

    def _write(self, day: date, hour: int, part: int, content: bytes, ending: str) -> dict[str, Any]:
        name = f"{self.prefix}events/date={day}/hour={hour:02d}/{PROJECT}_{day}_{hour:02d}_{part}.{ending}"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
        return {
            "name": name,
            "source": f"{PROJECT}/{PROJECT}_{day}_{hour}#{part}.json.gz",
            "hour": hour,
            "part": part,
            "bytes": len(content),
            "events": len(content.splitlines()),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
