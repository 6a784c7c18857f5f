"""No part of a secret gets through, however it is broken up or written."""

from __future__ import annotations

import base64
import html
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest

from shared.redact import Redaction

KEY, SECRET = "0f3a9c/+5d7e1b2846ac", "c4d1e8f09b7a/6352+0f1e"
PAIR = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
REDACTION = Redaction((KEY, SECRET), (f"{KEY}:{SECRET}",))

FORMS = {
    "as it is": SECRET,
    "upper case": SECRET.upper(),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 inside more": base64.b64encode(f"a={SECRET}".encode()).decode(),
    "hexadecimal": SECRET.encode().hex(),
    "the header": PAIR,
    "the header, lower case": PAIR.lower(),
    "URL-encoded": quote(SECRET, safe=""),
    "URL-encoded header": quote(PAIR, safe=""),
    "all but one character": SECRET[1:],
    "eight characters": SECRET[:5] + SECRET[5:10],
}
BREAKS: dict[str, Callable[[str], str]] = {
    "nothing": lambda form: form,
    "a newline": lambda form: form[:10] + "\n" + form[10:],
    "newlines": "\n ".join,
    "escaped newlines": "\\n".join,
    "a tag": lambda form: form[:10] + "<wbr>" + form[10:],
    "tags": "<b></b>".join,
    "other signs": "\u200b".join,
    "entities": lambda form: "".join(f"&#{ord(c)};" for c in form),
    "percents": lambda form: "".join(f"%{ord(c):02x}" for c in form),
    "percents in entities": lambda form: "".join(f"&#37;{ord(c):02x}" for c in form),
    "escapes": lambda form: "".join(f"\\x{ord(c):02X}" for c in form),
    "escapes of JSON": lambda form: "".join(f"\\u{ord(c):04x}" for c in form),
    "wide letters": lambda form: "".join(chr(ord(c) + 0xFEE0) for c in form),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", BREAKS)
def test_nothing_of_a_secret_is_left(form: str, between: str) -> None:
    words = REDACTION.words(f"<p>You sent {BREAKS[between](FORMS[form])} to us</p>", 300)
    assert words in ("", "You sent *** to us")


@pytest.mark.parametrize("text", ["Raw data files were not found.", "0f3a9c", "Error c4d1 e8f"])
def test_other_words_stay(text: str) -> None:
    assert REDACTION.words(f"<p>{html.escape(text)}</p>", 300) == text


def test_words_are_short_and_on_one_line() -> None:
    assert REDACTION.words("a\r\n\x00b\x1b[31m<br>c" + " x" * 500, 10) == "a b [31m c"


def test_common_words_inside_a_secret_hide_nothing() -> None:
    words = "Invalid API/Secret Key combination"
    assert Redaction(("my+api/key=7f3a91", "my+secret/key=c05d17")).words(words, 300) == words


def test_short_secrets_are_masked_and_hide_nothing_else() -> None:
    assert Redaction(("key",)).words("your key; KEYS are elsewhere", 300) == "your ***; KEYS are elsewhere"


def test_eight_characters_of_a_secret_in_a_row_are_too_many() -> None:
    found = Redaction(["ab1cd2ef3gh4ij5"]).finds
    assert (found("b1cd2ef3"), found("b1cd2ef")) == (True, False)


def test_tags_that_never_end_take_linear_time() -> None:
    """A header may have 64 KiB of them."""

    def seconds(count: int) -> float:
        started = time.process_time()
        REDACTION.words("<" * count, 40)
        return time.process_time() - started

    assert seconds(100_000) < 20 * seconds(10_000) + 0.1
