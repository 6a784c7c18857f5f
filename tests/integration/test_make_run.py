"""What `make run` does: everything starts, yesterday is exported over HTTP, and what landed is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from azure.storage.blob import BlobServiceClient, ContainerClient
from rich.console import Console

from local.azurite import KEY
from local.run import open_emulator
from shared.dates import newest_complete_day
from tests.forks import Forked

ROOT = Path(__file__).resolve().parents[2]


def test_run_ends_with_a_table_of_what_landed() -> None:
    """Twice in one folder: the second day has fewer events, which a real day would need `replace` for.

    No proxy is asked.
    """
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:9")
    for size in ([], ["--size", "1MB"]):
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "local", "run", *size],
            cwd=ROOT,
            env=os.environ | proxies,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        day = newest_complete_day(datetime.now(UTC))
        assert f"What landed in amplitude-events, events/date={day}/" in done.stdout
        assert "22 files" in done.stdout
        assert "Hours without events: 3, 4" in done.stdout
        assert f"manifests/date={day}.json lists these files: the day is complete" in done.stdout


def test_two_at_once_never_share_a_folder(tmp_path: Path) -> None:
    """What the first has landed stays whole; what the second lands goes with it."""
    folder, console = tmp_path / "azurite", Console(quiet=True)
    with ExitStack() as stack:
        first, second = (open_emulator(stack, console, folder, KEY) for _ in range(2))
        for number, azurite in enumerate((first, second)):
            with ContainerClient.from_connection_string(azurite.connection_string, f"of-{number}") as container:
                container.create_container()
    with ExitStack() as stack:
        again = open_emulator(stack, console, folder, KEY)
        with BlobServiceClient.from_connection_string(again.connection_string) as service:
            assert [container.name for container in service.list_containers()] == ["of-0"]
    assert [path.name for path in tmp_path.iterdir()] == ["azurite"]


def test_the_benchmarks_options_get_through() -> None:
    with Forked([sys.executable, "-m", "local", "bench", "--help"], cwd=ROOT, env=os.environ) as process:
        out, err = process.communicate()
    assert (process.wait(), err) == (0, "")
    assert "--long" in out
