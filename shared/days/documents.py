"""What the small JSON documents of a day share: how instants are written, and how figures go into metadata."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

METADATA_TEXT = 1500
"""Characters of a text kept as metadata; all metadata of a blob together may have 8 KiB."""
NOT_OURS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What reading a document of another shape raises."""


def iso(moment: datetime) -> str:
    """An instant as `2025-11-05T03:30:02Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_iso(text: str | None) -> datetime | None:
    """The instant that `iso` wrote; None for None and for what is no instant."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None


def as_metadata(figures: Mapping[str, str]) -> dict[str, str]:
    """Figures as a blob's metadata: printable ASCII, each cut to `METADATA_TEXT` characters, none of them empty."""
    # An empty value is no value: not every storage takes one.
    encoded = {name: _header_text(value) for name, value in figures.items()}
    return {name: value for name, value in encoded.items() if value}


def _header_text(text: str) -> str:
    # Metadata travels as HTTP headers: percent-encoded, and cut between characters rather than inside one.
    encoded = ""
    for character in text:
        piece = quote(character, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~\"")
        if len(encoded) + len(piece) > METADATA_TEXT:
            break
        encoded += piece
    return encoded.strip()
