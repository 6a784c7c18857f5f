"""The figures as charts. Imported only after all measurements, because drawing takes memory and time."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plan import DEFLATED, LEGS, PACKED, PROJECT
from bench.report import Results

_OURS, _LEG, _OTHER = "#0f6cbd", "#9aa5b1", "#d08770"


def draw(results: Results, folder: Path) -> list[Path]:
    """Write a chart of the side-by-side rows, and one of growth, parts and scale, if they were measured."""
    # Without random ids and dates, the same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif"})
    drawn = []
    if results.side:
        drawn.append(_side(results, folder / "bench.svg"))
    if results.growth or results.parts or results.scale:
        drawn.append(_growth(results, folder / "bench-growth.svg"))
    return drawn


def _side(results: Results, path: Path) -> Path:
    names = list(results.side)[::-1]
    runs = [results.side[name] for name in names]
    colors = [_color(name) for name in names]
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    speed, cpu, memory = figure.subplots(1, 3, sharey=True)
    _bars(speed, names, [run.mb_per_second for run in runs], colors, "MB/s, decompressed (log)")
    _bars(cpu, names, [run.cpu_per_gb for run in runs], colors, "CPU seconds per GB (log)")
    _bars(memory, names, [run.peak_mib for run in runs], colors, "peak memory, MiB (log)")
    return _save(figure, path)


def _color(name: str) -> str:
    if name.startswith(PROJECT) or name in (DEFLATED, PACKED):
        return _OURS
    return _LEG if name in LEGS or name.startswith("leg") else _OTHER


def _bars(axes: Axes, names: list[str], values: list[float], colors: list[str], title: str) -> None:
    bars = axes.barh(names, values, color=colors, log=True)
    axes.bar_label(bars, [f"{value:,.2f}" if value < 10 else f"{value:,.0f}" for value in values], padding=3)  # noqa: PLR2004 - three digits
    axes.set_title(title, fontsize=10)
    axes.margins(x=0.25)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _growth(results: Results, path: Path) -> Path:
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    growth, parts, scale = figure.subplots(1, 3)
    for axes, runs, title in ((growth, results.growth, "a day grows"), (parts, results.parts, "1 GB in more files")):
        axes.bar(list(runs), [run.peak_mib for run in runs.values()], color=_LEG, width=0.5)
        axes.set_title(f"{title}: peak MiB (bars), CPU s/GB (line)", fontsize=10)
        beside = axes.twinx()
        beside.plot(list(runs), [run.cpu_per_gb for run in runs.values()], color=_OURS, marker="o")
        beside.set_ylim(bottom=0)
    hosts = list(results.scale)
    if hosts:
        alone = results.scale[hosts[0]]
        scale.plot(hosts, hosts, color=_LEG, linestyle="--", label="linear")
        scale.plot(
            hosts, [alone / seconds for seconds in results.scale.values()], color=_OURS, marker="o", label="measured"
        )
        scale.set_xticks(hosts)
        scale.legend(frameon=False)
    scale.set_title("a backfill: speed-up by hosts", fontsize=10)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return path
