"""What is compared with what, and what the project aims at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.contenders import tools
from bench.days import Volume
from bench.measure import GB, MB, Contender, Figures

SLICE_BYTES = 100_000_000
"""So much is parsed: parsing takes so long, and so much memory, that a slice says enough."""
LARGEST = 10 * GB

PROJECT, DEFLATED, PACKED = "this project", "this project, members deflated", "this project, json.gz"
BY_HAND, PARSED = "by hand: disk, then upload", "parsed into one JSON array"
DOWNLOAD, INFLATE, CHECKSUM, UPLOAD = "leg: download", "leg: inflate and verify", "leg: SHA-256", "leg: upload"
TOOLS = f"C tools: {tools.found(tools.UNZIP)} into {tools.found(tools.GUNZIP)}"
LINK_UPLOAD, LINK_PROJECT = "leg: upload, 200 MB/s link", "this project, 200 MB/s link"
LEGS = (DOWNLOAD, INFLATE, CHECKSUM, UPLOAD)


def contenders(size: int) -> list[Contender]:
    """Side by side on one day, but for the parser, which gets a slice."""
    day = Volume(size)
    found = [
        Contender(PROJECT, "project.export", day),
        Contender(DEFLATED, "project.export", Volume(size, deflated=True)),
        Contender(PACKED, "project.export", day, (("EXPORT_FORMAT", "json.gz"),)),
        Contender(BY_HAND, "today.by_hand", day),
        Contender(PARSED, "today.parsed", Volume(SLICE_BYTES)),
        Contender(DOWNLOAD, "legs.download", day),
        Contender(INFLATE, "legs.inflate", day),
        Contender(CHECKSUM, "legs.checksum", day),
        Contender(UPLOAD, "legs.upload", day),
        Contender(LINK_UPLOAD, "legs.upload", day, link=True),
        Contender(LINK_PROJECT, "project.export", day, link=True),
    ]
    if tools.found(tools.UNZIP) and tools.found(tools.GUNZIP):
        found.append(Contender(TOOLS, "tools.inflate", day))
    return found


def growth(*, largest: bool) -> list[Contender]:
    """The project on days of growing size."""
    sizes = [GB // 10, GB, *([LARGEST] if largest else [])]
    return [Contender(f"{size / GB:g} GB", "project.export", Volume(size)) for size in sizes]


def parts() -> list[Contender]:
    """The project on a day of 1 GB in more and more files."""
    return [Contender(f"{n} an hour", "project.export", Volume(GB, parts=n)) for n in (1, 4, 16)]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is held against what must be and what is aimed at; `at_least` or at most."""

    name: str
    value: float
    must: float
    aim: float
    at_least: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """In a word."""
        if self._holds(self.aim):
            return "aim met"
        return "goal met" if self._holds(self.must) else "missed"

    def _holds(self, limit: float) -> bool:
        return self.value >= limit if self.at_least else self.value <= limit


def goals(side: Mapping[str, Figures], grown: Mapping[str, Figures], import_ratio: float) -> Sequence[Goal]:
    """All goals that these figures speak of."""
    project, rate = side[PROJECT], side[PROJECT].mb_per_second
    slowest = min(side[leg].mb_per_second for leg in LEGS)
    # All legs and both servers share this machine's cores: no schedule of them can be quicker.
    cores_allow = (os.cpu_count() or 1) / sum(side[leg].all_cpu_per_gb for leg in LEGS) * GB / MB
    found = [
        Goal("wall time, to the slowest leg alone", slowest / rate, 1.2, 1.05),
        Goal("the same over a link of 200 MB/s", _rate(side, LINK_UPLOAD) / _rate(side, LINK_PROJECT), 1.2, 1.05),
        Goal("wall time, to the slowest leg or what the cores allow", min(slowest, cores_allow) / rate, 1.2, 1.05),
        Goal("throughput, to the way by hand", rate / _rate(side, BY_HAND), 2.5, 3, at_least=True),
        Goal("throughput, to parsing", rate / _rate(side, PARSED), 25, 30, at_least=True),
        Goal("CPU per GB, to the sum of the legs", project.cpu_per_gb / _cpu(side, LEGS), 1.3, 1.15),
        Goal("wall time of json.gz, to json", rate / _rate(side, PACKED), 1, 1),
        Goal("cold start: import of function_app, to its SDKs", import_ratio, 1.3, 1.3),
    ]
    if "1 GB" in grown:
        found.append(Goal("peak memory at 1 GB", grown["1 GB"].peak_mib, 128, 128, unit="MiB"))
    if "10 GB" in grown:
        more = grown["10 GB"].peak_mib - grown["1 GB"].peak_mib
        found.append(Goal("peak memory, 10 GB more than 1 GB", more, 8, 8, unit="MiB"))
    return found


def _rate(side: Mapping[str, Figures], name: str) -> float:
    return side[name].mb_per_second


def _cpu(side: Mapping[str, Figures], names: Sequence[str]) -> float:
    return sum(side[name].cpu_per_gb for name in names)
