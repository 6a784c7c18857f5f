"""The Delta table in the storage emulator: killed at any step, and two at once.

delta-rs lists its log from the newest version that it knows on. Azure honours that (`startFrom` of List Blobs), the
emulator does not, so the tests go through a proxy that does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from deltalake import DeltaTable

from downstream.delta import EventsTable, Replaced, TableError, storage_options
from downstream.source import ContainerSource
from local.azurite import Azurite
from shared.settings import load_storage_settings
from tests.downstream.conftest import ROOT
from tests.downstream.landed import TUESDAY, WEDNESDAY, Landed, hour_of_events
from tests.faults.storage_proxy import Asked, Fault, StorageProxy, at_any, killed_by

MONDAY = date(2025, 11, 3)
MORNING, EVENING = hour_of_events(TUESDAY, 9, 5), hour_of_events(TUESDAY, 20, 5)
NEW = {MONDAY: ("00000004", 10), TUESDAY: ("00000002", 5), WEDNESDAY: ("00000005", 5)}
OLD = {date(2025, 11, 2): ("00000003", 5), MONDAY: ("00000001", 5), TUESDAY: ("00000002", 5)}
COMMITS = 6
"""A commit for each day: three at first, then a day that has changed, one that is new and one that has expired."""


@dataclass(frozen=True, slots=True)
class Lake:
    """A container with what has landed, and the table in it."""

    landed: Landed
    client: ContainerClient
    environ: dict[str, str]

    @property
    def target(self) -> str:
        return f"az://{self.client.container_name}/tables/events"

    def upload(self) -> None:
        """Make the container hold what the folder holds, with the metadata that the app gives to manifests."""
        for name in self.client.list_blob_names(name_starts_with="manifests/"):
            self.client.delete_blob(name)
        for path in (path for path in self.landed.folder.rglob("*") if path.is_file()):
            name, content = path.relative_to(self.landed.folder).as_posix(), path.read_bytes()
            metadata = {"try": str(json.loads(content)["try"])} if name.startswith("manifests/") else None
            self.client.upload_blob(name, content, metadata=metadata, overwrite=True)

    def start(self) -> subprocess.Popen[str]:
        """The command, as a process."""
        command = [sys.executable, "-m", "downstream.delta", self.target]
        return subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=ROOT, env=os.environ | self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def update(self) -> list[Replaced | TableError]:
        return list(EventsTable(self.target, self.options, "").update(ContainerSource(self.client, "")))

    def options(self) -> dict[str, str]:
        return storage_options(self.target, load_storage_settings(self.environ))

    def table(self) -> DeltaTable:
        return DeltaTable(self.target, storage_options=self.options())

    def days(self) -> dict[date, tuple[str, int]]:
        """Each day's try and number of rows; a day of two tries fails."""
        found: dict[date, tuple[str, int]] = {}
        columns = ["export_date", "export_try"]
        grouped = self.table().to_pyarrow_table(columns=columns).group_by(columns)
        for row in grouped.aggregate([([], "count_all")]).to_pylist():
            assert row["export_date"] not in found
            found[row["export_date"]] = row["export_try"], row["count_all"]
        return found

    def begin(self) -> None:
        """Load three days. Then export one again, let one expire, and export a new one."""
        self.landed.export(date(2025, 11, 2), {9: [MORNING]}, attempt="00000003")
        self.landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
        self.landed.export(TUESDAY, {9: [MORNING]}, attempt="00000002", file_format="json.gz")
        self.upload()
        self.update()
        self.landed.manifest(date(2025, 11, 2)).unlink()
        self.landed.export(MONDAY, {9: [MORNING], 20: [EVENING]}, attempt="00000004")
        self.landed.export(WEDNESDAY, {20: [EVENING]}, attempt="00000005")
        self.upload()
        assert self.days() == OLD

    def check_whole(self) -> None:
        """Every day is as it was or as it is to be."""
        days = self.days()
        for day in OLD | NEW:
            assert days.get(day) in (OLD.get(day), NEW.get(day))


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[StorageProxy]:
    with StorageProxy(azurite) as proxy:
        yield proxy


