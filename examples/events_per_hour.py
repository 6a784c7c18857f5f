"""Draws the events of a day, hour by hour: `python examples/events_per_hour.py FOLDER 2025-11-04 events-per-hour.svg`.

FOLDER is a copy of the container, made with `python -m downstream.mirror FOLDER`. The script reads only the files that
the day's manifest lists.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import duckdb
import matplotlib as mpl
from matplotlib.figure import Figure

HOURS = 24

LISTED_FILES = """
    select unnest(files).name
    from read_json($1, columns = {files: 'STRUCT(name VARCHAR)[]'}, hive_partitioning = false)
"""

EVENTS_BY_HOUR = """
    with lines as (
        select if(json_valid(json), json, null) as event
        from read_ndjson_objects(
            $files, ignore_errors = true, maximum_object_size = 67108864, hive_partitioning = false
        )
    )
    select
        hour(try_cast(event ->> '$.server_upload_time' as timestamp)) as hour,
        coalesce(event ->> '$.platform', 'Server') as platform,
        count(*) as events
    from lines
    group by all
"""


def one_file(path: Path) -> str:
    """The path, escaped: DuckDB reads every path as a pattern."""
    return re.sub(r"[\[*?]", r"[\g<0>]", str(path))


def events_by_hour(folder: Path, day: str, prefix: str = "") -> dict[str, list[int]]:
    """The numbers of events in each hour of a day, by platform, the largest platform first.

    Raises:
        FileNotFoundError: the day has not landed in this folder.

    """
    manifest = folder / f"{prefix}manifests" / f"date={day}.json"
    if not manifest.exists():
        raise FileNotFoundError(f"There is no {manifest}: {day} has not landed here.")
    with duckdb.connect() as database:
        listed = database.execute(LISTED_FILES, [one_file(manifest)]).fetchall()
        files = [one_file(folder / name) for (name,) in listed]
        rows = database.execute(EVENTS_BY_HOUR, {"files": files}).fetchall() if files else []
    by_platform: dict[str, list[int]] = {}
    for hour, platform, events in rows:
        if hour is None:
            print(
                f"{events} lines are left out: they are not events, or have no hour. docs/query.md (DuckDB) says how "
                "to find them.",
                file=sys.stderr,
            )
            continue
        by_platform.setdefault(platform, [0] * HOURS)[hour] = events
    return dict(sorted(by_platform.items(), key=lambda item: sum(item[1]), reverse=True))


def draw(by_platform: dict[str, list[int]], day: str) -> Figure:
    """A stacked bar for each hour, readable on a light and on a dark page."""
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
    axes = figure.subplots()
    base = [0] * HOURS
    colours = mpl.colormaps["viridis"].resampled(max(len(by_platform), 2))
    for number, (platform, events) in enumerate(by_platform.items()):
        axes.bar(range(HOURS), events, bottom=base, width=0.86, label=platform, color=colours(number))
        base = [below + more for below, more in zip(base, events, strict=True)]
    axes.set_title(f"Events per hour, {day}: {sum(base):,} in all", loc="left")
    axes.set_xlabel("hour of server_upload_time (UTC)")
    axes.set_xticks(range(0, HOURS, 2))
    axes.spines[["top", "right"]].set_visible(False)
    if by_platform:
        axes.legend(frameon=False, ncols=len(by_platform), loc="upper left")
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 1 if the day has not landed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("day", help="a UTC day like 2025-11-04")
    parser.add_argument("picture", type=Path, help="the file to write: .svg, .png or .pdf")
    parser.add_argument("--prefix", default="", help="EXPORT_PREFIX, if the app has one")
    options = parser.parse_args(arguments)
    try:
        by_platform = events_by_hour(options.folder, options.day, options.prefix)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    # The same data give the same bytes, so a picture in a repository changes only if its data changes.
    mpl.rcParams["svg.hashsalt"] = options.day
    draw(by_platform, options.day).savefig(
        options.picture, metadata={"Date": None} if options.picture.suffix == ".svg" else {}
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
