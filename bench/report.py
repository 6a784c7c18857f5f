"""The figures as Markdown tables, and as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.contenders import tools
from bench.measure import GB, MIB, Figures
from bench.plan import LINK_PROJECT, PROJECT, Goal
from bench.scale import DAYS
from bench.years import YearFigures

BEGIN, END = "<!-- begin: written by make bench -->", "<!-- end -->"


MILLION_EVENTS_BYTES = 2_030_000_000
"""Bytes of decompressed JSON: 2,030 for each event, as simulated ones have on average."""


@dataclass(slots=True)
class Results:
    """All that a run has measured. A part that was not requested stays empty."""

    machine: str
    rounds: int
    side: Mapping[str, Figures] = field(default_factory=dict)
    growth: Mapping[str, Figures] = field(default_factory=dict)
    parts: Mapping[str, Figures] = field(default_factory=dict)
    instances: Mapping[str, Figures] = field(default_factory=dict)
    years: Sequence[YearFigures] = ()
    scale: Mapping[int, float] = field(default_factory=dict)
    """Seconds for the backfill by number of hosts."""
    goals: Sequence[Goal] = ()
    missing: Sequence[str] = ()

    def to_json(self) -> str:
        """All results, for other programs."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def to_markdown(self) -> str:
        """The tables."""
        text = [f"{self.machine}. Medians of {self.rounds} runs."]
        if self.missing:
            text.append(f"Not on this machine, and so not measured: {', '.join(self.missing)}.")
        if self.goals:
            text.append(_goals(self.goals))
        for title, figures in (
            ("Side by side", self.side),
            ("A day grows", self.growth),
            ("1 GB in more files", self.parts),
            ("1 GB in a small instance", self.instances),
        ):
            if figures:
                text.append(_figures(title, figures))
        if self.side:
            text.append(_bill(self.side))
        if self.years:
            text.append(_years(self.years))
        if self.scale:
            text.append(_scale(self.scale))
        return "\n\n".join(text) + "\n"


def earlier(folder: Path) -> Results:
    """The results that the last run saved in a folder; empty ones if there are none."""
    kept = folder / "results.json"
    if not kept.exists():
        return Results(machine(), 0)
    data = json.loads(kept.read_text())
    for part in ("side", "growth", "parts", "instances"):
        data[part] = {name: Figures(**figures) for name, figures in data.get(part, {}).items()}
    data["years"] = [YearFigures(**figures) for figures in data.get("years", ())]
    data["scale"] = {int(hosts): seconds for hosts, seconds in data["scale"].items()}
    data["goals"] = [Goal(**goal) for goal in data["goals"]]
    return Results(**data)


def machine() -> str:
    """What this ran on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*: (.+)", cpuinfo.read_text())
        name = match[1] if match else name
    memory = psutil.virtual_memory().total / 1024**3
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release().partition('-')[0]}, Python {platform.python_version()}"
    )


def missing_tools() -> list[str]:
    """The C tools that would be measured but are not installed."""
    return [name for name in ("bsdtar", "igzip") if not tools.found({name: []})]


def keep(results: Results, folder: Path) -> None:
    """Save the results in a folder, as JSON and Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(results.to_json())
    (folder / "results.md").write_text(results.to_markdown())


def publish(results: Results, document: Path) -> None:
    """Put the tables between the two marks in the document."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n\n{results.to_markdown()}\n{END}{after}")


def _figures(title: str, figures: Mapping[str, Figures]) -> str:
    project = figures.get(PROJECT, next(iter(figures.values())))
    rows = (
        (
            name,
            f"{run.mb_per_second:,.0f}",
            f"{run.mb_per_second / project.mb_per_second:.2f}",
            f"{run.cpu_per_gb:.2f}",
            f"{run.server_seconds / run.bytes * GB:.2f}",
            f"{run.peak_bytes / MIB:,.0f}",
        )
        for name, run in figures.items()
    )
    return _table((title, "MB/s", "relative", "CPU s/GB", "servers' CPU s/GB", "peak MiB"), rows)


def _goals(goals: Iterable[Goal]) -> str:
    rows = (
        (
            goal.name,
            f"{goal.value:.2f} {goal.unit}",
            f"{'≥' if goal.at_least else '≤'} {goal.must:g}",
            f"{goal.aim:g}",
            goal.verdict,
        )
        for goal in goals
    )
    return _table(("Goal", "measured", "goal", "aim", ""), rows)


def _years(years: Iterable[YearFigures]) -> str:
    rows = (
        (
            f"{figures.what}, {figures.days:,} days landed",
            str(figures.requests),
            str(figures.lists),
            f"{figures.seconds * 1000:,.0f}",
        )
        for figures in years
    )
    return _table(("Many days", "requests", "lists among them", "ms"), rows)


def _bill(side: Mapping[str, Figures]) -> str:
    """What is billed: the time, multiplied by the instance's memory, whether or not it was used."""
    rows = []
    for name in (PROJECT, LINK_PROJECT):
        seconds = side[name].seconds / side[name].bytes * MILLION_EVENTS_BYTES
        cpu = side[name].cpu_per_gb * MILLION_EVENTS_BYTES / GB
        rows.append((name, f"{cpu:.1f}", f"{seconds:.1f}", f"{seconds / 2:.1f}", f"{seconds * 2:.1f}"))
    head = ("A million events", "processor seconds", "seconds", "GB-seconds at 512 MB", "GB-seconds at 2 GB")
    return _table(head, rows)


def _scale(scale: Mapping[int, float]) -> str:
    alone = scale[min(scale)]
    rows = (
        (str(hosts), f"{seconds:.1f}", f"{alone / seconds:.2f}", f"{alone / seconds / hosts:.0%}")
        for hosts, seconds in scale.items()
    )
    return _table(("Hosts", f"seconds for {DAYS} days", "speed-up", "of linear"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join(["---", *["--:"] * (len(head) - 1)]), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def progress(text: str) -> None:
    """Print a line to stderr. Only the tables go to stdout."""
    print(text, file=sys.stderr, flush=True)
