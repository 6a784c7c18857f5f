"""Log lines for queries, and the table of a try's operations that is stored with the day."""

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

logger = logging.getLogger("amplitude_export")

COLUMNS = ("log_time", "log_item", "log_description", "status", "bytes", "seconds")


def log(level: int, event: str, **fields: Any) -> None:
    """Write one log line. The message is a JSON object: Application Insights keeps no other fields from Python."""
    logger.log(level, "%s", json.dumps({"event": event, **fields}, default=str))


class RunLog:
    """All API calls and file operations of one try, in order, as rows of a CSV file. Any thread may add to it."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._rows: list[tuple[str | float | None, ...]] = []

    def add(
        self, item: str, description: str, status: str | int, *, size: int | None = None, seconds: float | None = None
    ) -> None:
        """Add a row: the item, the operation, its outcome, the number of bytes, and the time it took."""
        now, took = self._clock().isoformat(timespec="milliseconds"), None if seconds is None else round(seconds, 3)
        self._rows.append((now, _shown(item), _shown(description), status, size, took))

    @contextmanager
    def timed(self, item: str, description: str, size: int | None = None) -> Iterator[None]:
        """Add a row for the block: with its time, and with `ok` or the error that it raised."""
        started, status = time.monotonic(), "ok"
        try:
            yield
        except BaseException as error:
            status = type(error).__name__
            raise
        finally:
            self.add(item, description, status, size=size, seconds=time.monotonic() - started)

    def to_csv(self) -> bytes:
        """The table with its header line (RFC 4180). None becomes an empty field."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(self._rows)
        return text.getvalue().encode()


def _shown(text: str) -> str:
    """The text with visible characters only, in a form that no spreadsheet treats as a formula."""
    text = text if text.isprintable() else text.encode("unicode_escape").decode()
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
