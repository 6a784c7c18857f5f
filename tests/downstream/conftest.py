from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.downstream.landed import Landed

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A database that dbt builds from a landed folder."""

    landed: Landed
    home: Path
    worker: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def dbt(self, *command: str) -> dict[str, str]:
        """Run dbt; returns what became of each node, by its name."""
        environ = {
            "LANDED": str(self.landed.folder),
            "EXPORT_PREFIX": self.landed.prefix,
            "DOWNSTREAM_DB": str(self.home / "amplitude.duckdb"),
            "DBT_TARGET_PATH": str(self.home / "target"),
            "DBT_LOG_PATH": str(self.home / "logs"),
        }
        assert self.worker.stdin
        assert self.worker.stdout
        self.worker.stdin.write(json.dumps({"environ": environ, "command": command}) + "\n")
        self.worker.stdin.flush()
        answer = json.loads(self.worker.stdout.readline())
        assert "nodes" in answer, answer
        self.said.append(answer["said"])
        nodes: dict[str, str] = answer["nodes"]
        return nodes

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query over the built tables finds."""
        with duckdb.connect(str(self.home / "amplitude.duckdb"), read_only=True) as connection:
            return connection.sql(query).fetchall()


@pytest.fixture(scope="session")
def dbt_worker() -> Iterator[subprocess.Popen[str]]:
    """One dbt for all tests."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py"))]
    with subprocess.Popen(  # noqa: S603 - our own file
        command, cwd=ROOT / "downstream", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        yield worker
        assert worker.stdin
        worker.stdin.close()


@pytest.fixture
def make_warehouse(tmp_path: Path, dbt_worker: subprocess.Popen[str]) -> Callable[..., Warehouse]:
    def make(prefix: str = "", folder: str = "landed") -> Warehouse:
        return Warehouse(Landed(tmp_path / folder, prefix), tmp_path, dbt_worker)

    return make
