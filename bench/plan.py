"""What is compared with what, and the goals of the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import tools
from bench.days import Volume
from bench.measure import GB, Contender, Figures
from bench.servers import ROOT

SLICE_BYTES = 100_000_000
"""How much is parsed. Parsing takes so much time and memory that a slice of a day is enough."""
LARGEST = 10 * GB

PROJECT, DEFLATED, PACKED = "this project", "this project, members deflated", "this project, json.gz"
BY_HAND, PARSED = "by hand: disk, then upload", "parsed into one JSON array"
DOWNLOAD, INFLATE, CHECKSUM, UPLOAD = "leg: download", "leg: inflate and verify", "leg: SHA-256", "leg: upload"
TOOLS = f"C tools: {tools.found(tools.UNZIP)} into {tools.found(tools.GUNZIP)}"
LINK_UPLOAD, LINK_PROJECT = "leg: upload, 200 MB/s link", "this project, 200 MB/s link"
LEGS = (DOWNLOAD, INFLATE, CHECKSUM, UPLOAD)
RECEIVE, SEND = "floor: TLS in", "floor: TLS out"
FLOOR = (RECEIVE, INFLATE, CHECKSUM, SEND)
"""What no export in Python can do without. The two in the middle are legs, because the project adds nothing to them."""
RECHECK = "this project, a day that has landed"
ONE_FILE, MANY_FILES = "1 an hour", "16 an hour"


def contenders(size: int, before: Path | None) -> list[Contender]:
    """All contenders for one day; the parser gets only a slice of it. `before`: a checkout of an older commit."""
    day = Volume(size)
    found = [
        *([Contender("this project, before", "project.export", day, root=before)] if before else []),
        Contender(PROJECT, "project.export", day),
        Contender(DEFLATED, "project.export", Volume(size, deflated=True)),
        Contender(PACKED, "project.export", day, (("EXPORT_FORMAT", "json.gz"),)),
        Contender(BY_HAND, "today.by_hand", day),
        Contender(PARSED, "today.parsed", Volume(SLICE_BYTES)),
        Contender(RECHECK, "project.export", day, again=True),
        Contender(RECEIVE, "floor.receive", day),
        Contender(SEND, "floor.send", day),
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


def instances() -> list[Contender]:
    """The project on a day of 1 GB, in small instances: one core, little private memory (thread stacks included)."""
    sizes = ((), (("BENCH_CORES", "1"),), *((("BENCH_CORES", "1"), ("BENCH_MIB", mib)) for mib in ("2048", "512")))
    names = ("as it is", "one core", "one core, 2048 MiB", "one core, 512 MiB")
    return [Contender(name, "project.export", Volume(GB), environ) for name, environ in zip(names, sizes, strict=True)]


def parts(before: Path | None) -> list[Contender]:
    """The project on a day of 1 GB in more and more files."""
    roots = {"": ROOT, **({", before": before} if before else {})}
    return [
        Contender(f"{n} an hour{when}", "project.export", Volume(GB, parts=n), root=root)
        for n in (1, 4, 16)
        for when, root in roots.items()
    ]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, its limit (`must`), and a better one (`aim`): the least value with `at_least`, otherwise the most."""

    name: str
    value: float
    must: float
    aim: float
    at_least: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Whether the goal is met, in words."""
        if self._holds(self.aim):
            return "aim met"
        return "goal met" if self._holds(self.must) else "missed"

    def _holds(self, limit: float) -> bool:
        return self.value >= limit if self.at_least else self.value <= limit


def goals(
    side: Mapping[str, Figures], grown: Mapping[str, Figures], in_parts: Mapping[str, Figures], import_ratio: float
) -> Sequence[Goal]:
    """All goals that these figures can show. They compare processor time, because users pay for it."""
    found = [
        Goal("CPU per GB, to the floor", side[PROJECT].cpu_per_gb / _cpu(side, FLOOR), 1.15, 1.15),
        Goal("CPU per GB, to the sum of the legs", side[PROJECT].cpu_per_gb / _cpu(side, LEGS), 1.3, 1.15),
        Goal(
            "wall time over a link of 200 MB/s, to its upload",
            _rate(side, LINK_UPLOAD) / _rate(side, LINK_PROJECT),
            1.2,
            1.05,
        ),
        Goal("CPU per GB, to the way by hand", side[PROJECT].cpu_per_gb / side[BY_HAND].cpu_per_gb, 1, 0.75),
        Goal("wall time of json.gz, to json", _rate(side, PROJECT) / _rate(side, PACKED), 1, 1),
        Goal("cold start: import of function_app, to its SDKs", import_ratio, 1.3, 1.3),
    ]
    if MANY_FILES in in_parts:
        ratio = in_parts[MANY_FILES].cpu_per_gb / in_parts[ONE_FILE].cpu_per_gb
        found.append(Goal("CPU per GB with 16 files an hour, to one", ratio, 1.3, 1.3))
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
