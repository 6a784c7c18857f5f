"""What the small JSON documents of a day share: bounded readers for what comes from outside, instants, metadata.

Whoever may write into the container may write anything into these blobs, so each figure and text has a bound.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

METADATA_TEXT = 1500
"""Characters of a text kept as metadata; all metadata of a blob together may have 8 KiB."""
NOT_OURS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""
MOST = 10**15
"""No count and no number of bytes of a day is larger."""
LONGEST_NAME = 1024
"""Characters of a blob's name (Azure Storage)."""
LONGEST_TEXT = 4000
MOST_TEXTS = 10_000


def whole(value: object) -> int:
    """A count: a whole number from 0 to `MOST`. Raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError("not a count")
    return value


def measure(value: object) -> float:
    """A finite number. Raises ValueError for anything else."""
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= MOST:  # type: ignore[arg-type, operator]
        raise ValueError("not a measure")
    return value  # type: ignore[return-value]


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """A text of bounded length. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError("not a text of this length")
    value.encode()  # JSON may hold half a surrogate pair, which no answer can
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts of bounded length. Raises ValueError for anything else."""
    if not isinstance(value, list) or len(value) > MOST_TEXTS:
        raise ValueError("not a list of texts")
    return tuple(text(one) for one in value)


def instant(value: object) -> datetime:
    """An instant with its time zone. Raises ValueError for anything else."""
    moment = datetime.fromisoformat(text(value, 40))
    if moment.tzinfo is None:
        raise ValueError("an instant without a time zone")
    return moment.astimezone(UTC)


def known(kind: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document that a dataclass has; a newer version may have written more."""
    return {field.name: document[field.name] for field in fields(kind)}


def iso(moment: datetime) -> str:
    """An instant as `2025-11-05T03:30:02Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(value: object) -> datetime | None:
    """The instant that `iso` wrote; None for None and for what is not an instant."""
    try:
        return datetime.fromisoformat(text(value, 40)).astimezone(UTC) if value else None
    except (ValueError, OverflowError):
        return None


def as_metadata(figures: Mapping[str, str]) -> dict[str, str]:
    """Figures as a blob's metadata: printable ASCII, each cut to `METADATA_TEXT` characters, none of them empty."""
    # An empty value is no value: not every storage takes one.
    encoded = {name: _header_text(value) for name, value in figures.items()}
    return {name: value for name, value in encoded.items() if value}


def metadata_number(metadata: Mapping[str, str], key: str) -> int:
    """A count from metadata; 0 where there is none that can be one."""
    value = metadata.get(key, "")
    return int(value) if re.fullmatch("[0-9]{1,15}", value) else 0


def metadata_numbers(metadata: Mapping[str, str], key: str) -> tuple[int, ...]:
    """Counts from metadata, one for each hour at most."""
    values = metadata.get(key, "").split(",", 24)[:24]
    return tuple(int(value) for value in values if re.fullmatch("[0-9]{1,15}", value))


def metadata_texts(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """Texts from metadata; none where they cannot be read."""
    try:
        return texts(json.loads(metadata.get(key, "[]")))
    except NOT_OURS:
        return ()


def metadata_text(metadata: Mapping[str, str], key: str) -> str:
    """A text from metadata, decoded; it may have been cut when it was written."""
    return unquote(metadata.get(key, "")[: 3 * METADATA_TEXT])


def _header_text(value: str) -> str:
    # Metadata travels as HTTP headers: percent-encoded, and cut between characters rather than inside one.
    encoded = ""
    for character in value:
        piece = quote(character, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\"")
        if len(encoded) + len(piece) > METADATA_TEXT:
            break
        encoded += piece
    return encoded.strip()
