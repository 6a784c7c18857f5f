"""What the project is built from has fixed versions, is watched for updates, and is listed with a release."""

import json
import re
import runpy
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / ".devcontainer/Dockerfile").read_text()
FEATURES = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["features"]
WORKFLOWS = [*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/github-actions/*.yml")]
EVERYTHING = "\n".join([DOCKERFILE, *(path.read_text() for path in WORKFLOWS)])


def test_actions_images_and_tools_have_one_fixed_version_and_nothing_is_piped_into_a_shell() -> None:
    piped = re.compile(r"(curl|wget)[^\n]*\|\s*(sudo )?\w*sh\b")
    assert piped.findall(f"{EVERYTHING}\ncurl -fsSL https://example.com/setup | bash -") == [("curl", "")]
    for used, fixed in (
        (r"uses: (\S+ # \S+|\S+)", r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$"),
        (r"(?m)^FROM (\S+)", r":\d+\.\d+\.\d+(-|$)"),
    ):
        found = re.findall(used, EVERYTHING)
        assert found
        assert [each for each in found if not re.search(fixed, each)] == []
    options = {key.rpartition("/")[2].partition(":")[0]: each for key, each in FEATURES.items()}
    for tool, used in {
        options["azure-cli"]["bicepVersion"]: r"az bicep install(?: --version (\S+))?",
        options["azd"]["version"]: r"(?i:azure/setup-azd)@[^\n]*\s+with:\s+version: \"?([\d.]+)",
        re.findall(r"(?m)^uv==(\S+)", (ROOT / "requirements-dev.txt").read_text())[0]: r"astral-sh/uv:(\S+)",
        re.findall(r"core-tools@(\S+)", DOCKERFILE)[0]: r"core-tools@(\S+)",
        (ROOT / ".python-version").read_text().strip(): r"devcontainers/python:[\d.]+-([\d.]+)",
    }.items():
        assert set(re.findall(used, EVERYTHING)) == {tool}


def test_dependabot_watches_every_kind_of_pin() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    folders = {each["package-ecosystem"]: each.get("directories", [each.get("directory")]) for each in updates}
    watched = {(kind, folder) for kind in folders for folder in folders[kind]}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git
    kinds = {r"package-lock\.json": "npm", r"requirements.*\.in": "uv", "Dockerfile": "docker"}
    wanted = {("devcontainers", "/"), ("github-actions", "/"), ("github-actions", "/examples/github-actions")}
    for path in map(Path, listed.stdout.splitlines()):
        folder = f"/{path.parent}".rstrip(".")
        wanted |= {(kind, folder) for name, kind in kinds.items() if re.fullmatch(name, path.name)}
    assert watched == wanted


RELEASE = runpy.run_path(str(ROOT / ".ci/release.py"))
PINS = (ROOT / "requirements.txt").read_text()


def test_the_sbom_lists_what_is_deployed_with_its_hashes() -> None:
    text = RELEASE["sbom"]("v1.2.3", PINS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["version"] == "1.2.3"
    listed = {each["name"]: each["version"] for each in bom["components"]}
    direct = set(re.findall(r"(?m)^([\w-]+)", (ROOT / "requirements.in").read_text()))
    assert direct <= listed.keys() <= set(re.findall(r"(?m)^([\w.-]+)==", PINS))
    for each in bom["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
        assert all(re.fullmatch(r"[0-9a-f]{64}", known["content"]) for known in each["hashes"])
    assert {name: listed[name] for name in direct} == {name: version(name) for name in direct}  # of this Python alone
    with pytest.raises(SystemExit, match=r"requests==2\.32\.0 has no hash"):
        RELEASE["sbom"]("v1", "requests==2.32.0\n    # via amplitude\n")


def test_a_release_needs_its_section_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    notes = RELEASE["notes"]("v0.1.0", changelog)
    assert notes.startswith("### Added")
    assert "## " not in notes.replace("### ", "")
    with pytest.raises(SystemExit, match=r"no section for v0\.0\.9"):
        RELEASE["notes"]("v0.0.9", changelog)
