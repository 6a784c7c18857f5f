"""The functions of the app, as the Functions model lists them."""

from __future__ import annotations

import functools
from typing import Any

import function_app


@functools.cache
def functions() -> list[Any]:
    """All of them. The model can be asked only once in a process: it takes a second list for duplicates."""
    return list(function_app.app.get_functions())
