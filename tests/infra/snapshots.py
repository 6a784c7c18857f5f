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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
SNAPSHOTS = INFRA / "snapshots"
COMPILER = shutil.which("bicep")
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
ROLES = {id_: name for name, id_ in json.loads((INFRA / "roles.json").read_text()).items()}

type Value = Any
"""A JSON value whose shape is known only where it is read."""


type Deployed = dict[str, Value]
"""Resources by their id below the resource group, and the outputs as if they were one."""


def like(glob: str, found: Deployed) -> Deployed:
    """The resources whose id ends like `glob` (`*`: a name, `**`: anything), properties beside what all have."""
    pattern = "(.*/)?" + re.escape(glob).replace(r"\*\*", ".+").replace(r"\*", r"[\w.-]+")
    return {id_: each | each.get("properties", {}) for id_, each in found.items() if re.fullmatch(pattern, id_)}


@functools.cache
def ways() -> dict[str, tuple[str, dict[str, str]]]:
    """Each way: the one that its file is compared with, and its azd variables."""
    stored = json.loads((SNAPSHOTS / "ways.json").read_text())
    return {way: (each["compared with"], each["variables"]) for way, each in stored.items()}


def templates() -> dict[str, str]:
    """The text of each file that the compiler reads, by its path below infra/."""
    paths = [path for pattern in ("*.bicep*", "*.kql", "roles.json") for path in INFRA.rglob(pattern)]
    return {path.relative_to(INFRA).as_posix(): path.read_text() for path in paths}


def compiled(texts: Mapping[str, str], variables: Mapping[str, str], extra: str = "") -> Deployed:
    """Evaluate templates with azd variables and `extra` lines of the parameter file."""
    given = {"ALERT_EMAIL": "data-team@example.com", **variables}
    reads = r"readEnvironmentVariable\(\s*'(\w+)'(?:,\s*'[^']*')?\s*\)"
    parameters = re.sub(reads, lambda m: f"'{given[m[1]]}'" if m[1] in given else m[0], texts["main.bicepparam"])
    where = {"subscriptionId": SUBSCRIPTION, "location": "germanywestcentral"}
    changed = {**texts, "main.bicepparam": f"{parameters}\n{extra}\n"}
    answer = _ask("getSnapshot", changed, "main.bicepparam", metadata=where, externalInputs=[])
    snapshot = _readable(json.loads(answer["snapshot"]))
    assert snapshot["diagnostics"] == []
    outputs = {"type": "outputs", "properties": dict(sorted(snapshot["outputs"].items()))}
    return {_id(each): each for each in snapshot["predictedResources"]} | {"outputs": outputs}


@functools.cache
def arm_template() -> Value:
    """The ARM template that main.bicep becomes."""
    return json.loads(_ask("compile", templates(), "main.bicep")["contents"])


@functools.cache
def committed(way: str) -> Deployed:
    """What infra/snapshots/ says of a way."""
    base, _ = ways()[way]
    stored = json.loads((SNAPSHOTS / f"{way}.json").read_text())
    before = committed(base) if base else {}
    kept = {id_: before[id_] for id_ in before if id_ not in stored["not deployed"]}
    return {**kept, **stored["resources"]}


def renewed() -> dict[str, str]:
    """The text of each file of infra/snapshots/ as it has to be: all of a way, or what differs from another one."""
    texts, found, files = templates(), dict[str, Deployed]({"": {}}), {}
    for way, (base, variables) in ways().items():
        found[way] = compiled(texts, variables)
        changed = {id_: each for id_, each in found[way].items() if found[base].get(id_) != each}
        stored = {"resources": changed, "not deployed": [id_ for id_ in found[base] if id_ not in found[way]]}
        files[f"{way}.json"] = json.dumps(stored, indent=2) + "\n"
    return files


@functools.cache
def _compiler() -> subprocess.Popen[bytes]:
    """One process for all compilations: starting it takes longer than compiling."""
    assert COMPILER, "no Bicep compiler on the PATH"
    # No azd variable; without profiling by the runtime, a third less processor time.
    environ = {"HOME": os.environ.get("HOME", "/"), "DOTNET_TieredPGO": "0"}
    process = subprocess.Popen([COMPILER, "jsonrpc", "--stdio"], env=environ, stdin=-1, stdout=-1)  # noqa: S603
    atexit.register(process.communicate)  # closes the pipes, after the next one
    atexit.register(process.kill)
    return process


def _ask(method: str, texts: Mapping[str, str], file: str, **params: Value) -> Value:
    process = _compiler()
    assert process.stdin
    assert process.stdout
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_text(text)
        params["path"] = f"{folder}/{file}"
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": f"bicep/{method}", "params": params}).encode()
        process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        process.stdin.flush()
        headers = b"".join(iter(process.stdout.readline, b"\r\n"))
        answer = json.loads(process.stdout.read(int(headers.partition(b"Content-Length: ")[2].split()[0])))
    assert "error" not in answer, answer["error"]
    return answer["result"]


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
    """Its id. A role assignment, whose name is a hash, says what it assigns, with the first digits of the role."""
    id_ = str(resource.pop("id"))
    if resource["type"] != "Microsoft.Authorization/roleAssignments":
        return id_
    del resource["name"]
    scope = re.findall(r"extensionResourceId\('([^']+)'", id_) or [id_.partition("/providers/")[0]]
    role = resource["properties"].pop("roleDefinitionId").rpartition("/")[2]
    principal = re.sub(r".*/(id-amplitude-TOKEN)'.*", r"\1", resource["properties"]["principalId"])
    return f"{scope[0]}: {ROLES.get(role, 'unknown')} {role[:8]} for {principal}"


if __name__ == "__main__":
    for name, text in {} if sys.argv[1:] else renewed().items():
        (SNAPSHOTS / name).write_text(text)
    for way in sys.argv[1:]:
        schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
        deployed = [each for id_, each in committed(way).items() if id_ != "outputs"]
        text = json.dumps({"$schema": schema, "contentVersion": "1.0.0.0", "resources": deployed})
        sys.stdout.write(text.replace("TOKEN", "0"))
