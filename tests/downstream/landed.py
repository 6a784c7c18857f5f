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
TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY = (date(2025, 11, day) for day in range(4, 9))
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
            "version": 1, "date": day.isoformat(), "status": "complete" if files else "empty",
            "run_id": f"run-{attempt}", "try": attempt, "trigger": "timer", "region": "eu",
            "started_at": finished_at.isoformat(), "finished_at": finished_at.isoformat(),
            "requests": [], "files": files, "ignored": [], "warnings": [],
            "empty_hours": [hour for hour in range(24) if hour not in hours],
            "totals": {
                "files": len(files),
                "bytes": sum(file["bytes"] for file in files),
                "events": sum(file["events"] for file in files),
                "download_bytes": 0,
            },
            "volume": None,
            "changes": {"added": len(files), "changed": 0, "removed": 0, "unchanged": 0},
        }  # fmt: skip
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
            "events": sum(bool(line.strip()) for line in content.split(b"\n")),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


BROWSER_EVENT = json.loads(hour_of_events(TUESDAY, 9, 1)) | {
    "event_type": "[Amplitude] Page Viewed",
    "device_id": "browser-1",
    "session_id": 1762249341795,
    "os_name": "Firefox",
    "event_properties": {
        "[Amplitude] Page URL": "https://example.com/a.b?c=1",
        "[Amplitude] Page Path": "/a.b",
        "[Amplitude] Page Counter": 2.0,
        "referrer": "https://search.example/",
        "price": 6396.0,
    },
    "user_properties": {"initial_utm_source": "newsletter", "initial_utm_term": "EMPTY"},
}

BROKEN = [
    b'"\\ud83d"',
    b'"\\p"',
    b'"\t"',
    b'"\0"',
    b'"\xff"',
    b'"\xed\xa0\xbd\xed\xb8\x80"',
    b"Firefox",
    b'"Firefox"}{"a":1',
]
"""Values that make a line no JSON: half a surrogate, an unknown escape, raw control characters, no UTF-8, CESU-8, no
literal, and a second object."""


def line(**changes: object) -> bytes:
    """A page view in a browser as Amplitude writes it: compact, and with the changes given."""
    return json.dumps(BROWSER_EVENT | changes, separators=(",", ":")).encode() + b"\n"


BAD = [*(line(uuid="bad").replace(b'"Firefox"', broken) for broken in BROKEN), b"[1]\n"]
NOTATION = b'{"uuid":"notation","event_time":"2025-11-07 00:00:00",'
NOTATION += b'"event_properties":{"a":1e2,"b":-0,"c":"\\u00e9","d":0.0}}\n'
ODD = [
    line(uuid="colons", event_time="2022:05:27 10:00:00"),
    line(uuid="far", event_time="300000-01-01 00:00:00", client_event_time="infinity"),
    line(uuid="late", event_time="52811-01-01 00:00:00", session_id=10**30, paying={"a": [1]}, location_lat="north"),
    line(uuid="counter", event_properties={"[Amplitude] Page Counter": 1e300}, event_properties_="\0"),
    line(uuid=None, event_type="nul \0 inside"),
    b'{"event_type":7}\n',
]


def long_line(megabytes: int = 20) -> bytes:
    """A line so long, by default longer than DuckDB reads unless it is told to."""
    return line(uuid="long", event_properties={"text": "x" * megabytes * 1_000_000})


def odd_days(landed: Landed) -> None:
    """Four days: good lines, bad lines among good ones and a long one, nothing but a bad line, odd values."""
    landed.export(TUESDAY, {1: [b"unlisted, and no JSON\n"]}, attempt="0dead000")
    pages = [line(uuid="one", device_id="reader"), line(uuid="two", device_id="reader", session_id=-1).rstrip()]
    landed.export(TUESDAY, {0: [hour_of_events(TUESDAY, 0, 60)], 9: pages}, attempt="aaaaaaaa")
    lines = [line(uuid="first"), b" \n", *BAD, long_line(), line(uuid="last")]
    landed.export(WEDNESDAY, {9: [b"".join(lines)]}, attempt="bbbbbbbb", file_format="json.gz")
    landed.export(THURSDAY, {9: [BAD[0]]}, attempt="cccccccc")
    landed.export(FRIDAY, {9: [b"".join(ODD), NOTATION]}, attempt="dddddddd")
