"""What a run tells: lines that a query can parse, and a table that a spreadsheet can open."""

import csv
import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import count
from logging.handlers import BufferingHandler

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import COLUMNS, RunLog, log, logger

NOON = datetime(2025, 11, 5, 12, tzinfo=UTC)


def rows(run_log: RunLog) -> list[list[str]]:
    return list(csv.reader(io.StringIO(run_log.to_csv().decode(), newline="")))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.dates() | st.none()))
def test_a_log_line_is_one_json_object_on_one_line(fields: dict[str, object]) -> None:
    """Whatever the fields hold: percent signs, quotes, line breaks, marks that turn the writing."""
    handler = BufferingHandler(10)
    logger.addHandler(handler)
    try:
        log(logging.ERROR, "run_failed", **{f"_{key}": value for key, value in fields.items()})
    finally:
        logger.removeHandler(handler)
    (record,) = handler.buffer
    line = record.getMessage()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"event": "run_failed"} | {
        f"_{key}": str(value) if isinstance(value, date) else value for key, value in fields.items()
    }


def test_a_log_line_has_its_level_and_the_apps_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        log(logging.INFO, "day_queued", date=date(2025, 11, 4), replace=False)
    assert caplog.record_tuples == [
        ("amplitude_export", logging.INFO, '{"event": "day_queued", "date": "2025-11-04", "replace": false}')
    ]


def test_the_table_has_a_head_line_and_a_row_for_each_operation() -> None:
    run_log = RunLog(lambda: NOON)
    run_log.add("2025-11-04T00 to 2025-11-04T23 UTC", "export", 200, size=12, seconds=1.23456)
    run_log.add("events/a.json", "delete", "was gone")
    assert rows(run_log) == [
        list(COLUMNS),
        ["2025-11-05T12:00:00.000+00:00", "2025-11-04T00 to 2025-11-04T23 UTC", "export", "200", "12", "1.235"],
        ["2025-11-05T12:00:00.000+00:00", "events/a.json", "delete", "was gone", "", ""],
    ]


@given(st.lists(st.tuples(st.text(st.characters()), st.text(st.characters()))))
def test_the_table_shows_what_was_added_and_no_more(added: list[tuple[str, str]]) -> None:
    """Commas, quotes and line breaks in a name do not move a column or make a row, and each character shows."""
    run_log = RunLog(lambda: NOON)
    for item, description in added:
        run_log.add(item, description, "ok", size=0)
    cells = [row[1:3] for row in rows(run_log)[1:]]
    assert len(cells) == len(added)
    for shown, texts in zip(cells, added, strict=True):
        for cell, text in zip(shown, texts, strict=True):
            assert cell.isprintable()
            assert cell == text or not text.isprintable() or text[0] in "=+-@"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(1)", "\x1b[31mred", "a\u202eb", "\ud800"])
def test_no_cell_is_a_formula_or_moves_the_cursor(text: str) -> None:
    run_log = RunLog(lambda: NOON)
    run_log.add(text, "read", "ok")
    cell = rows(run_log)[1][1]
    assert cell[0] not in "=+-@"
    assert cell.isprintable()


def test_threads_lose_no_row() -> None:
    numbers = count()
    run_log = RunLog(lambda: NOON)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(400):
            pool.submit(lambda: run_log.add(str(next(numbers)), "commit", "ok"))
    assert sorted(int(row[1]) for row in rows(run_log)[1:]) == list(range(400))
