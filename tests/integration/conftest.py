"""The app on real parts: Azurite, the simulator, and Microsoft's worker library as the host."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from local.azurite import Azurite
from local.host import FunctionsHost
from local.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environ(azurite: Azurite, container: ContainerClient, simulator: Simulator) -> dict[str, str]:
    """App settings for the emulator and the simulator, with a container and a queue of the test's own."""
    api_key, secret_key = simulator.keys
    return {
        "AMP_API_KEY": api_key,
        "AMP_SECRET_KEY": secret_key,
        "AMP_EXPORT_URL": simulator.url,
        "EXPORT_STORAGE": azurite.connection_string,
        "EXPORT_CONTAINER": str(container.container_name),
        "EXPORT_QUEUE": f"q-{uuid.uuid4().hex[:20]}",
        "EXPORT_RETRY_SECONDS": "0.01",
        "EXPORT_LOOKBACK_DAYS": "0",
    }


@pytest.fixture
def host(azurite: Azurite, environ: dict[str, str]) -> Iterator[FunctionsHost]:
    """The function app, hosted; a message that comes back does so after a second."""
    with FunctionsHost(
        app_dir=ROOT, connection_string=azurite.connection_string, environ=environ, retry_seconds=1
    ) as host:
        yield host
