"""The reader's promise under a coverage-guided fuzzer, for as long as wanted. Run by hand, on Linux.

    python -m venv .run/fuzz && .run/fuzz/bin/pip install atheris hypothesis isal pytest
    mkdir -p .run/inputs
    PYTHONPATH=. .run/fuzz/bin/python tests/fuzz/target.py -max_total_time=3600 .run/inputs tests/fuzz/corpus

New inputs are kept in the first folder. What breaks the promise is written to `crash-*`: once mended, name it for what
it must come to, as `test_fuzz.py` says, and keep it in `corpus/`. An input that begins with `g` or `h` is not read as
it is: it becomes the gzip file in a whole zip, or the choices of `damaged()`. Else checksums would keep the fuzzer from
what lies behind them.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found]  # installed by hand

with atheris.instrument_imports(include=["shared"]):
    from hypothesis import given

    from tests.fuzz.promise import check
    from tests.fuzz.test_fuzz import damaged
    from tests.unit.archives import File, build, event_name


@given(damaged())
def _chosen(data: bytes) -> None:
    check(data)


def one_input(data: bytes) -> None:
    """Try one input."""
    kind, rest = data[:1], data[1:]
    if kind == b"g":
        check(build([File(event_name(), rest)]))
    elif kind == b"h":
        _chosen.hypothesis.fuzz_one_input(rest)  # type: ignore[attr-defined]  # given by `given`
    else:
        check(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
