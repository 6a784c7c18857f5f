"""What the Export API answers to a request, without any sockets."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs, urlsplit

PATH = "/api/2/export"
_MOST_DAYS = timedelta(days=365)

Credentials = Literal["none", "wrong", "right"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for the hours `start` to `end`, both included. They are as sent, or None if they are missing."""

    path: str
    start: str | None
    end: str | None
    credentials: Credentials

    @property
    def hours(self) -> int:
        """How many hours are requested.

        Raises:
            ValueError: the range is not valid.

        """
        start, end = self.range()
        return (end - start) // timedelta(hours=1) + 1

    def range(self) -> tuple[datetime, datetime]:
        """The first and the last hour.

        Raises:
            ValueError: the range is not valid; the message says why.

        """
        start, end = _hour("start", self.start), _hour("end", self.end)
        if end < start:
            raise ValueError("end must not be before start")
        if end - start >= _MOST_DAYS:
            raise ValueError("at most 365 days can be exported at once")
        return start, end


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers, and a body whose length is known."""

    status: int
    body: Iterable[bytes]
    length: int
    headers: Mapping[str, str] = field(default_factory=dict)


def text_answer(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> Answer:
    """An answer with a text."""
    body = text.encode()
    return Answer(status, (body,), len(body), {"Content-Type": content_type})


def json_answer(status: int, value: object) -> Answer:
    """An answer with a JSON body."""
    return text_answer(status, json.dumps(value), "application/json")


def read_request(target: str, authorization: str | None, keys: tuple[str, str]) -> Asked:
    """The request that a request line and its Authorization header make."""
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    start, end = (query.get(name, [None])[-1] for name in ("start", "end"))
    return Asked(parts.path, start, end, _credentials(authorization, keys))


def refusal(asked: Asked) -> Answer | None:
    """The answer to a request that never gets an archive, whatever the project holds; None for all other requests."""
    if asked.path != PATH:
        return not_found_page()
    if asked.credentials == "none":
        return text_answer(401, "Unauthorized")
    if asked.credentials == "wrong":
        return wrong_keys()
    try:
        asked.range()
    except ValueError as error:
        return text_answer(400, f"Invalid request: {error}")
    return None


def not_found_page() -> Answer:
    """A 404 page that does not come from the API itself, as seen in public logs."""
    page = "<html><title>404: Not Found</title><body>404: Not Found</body></html>"
    return text_answer(404, page, "text/html; charset=UTF-8")


def wrong_keys() -> Answer:
    """The answer to wrong keys, or to keys of the other region."""
    details = {"details": "Invalid API/Secret Key combination"}
    error = {"http_code": 403, "type": "unspecified", "message": "Unspecified Error", "metadata": details}
    return json_answer(403, {"error": error})


def nothing_there() -> Answer:
    """The answer for hours without events."""
    return text_answer(404, "Raw data files were not found.")


def too_large() -> Answer:
    """The answer if an export would have too many bytes."""
    return text_answer(
        400, "The exported data is too large: it exceeds the limit of 4GB. Ask for a shorter time range."
    )


def _hour(name: str, text: str | None) -> datetime:
    if text is None or not re.fullmatch(r"[0-9]{8}T[0-9]{2}", text):
        raise ValueError(f"{name} must look like 20251104T00")
    return datetime.strptime(text, "%Y%m%dT%H").replace(tzinfo=UTC)


def _credentials(header: str | None, keys: tuple[str, str]) -> Credentials:
    if header is None:
        return "none"
    scheme, _, encoded = header.partition(" ")
    try:
        sent = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return "wrong"
    return "right" if scheme.lower() == "basic" and sent == ":".join(keys) else "wrong"
