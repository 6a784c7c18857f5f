"""Reads and writes the small JSON documents of a day as dataclasses, and their times and metadata.

Whoever may write into the container can write anything into these blobs, so each number and text has a limit.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from types import NoneType
from typing import Any, cast, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

from shared.dates import parse_day
from shared.errors import InvalidDate

METADATA_TEXT = 1500
"""The longest text in metadata, in characters. All metadata of a blob together may have 8 KiB."""
NOT_OURS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, InvalidDate)
"""The exceptions that reading a document of another form can raise."""
MOST = 10**15
"""The largest count or number of bytes that is accepted."""
LONGEST_TEXT = 4000
_KEYS = {"try_id": "try", "day": "date"}
"""Fields that have another name in the documents."""


def decode[T](kind: type[T], document: Mapping[str, Any]) -> T:
    """The dataclass `kind` from a JSON object. Fields that it does not know are ignored: a newer version wrote them.

    A field with a default may be missing or null. Raises one of `NOT_OURS` for any other missing field, and for a value
    that does not have the type of its field.
    """
    hints, values = _hints(kind), {}  # type: ignore[arg-type]  # a class can be hashed
    for one in fields(kind):  # type: ignore[arg-type]
        key = _KEYS.get(one.name, one.name)
        has_default = one.default is not MISSING or one.default_factory is not MISSING
        if not has_default or document.get(key) is not None:
            values[one.name] = _reader(hints[one.name])(document[key])
    return kind(**values)


def encode(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """A dataclass, or a value in one, as a JSON value."""
    if is_dataclass(value):
        return {_KEYS.get(one.name, one.name): encode(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, tuple):
        return [encode(one) for one in value]
    if isinstance(value, datetime):
        return iso(value)
    return value.isoformat() if isinstance(value, date) else value


_hints = functools.cache(get_type_hints)


@functools.cache
def _reader(hint: Hashable) -> Callable[[Any], Any]:
    """The function that reads a value of a type."""
    if NoneType in get_args(hint):
        inner = _reader(get_args(hint)[0])
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) is tuple:
        return functools.partial(_items, _reader(get_args(hint)[0]))
    if is_dataclass(hint):
        return functools.partial(decode, cast("type[Any]", hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    return _READERS[get_origin(hint) or hint]


def _items(read: Callable[[Any], Any], value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004 - as for every other kind
    return tuple(map(read, value))


def whole(value: object) -> int:
    """A count: a whole number from 0 to `MOST`. Raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError("not a count")
    return value


def _measure(value: float) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= MOST:
        raise ValueError("not a measure")
    return value


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """A text of bounded length. Raises ValueError for anything else."""
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError("not a text of this length")
    value.encode()  # JSON may hold half a surrogate pair, which no answer can
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")  # noqa: TRY004 - as for every other kind
    return value


def _instant(value: object) -> datetime:
    moment = datetime.fromisoformat(text(value, 40))
    if moment.tzinfo is None:
        raise ValueError("an instant without a time zone")
    if not date.min.year < moment.year < date.max.year:
        raise ValueError("an instant that nothing can be added to")
    return moment.astimezone(UTC)


def _object(value: Mapping[str, Any]) -> dict[str, Any]:
    json.dumps(value, ensure_ascii=False).encode()  # see `text`
    return dict(value)


_READERS: dict[Any, Callable[[Any], Any]] = {
    int: whole,
    float: _measure,
    str: text,
    bool: _flag,
    date: lambda value: parse_day(text(value)),
    datetime: _instant,
    Mapping: _object,
}
"""The functions that read a value of a plain type. Each refuses values of other types."""


def iso(moment: datetime) -> str:
    """An instant as `2025-11-05T03:30:02Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(value: object) -> datetime | None:
    """The instant that `iso` wrote; None for None, and for anything that is not an instant."""
    with suppress(ValueError):
        return _instant(value) if value else None
    return None


def as_metadata(figures: Mapping[str, str]) -> dict[str, str]:
    """Figures as a blob's metadata: printable ASCII, each cut to `METADATA_TEXT` characters, none of them empty."""
    # Empty values are left out, because not every storage accepts them.
    encoded = {name: _header_text(value) for name, value in figures.items()}
    return {name: value for name, value in encoded.items() if value}


def metadata_number(metadata: Mapping[str, str], key: str) -> int:
    """A count from metadata; 0 if it is missing or not a count."""
    value = metadata.get(key, "")
    return int(value) if re.fullmatch("[0-9]{1,18}", value) else 0


def metadata_numbers(metadata: Mapping[str, str], key: str) -> tuple[int, ...]:
    """Counts from metadata, at most one for each hour."""
    values = metadata.get(key, "").split(",", 24)[:24]
    return tuple(int(value) for value in values if re.fullmatch("[0-9]{1,18}", value))


def metadata_texts(metadata: Mapping[str, str], key: str) -> tuple[str, ...]:
    """Texts from metadata; an empty list if they cannot be read."""
    with suppress(*NOT_OURS):
        return _items(text, json.loads(metadata.get(key, "[]")))
    return ()


def metadata_text(metadata: Mapping[str, str], key: str) -> str:
    """A text from metadata, decoded; it may have been cut when it was written."""
    return unquote(metadata.get(key, "")[: 3 * METADATA_TEXT])


def _header_text(value: str) -> str:
    # Metadata is sent as HTTP headers, so the text is percent-encoded. It is cut between characters, never inside one.
    encoded = ""
    for character in value:
        piece = quote(character, errors="replace", safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\"")
        if len(encoded) + len(piece) > METADATA_TEXT:
            break
        encoded += piece
    return encoded.strip()
