"""What is deployed: where data is stored, who may do what, which ways are open, who is told, how the app is set.

Facts are read from the snapshots, so they need no compiler. Each one has to fail on broken copies of what it rests on:
every value changed and left out, one at a time. The compiler shows that the snapshots are those of the templates.
"""

import re
from collections.abc import Callable, Iterator

import pytest
import yaml

from shared.errors import SettingsError
from shared.settings import load_settings
from tests.infra import snapshots
from tests.infra.snapshots import INFRA, ROOT, Deployed, Value, arm_template, committed, compiled, like, templates, ways

type Deploy = Callable[[str], Deployed]
"""Gives what is deployed one way."""

type Check = Callable[[Deploy], None]

needs_compiler = pytest.mark.skipif(not snapshots.COMPILER, reason="no Bicep compiler: facts alone are tested")
"""`.ci/run` and GitHub's workflow fail without a compiler (infra/check.sh)."""

FACTS: dict[str, tuple[Check, tuple[str, ...]]] = {}
"""Checks by name, each with what it rests on: lines of `way  resources  path`. No path: which ones there are."""


def at(value: Value, keys: list[str]) -> Value:
    """What is at a path, or none. `*` stands for each of a list."""
    for n, key in enumerate(keys):
        if key == "*":
            return [at(each, keys[n + 1 :]) for each in value]
        value = value[int(key)] if isinstance(value, list) else value.get(key) if isinstance(value, dict) else None
    return value


QUERIES = {path.stem: path.read_text().splitlines() for path in (INFRA / "queries").glob("*.kql")}


def of_line(way: str, glob: str, path: str, wanted: Value) -> Check:
    def check(deploy: Deploy) -> None:
        found = like(glob, deploy(way))
        if not path:
            assert len(found) == len(wanted), list(found)
            assert all(any(id_.endswith(end) for id_ in found) for end in wanted), list(found)
            return
        assert found
        for id_, resource in found.items():
            value = at(resource, path.split("."))
            if str(wanted).startswith("~"):
                assert re.search(wanted[1:], value or ""), id_
            else:
                assert value == (QUERIES[wanted[1:]] if str(wanted).startswith("@") else wanted), id_

    return check


for way, lines in yaml.safe_load((ROOT / "tests/infra/facts.yaml").read_text()).items():
    for glob, paths in lines.items():
        for path, wanted in {"": paths}.items() if isinstance(paths, list) else paths.items():
            name = f"{way}  {glob}  {path}".rstrip()
            FACTS[name] = (of_line(way, glob, path, wanted), (name + "?" * (wanted is None),))


def all_is_in_one_region(deploy: Deploy) -> None:
    """Azure has DNS zones and detectors in no region: they hold names, or are disabled."""
    for way in ("default", "private-with-addresses"):
        for id_, each in deploy(way).items():
            nowhere = each["type"].startswith(("Microsoft.Network/privateDnsZones", "microsoft.alertsManagement/"))
            wanted = "global" if nowhere else "germanywestcentral"
            part_of_another = each["type"].count("/") > 1 or "/providers/" in id_ or ": " in id_ or id_ == "outputs"
            assert each.get("location", wanted if part_of_another and not nowhere else "none") == wanted, id_


NEEDED = {"AMP_API_KEY": "key", "AMP_SECRET_KEY": "secret", "EXPORT_STORAGE": "UseDevelopmentStorage=true"}


def ours(settings: dict[str, str]) -> dict[str, str]:
    """The settings that the app itself reads, without those of its storage, which only a deployment knows."""
    return {name: settings[name] for name in settings if re.match("AMP_|EXPORT_(?!STORAGE)", name)}


def set_in(found: Deployed) -> dict[str, str]:
    (settings,) = like("config/appsettings", found).values()
    return ours(settings["properties"])


