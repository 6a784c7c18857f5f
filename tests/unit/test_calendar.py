"""The calendar in a terminal: the answer of the page, at any width; and no text of a blob steers the terminal."""

from __future__ import annotations

from datetime import date, timedelta
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.calendar import render
from shared.days.day import Day
from shared.days.status import RunError
from shared.text import visible
from tests.unit.sample_days import FIRST, HOSTILE, LAST, hostile_days, known, landed, month


def printed(rows: list[Day], first: date = FIRST, last: date = LAST, *, width: int = 100, colours: bool = False) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=colours, color_system="truecolor" if colours else None).print(
        render(rows, first, last)
    )
    return out.getvalue()


def graph(text: str) -> dict[str, str]:
    """The calendar's lines by weekday, bands one after the other."""
    lines: dict[str, str] = {}
    for line in text.splitlines():
        name, cells = line[:4].strip(), line[4:]
        if name in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
            lines[name] = lines.get(name, "") + cells
    return lines


def test_each_day_stands_in_its_week_with_a_glyph_for_its_state() -> None:
    lines = graph(printed(month()))
    assert lines["Mon"] == "  - █ █ x "
    assert lines["Tue"] == "  █ █ ? █ "
    assert lines["Thu"] == "  █ 0 ? █ "
    assert lines["Sat"] == "  ▓ ! ▓ : "
    assert lines["Sun"] == "  ▓ ▓ ▓ > "


def test_the_table_has_a_line_for_each_day_with_its_figures_and_reasons() -> None:
    text = printed(month(), width=200)
    assert text.startswith("21 of 27 days have landed\n")
    for row in month():
        line = next(line for line in text.splitlines() if str(row.date) in line)
        assert row.state in line
        assert not row.landed or f"{row.landed.events:,}" in line
    assert "latest run failed; FewerEvents: 2025-11-15: 373311 events have landed" in text
    assert "no events in hours 3, 4" in text
    assert "Only 120000 events" in text


@pytest.mark.parametrize("width", [20, 60, 80, 100, 240])
def test_a_year_fits_any_width_with_each_day_once(width: int) -> None:
    first = LAST - timedelta(days=365)
    text = printed([landed(first + timedelta(days=n)) for n in range(366)], first, width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert sum(cells.count(glyph) for cells in graph(text).values() for glyph in "░▒▓█") == 366


@pytest.mark.parametrize("colours", [False, True])
def test_hostile_text_neither_steers_the_terminal_nor_is_taken_for_markup(*, colours: bool) -> None:
    rows = [*hostile_days(), known(LAST, "failed", error=RunError("[red]failed[/red]", ""))]
    text = printed(rows, width=400, colours=colours)
    assert visible(HOSTILE) in text
    assert "[red]failed[/red]" in text
    assert "\u202e" not in text
    assert "\x1b[31m" not in text
    assert colours or "\x1b" not in text


def test_no_days_are_no_error() -> None:
    assert "Nothing is wanted in this range" in printed([])