@pytest.fixture
def make_lake(proxy: StorageProxy, tmp_path: Path) -> Iterator[Any]:
    clients: list[ContainerClient] = []

    def make() -> Lake:
        name = f"lake-{uuid.uuid4().hex}"
        client = ContainerClient.from_connection_string(proxy.connection_string, name)
        clients.append(client)
        client.create_container()
        environ = {"EXPORT_STORAGE": proxy.connection_string, "EXPORT_CONTAINER": name}
        lake = Lake(Landed(tmp_path / name), client, environ)
        lake.begin()
        return lake

    yield make
    for client in clients:
        client.close()


def kill_and_go_on(
    lake: Lake, proxy: StorageProxy, number: int, *, writes_only: bool, carried_out: bool
) -> Asked | None:
    """Kill the command at its n-th request, then run it to its end. Returns the request; None if there were fewer."""
    reached: list[Asked] = []

    def counts(asked: Asked) -> bool:
        if writes_only and not asked.writes:
            return False
        reached.append(asked)
        return True

    with lake.start() as process:
        proxy.rule = at_any(counts, killed_by(process, carried_out=carried_out), first=number)
        _, errors = process.communicate()
    proxy.rule = lambda _: None
    assert process.returncode in (0, -signal.SIGKILL), errors
    lake.check_whole()
    lake.update()
    assert lake.days() == NEW
    assert lake.table().version() == COMMITS
    assert lake.update() == []
    return reached[number - 1] if process.returncode else None


def test_the_emulator_ignores_where_a_listing_is_to_start(make_lake: Any, azurite: Azurite) -> None:  # noqa: ANN401
    """Why there is a proxy. If this fails, the emulator has learnt it, and the proxy's part in it can go."""
    lake: Lake = make_lake()
    direct = load_storage_settings(lake.environ | {"EXPORT_STORAGE": azurite.connection_string})

    table = EventsTable(lake.target, lambda: storage_options(lake.target, direct), "")
    outcomes = list(table.update(ContainerSource(lake.client, "")))

    assert len(outcomes) == COMMITS - 3
    assert all(isinstance(outcome, TableError) and "Invalid table version" in str(outcome) for outcome in outcomes)


def test_killed_at_a_commit(make_lake: Any, proxy: StorageProxy) -> None:  # noqa: ANN401
    """Every day is committed once in all. Rows without a commit, as an earlier kill leaves them, are in no table."""
    reached = kill_and_go_on(make_lake(), proxy, 1, writes_only=True, carried_out=True)
    assert reached
    assert "_delta_log/" in reached.name


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("carried_out", [False, True])
def test_killed_at_every_request(make_lake: Any, proxy: StorageProxy, *, carried_out: bool) -> None:  # noqa: ANN401
    number = 1
    while kill_and_go_on(make_lake(), proxy, number, writes_only=False, carried_out=carried_out):
        number += 1
    assert number > 30


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(lost=True), id="lost"),
        pytest.param(Fault(status=503, code="ServerBusy"), id="busy", marks=pytest.mark.soak),
    ],
)
def test_a_commit_whose_answer_is_lost_is_made_once(make_lake: Any, proxy: StorageProxy, fault: Fault) -> None:  # noqa: ANN401
    lake: Lake = make_lake()
    proxy.rule = at_any(lambda asked: asked.writes and "_delta_log/" in asked.name, fault)
    lake.update()
    lake.update()

    assert lake.days() == NEW
    assert lake.table().version() == COMMITS


def test_two_commands_at_once(make_lake: Any) -> None:  # noqa: ANN401
    """Between them, each change is made once."""
    lake: Lake = make_lake()
    both = [lake.start(), lake.start()]
    said = [process.communicate() for process in both]

    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("".join(out for out, _ in said).splitlines()) == [
        "2025-11-02: removed, because it no longer has a manifest",
        "2025-11-03: 10 events of try 00000004",
        "2025-11-05: 5 events of try 00000005",
    ]
    assert lake.days() == NEW
    assert lake.table().version() == COMMITS


def test_days_are_compared_with_one_reading_of_the_log(make_lake: Any, proxy: StorageProxy) -> None:  # noqa: ANN401
    """A run with nothing to do opens the table once, and reads the log from its last checkpoint on."""
    lake: Lake = make_lake()
    for number in range(1, 7):
        lake.landed.export(date(2025, 12, number), {9: [MORNING]}, attempt=f"{number:08x}")
    lake.upload()
    lake.update()
    proxy.requests.clear()

    assert lake.update() == []
    assert [asked.name for asked in proxy.requests if not asked.name.startswith("tables/")] == ["manifests/date="]
    assert len(proxy.requests) < 50
