"""Runs dbt in a process of its own, call after call, which spares each its start.

A line of stdin is `{"environ": {...}, "command": [...]}`; a line of stdout is what became of each node, or an error.
A process of its own, because dbt and what it imports warn, and warnings are errors in these tests. Its name must not
begin with `dbt_`: dbt takes such a module for a plugin.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import redirect_stdout
from io import StringIO

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.artifacts.schemas.freshness import FreshnessResult
from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner


def run(command: list[str]) -> dict[str, object]:
    """Run one command; the nodes' statuses by name, or dbt's own words where no node came to run."""
    with redirect_stdout(StringIO()) as said:
        outcome = dbtRunner().invoke(command)
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]  # lets go of the database, which else only the process's end does
    if not isinstance(outcome.result, RunExecutionResult | FreshnessResult):
        return {"error": f"{outcome.exception}\n{said.getvalue()}"}
    return {
        "nodes": {result.node.name: str(result.status) for result in outcome.result.results},
        "said": said.getvalue(),
    }


if __name__ == "__main__":
    for request in map(json.loads, sys.stdin):
        os.environ.update(request["environ"])
        answer = run(request["command"])
        gc.collect()  # a failed node's traceback can hold a cursor, and with it the database
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
