"""What many landed days cost: requests to the storage and time for coverage, a nightly run and an export.

The emulator lists far slower than Azure; the requests are the same.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest.mock import patch

from azure.storage.blob import ContainerClient
from urllib3 import HTTPConnectionPool

from local.azurite import Azurite
from local.simulator import Simulator
from shared.app import open_app
from shared.dates import newest_complete_day
from shared.days.coverage import read_coverage
from shared.runs.messages import Order
from shared.runs.nightly import Nightly

YEAR, TEN_YEARS = 366, 3652
_CONTAINER = "bench-years"
_WRITERS = 16
_FIGURES = {"status": "complete", "events": "7", "files": "1", "bytes": "70", "hour_events": "7" + ",0" * 23}


@dataclass(frozen=True, slots=True)
class YearFigures:
    """The cost of one task with that many days in the container."""

    what: str
    days: int
    requests: int
    lists: int
    seconds: float


def measure_years(say: Callable[[str], None]) -> list[YearFigures]:
    """Land one year of days, then ten, and measure the same tasks each time."""
    measured: list[YearFigures] = []
    with Azurite() as azurite, Simulator(events_per_hour=20, empty_hours=frozenset(range(1, 24))) as simulator:
        environ = os.environ | {
            "AMP_API_KEY": simulator.keys[0],
            "AMP_SECRET_KEY": simulator.keys[1],
            "AMP_EXPORT_URL": simulator.url,
            "EXPORT_STORAGE": azurite.connection_string,
            "EXPORT_CONTAINER": _CONTAINER,
            "EXPORT_RETENTION_DAYS": str(TEN_YEARS + 2),  # before 02:00 UTC, yesterday cannot be exported yet
        }
        newest = newest_complete_day(datetime.now(UTC))
        there = 0
        for days in (YEAR, TEN_YEARS):
            with ContainerClient.from_connection_string(azurite.connection_string, _CONTAINER) as client:
                if not there:
                    client.create_container()
                _land(client, [newest - timedelta(n) for n in range(there, days)])
            there = days
            say(f"{days} days are there")
            measured += _measure(environ, days, newest)
    return measured


def _land(client: ContainerClient, days: list[date]) -> None:
    """Write days that look in a listing as if they had been exported."""

    def land(day: date) -> None:
        name = f"events/date={day}/hour=00/187520_{day}_00_0.5f3c9a1e.json"
        client.upload_blob(name, b"{}\n")
        client.upload_blob(f"manifests/date={day}.json", b"{}", metadata=_FIGURES)
        client.upload_blob(f"status/date={day}.json", b"{}", metadata={"status": "complete"})

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(land, days))


def _measure(environ: dict[str, str], days: int, newest: date) -> Iterator[YearFigures]:
    with open_app(environ) as app:

        def coverage(first: date) -> None:
            read_coverage(app.container, app.settings, first, newest, app.clock())

        absent = newest - timedelta(TEN_YEARS)
        tasks: dict[str, Callable[[], Any]] = {
            "coverage of 30 days": lambda: coverage(newest - timedelta(29)),
            "coverage of a year": lambda: coverage(newest - timedelta(YEAR - 1)),
            "a night, with a retention": lambda: Nightly(app.runs, app.container, app.settings).work(),
            "export of a day with one file": lambda: app.runs.run_now(Order(absent, trigger="cli")),
        }
        for what, task in tasks.items():
            with _counted() as urls:
                started = time.perf_counter()
                task()
                seconds = time.perf_counter() - started
            asked = [url for url in urls if "/export?" not in url]
            yield YearFigures(what, days, len(asked), sum("comp=list" in url for url in asked), seconds)


@contextmanager
def _counted() -> Iterator[list[str]]:
    """The paths and queries of all requests that this process sends."""
    urls: list[str] = []
    urlopen = HTTPConnectionPool.urlopen

    def counted(pool: HTTPConnectionPool, method: str, url: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as what it replaces
        urls.append(url)
        return urlopen(pool, method, url, *arguments, **options)

    with patch.object(HTTPConnectionPool, "urlopen", counted):
        yield urls
