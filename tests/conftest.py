"""Fixtures that more than one room's tests use: the emulator, a container of its own, the simulator."""

import os
import uuid
from collections.abc import Iterator

import pytest
from azure.storage.blob import ContainerClient

from local.azurite import Azurite
from local.simulator import Simulator

_FOREIGN_PREFIXES = ("AMP_", "EXPORT_", "AZURE", "AZURITE_", "IDENTITY_", "MSI_", "WEBSITE_")
_FOREIGN_SUFFIXES = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No test meets a proxy, a credential or a setting that it has not set itself; nor do the processes it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(_FOREIGN_PREFIXES) or name.upper().endswith(_FOREIGN_SUFFIXES):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """The storage emulator, in memory, one for all tests of a process. Who stops it starts an own one instead."""
    with Azurite() as azurite:
        yield azurite


@pytest.fixture
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    """A new, empty container; its name is `container.container_name`."""
    with ContainerClient.from_connection_string(azurite.connection_string, f"test-{uuid.uuid4().hex}") as container:
        container.create_container()
        yield container


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The Export API of a project with a few events in each hour of each day."""
    with Simulator(events_per_hour=20) as simulator:
        yield simulator
