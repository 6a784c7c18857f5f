"""What has landed, for a terminal: a calendar with a column for each week, then a table of its days."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import batched

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from shared.dates import DAY
from shared.days.calendar import Calendar, DayView, word
from shared.text import hours_text, month_text, size, visible

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LABEL, _CELL = 4, 2
_SHADES = "░▒▓██"
_GLYPHS = {
    "empty": "0", "running": ">", "queued": ":", "failed": "x", "missing": "?", "expired": "-",
    "returning": "↻", "before": "·",
}  # fmt: skip
_STYLES = {
    "complete": "green", "empty": "green", "running": "blue", "queued": "blue",
    "failed": "bold red", "missing": "bold yellow", "expired": "dim", "returning": "blue", "before": "dim",
}  # fmt: skip
_LATER_FAILED = "!"


def render(calendar: Calendar) -> RenderableType:
    """A range of days. Nothing that a blob says can move the cursor or set a colour."""
    return _Coverage(calendar)


@dataclass(frozen=True, slots=True)
class _Coverage:
    calendar: Calendar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.calendar.headline, "bold")
        total = self.calendar.total
        yield Text(f"{total.events:,} events, {size(total.bytes)} decompressed")
        yield Text()
        yield from self._graph(options.max_width)
        yield _legend(self.calendar)
        yield Text()
        yield self._table()

    def _graph(self, width: int) -> Iterator[Text]:
        """The calendar, in as many bands of weeks as the width asks for."""
        monday = self.calendar.first - self.calendar.first.weekday() * DAY
        weeks = [monday + n * 7 * DAY for n in range((self.calendar.last - monday).days // 7 + 1)]
        bands = math.ceil(len(weeks) / max((width - _LABEL) // _CELL, 1))
        for band in batched(weeks, math.ceil(len(weeks) / bands)):
            yield Text(" " * _LABEL + _month_names(band), "dim", no_wrap=True, overflow="crop")
            for weekday, name in enumerate(WEEKDAYS):
                yield Text.assemble((f"{name:{_LABEL}}", "dim"), *(self._cell(week + weekday * DAY) for week in band))
            yield Text()

    def _cell(self, day: date) -> tuple[str, str]:
        view = self.calendar.days.get(day)
        glyph, style = _glyph(view) if view else (" ", "")
        return glyph.ljust(_CELL), style

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("", no_wrap=True)
        table.add_column("date", no_wrap=True)
        table.add_column("status", no_wrap=True)
        for name in ("events", "size", "files"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("notes", overflow="fold")
        for view in self.calendar.days.values():
            landed, glyph = view.landed, Text(*_glyph(view))
            figures = (f"{landed.events:,}", size(landed.bytes), f"{landed.files:,}") if landed else ("", "", "")
            status = Text(word(view.look), _STYLES[view.look])
            table.add_row(glyph, str(view.date), status, *figures, Text(visible("; ".join(_notes(view)))))
        return table


def _glyph(view: DayView) -> tuple[str, str]:
    if view.later == "failed":
        return _LATER_FAILED, _STYLES["failed"]
    glyph = _SHADES[view.level - 1] if view.look == "complete" else _GLYPHS[view.look]
    return glyph, _STYLES[view.look]


def _notes(view: DayView) -> Iterator[str]:
    if view.landed and view.landed.events and view.landed.empty_hours:
        yield f"no events in {hours_text(view.landed.empty_hours)}"
    if view.landed and view.landed.grown:
        yield f"{view.landed.grown:,} more events than the previous export"
    if view.later:
        yield f"latest run {word(view.later)}"
    yield from view.warnings
    if view.error:
        yield f"{view.error.type}: {view.error.message}"


def _month_names(weeks: Sequence[date]) -> str:
    """The months' names, each above the week in which the month begins. A name without room is left out."""
    line = ""
    for column, week in enumerate(weeks):
        begins = column == 0 or (week + 6 * DAY).day <= 7  # noqa: PLR2004 - the first of a month is in this week
        at = column * _CELL
        if begins and (not line or at > len(line)):
            line = line.ljust(at) + month_text(week + 6 * DAY)[:3]
    return line


def _legend(calendar: Calendar) -> Text:
    parts: list[tuple[str, str]] = [(f"{_SHADES[:-1]} ", _STYLES["complete"]), ("complete, by events   ", "dim")]
    for look, _ in calendar.legend[1:]:
        parts += [(f"{_GLYPHS[look]} ", _STYLES[look]), (f"{word(look)}   ", "dim")]
    parts += [(f"{_LATER_FAILED} ", _STYLES["failed"]), ("landed, latest run failed", "dim")]
    return Text.assemble(*parts)
