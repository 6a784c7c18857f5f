"""What the templates deploy, for each way that people choose: evaluated by the Bicep compiler, without Azure.

infra/snapshots/ has the results, so that a pull request shows what changes in the cloud, and ways.json, which says what
each way sets and which other way its file is compared with. `python -m tests.infra.snapshots` renews the results; with
the name of a way, it prints that way as a template, for tools that read templates.
"""

import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
SNAPSHOTS = INFRA / "snapshots"
COMPILER = shutil.which("bicep")
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"

ROLES = {
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "19e7f393-937e-4f77-808e-94535e297925": "Storage Queue Data Reader",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
}
"""From Azure's table of built-in roles. Only the same slip here and in infra/roles.json would hide a wrong id."""

type Value = Any
"""A JSON value whose shape is known only where it is read."""


class RefusedByCompilerError(Exception):
    """The compiler found an error."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed one way: resources by their id below the resource group, and the outputs."""

    resources: dict[str, Value]
    outputs: dict[str, Value]

    def all(self, type_: str) -> dict[str, Value]:
        """The resources of a type by id."""
        return {id_: each for id_, each in self.resources.items() if each["type"].lower() == type_.lower()}

    def one(self, type_: str, part: str = "") -> Value:
        """The only resource of a type with `part` in its id."""
        found = [each for id_, each in self.all(type_).items() if part in id_]
        assert len(found) == 1, f"{len(found)} times {type_} {part}, not once"
        return found[0]


@functools.cache
def ways() -> dict[str, tuple[str, dict[str, str]]]:
    """Each way: the one that its file is compared with, and its azd variables."""
    stored = json.loads((SNAPSHOTS / "ways.json").read_text())
    return {way: (each["compared with"], each["variables"]) for way, each in stored.items()}


def templates() -> dict[str, str]:
    """The text of each file that the compiler reads, by its path below infra/."""
    paths = [path for pattern in ("*.bicep*", "*.kql", "roles.json") for path in INFRA.rglob(pattern)]
    return {path.relative_to(INFRA).as_posix(): path.read_text() for path in paths}


def compiled(texts: Mapping[str, str], variables: Mapping[str, str], extra: str = "") -> Deployment:
    """Evaluate templates with azd variables and `extra` lines of the parameter file.

    Raises:
        RefusedByCompilerError: the compiler found an error.

    """
    given = {"ALERT_EMAIL": "data-team@example.com", **variables}
    reads = re.compile(r"readEnvironmentVariable\(\s*'(\w+)'(?:,\s*'[^']*')?\s*\)")
    parameters = reads.sub(lambda m: f"'{given[m[1]]}'" if m[1] in given else m[0], texts["main.bicepparam"])
    where = {"subscriptionId": SUBSCRIPTION, "location": "germanywestcentral"}
    changed = {**texts, "main.bicepparam": f"{parameters}\n{extra}\n"}
    snapshot = json.loads(
        _ask("getSnapshot", changed, "main.bicepparam", metadata=where, externalInputs=[])["snapshot"]
    )
    assert snapshot["diagnostics"] == []
    readable = _readable(snapshot)
    return Deployment(
        {_id(each): each for each in readable["predictedResources"]}, dict(sorted(readable["outputs"].items()))
    )


def compiled_template(texts: Mapping[str, str]) -> Value:
    """The ARM template that main.bicep becomes."""
    return json.loads(_ask("compile", texts, "main.bicep")["contents"])


@functools.cache
def committed(way: str) -> Deployment:
    """What infra/snapshots/ says of a way."""
    base, _ = ways()[way]
    stored = json.loads((SNAPSHOTS / f"{way}.json").read_text())
    before = committed(base).resources if base else {}
    kept = {id_: each for id_, each in before.items() if id_ not in stored.get("not deployed", [])}
    return Deployment(kept | stored["resources"], stored["outputs"])


def rendered(way: str, found: Mapping[str, Deployment]) -> str:
    """The text of a way's file: all of it, or what differs from the way that it is compared with."""
    base, _ = ways()[way]
    before = found[base].resources if base else {}
    resources = {id_: each for id_, each in found[way].resources.items() if before.get(id_) != each}
    stored: dict[str, Value] = {"resources": resources, "outputs": found[way].outputs}
    if gone := [id_ for id_ in before if id_ not in found[way].resources]:
        stored["not deployed"] = gone
    return json.dumps(stored, indent=2) + "\n"


def renewed() -> dict[str, str]:
    """The text of each file of infra/snapshots/ as it has to be."""
    texts = templates()
    found = {way: compiled(texts, variables) for way, (_, variables) in ways().items()}
    return {f"{way}.json": rendered(way, found) for way in found}


@functools.cache
def _compiler() -> subprocess.Popen[bytes]:
    """One process for all compilations: starting it takes longer than compiling."""
    assert COMPILER, "no Bicep compiler on the PATH"
    bare = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}  # no azd variable
    process = subprocess.Popen([COMPILER, "jsonrpc", "--stdio"], env=bare, stdin=-1, stdout=-1)  # noqa: S603
    atexit.register(process.kill)
    return process


def _ask(method: str, texts: Mapping[str, str], file: str, **params: Value) -> Value:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_text(text)
        answer = _call({"method": f"bicep/{method}", "params": {"path": f"{folder}/{file}", **params}})
    if "error" in answer:
        raise RefusedByCompilerError(answer["error"])
    return answer["result"]


def _call(request: Value) -> Value:
    process = _compiler()
    assert process.stdin
    assert process.stdout
    body = json.dumps({"jsonrpc": "2.0", "id": 1, **request}).encode()
    process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    process.stdin.flush()
    headers = dict(line.split(b": ") for line in iter(lambda: process.stdout.readline().strip(), b""))  # type: ignore[union-attr,misc]
    return json.loads(process.stdout.read(int(headers[b"Content-Length"])))


def _readable(value: Value) -> Value:
    """Without what is the same everywhere; a text of several lines as a list of them, JSON in a text as what it is."""
    if isinstance(value, dict):
        return {name: _readable(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if not isinstance(value, str):
        return value
    if value.startswith("{"):
        return _readable(json.loads(value))
    text = re.sub(rf"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-amplitude-export/(providers/)?", "", value)
    # `uniqueString` gives 13 letters and digits; no other word in the templates has that length and a digit.
    text = re.sub(r"(?<=[a-z-])(?=[a-z]*\d)[a-z0-9]{13}(?![a-z0-9])", "TOKEN", text)
    return text.splitlines() if "\n" in text else text


def _id(resource: Value) -> str:
    """Its id; that of a role assignment, whose name is a hash, says what it assigns."""
    id_ = str(resource.pop("id"))
    if resource["type"] != "Microsoft.Authorization/roleAssignments":
        return id_
    del resource["name"]
    scope = re.findall(r"extensionResourceId\('([^']+)'", id_) or [id_.partition("/providers/")[0]]
    role = ROLES.get(resource["properties"].pop("roleDefinitionId").rpartition("/")[2], "an unknown role")
    principal = re.sub(r".*/(id-amplitude-TOKEN)'.*", r"\1", resource["properties"]["principalId"])
    return f"{scope[0]}: {role} for {principal}"


def as_template(way: str) -> str:
    """An ARM template of what a way deploys, every value worked out."""
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    resources = list(committed(way).resources.values())
    return json.dumps({"$schema": schema, "contentVersion": "1.0.0.0", "resources": resources}).replace("TOKEN", "0")


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(as_template(sys.argv[1]))
    for name, text in {} if sys.argv[1:] else renewed().items():
        (SNAPSHOTS / name).write_text(text)
