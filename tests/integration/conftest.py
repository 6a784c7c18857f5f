"""The app on real parts: Azurite, the simulator, and Microsoft's worker library as the host."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local.azurite import KEY, Azurite
from local.host import FunctionsHost
from local.simulator import Fault, Gate, Simulator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def held_environ(azurite: Azurite) -> Iterator[dict[str, str]]:
    """App settings with secrets that can be found again, for an Amplitude that never answers."""
    with Simulator(keys=("api-key-marker", "secret-key-marker")) as simulator:
        simulator.rule = lambda _: Fault(pause=Gate())
        yield {
            "AMP_API_KEY": simulator.keys[0],
            "AMP_SECRET_KEY": simulator.keys[1],
            "AMP_EXPORT_URL": simulator.url,
            "EXPORT_STORAGE": azurite.connection_string,
            "EXPORT_CONTAINER": f"test-{uuid.uuid4().hex}",
            "EXPORT_QUEUE": f"q-{uuid.uuid4().hex[:20]}",
        }


@pytest.fixture(scope="module")
def held_host(azurite: Azurite, held_environ: dict[str, str]) -> Iterator[FunctionsHost]:
    """The app with its worker held at 2020-01-01, which is running all the while: whatever is queued stays queued."""
    with FunctionsHost(
        app_dir=ROOT, connection_string=azurite.connection_string, environ=held_environ, key="host-key-marker"
    ) as host:
        requests.post(f"{host.url}/api/exports/2020-01-01", headers=host.auth, timeout=30).raise_for_status()
        host.wait_for(lambda line: '"run_started"' in line, 30)
        yield host
        host.kill()
        written = [line for line in host.output().splitlines() if not line.startswith('{"url": ')]
        assert written
        assert [line for line in written if "marker" in line or KEY in line] == []
