"""What the project is built from has fixed versions, is watched for updates, and is listed with a release."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / ".devcontainer/Dockerfile").read_text()
FEATURES = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["features"]
WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")}
EVERYTHING = "\n".join([DOCKERFILE, *WORKFLOWS.values()])


def feature(name: str) -> dict[str, object]:
    (options,) = (options for key, options in FEATURES.items() if f"/{name}:" in key)
    return dict(options)


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


def test_nothing_is_piped_into_a_shell() -> None:
    piped = re.compile(r"(curl|wget)[^\n]*\|\s*(sudo )?\w*sh\b")
    assert piped.search("curl -fsSL https://example.com/setup | bash -")
    assert not piped.search(EVERYTHING)


def test_each_image_of_the_dev_container_has_a_full_version() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 3
    for image in images:
        assert re.search(r":\d+\.\d+\.\d+(-|$)", image), image


def test_a_tool_has_one_version_everywhere() -> None:
    core_tools = re.findall(r"azure-functions-core-tools@(\S+)", EVERYTHING)
    assert len(core_tools) == 2
    assert len(set(core_tools)) == 1
    bicep = re.findall(r"az bicep install(?: --version (\S+))?", EVERYTHING)
    assert set(bicep) == {feature("azure-cli")["bicepVersion"]}
    azd = [
        step["with"]["version"]
        for text in WORKFLOWS.values()
        for job in yaml.safe_load(text)["jobs"].values()
        for step in job["steps"]
        if step.get("uses", "").lower().startswith("azure/setup-azd@")
    ]
    assert set(azd) == {feature("azd")["version"]}
    assert re.findall(r"astral-sh/uv:(\S+)", DOCKERFILE) == [pinned("uv")]
    assert f"-{(ROOT / '.python-version').read_text().strip()}-" in DOCKERFILE
    assert feature("azure-cli")["installBicep"] is True


def test_dependabot_watches_every_kind_of_pin() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    watched = {
        (each["package-ecosystem"], folder)
        for each in updates
        for folder in each.get("directories", [each.get("directory")])
    }
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git
    files = listed.stdout.splitlines()
    folders = {(Path(name).name, f"/{Path(name).parent}".rstrip(".").rstrip("/") or "/") for name in files}
    wanted = {("npm", folder) for name, folder in folders if name == "package-lock.json"}
    wanted |= {("uv", folder) for name, folder in folders if re.fullmatch(r"requirements.*\.in", name)}
    wanted |= {("docker", folder) for name, folder in folders if name == "Dockerfile"}
    wanted |= {("devcontainers", "/"), ("github-actions", "/"), ("github-actions", "/examples/github-actions")}
    assert watched == wanted


def test_audit_and_soak_run_each_week() -> None:
    weekly = yaml.safe_load(WORKFLOWS["weekly.yml"])
    (schedule,) = weekly[True]["schedule"]  # YAML reads the key `on` as true
    assert re.fullmatch(r"\d+ \d+ \* \* \d", schedule["cron"])
    assert {step.get("run") for job in weekly["jobs"].values() for step in job["steps"]} >= {"make audit", "make soak"}


def release(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, ROOT / ".ci/release.py", *arguments], capture_output=True, text=True, check=False
    )


def test_the_sbom_lists_what_is_deployed() -> None:
    made = release("sbom", "v1.2.3")
    assert made.returncode == 0, made.stderr
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made.stdout) is None
    bom = json.loads(made.stdout)
    assert bom["metadata"]["component"]["version"] == "1.2.3"
    pins = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert {each["name"] for each in bom["components"]} <= pins
    for each in bom["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert all(re.fullmatch(r"[0-9a-f]{64}", known["content"]) for known in each["hashes"])
    direct = re.findall(r"^([\w-]+)", (ROOT / "requirements.in").read_text(), re.MULTILINE)
    listed = {each["name"]: each["version"] for each in bom["components"]}
    assert {name: listed[name] for name in direct} == {name: version(name) for name in direct}  # of this Python alone


def test_a_pin_without_a_hash_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/release.py").write_text((ROOT / ".ci/release.py").read_text())
    (tmp_path / "requirements.txt").write_text("requests==2.32.0\n    # via amplitude\n")
    made = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, tmp_path / ".ci/release.py", "sbom", "v1"], capture_output=True, text=True, check=False
    )
    assert made.returncode == 1
    assert "requests==2.32.0 has no hash" in made.stderr


@pytest.mark.parametrize(("tag", "code"), [("v0.1.0", 0), ("v0.0.9", 1)])
def test_a_release_needs_its_section_in_the_changelog(tag: str, code: int) -> None:
    made = release("notes", tag)
    assert made.returncode == code
    assert "no section for v0.0.9" in made.stderr if code else made.stdout.startswith("### Added")
    assert "## " not in made.stdout.replace("### ", "")
