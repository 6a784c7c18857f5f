"""Tests that are shown to fail: a fact holds for the templates, and for no copy with one of its breaks."""

from collections.abc import Callable

import pytest

from tests.infra.templates import Templates, templates

type Break = tuple[str, str, str]
"""A file below infra/, a text in it, and what stands there in the broken copy."""


def fact(*breaks: Break) -> Callable[[Callable[[Templates], None]], Callable[[Break | None], None]]:
    """Make a test of a check: it passes on the templates as they are, and must fail on each broken copy."""

    def test_of(check: Callable[[Templates], None]) -> Callable[[Break | None], None]:
        @pytest.mark.parametrize("broken", [None, *breaks], ids=["holds", *(f"not: {new!r}" for _, _, new in breaks)])
        def test(broken: Break | None) -> None:
            if broken is None:
                check(templates())
                return
            copy = templates().changed(*broken)
            with pytest.raises(AssertionError):
                check(copy)

        test.__doc__ = check.__doc__
        return test

    return test_of
