"""What every fault is tried on: a project with secret keys, a container, a reader of it, and a watch over the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from azure.storage.blob import ContainerClient

from local.azurite import Azurite
from local.host import FunctionsHost
from local.simulator import Simulator
from tests.faults.exports import API_KEY, DAY, SECRET_KEY, Exports, leaks
from tests.faults.reader import Landed, Reader
from tests.faults.scene import Scene
from tests.faults.storage_proxy import StorageProxy

DAY_FILES = {
    (hour, part): b"".join(b'{"uuid":"%d-%d-%d"}\n' % (hour, part, n) for n in range(200))
    for hour, part in ((0, 0), (0, 1), (11, 0), (23, 0))
}
"""A day with few files, so that a try is quick: two parts in one hour, and both ends of the day."""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The Export API of a project whose keys are the marker secrets; DAY holds `DAY_FILES`."""
    with Simulator(keys=(API_KEY, SECRET_KEY), events_per_hour=20) as simulator:
        simulator.set_day(DAY, DAY_FILES)
        yield simulator


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[StorageProxy]:
    """The storage account as it fails; without a rule it does not."""
    with StorageProxy(azurite) as proxy:
        yield proxy


@pytest.fixture
def exports(environ: dict[str, str]) -> Exports:
    """Runs of days with the settings of the test."""
    return Exports(environ)


@pytest.fixture
def reader(container: ContainerClient) -> Reader:
    """Who reads the test's container."""
    return Reader(container)


@pytest.fixture(params=["nothing landed", "landed"])
def before(request: pytest.FixtureRequest, exports: Exports, simulator: Simulator, reader: Reader) -> Landed:
    """What stands in the container when the trouble begins: nothing, or a whole day that has changed since."""
    if request.param == "landed":
        exports.run()
        simulator.put(DAY, 11, 0, b'{"uuid":"late"}\n' * 500)
        simulator.put(DAY, 12, 0, b'{"uuid":"later"}\n')
        simulator.requests.clear()
    return reader.files(DAY)


@pytest.fixture
def scene(
    container: ContainerClient, simulator: Simulator, proxy: StorageProxy, exports: Exports, reader: Reader
) -> Scene:
    """All of these together."""
    return Scene(container, simulator, proxy, exports, reader)


@pytest.fixture
def host(host: FunctionsHost) -> Iterator[FunctionsHost]:
    """The function app, hosted. It shows no secret."""
    yield host
    assert not leaks(host.output())


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test provokes: no line of any logger, with the exception it carries, holds a secret."""
    caplog.set_level(logging.WARNING, logger="azure")  # as the app and the command line set it
    caplog.set_level(logging.INFO)  # the last one counts for what is kept
    yield
    logged = "\n".join(caplog.handler.format(record) for record in caplog.get_records("call"))
    assert not leaks(logged)
