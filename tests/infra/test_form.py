"""What goes with the templates: azure.yaml, the package, host.json, workflows and the guides."""

import fnmatch
import json
import os
import re
import subprocess
from pathlib import Path

import yaml

from tests.infra.snapshots import ROOT, committed, like, templates, ways

DEPLOYED = {"function_app.py", "host.json", "requirements.txt", "shared"}
LEFT_BEHIND = {"landed", "landed-2025", ".run", "amplitude.duckdb", "amplitude.duckdb.wal", "target", "logs", "dist"}
"""What a mirror, dbt and a build leave at the top."""

(APP,) = like("sites/*", committed("default")).values()
VARIABLES = re.findall(r"readEnvironmentVariable\(\s*'(\w+)'", templates()["main.bicepparam"])


def test_azd_deploys_the_root_to_the_tagged_app() -> None:
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    ((name, service),) = azure["services"].items()
    assert service == {"project": ".", "host": "function", "language": "python", "remoteBuild": True}
    assert azure["infra"] == {"provider": "bicep", "path": "infra", "module": "main"}
    assert APP["tags"]["azd-service-name"] == name
    assert APP["functionAppConfig"]["runtime"]["version"] == (ROOT / ".python-version").read_text().strip()


def deployed(ignored: str) -> set[str]:
    """Which names at the repository's top are in the package that goes to Azure."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git
    top = {path.partition("/")[0] for path in listed.stdout.splitlines()} | LEFT_BEHIND
    patterns = [each.strip("/") for each in ignored.splitlines() if not each.startswith(("!", "#"))]
    return {name for name in top if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}


def test_only_what_runs_is_deployed() -> None:
    """Not the events that someone mirrored beside the code: they would be uploaded, and kept past their retention."""
    ignored = (ROOT / ".funcignore").read_text()
    assert deployed(ignored) == DEPLOYED
    for line in ("/infra/", "/landed*/", "*.duckdb"):
        assert deployed(ignored.replace(f"{line}\n", "")) != DEPLOYED
    assert "shared/" not in ignored


def test_instances_stay_below_amplitudes_limit_and_the_host_logs_every_line_but_no_key() -> None:
    telemetry = json.loads((ROOT / "host.json").read_text())["logging"]["applicationInsights"]
    instances = APP["functionAppConfig"]["scaleAndConcurrency"]["maximumInstanceCount"]
    assert instances < 5, "Amplitude allows a project five requests at a time"
    assert telemetry["enableQueryStringTracing"] is False, "a request's line would hold its key"
    assert "Trace" in telemetry["samplingSettings"]["excludedTypes"].split(";")


def test_the_workflows_pass_on_what_the_parameter_file_reads(tmp_path: Path) -> None:
    """A variable that a workflow does not pass on would silently go back to its default."""
    assert set().union(*(variables for _, variables in ways().values())) < set(VARIABLES)
    for name, job, needs_them in (("ci.yml", "what-if", "az deployment"), ("deploy.yml", "deploy", "azd provision")):
        steps = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())["jobs"][job]["steps"]
        runs = [step.get("run", "") for step in steps]
        taken = next(n for n, step in enumerate(steps) if step.get("env") == {"VARIABLES": "${{ toJSON(vars) }}"})
        assert taken < next(n for n, run in enumerate(runs) if needs_them in run), name
        file = tmp_path / "env"
        given = {"VARIABLES": '{"PROTECT": "false", "EXPORT_SCHEDULE": "0 0 5 * * *"}', "GITHUB_ENV": str(file)}
        subprocess.run(["bash", "-ec", runs[taken]], env=given | {"PATH": os.environ["PATH"]}, check=True)  # noqa: S603, S607
        assert file.read_text().splitlines()[-2:] == ["PROTECT=false", "EXPORT_SCHEDULE=0 0 5 * * *"]


def test_the_guide_names_each_choice_and_the_runbook_each_alert() -> None:
    guide, runbook = ((ROOT / "docs" / name).read_text() for name in ("deploy.md", "operations.md"))
    assert [each for each in VARIABLES if not each.startswith("AZURE_") and f"`{each}`" not in guide] == []
    alerts = [id_.partition("TOKEN-")[2] for id_ in like("scheduledQueryRules/*", committed("default"))]
    assert alerts
    assert [alert for alert in alerts if f"`{alert}`" not in runbook] == []
