"""The configuration of a function app: host.json, local.settings.json, app settings in bindings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STORAGE = "AzureWebJobsStorage"


class LoadError(Exception):
    """The app cannot be hosted; the message says why."""


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How messages are held, tried again and given up. Times that the queue stores are whole seconds."""

    lease_seconds: int
    """How long a message stays hidden. This is renewed while it is handled; after a crash, the message comes back."""
    retry_seconds: int
    """After how long a failed message comes back."""
    max_dequeue_count: int
    """A message that fails at this try goes to the poison queue."""
    idle_seconds: float = 0
    """The longest pause between two looks into an idle queue."""


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The parts of host.json that this host uses."""

    route_prefix: str
    retry_seconds: int
    max_dequeue_count: int


def load_host_config(app_dir: Path) -> HostConfig:
    """Read host.json.

    Raises:
        LoadError: it is missing or malformed, or has queue settings that this host does not support.

    """
    extensions = _read_object(app_dir / "host.json").get("extensions", {})
    queues = extensions.get("queues", {})
    for name, known in (("batchSize", 1), ("newBatchThreshold", 0), ("messageEncoding", "base64")):
        if queues.get(name) != known:
            raise LoadError(
                f"host.json: this host needs {name} {known!r} in extensions.queues, not {queues.get(name)!r}"
            )
    return HostConfig(
        route_prefix=extensions.get("http", {}).get("routePrefix", "api").strip("/"),
        retry_seconds=_seconds(queues.get("visibilityTimeout", "00:00:00")),
        max_dequeue_count=queues.get("maxDequeueCount", 5),
    )


def add_local_settings(environ: MutableMapping[str, str], file: Path) -> None:
    """Add the `Values` of a local.settings.json to `environ`, except names that it already has.

    Raises:
        LoadError: the file cannot be read, is encrypted, or has values that are not strings.

    """
    settings = _read_object(file)
    if settings.get("IsEncrypted"):
        raise LoadError(f"{file.name} is encrypted: run `func settings decrypt`, or set IsEncrypted to false")
    for name, value in settings.get("Values", {}).items():
        if not isinstance(value, str):
            raise LoadError(f"{file.name}: {name} must be a string")
        environ.setdefault(name, value)


def resolve(binding: Mapping[str, Any], environ: Mapping[str, str], function: str) -> dict[str, Any]:
    """A binding with each `%NAME%` replaced by that app setting.

    Raises:
        LoadError: there is no such setting. The real host would not load the function either.

    """

    def setting(match: re.Match[str]) -> str:
        if match[1] not in environ:
            raise LoadError(f"function {function}: {match[0]} in a binding names an app setting that does not exist")
        return environ[match[1]]

    return {
        name: re.sub("%([^%]+)%", setting, value) if isinstance(value, str) and name != "route" else value
        for name, value in binding.items()
    }


def connection_string(binding: Mapping[str, Any], environ: Mapping[str, str], function: str) -> str:
    """The storage account of a queue binding.

    Raises:
        LoadError: its setting is missing. This host cannot connect by identity.

    """
    name = binding.get("connection") or STORAGE
    if not environ.get(name):
        raise LoadError(f"function {function}: the app setting {name} must hold a storage connection string")
    return environ[name]


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise LoadError(f"cannot read {file.name}: {error.strerror}") from error
    except ValueError as error:
        raise LoadError(f"{file.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise LoadError(f"{file.name} must hold a JSON object")
    return content


def _seconds(span: str) -> int:
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)", span)
    if not match:
        raise LoadError(f"host.json: {span!r} is not a time span like 00:05:00")
    hours, minutes, seconds = map(int, match.groups())
    return (hours * 60 + minutes) * 60 + seconds
