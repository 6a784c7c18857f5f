"""Fixtures that more than one room's tests use: the emulator, a container of its own, the simulator."""

import gc
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient
from hypothesis import settings

from local.azurite import Azurite
from local.host import FunctionsHost
from local.simulator import Simulator
from tests.doubles.memory import MemoryClient
from tests.forks import Forked

ROOT = Path(__file__).resolve().parents[1]

# Each module is compiled once, not in every process that a test starts, even if the environment asks for that.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# An example takes milliseconds, and the first text of a fresh clone some seconds: hypothesis then builds its tables.
settings.register_profile("any machine", deadline=timedelta(seconds=10))
settings.load_profile("any machine")

gc.disable()
"""What collecting makes is there to stay: looking through it for garbage takes a second, in every worker."""


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


_FOREIGN_PREFIXES = ("AMP_", "EXPORT_", "AZURE", "AZURITE_", "IDENTITY_", "MSI_", "WEBSITE_")
_FOREIGN_SUFFIXES = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


_NOT_MEASURED = {
    *("browser", "downstream", "fuzz", "infra"),
    *("test_azurite", "test_displaced", "test_exit_codes", "test_kill", "test_make_run", "test_model", "test_storage"),
    "test_as_many_as_can_be_counted_in_16_bits_are_fine",
    "test_a_nested_bomb_is_refused_while_it_is_inflated_and_in_little_memory",
    "test_a_manifest_is_read_as_it_was_written",
    "test_ten_thousand_members",
}
"""Folders, files and tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure no coverage where the app runs in other processes, hardly at all, or through the same lines for long.

    It makes Python twice as slow.
    """
    for item in items:
        if {item.path.parent.name, item.path.stem, item.name.partition("[")[0]} & _NOT_MEASURED:
            item.add_marker("no_cover")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No test meets a proxy, a credential or a setting that it has not set itself; nor do the processes it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(_FOREIGN_PREFIXES) or name.upper().endswith(_FOREIGN_SUFFIXES):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C interrupts, here and in processes that tests start, also where this is a background job of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def forked_hosts() -> Iterator[None]:
    """Each host is forked from a process that has imported everything; `make run` starts one from nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FunctionsHost, "popen", Forked)
        yield


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """The storage emulator, in memory, one for all tests of a process. Who stops it starts an own one instead."""
    with Azurite() as azurite:
        yield azurite


def is_in_memory(request: pytest.FixtureRequest) -> bool:
    """Whether a test is marked `in_memory`, and needs the emulator for nothing else, like a host or a command line."""
    return bool(request.node.get_closest_marker("in_memory")) and "azurite" not in request.fixturenames


@pytest.fixture
def connection_string(request: pytest.FixtureRequest) -> str:
    """The storage of a test, for `EXPORT_STORAGE`: the emulator's, or any where the test runs in memory."""
    if is_in_memory(request):
        return "UseDevelopmentStorage=true"
    azurite: Azurite = request.getfixturevalue("azurite")
    return azurite.connection_string


@pytest.fixture
def container(
    request: pytest.FixtureRequest, connection_string: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ContainerClient]:
    """A new, empty container; its name is `container.container_name`.

    In memory a test gets one without an emulator, and whatever opens a container in this process gets the same.
    """
    name = f"test-{uuid.uuid4().hex}"
    if is_in_memory(request):
        memory = MemoryClient(name)
        monkeypatch.setattr("shared.storage.connect.open_client", lambda _: memory)
        yield memory  # type: ignore[misc]  # as much of a client as is asked for
        return
    with ContainerClient.from_connection_string(connection_string, name) as container:
        container.create_container()
        yield container


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The Export API of a project with a few events in each hour of each day."""
    with Simulator(events_per_hour=20) as simulator:
        yield simulator


@pytest.fixture
def environ(connection_string: str, container: ContainerClient, simulator: Simulator) -> dict[str, str]:
    """App settings for the emulator and the simulator, with a container and a queue of the test's own."""
    api_key, secret_key = simulator.keys
    return {
        "AMP_API_KEY": api_key,
        "AMP_SECRET_KEY": secret_key,
        "AMP_EXPORT_URL": simulator.url,
        "EXPORT_STORAGE": connection_string,
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
