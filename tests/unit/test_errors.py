"""The error tree, and that its picture is the tree."""

import inspect
import re
from datetime import date

import pytest

from shared import errors
from shared.errors import (
    AmplitudeUnavailable,
    BrokenArchive,
    ExportError,
    FewerEvents,
    PermanentError,
    TransientError,
    meaning,
)

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, Exception)]
LEAVES = [one for one in CLASSES if one not in (ExportError, TransientError, PermanentError)]


def drawn() -> dict[str, str]:
    """Each class of the picture in the module's docstring, with the one above it."""
    above, tree = ["", ""], {}
    for line in str(errors.__doc__).splitlines():
        found = re.match(r"( {4}[│├└─ ]*)([A-Z][A-Za-z]+)(  |$)", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            above[depth + 1 :] = [found[2]]
            tree[found[2]] = above[depth]
    return tree


def test_the_picture_is_the_tree() -> None:
    assert drawn() == {one.__name__: one.__mro__[1].__name__ if one is not ExportError else "" for one in CLASSES}


@pytest.mark.parametrize("error", LEAVES)
def test_each_error_is_transient_or_permanent(error: type[ExportError]) -> None:
    """The message comes back, or somebody has to act: never both, never neither."""
    assert issubclass(error, TransientError) != issubclass(error, PermanentError)
    assert error.advice != ExportError.advice
    assert meaning(error).endswith("."), "one line says what it means"
    if error is not FewerEvents:
        assert error("words").type == error.__name__
        assert str(error("words")) == "words"


def test_errors_carry_their_figures() -> None:
    """The message is made from them, so nobody has to read them back from it."""
    fewer = FewerEvents(date(2025, 11, 4), 1500, 1200, lost_hours=[1])
    assert "1500 events have landed, the export holds 1200." in str(fewer)
    assert fewer.details == {
        "landed": 1500,
        "exported": 1200,
        "lost_hours": [1],
        "difference": "1,500 events have landed, the export holds 1,200.",
    }
    broken = BrokenArchive("Cut.")
    broken.attempts = 5
    assert (str(broken), broken.details) == ("Cut. Tried 5 times (EXPORT_MAX_ATTEMPTS).", {"attempts": 5})
    busy = AmplitudeUnavailable("429.", retry_after=900)
    busy.too_long = True
    assert str(busy) == "429. It asks to wait 900 seconds, too long to wait within a try."


def test_what_a_retry_needs_to_know_comes_with_the_error() -> None:
    error = AmplitudeUnavailable("words", retry_after=3.5, slow=True)
    assert (error.retry_after, error.slow, error.throttled) == (3.5, True, False)
    assert BrokenArchive("words").retry_after is None
