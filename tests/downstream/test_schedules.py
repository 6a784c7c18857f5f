"""The examples for other schedulers: their files against schemas, their commands for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.storage.blob import ContainerClient

from local.azurite import Azurite
from local.simulator import Simulator
from shared.dates import DAY, newest_complete_day
from tests.downstream.conftest import ROOT

EXAMPLES = ROOT / "examples"
BASE = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ} | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
}


def load(path: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((EXAMPLES / path).read_text())
    return content


def workflow_steps() -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = load("github-actions/export.yml")["jobs"]["export"]["steps"]
    return steps


def flow_task() -> dict[str, Any]:
    task: dict[str, Any] = load("kestra/export.yml")["tasks"][0]["tasks"][1]
    return task


@pytest.fixture
def settings(azurite: Azurite, container: ContainerClient, simulator: Simulator) -> dict[str, str]:
    """What a scheduler's secrets and variables stand for here."""
    return {
        "AMP_API_KEY": simulator.keys[0],
        "AMP_SECRET_KEY": simulator.keys[1],
        "AMP_EXPORT_URL": simulator.url,
        "EXPORT_STORAGE": azurite.connection_string,
        "EXPORT_CONTAINER": container.container_name,
    }


def run(script: str, environ: Mapping[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a scheduler's line of shell, as it would."""
    return subprocess.run(  # noqa: S603 - the project's own examples
        ["/bin/bash", "-euo", "pipefail", "-c", script], cwd=folder, env={**BASE, **environ}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


def assert_exported(done: subprocess.CompletedProcess[str], container: ContainerClient) -> None:
    """Yesterday has landed; before 02:00 UTC it cannot be had, and the command has said so."""
    now = datetime.now(UTC)
    yesterday = now.date() - DAY
    if newest_complete_day(now) == yesterday:
        assert done.returncode == 0, done.stderr
        manifest = json.loads(container.download_blob(f"manifests/date={yesterday}.json").readall())
        assert manifest["totals"]["events"] > 0
        assert manifest["trigger"] == "cli"
    else:
        assert done.returncode == 2
        assert "is not complete yet" in done.stderr


@pytest.mark.parametrize(
    "check", ["check-jsonschema --builtin-schema vendor.github-workflows", "zizmor --offline --persona auditor"]
)
def test_the_workflow_fits_the_schema_of_workflows_and_passes_the_audit(check: str) -> None:
    done = run(f"{check} examples/github-actions/export.yml", {})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_exports_yesterday(settings: dict[str, str], container: ContainerClient) -> None:
    step = workflow_steps()[-1]
    assert step["env"]["DAY"] == "${{ inputs.day || 'yesterday' }}"
    for name in ("AMP_API_KEY", "AMP_SECRET_KEY"):
        assert step["env"][name] == "${{ secrets." + name + " }}"

    assert_exported(run(step["run"], settings | {"DAY": "yesterday"}), container)


def test_the_flow_has_the_shape_of_a_flow() -> None:
    """Its properties are those that Kestra's documentation gives for these types; there is no published schema."""
    known = {
        "io.kestra.plugin.core.flow.WorkingDirectory": {"id", "type", "tasks"},
        "io.kestra.plugin.git.Clone": {"id", "type", "url", "branch"},
        "io.kestra.plugin.scripts.python.Commands": {
            "id", "type", "containerImage", "timeout", "env", "beforeCommands", "commands",
        },
        "io.kestra.plugin.core.trigger.Schedule": {"id", "type", "cron", "timezone"},
    }  # fmt: skip
    flow = load("kestra/export.yml")
    assert set(flow) == {"id", "namespace", "description", "inputs", "concurrency", "tasks", "triggers"}
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_-]*", flow["id"])
    assert flow["concurrency"] == {"limit": 1, "behavior": "QUEUE"}
    nodes = [*flow["tasks"], *flow["tasks"][0]["tasks"], *flow["triggers"]]
    assert {node["type"] for node in nodes} == set(known)
    assert len({node["id"] for node in nodes}) == len(nodes)
    for node in nodes:
        assert set(node) == known[node["type"]]
    assert flow["tasks"][0]["tasks"][0]["type"].endswith("git.Clone"), "a clone needs an empty folder: it comes first"


def test_the_flow_exports_yesterday(settings: dict[str, str], container: ContainerClient) -> None:
    task = flow_task()
    assert load("kestra/export.yml")["inputs"][0]["defaults"] == "yesterday"
    assert task["env"]["DAY"] == "{{ inputs.day }}"
    secrets = {name: value for name, value in task["env"].items() if "KEY" in name or "SECRET" in name}
    assert secrets == {name: "{{ secret('" + name + "') }}" for name in secrets}
    assert len(secrets) == 3

    assert_exported(run("\n".join(task["commands"]), settings | {"DAY": "yesterday"}), container)


def test_what_is_installed_is_what_the_command_needs() -> None:
    install = "python -m pip install --require-hashes --requirement requirements-cli.txt"
    assert [step["run"] for step in workflow_steps() if step.get("name") == "Install"] == [install]
    assert [line.replace("--quiet ", "") for line in flow_task()["beforeCommands"]] == [install]
    assert (ROOT / "requirements-cli.txt").exists()


@pytest.mark.parametrize("path", ["github-actions/export.yml", "kestra/export.yml", "cron/crontab"])
def test_starts_when_yesterday_can_be_had(path: str) -> None:
    (minute, hour), *_ = re.findall(r"^[^#\n]*?\b(\d+) (\d+) \* \* \*", (EXAMPLES / path).read_text(), re.MULTILINE)
    assert (int(hour), int(minute)) == (3, 30)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a clone of this project, with a .env of its own."""
    for name in ("shared", "cli", "local", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(EXAMPLES / "cron", tmp_path / "examples/cron")
    return tmp_path


def test_cron_exports_yesterday_and_speaks_only_where_the_export_fails(
    checkout: Path, settings: dict[str, str], container: ContainerClient
) -> None:
    env_file = checkout / ".env"
    env_file.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))
    env_file.chmod(0o600)

    done = run("examples/cron/export-yesterday.sh", {}, checkout)
    assert_exported(done, container)
    assert done.stdout == ""
    assert (done.stderr == "") == (done.returncode == 0)

    failed = run("examples/cron/export-yesterday.sh tomorrow", {}, checkout)
    assert failed.returncode == 2
    assert "tomorrow" in failed.stderr


def test_cron_refuses_settings_that_others_can_read(checkout: Path) -> None:
    (checkout / ".env").touch(mode=0o644)
    done = run("examples/cron/export-yesterday.sh", {}, checkout)

    assert done.returncode == 2
    assert "chmod 600 .env" in done.stderr
