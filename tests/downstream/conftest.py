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


PREFIX = "it's [web]*?%s/"
"""What DuckDB would take for a pattern and a quote. All tests have it, so that dbt parses once."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A database that dbt builds from a landed folder."""

    landed: Landed
    database: Path
    worker: subprocess.Popen[str]
    shared: Path
    """A folder of all tests. What dbt has parsed is there, which holds as long as the environment stays the same."""
    said: list[str] = field(default_factory=list)

    def dbt(self, *command: str, variables: str = "{}") -> dict[str, str]:
        """Run dbt; returns what became of each node, by its name."""
        link = self.shared / "la[n]'ded"
        link.unlink(missing_ok=True)
        link.symlink_to(self.landed.folder)
        environ = {
            "LANDED": str(link),
            "EXPORT_PREFIX": self.landed.prefix,
            "DOWNSTREAM_DB": str(self.database),
            "DBT_TARGET_PATH": str(self.shared / f"target {variables}"),
            "DBT_LOG_PATH": str(self.shared / "logs"),
            "DBT_LOG_LEVEL_FILE": "none",
            "DBT_WRITE_JSON": "false",
        }
        assert self.worker.stdin
        assert self.worker.stdout
        self.worker.stdin.write(json.dumps({"environ": environ, "command": [*command, "--vars", variables]}) + "\n")
        self.worker.stdin.flush()
        answer = json.loads(self.worker.stdout.readline())
        assert "nodes" in answer, answer
        self.said.append(answer["said"])
        nodes: dict[str, str] = answer["nodes"]
        return nodes

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query over the built tables finds."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.sql(query).fetchall()


@pytest.fixture(scope="session")
def make_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Warehouse]]:
    """One dbt for all tests."""
    shared = tmp_path_factory.mktemp("dbt")
    command = [sys.executable, str(Path(__file__).with_name("worker.py"))]

    def make() -> Warehouse:
        home = tmp_path_factory.mktemp("warehouse")
        return Warehouse(Landed(home / "landed", PREFIX), home / "amplitude.duckdb", worker, shared)

    with subprocess.Popen(  # noqa: S603 - our own file
        command, cwd=ROOT / "downstream", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        yield make
        assert worker.stdin
        worker.stdin.close()


@pytest.fixture
def warehouse(make_warehouse: Callable[[], Warehouse]) -> Warehouse:
    return make_warehouse()
