"""A year of days is read by a handful of requests: the figures stand in the metadata that a listing brings."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from shared.app import open_app
from shared.days.calendar import read_calendar
from shared.days.coverage import read_coverage
from tests.doubles.memory import MemoryClient

FIRST, DAYS = date(2024, 11, 5), 366


@pytest.mark.in_memory
def test_a_year_is_read_by_a_handful_of_requests(container: MemoryClient, environ: dict[str, str]) -> None:
    asked: list[tuple[str, str]] = []
    days = [FIRST + timedelta(n) for n in range(DAYS)]
    for day in days:
        figures = {"status": "complete", "events": "7", "files": "1", "bytes": "70", "hour_events": "7" + ",0" * 23}
        container.upload_blob(f"manifests/date={day}.json", b"{}", metadata=figures)
        container.upload_blob(f"status/date={day}.json", b"{}", metadata={"status": "complete"})
    with open_app(environ) as app:
        container.fault = lambda kind, name: asked.append((kind, name))
        rows = read_coverage(app.container, app.settings, days[0], days[-1], app.clock())
        of_the_year = len(asked)
        assert read_calendar(app.container, app.settings, FIRST, FIRST, app.clock()).since == FIRST
    assert [row.date for row in rows] == days
    assert {(row.state, row.landed.events if row.landed else 0) for row in rows} == {("complete", 7)}
    assert {kind for kind, _ in asked} == {"list_blobs"}
    assert of_the_year == 4
    assert {"manifests/date=2024-1", "manifests/date=2025-"} <= {name for _, name in asked[:of_the_year]}
    assert len(asked) - of_the_year == 4  # two for the day, two for the first day of all
