"""The workflow that asks for missing days from outside, in its own words, against the hosted app."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from local.host import FunctionsHost
from shared.dates import newest_complete_day

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = ROOT / "examples/github-actions/export-missing.yml"


def ask(host: FunctionsHost, key: str) -> subprocess.CompletedProcess[str]:
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    (step,) = job["steps"]
    environ = {"PATH": os.environ["PATH"], "FUNCTION_APP_URL": host.url, "FUNCTION_KEY": key}
    assert set(step["env"]) == {"FUNCTION_APP_URL", "FUNCTION_KEY"}
    command = ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)  # noqa: S603 - our example


def test_it_queues_what_has_not_landed(host: FunctionsHost) -> None:
    now = datetime.now(UTC)
    yesterday = now.date() - timedelta(days=1)
    done = ask(host, host.key)
    if newest_complete_day(now) != yesterday:  # before 02:00 UTC; the workflow starts at six
        assert "is not complete yet" in done.stdout
        return
    assert done.returncode == 0, done.stdout + done.stderr
    runs: list[dict[str, Any]] = json.loads(done.stdout)["runs"]
    assert [run["date"] for run in runs] == [str(yesterday - timedelta(days=back)) for back in range(6, -1, -1)]


def test_a_refusal_fails_the_job(host: FunctionsHost) -> None:
    assert ask(host, "wrong").returncode == 22  # curl's code for an answer of 400 and above
