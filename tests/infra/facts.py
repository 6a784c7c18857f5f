"""Tests that are shown to fail: a fact is true for the snapshots, and for no broken copy of the templates."""

from collections.abc import Callable

import pytest

from tests.infra.snapshots import COMPILER, Deployment, committed, compiled, templates, ways

type Break = tuple[str, str, str]
"""A file below infra/, a text in it, and what replaces it in the broken copy."""

type Deploy = Callable[[str], Deployment]
"""Gives what is deployed one way."""

needs_compiler = pytest.mark.skipif(not COMPILER, reason="no Bicep compiler on the PATH")
"""infra/check.sh fails without a compiler wherever one is required."""


def fact(*breaks: Break) -> Callable[[Callable[[Deploy], None]], Callable[[Break | None], None]]:
    """Make a test of a check: it passes on the committed snapshots, and must fail on each broken copy."""
    broken = [pytest.param(each, id=f"not: {each[2]!r}", marks=needs_compiler) for each in breaks]

    def test_of(check: Callable[[Deploy], None]) -> Callable[[Break | None], None]:
        @pytest.mark.parametrize("broken", [pytest.param(None, id="holds"), *broken])
        def test(broken: Break | None) -> None:
            if broken is None:
                check(committed)
                return
            name, old, new = broken
            texts = templates()
            assert old in texts[name], f"{name} does not contain {old!r}"
            texts[name] = texts[name].replace(old, new, 1)
            with pytest.raises(AssertionError):
                check(lambda way: compiled(texts, ways()[way][1]))

        test.__doc__ = check.__doc__
        return test

    return test_of
