"""The error tree, and that its picture is the tree."""

import inspect
import re

import pytest

from shared import errors
from shared.errors import AmplitudeUnavailable, BrokenArchive, ExportError, PermanentError, TransientError

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
    assert error("words").type == error.__name__
    assert str(error("words")) == "words"


def test_what_a_retry_needs_to_know_comes_with_the_error() -> None:
    error = AmplitudeUnavailable("words", retry_after=3.5, slow=True)
    assert (error.retry_after, error.slow, error.throttled) == (3.5, True, False)
    assert BrokenArchive("words").retry_after is None
