"""`make bench`, `python -m local bench`: measures, prints tables, and saves them with charts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import plan, report
from bench.cold_start import import_ratio
from bench.measure import GB, Bench, Contender, Figures, open_bench, run_rounds
from bench.scale import DAYS, scale_out
from bench.servers import ROOT
from bench.years import measure_years

DOCS = ROOT / "docs"
SECTIONS = ("side", "growth", "parts", "instances", "years", "scale")


def main(arguments: list[str] | None = None) -> int:
    """Measure the requested parts. Returns the exit code: a missed goal is a result, not a failure."""
    options = _parser().parse_args(arguments)
    side = plan.contenders(round(options.size * GB), options.before) if "side" in options.only else []
    grown = plan.growth(largest=options.long) if "growth" in options.only else []
    parts = plan.parts(options.before) if "parts" in options.only else []
    small = plan.instances() if "instances" in options.only else []
    results = report.earlier(options.output)
    results.machine, results.rounds, results.missing = report.machine(), options.rounds, report.missing_tools()
    with open_bench(ROOT / ".run" / "bench" / "days", [c.volume for c in (*side, *grown, *parts, *small)]) as bench:
        results.side = _measure(bench, side, options.rounds) or results.side
        results.growth = _measure(bench, grown, options.rounds) or results.growth
        results.parts = _measure(bench, parts, options.rounds) or results.parts
        results.instances = _measure(bench, small, options.rounds) or results.instances
    if "years" in options.only:
        results.years = measure_years(report.progress)
    if "scale" in options.only:
        results.scale = scale_out(lambda hosts, took: report.progress(f"{hosts} hosts, {DAYS} days: {took:.1f} s"))
    if results.side:
        results.goals = plan.goals(results.side, results.growth, results.parts, import_ratio(options.rounds))
    print(results.to_markdown())
    from bench.plots import draw  # noqa: PLC0415 - its import takes memory and time

    if options.publish:
        report.publish(results, DOCS / "performance.md")
        draw(results, DOCS / "images")
    report.keep(results, options.output)
    draw(results, options.output)
    report.progress(f"Kept in {options.output}.")
    return 0


def _measure(bench: Bench, contenders: Sequence[Contender], rounds: int) -> dict[str, Figures]:
    return run_rounds(bench, contenders, rounds, _say)


def _say(contender: Contender, run: Figures) -> None:
    report.progress(
        f"{contender.name:32} {run.mb_per_second:8,.0f} MB/s {run.cpu_per_gb:7.2f} CPU s/GB {run.peak_mib:8,.0f} MiB"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local bench", description=__doc__)
    parser.add_argument("--size", type=float, default=1.4, metavar="GB", help="of the day, decompressed (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how many runs each median is taken from (%(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        default=SECTIONS,
        help="only these parts; the others keep the figures of the last run",
    )
    parser.add_argument(
        "--before",
        type=Path,
        metavar="FOLDER",
        help="also measure an older commit, from a checkout of it (git worktree add FOLDER COMMIT)",
    )
    parser.add_argument("--long", action="store_true", help="also measure a day of 10 GB")
    parser.add_argument("--publish", action="store_true", help="also write the tables and charts to docs/")
    parser.add_argument(
        "--output", type=Path, default=ROOT / ".run" / "bench", metavar="FOLDER", help="where results are kept"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
