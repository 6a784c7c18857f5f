"""The calendar in a terminal: the answer of the page, at any width; and no text of a blob steers the terminal."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from io import StringIO
from typing import Literal

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli.calendar import render
from shared.days.calendar import Calendar
from shared.days.day import Day
from shared.days.state import RunState, State
from shared.days.status import COUNTS, RunError, RunStatus
from shared.text import visible
from shared.web.pages import coverage_page
from tests.unit.sample_days import FIRST, HOSTILE, LAST, NOW, hostile_days, known, landed, month


def printed(rows: list[Day], first: date = FIRST, *, width: int = 100, colours: bool = False) -> str:
    return printed_calendar(Calendar(rows, first, LAST, NOW), width=width, colours=colours)


def printed_calendar(calendar: Calendar, *, width: int, colours: bool = False) -> str:
    out = StringIO()
    colour_system: Literal["truecolor"] | None = "truecolor" if colours else None
    Console(file=out, width=width, force_terminal=colours, color_system=colour_system).print(render(calendar))
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
    shown = {"Mon": "  - █ █ x ", "Tue": "  █ █ ? █ ", "Thu": "  █ 0 ? █ ", "Sat": "  ▓ ! ▓ : ", "Sun": "  ▓ ▓ ▓ > "}
    assert graph(printed(month())).items() >= shown.items()


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


def dead(*, landed_before: bool = False, trigger: str = "timer") -> Day:
    """A day whose host was killed two minutes ago."""
    run = RunStatus(FIRST, RunState.RUNNING, "run", trigger, updated_at=NOW - timedelta(minutes=2))
    figures = landed(FIRST).landed if landed_before else None
    return Day.of(FIRST, run, leased=False, landed=figures, otherwise=State.MISSING)


def alive_again() -> Day:
    """The same day as soon as its next try has the lock, before that has written anything."""
    return Day.of(FIRST, dead().run, leased=True, landed=None, otherwise=State.MISSING)


def one(day: Day, *, now: datetime = NOW, since: date = date.min) -> Calendar:
    return Calendar([day], FIRST, FIRST, now, since)


def test_the_progress_of_a_run_has_each_count_from_the_beginning() -> None:
    """So whoever follows a run can read it at any moment."""
    nothing, known_so_far = dict.fromkeys(COUNTS, 0), {"attempt": 1, "window": "w"}
    assert known(FIRST, "queued").document["progress"] == nothing
    begun = RunStatus(FIRST, RunState.RUNNING, "run", "timer", progress=known_so_far)
    assert Day(FIRST, State.RUNNING, begun).document["progress"] == nothing | known_so_far
    assert known(FIRST, "missing").document["progress"] is None


LATE = NOW + timedelta(hours=1)
MISSING = known(FIRST, "missing")


@pytest.mark.parametrize(
    ("calendar", "look", "words", "headline", "needs"),
    [
        (one(dead(), now=NOW + timedelta(minutes=9)), "returning", "coming back", "0 of 1 days have landed", ""),
        (one(dead(), now=LATE), "failed", "failed", "0 of 1 days have landed", "RunDied"),
        (one(dead(trigger="cli")), "failed", "failed", "0 of 1 days have landed", "RunDied"),
        (one(dead(landed_before=True)), "complete", "latest run coming back", "The day has landed", ""),
        (one(dead(landed_before=True), now=LATE), "complete", "latest run failed", "The day has landed", "RunDied"),
        (one(MISSING, since=LAST), "before", "never requested", "No day of this range was requested", ""),
        (one(MISSING, since=date.max), "before", "never requested", "Nothing has been exported yet", ""),
        (one(MISSING, since=FIRST), "missing", "missing", "0 of 1 days have landed", "missing"),
        (one(known(FIRST, "queued"), since=LAST), "queued", "queued", "0 of 1 days have landed", ""),
        (one(alive_again()), "running", "running", "0 of 1 days have landed", ""),
        (one(known(FIRST, "expired"), since=LAST), "expired", "expired", "No day in this range needs an export", ""),
    ],
)
def test_the_page_and_the_terminal_give_the_same_answer(
    calendar: Calendar, look: str, words: str, headline: str, needs: str
) -> None:
    view = calendar.days[FIRST]
    assert (view.look, view.needs) == (look, needs)
    terminal, page = printed_calendar(calendar, width=300), coverage_page(calendar)[0]
    (row,) = (line for line in terminal.splitlines() if str(FIRST) in line)
    for shown in (row, page.partition('class="card open"')[2]):
        assert words in shown
    for shown in (terminal, page):
        assert headline in shown
        assert ("coming back" in shown) == ("coming back" in words)
    assert f'class="day s-{look}' in page
    assert ("Nothing: no day is missing" in page) == (not needs)


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
    assert "No day in this range needs an export" in printed([])
