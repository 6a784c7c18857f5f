"""Tests that are shown to fail: a fact is true for the snapshots, and for no broken copy of the templates."""

from collections.abc import Callable

import pytest

from tests.infra.snapshots import COMPILER, Deployment, committed, compiled, templates, ways

type Deploy = Callable[[str], Deployment]
"""Gives what is deployed one way."""

needs_compiler = pytest.mark.skipif(not COMPILER, reason="no Bicep compiler on the PATH")
"""infra/check.sh fails without a compiler wherever one is required."""

FILES = {
    "main": "main.bicep",
    "param": "main.bicepparam",
    "roles": "roles.json",
    "mass-deletion": "queries/mass-deletion.kql",
}


def fact(breaks: str) -> Callable[[Callable[[Deploy], None]], Callable[[str], None]]:
    r"""Make a test of a check: it passes on the committed snapshots, and must fail on each broken copy.

    Each line of `breaks` is `module: old >>> new`: a text of that module, and what replaces it in a copy.
    """
    lines = [line.removeprefix("    ") for line in breaks.splitlines() if line.strip()]

    def test_of(check: Callable[[Deploy], None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("line", ["", *(pytest.param(line, marks=needs_compiler) for line in lines)])
        def test(line: str) -> None:
            if not line:
                check(committed)
                return
            module, change = line.split(": ", 1)
            old, new = (text.replace("\\n", "\n") for text in f"{change} ".split(" >>> "))
            name, texts = FILES.get(module, f"modules/{module}.bicep"), templates()
            assert old in texts[name], f"{name} does not contain {old!r}"
            texts[name] = texts[name].replace(old, new.removesuffix(" "), 1)
            with pytest.raises(AssertionError):
                check(lambda way: compiled(texts, ways()[way][1]))

        test.__doc__ = check.__doc__
        return test

    return test_of