def each_setting(deploy: Deploy) -> None:
    """It has its default, or the value of the azd variable of its name."""
    found = set_in(deploy("default"))
    known = re.findall(r"\b(?:AMP|EXPORT)_[A-Z]\w+", (ROOT / "shared/settings.py").read_text())
    assert found.keys() == ours(dict.fromkeys(known, "")).keys()
    assert load_settings(found | NEEDED) == load_settings(NEEDED)
    assert set_in(deploy("changed")) == found | ours(ways()["changed"][1])


SETTINGS = "config/appsettings  ~(properties.)?(?!AMP_.*KEY)(AMP|EXPORT)_(?!STORAGE)"
FACTS["each_setting"] = (each_setting, (f"default  {SETTINGS}", f"changed  {SETTINGS}"))
FACTS["region"] = (all_is_in_one_region, ("default  **  location", "private-with-addresses  **  location"))


def variants(value: Value, path: str = "") -> Iterator[tuple[str, Value]]:
    """Copies of a value in which one value has changed or is gone, each with the path of that one."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        there = f"{path}.{key}".lstrip(".")
        pieces = (value[:key], value[key + 1 :]) if isinstance(value, list) else ()
        if value[key] is not None:
            yield there, [*pieces[0], *pieces[1]] if pieces else {each: value[each] for each in value if each != key}
        for where, new in variants(value[key], there):
            yield where, [*pieces[0], new, *pieces[1]] if pieces else value | {key: new}
    if not value or not isinstance(value, dict | list):
        yield path, not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else "other"


def broken_copies(found: Deployed, glob: str, path: str = "") -> Iterator[tuple[str, Deployed]]:
    """Copies that lack a value at a path or below it, or have another one there, one value at a time."""
    below = path[1:] if path[:1] == "~" else path.replace("*.", r"\d+.") + r"(\..+)?$"
    for id_ in like(glob, found):
        resource, others = found[id_], {other: found[other] for other in found if other != id_}
        if not path:
            yield f"without {id_}", others
            yield f"with another id than {id_}", others | {f"{id_}-2": resource}
        elif path.endswith("?"):  # it is not there
            with_it = resource | {"properties": resource["properties"] | {path[:-1]: "x"}}
            yield f"with it in {id_}", others | {id_: with_it}
        else:
            broken = [each for where, each in variants(resource) if re.match(rf"(properties\.)?{below}", where)]
            yield from ((f"with another {id_}", others | {id_: each}) for each in broken)
    if not path:
        one_more = glob.replace("**", "x").replace("*", "x")
        yield f"with {one_more}", found | {one_more: {"type": ""}}


def is_true(check: Check, deploy: Deploy) -> bool:
    try:
        check(deploy)
    except (AssertionError, LookupError, ValueError, SettingsError):
        return False
    return True


@pytest.mark.parametrize("name", FACTS)
def test_a_fact_is_true_of_the_snapshots_and_of_no_broken_copy(name: str) -> None:
    check, rests_on = FACTS[name]
    check(committed)
    for line in rests_on:
        way, *place = line.split("  ")
        copies = [*broken_copies(committed(way), *place)]
        assert copies, f"nothing that is deployed is {line}"
        for what, broken in copies:
            found = {each: broken if each == way else committed(each) for each in ways()}
            assert not is_true(check, found.__getitem__), f"{line}: still true {what}"


@needs_compiler
def test_the_snapshots_are_those_of_the_templates() -> None:
    stale = [name for name, text in snapshots.renewed().items() if (snapshots.SNAPSHOTS / name).read_text() != text]
    assert stale == [], "run `python -m tests.infra.snapshots`, and look at what changes"
    assert {*ways(), "ways"} == {path.stem for path in snapshots.SNAPSHOTS.iterdir()}


BREAKS = r"""
region | monitoring |   location: location\n |   location: 'westeurope'\n
(default|changed)  .*: \*\* | data-storage |   scope: account::blobs::container\n |   scope: account\n
.*  storageAccounts/stdata\*  networkAcls | data-storage | bypass: 'AzureServices' | bypass: 'None'
.*  .*locks/.* | data-storage | = if (protect) { | = if (!protect) {
default  config/authsettingsV2  .* | app | 03-01' = {\n  parent: app | 03-01' = if (entra) {\n  parent: app
entra  .*allowedApplications | app | union([entraClientId], entraAllowedApplications) | [entraClientId]
changed  scheduledQueryRules/\*  actions.* | alerts | union([people.id], actionGroupIds) | [people.id]
.*day-missing  .*query.* | alerts | 'let due_hour = 12;' | 'let due_hour = 11;'
private  .*queue.*\..* | private-endpoints | 'privatelink.queue. | 'privatelink.queues.
each_setting | ../main | EXPORT_RECHECK: recheck | EXPORT_RECHECK: 'all'
"""
"""Facts, and what makes just these untrue: a text of a template, and another one in its place."""


@needs_compiler
def test_a_break_in_a_template_reaches_its_fact_and_no_other() -> None:
    texts, expected = templates(), []
    for line in BREAKS.strip().splitlines():
        facts, module, old, new = (part.replace(r"\n", "\n") for part in line.split(" | "))
        name = f"modules/{module}.bicep".replace("modules/../", "")
        assert old in texts[name], f"{name} does not contain {old!r}"
        texts[name] = texts[name].replace(old, new, 1)
        expected.append(re.compile(facts))
    found = {way: compiled(texts, variables) for way, (_, variables) in ways().items()}
    untrue = [name for name, (check, _) in FACTS.items() if not is_true(check, found.__getitem__)]
    assert [facts.pattern for facts in expected if not any(map(facts.fullmatch, untrue))] == []
    assert [name for name in untrue if not any(facts.fullmatch(name) for facts in expected)] == []


@needs_compiler
def test_the_parameters_allow_no_other_region_and_only_what_the_code_takes() -> None:
    """Each round sets every parameter to another one of its extremes."""
    takes = arm_template()["parameters"]
    assert takes["location"]["allowedValues"] == ["germanywestcentral"]
    assert takes["storageRedundancy"]["allowedValues"] == ["Standard_LRS", "Standard_ZRS"]
    needed = (
        "using 'main.bicep'\nparam environmentName = 'amplitude-export'\nparam alertEmail = 'data-team@example.com'\n"
    )
    assert compiled(templates() | {"main.bicepparam": needed}, {}) == committed("default"), "their defaults differ"
    extremes = {
        name: each.get("allowedValues") or [each[limit] for limit in ("minValue", "maxValue") if limit in each]
        for name, each in takes.items()
        if each["type"] != "array"
    }
    names = {"due_hour": "missingDayHour", "least_percent": "lowVolumePercent", "most": "massDeletionCount"}
    figures = {figure: extremes[name] for figure, name in names.items()}
    for n in range(3):
        chosen = [f"param {name} = {each[n % len(each)]!r}" for name, each in extremes.items() if each]
        found = compiled(templates() | {"main.bicepparam": needed}, {}, "\n".join(chosen))
        load_settings(set_in(found) | NEEDED | {"WEBSITE_AUTH_ENABLED": "True"})
        queries = str(like("scheduledQueryRules/*", found))
        for figure, limits in figures.items():
            assert f"'let {figure} = {limits[n % len(limits)]};'" in queries


@needs_compiler
def test_all_is_described_nothing_is_a_secret_and_the_app_starts_after_its_private_endpoints() -> None:
    after = {module["name"]: str(module.get("dependsOn")) for module in arm_template()["resources"]}
    assert ("'private-endpoints'" in after["app"], "'app'" in after["http-endpoint"]) == (True, True)
    modules = [each["properties"]["template"] for each in arm_template()["resources"] if "template" in str(each)]
    assert len(modules) == len([*(INFRA / "modules").iterdir()]) + 1, "one module is used twice"
    for each in (arm_template(), *modules):
        for name, parameter in each["parameters"].items():
            start = "Optional. " if "defaultValue" in parameter else "Required. "
            assert parameter["metadata"]["description"].startswith(start), name
            assert not parameter["type"].startswith("secure"), name
        assert all(output["metadata"]["description"] for output in each.get("outputs", {}).values())
    assert not re.search("listKeys|listSecrets", str(arm_template()))
