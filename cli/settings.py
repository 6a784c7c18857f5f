"""Where the command line finds its settings: the environment, then `.env`, then `local.settings.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path

from dotenv import dotenv_values

from shared.errors import SettingsError


def find_settings(folder: Path) -> dict[str, str]:
    """All settings in reach; what is set first wins.

    Raises:
        SettingsError: one of the files cannot be read.

    """
    return {**_from_json(folder / "local.settings.json"), **_from_dotenv(folder / ".env"), **os.environ}


def _from_dotenv(file: Path) -> dict[str, str]:
    try:
        # Without interpolation: a dollar sign may be part of a key.
        return {name: value or "" for name, value in dotenv_values(file, interpolate=False).items()}
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{file.name} cannot be read ({type(error).__name__}): write it as NAME=value lines."
        ) from None


def _from_json(file: Path) -> dict[str, str]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))["Values"]
        return {name: str(value) for name, value in values.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"{file.name} is not readable ({type(error).__name__}): copy local.settings.json.example anew."
        ) from None
