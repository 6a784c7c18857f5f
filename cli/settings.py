"""Where the command line finds its settings: the environment, then `.env`, then `local.settings.json`."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import json5
from dotenv.parser import parse_stream

from shared.errors import SettingsError

LOCAL_SETTINGS = "local.settings.json"
SOURCES = f"Settings come from the environment, then .env, then {LOCAL_SETTINGS} in the current folder; the first wins."


def find_settings(folder: Path) -> dict[str, str]:
    """All settings from the three sources. If several have the same name, the first source wins.

    Raises:
        SettingsError: one of the files cannot be read; the message has its name and, if there is one, the line.

    """
    return {**read_local_settings(folder / LOCAL_SETTINGS), **_read_dotenv(folder / ".env"), **os.environ}


def read_local_settings(file: Path) -> dict[str, str]:
    """The `Values` of a local.settings.json, read as Core Tools reads it; empty if there is no such file.

    Comments, trailing commas and a byte order mark are allowed.

    Raises:
        SettingsError: the file is encrypted, or Core Tools could not read it.

    """
    text = _read(file)
    if text is None:
        return {}
    try:
        document = json5.loads(text)
    except (ValueError, RecursionError) as error:
        place = re.match(r"<string>:([0-9]+)", str(error))
        line = f", line {place[1]}" if place else ""
        raise SettingsError(f"{file.name}{line}: not valid JSON. Compare it with {file.name}.example.") from None
    fields = {name.lower(): value for name, value in document.items()} if isinstance(document, dict) else {}
    if fields.get("isencrypted"):
        raise SettingsError(
            f"{file.name} is encrypted (IsEncrypted is true), so its values cannot be used as keys: run "
            "`func settings decrypt`, or set IsEncrypted to false and enter the values again."
        )
    values = fields.get("values")
    if not isinstance(values, dict):
        raise SettingsError(f'{file.name}: there is no object "Values". Compare it with {file.name}.example.')
    return {str(name): _as_text(file, str(name), value) for name, value in values.items()}


def _as_text(file: Path, name: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise SettingsError(f"{file.name}: the value of {name} must be a string or a number.")


def _read_dotenv(file: Path) -> dict[str, str]:
    text = _read(file)
    if text is None:
        return {}
    values: dict[str, str] = {}
    # Parsed without interpolation: a dollar sign may be part of a key.
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is None and not binding.error:
            continue  # a comment or an empty line
        if binding.error or binding.value is None or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", binding.key or ""):
            raise SettingsError(
                f"{file.name}, line {binding.original.line}: not a setting. Write NAME=value, and close each quote."
            )
        values[str(binding.key)] = binding.value
    return values


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise SettingsError(f"{file.name} is not UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise SettingsError(f"{file.name} cannot be read: {error.strerror}.") from None
