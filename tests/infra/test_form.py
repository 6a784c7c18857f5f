"""The form of templates, of azure.yaml and of workflows."""

import fnmatch
import re
import subprocess
import sys
from pathlib import Path

import yaml

from shared.errors import PermanentError, TransientError
from tests.infra.facts import fact
from tests.infra.templates import INFRA, ROOT, Templates, templates

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*")


@fact(
    ("main.bicep", "@description('Optional. Queue of exports.')\n", ""),
    ("main.bicep", "'Optional. Queue of exports.'", "'Required. Queue of exports.'"),
    ("modules/vault.bicep", "'Required. Region.'", "'Region.'"),
    ("modules/app.bicep", "@description('Name of the function app.')\n", ""),
)
def test_every_parameter_and_output_is_described(t: Templates) -> None:
    for each in t.all("param"):
        (text,) = each.decorators.get("description", [""])
        expected = "Required. " if each.value is None else "Optional. "
        assert text.startswith(expected), f"{each.file}: {each.symbol}"
    for each in t.all("output"):
        assert each.decorators.get("description"), f"{each.file}: {each.symbol}"


@fact(
    ("main.bicep", "'modules/vault.bicep'", "'br/public:avm/res/key-vault/vault:0.11.0'"),
    ("main.bicep", "'modules/vault.bicep'", "'modules/vaults.bicep'"),
    ("main.bicep", "    workspaceId: monitoring.outputs.workspaceId\n", ""),
    ("main.bicep", "    coolAfterDays: coolAfterDays\n", "    coolAfterDays: coolAfterDays\n    hotDays: 1\n"),
)
def test_modules_are_files_here_and_get_just_their_parameters(t: Templates) -> None:
    for module in t.all("module"):
        assert module.type in t.texts, f"{module.symbol} is no file here"
        wanted = {each.symbol for each in t.all("param", file=module.type)}
        assert set(module["params"]) == wanted, module.symbol
    used = {module.type for module in t.all("module")}
    assert used | {"main.bicep"} == {name for name in t.texts if name.endswith(".bicep")}


@fact(
    ("main.bicepparam", "param protect =", "param guard ="),
    ("main.bicepparam", "using 'main.bicep'", "using 'other.bicep'"),
    ("main.bicepparam", "param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')\n", ""),
)
def test_the_parameter_file_fits(t: Templates) -> None:
    text = t.texts["main.bicepparam"]
    given = re.findall(r"^param (\w+) =", text, re.MULTILINE)
    params = t.all("param", file="main.bicep")
    assert "using 'main.bicep'" in text
    assert set(given) <= {each.symbol for each in params}
    assert {each.symbol for each in params if each.value is None} <= set(given)


def test_azd_deploys_the_root_to_the_tagged_app() -> None:
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    ((name, service),) = azure["services"].items()
    assert service == {"project": ".", "host": "function", "language": "python", "remoteBuild": True}
    assert f"'azd-service-name': '{name}'" in (INFRA / "modules/app.bicep").read_text()
    assert (ROOT / azure["infra"]["path"] / f"{azure['infra']['module']}.bicep").is_file()
    assert azure["infra"]["provider"] == "bicep"


def deployed(ignored: str) -> set[str]:
    """What of the repository's top is in the package that goes to Azure."""
    patterns = [each.strip("/") for each in ignored.splitlines() if not each.startswith("!")]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git
    top = {path.partition("/")[0] for path in listed.stdout.splitlines()}
    return {name for name in top if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}


def test_only_what_runs_is_deployed() -> None:
    ignored = (ROOT / ".funcignore").read_text()
    assert deployed(ignored) == {"function_app.py", "host.json", "requirements.txt", "shared"}
    assert "infra" in deployed(ignored.replace("infra/\n", ""))


def unpinned(workflow: str) -> list[str]:
    """What a workflow uses without naming its commit, and the version that this is, in a comment."""
    used = re.findall(r"uses: *(.+)", workflow)
    return [each for each in used if not PINNED.fullmatch(each.strip())]


def test_actions_are_pinned_by_commit() -> None:
    assert WORKFLOWS
    for workflow in WORKFLOWS:
        assert unpinned(workflow.read_text()) == [], workflow.name
    assert unpinned("- uses: actions/checkout@v7") == ["actions/checkout@v7"]


def run(command: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A tool of the environment."""
    tool = Path(sys.executable).parent / command
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - our own tools


def test_workflows_follow_their_schema(tmp_path: Path) -> None:
    fits = run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    assert fits.returncode == 0, fits.stdout
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    assert run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", broken).returncode == 1


def test_zizmor_finds_nothing(tmp_path: Path) -> None:
    found = run("zizmor", "--offline", "--persona=pedantic", ROOT / ".github")
    assert found.returncode == 0, found.stdout + found.stderr
    broken = tmp_path / "broken.yml"
    broken.write_text(re.sub(r"@[0-9a-f]{40} #", "@", WORKFLOWS[0].read_text(), count=1))
    assert run("zizmor", "--offline", "--persona=pedantic", broken).returncode != 0


@fact(("main.bicepparam", "readEnvironmentVariable('PROTECT'", "readEnvironmentVariable('PROTECTED'"))
def test_the_workflows_hand_on_what_the_parameter_file_reads(t: Templates) -> None:
    """What a workflow did not hand on would silently go back to its default."""
    read = set(re.findall(r"readEnvironmentVariable\('(\w+)'", t.texts["main.bicepparam"])) - {"AZURE_PRINCIPAL_ID"}
    for workflow in ("ci.yml", "deploy.yml"):
        text = (ROOT / ".github/workflows" / workflow).read_text()
        assert read <= set(re.findall(r"^ +(\w+): ", text, re.MULTILINE)), workflow


def test_the_guide_names_each_choice_and_the_runbook_each_error() -> None:
    guide, runbook = ((ROOT / "docs" / name).read_text() for name in ("deploy.md", "operations.md"))
    read = re.findall(r"readEnvironmentVariable\('(\w+)'", templates().texts["main.bicepparam"])
    assert [each for each in read if not each.startswith("AZURE_") and f"`{each}`" not in guide] == []
    leaves = {error.__name__ for group in (TransientError, PermanentError) for error in group.__subclasses__()}
    assert set(re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", runbook, re.MULTILINE)) == leaves | {"Interrupted"}
    for error in TransientError.__subclasses__():
        assert f"| `{error.__name__}` | yes |" in runbook
