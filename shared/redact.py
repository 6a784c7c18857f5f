"""Removes secrets from texts of other programs: a proxy's page may repeat a request with its credentials."""

import base64
import html
import re
import unicodedata
from collections.abc import Iterable
from functools import partial
from urllib.parse import quote, unquote

SHORTEST_RUN, SHORTEST_WORDS = 8, 12
"""A text with this many characters of a secret in a row reveals the secret. The second number is for parts without
digits, which may be ordinary words."""
SHORTEST_SECRET = 6
"""A shorter secret may be a common word. It is masked only if it is repeated exactly."""
_quoted = partial(quote, safe="")
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|[abfnrtv])")


class Redaction:
    """Finds secrets in every form in which a text may repeat them. `pairs` are sent as base64 only (RFC 7617)."""

    def __init__(self, secrets: Iterable[str], pairs: Iterable[str] = ()) -> None:
        secrets, pairs = [secret for secret in secrets if secret], list(pairs)
        coded = [code(text.encode()) for text in (*secrets, *pairs) for code in (_base64, bytes.hex)]
        self._forms = sorted({*secrets, *coded, *map(quote, secrets), *map(_quoted, (*secrets, *coded))}, key=len)
        # Inside a longer text, base64 of the same bytes has one of three forms.
        inner = [_base64(bytes(skip) + s.encode())[4:-4] for s in secrets for skip in range(3)]
        bare = [form for form in map(_bare, (*self._forms, *inner)) if len(form) >= SHORTEST_SECRET]
        runs = {run for form in bare for run in _runs(form, SHORTEST_RUN) if not run.isalpha()}
        self._found_by = runs | {run for form in bare for run in _runs(form, SHORTEST_WORDS)}

    def words(self, text: str, most: int) -> str:
        """The text on one line, without tags and secrets, cut to `most` characters.

        Empty if a part of a secret is left, even if white space, tags, other signs, upper case or entities hide it.
        """
        text = re.sub(r"<[^<>]*>", " ", text)
        for form in reversed(self._forms):
            text = text.replace(form, "***")
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]
        return "" if self.finds(text) else text

    def finds(self, text: str) -> bool:
        """Whether a part of a secret can be read from the text."""
        readings = {text}
        for _ in range(2):  # a page quotes what a log has escaped
            readings |= {decode(reading) for reading in readings for decode in (html.unescape, unquote, _unescaped)}
        bare = set(map(_bare, readings))
        return any(run in reading for run in self._found_by for reading in bare)


def _runs(form: str, length: int) -> Iterable[str]:
    """Each part of that many characters; the whole form if it is shorter."""
    return (form[at : at + length] for at in range(max(len(form) - length, 0) + 1))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unescaped(text: str) -> str:
    r"""The text with `\x41`, `\u0041` and `\n` read as JSON and programs write them."""
    return _ESCAPED.sub(lambda found: chr(int(found[1] or found[2] or "20", 16)), text)


def _bare(text: str) -> str:
    """Only the letters and digits of a text, in one case and one width: nothing is left that may break up a secret."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text))).casefold()
