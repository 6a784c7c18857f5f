"""All that a fault of the storage or of the process meets, in one place: Amplitude, storage, tries, reader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from azure.storage.blob import ContainerClient

from local.simulator import Simulator
from shared.app import open_app
from tests.faults import tries
from tests.faults.exports import DAY, Exports
from tests.faults.reader import File, Reader
from tests.faults.storage_proxy import StorageProxy

Files = dict[File, bytes]


@dataclass(frozen=True, slots=True)
class Scene:
    """One container, reached directly (`exports`, `reader`, `environ`) and by way of the proxy (`proxied`, `run`)."""

    container: ContainerClient
    simulator: Simulator
    proxy: StorageProxy
    exports: Exports
    reader: Reader

    @property
    def environ(self) -> dict[str, str]:
        """App settings that reach the storage directly."""
        return self.exports.environ

    @property
    def proxied(self) -> dict[str, str]:
        """App settings that reach it by way of the proxy."""
        return self.environ | {"EXPORT_STORAGE": self.proxy.connection_string}

    def land(self, day: date = DAY) -> None:
        """Export a day, and let one of its files change at Amplitude afterwards."""
        self.exports.run(day)
        self.grow(day)

    def grow(self, day: date = DAY, events: int = 1) -> None:
        """More events have come to one hour of the day than there were when it was asked for first."""
        more = self.simulator.member_bytes(day)[11, 0] + b'{"uuid":"late"}\n' * events
        self.simulator.put(day, 11, 0, more)

    def amplitudes(self, day: date = DAY) -> Files:
        """What Amplitude holds of a day now, and what a try therefore has to land."""
        return self.simulator.member_bytes(day)

    def run(self, day: date = DAY, *, patches: tries.Patches = tries.HURRIED) -> tuple[int, str]:
        """Exit code and output of `python -m local export` by way of the proxy."""
        with tries.export(self.proxied, day.isoformat(), patches=patches) as attempt:
            return attempt.end(), attempt.output()

    def ask(self, day: date = DAY, *, replace: bool = False) -> str:
        """Queue a run of a day. Returns its message."""
        with open_app(self.environ) as app:
            return app.runs.ask(day, "http", replace=replace).message

    def assert_landed(self, day: date = DAY) -> None:
        """The day holds what Amplitude has, nothing unlisted is left of it, and its status says that it is complete."""
        assert self.reader.files(day) == self.amplitudes(day)
        assert not self.reader.unlisted(day)
        assert self.reader.outcome(day) == ("complete", None)

    def assert_heals(self, day: date = DAY) -> None:
        """A healthy try lands the day, and nothing is left of the tries before it."""
        self.proxy.rule = lambda _: None
        tries.break_lock(self.container, day)
        if self.reader.unlisted(day):  # of the second in which the lock is taken, they would stay for the sweep
            tries.next_second()
        self.exports.run(day)
        self.assert_landed(day)
