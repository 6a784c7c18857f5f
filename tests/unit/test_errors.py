"""The error tree: what each error means, and the figures that it carries."""

from datetime import date

import pytest

from shared import errors
from shared.errors import AmplitudeUnavailable, BrokenArchive, ExportError, FewerEvents, PermanentError, TransientError

LEAVES = list(errors.leaves().values())


@pytest.mark.parametrize("error", LEAVES)
def test_each_error_is_transient_or_permanent(error: type[ExportError]) -> None:
    """The message comes back, or somebody has to act: never both, never neither."""
    assert issubclass(error, TransientError) != issubclass(error, PermanentError)
    assert error.advice != ExportError.advice
    assert str(error.__doc__).splitlines()[0].endswith("."), "one line says what it means"
    if error is not FewerEvents:
        assert error("words").type == error.__name__
        assert str(error("words")) == "words"


def test_errors_carry_their_figures() -> None:
    """The message is made from them, so nobody has to read them back from it."""
    fewer = FewerEvents(date(2025, 11, 4), 1500, 1200, lost_hours=[1])
    assert "1500 events have landed. The export has 1200." in str(fewer)
    assert fewer.details == {
        "landed": 1500,
        "exported": 1200,
        "lost_hours": [1],
        "difference": "1,500 events have landed. The export has 1,200.",
    }
    broken = BrokenArchive("Cut.")
    broken.attempts = 5
    assert (str(broken), broken.details) == ("Cut. Attempts: 5 (EXPORT_MAX_ATTEMPTS).", {"attempts": 5})
    busy = AmplitudeUnavailable("429.", retry_after=900)
    busy.too_long = True
    assert str(busy) == "429. It asks to wait 900 seconds, longer than a try may wait."


def test_what_a_retry_needs_to_know_comes_with_the_error() -> None:
    error = AmplitudeUnavailable("words", retry_after=3.5, slow=True)
    assert (error.retry_after, error.slow, error.throttled) == (3.5, True, False)
    assert BrokenArchive("words").retry_after is None
