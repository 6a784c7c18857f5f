"""What keeps the app going and tells people when it does not: scale, alerts, workbook, log lines that arrive."""

import json
import re

from tests.infra.facts import fact
from tests.infra.templates import ROOT, Each, Expression, Templates

ALERTS, WORKBOOK = "modules/alerts.bicep", "modules/workbook.bicep"

LONGEST = {"PT15M": 15, "PT1H": 60, "P1D": 24 * 60, "P2D": 48 * 60}
"""Minutes; two days are the most that a log alert reads (Azure Monitor's documentation)."""


def host() -> dict[str, object]:
    """host.json, which is no template but has to go with them."""
    loaded: dict[str, object] = json.loads((ROOT / "host.json").read_text())
    return loaded


@fact(
    (ALERTS, "    name: 'poison-queue'", "    name: 'poisoned'"),
    (ALERTS, "loadTextContent('../queries/volume-low.kql')", "loadTextContent('../queries/volume.kql')"),
    (ALERTS, "    timeRange: 'P2D'", "    timeRange: 'P7D'"),
    (ALERTS, "    window: 'PT1H'", "    window: 'PT5M'"),
    (ALERTS, "Runbook: docs/operations.md.", ""),
)
def test_four_alerts_each_with_its_query_and_runbook(t: Templates) -> None:
    rules = {rule["name"]: rule for rule in t.named("var", "rules", ALERTS).value}
    assert set(rules) == {"day-missing", "day-given-up", "volume-low", "poison-queue"}
    runbook = (ROOT / "docs/operations.md").read_text()
    for name, rule in rules.items():
        assert f"loadTextContent('../queries/{name}.kql')" in rule["query"].text
        assert "docs/operations.md" in rule["description"]
        assert f"`{name}`" in runbook, f"no runbook for {name}"
        seen, window, frequency = (
            LONGEST.get(each, 0) for each in (rule["timeRange"] or rule["window"], rule["window"], rule["frequency"])
        )
        assert seen >= window >= frequency > 0, f"{name} has a gap between evaluations"


@fact(
    (ALERTS, "operator: 'GreaterThan'", "operator: 'LessThan'"),
    (ALERTS, "enabled: true\n      severity", "enabled: false\n      severity"),
    (ALERTS, "actionGroups: [people.id]", "actionGroups: []"),
    (ALERTS, "emailAddress: email", "emailAddress: 'nobody@example.com'"),
    (ALERTS, "query: rule.query", "query: 'AppTraces'"),
    ("main.bicep", "@minLength(3)\nparam alertEmail string", "param alertEmail string = ''"),
)
def test_a_row_is_a_mail_to_someone(t: Templates) -> None:
    alert = t.one("resource", "Microsoft.Insights/scheduledQueryRules")
    assert alert.loop == "rules"
    assert alert["properties.enabled"] is True
    (condition,) = alert["properties.criteria.allOf"]
    assert condition["query"] == Expression("rule.query")
    assert (condition["timeAggregation"], condition["operator"], condition["threshold"]) == ("Count", "GreaterThan", 0)
    assert alert["properties.actions.actionGroups"] == [Expression("people.id")]
    (receiver,) = t.one("resource", "Microsoft.Insights/actionGroups")["properties.emailReceivers"]
    assert receiver["emailAddress"] == Expression("email")
    email = t.named("param", "alertEmail")
    assert (email.value, email.decorators.get("minLength")) == (None, [3]), "nobody would hear of anything"


@fact(
    (ALERTS, "'let due_hour = 12;'", "'let due_hour = 11;'"),
    ("queries/volume-low.kql", "let least_percent = 50;", "let least_percent=50;"),
    ("main.bicep", "param missingDayHour int = 12", "param missingDayHour int = 10"),
    ("main.bicep", "    lowVolumePercent: lowVolumePercent", "    lowVolumePercent: missingDayHour"),
)
def test_a_parameter_takes_the_place_of_a_querys_figure(t: Templates) -> None:
    """A figure that is not found is not replaced, and the parameter would do nothing."""
    params = {"due_hour": "missingDayHour", "least_percent": "lowVolumePercent"}
    replaced = re.findall(
        r"replace\( ?loadTextContent\('\.\./(.+?)'\), '(let (\w+) = (\d+);)', 'let \3 = \$\{(\w+)\};' ?\)",
        re.sub(r"\s+", " ", t.texts[ALERTS]),
    )
    assert [each[2] for each in replaced] == list(params)
    for query, text, figure, value, param in replaced:
        assert param == params[figure]
        assert t.texts[query].count(text) == 1
        assert t.named("param", param).value == int(value)
        assert t.named("module", "alerts")[f"params.{param}"] == Expression(param)


@fact(
    (WORKBOOK, "loadTextContent('../queries/failures.kql')", "'AppTraces'"),
    (WORKBOOK, "items: concat([timeItem], queryItems)", "items: [timeItem]"),
    (WORKBOOK, "query: part.query", "query: part.title"),
)
def test_the_workbook_shows_runs_duration_volume_and_failures(t: Templates) -> None:
    shown = {part["query"].text for part in t.named("var", "parts", WORKBOOK).value if part["query"] != "AppTraces"}
    assert shown == {f"loadTextContent('../queries/{n}.kql')" for n in ("runs", "volume", "duration", "failures")}
    items = t.named("var", "queryItems", WORKBOOK).value
    assert isinstance(items, Each)
    assert items.over == "parts"
    assert items.item["content"]["query"] == Expression("part.query")
    data = t.one("resource", "Microsoft.Insights/workbooks")["properties.serializedData"]
    assert "items: concat([timeItem], queryItems)" in data.text


def test_every_query_is_loaded_by_a_template() -> None:
    loaded = "".join((ROOT / "infra" / each).read_text() for each in (ALERTS, WORKBOOK))
    for query in (ROOT / "infra/queries").iterdir():
        assert f"'../queries/{query.name}'" in loaded, query.name


@fact(
    ("modules/monitoring.bicep", "SamplingPercentage: 100", "SamplingPercentage: 50"),
    ("modules/monitoring.bicep", "    retentionInDays: retentionDays", "    workspaceCapping: { dailyQuotaGb: 1 }"),
)
def test_no_log_line_is_dropped_on_its_way(t: Templates) -> None:
    insights = t.one("resource", "Microsoft.Insights/components", "modules/monitoring.bicep")
    assert insights["properties.SamplingPercentage"] == 100
    assert t.one("resource", "Microsoft.OperationalInsights/workspaces")["properties.workspaceCapping"] is None
    logging = host()["logging"]
    assert isinstance(logging, dict)
    assert "Trace" in logging["applicationInsights"]["samplingSettings"]["excludedTypes"].split(";")
    assert logging["logLevel"]["default"] == "Information"


@fact(
    ("modules/host-storage.bicep", "category: 'StorageWrite'", "category: 'StorageDelete'"),
    ("modules/host-storage.bicep", "  scope: account::queues\n", "  scope: account::blobs\n"),
)
def test_the_poison_queues_alert_has_its_log(t: Templates) -> None:
    logs = t.named("resource", "queueLogs", "modules/host-storage.bicep")
    assert logs["scope"] == Expression("account::queues")
    assert [each["category"] for each in logs["properties.logs"]] == ["StorageWrite"]


@fact(
    (
        "modules/data-storage.bicep",
        "        category: 'StorageDelete'\n        enabled: true",
        "        category: 'StorageDelete'\n        enabled: false",
    ),
    ("modules/vault.bicep", "categoryGroup: 'audit'", "categoryGroup: 'none'"),
)
def test_who_read_wrote_and_deleted_is_logged(t: Templates) -> None:
    blobs = t.named("resource", "blobLogs", "modules/data-storage.bicep")["properties.logs"]
    assert {each["category"]: each["enabled"] for each in blobs} == dict.fromkeys(
        ("StorageRead", "StorageWrite", "StorageDelete"), True
    )
    audit = t.named("resource", "auditLogs", "modules/vault.bicep")["properties.logs"]
    assert audit == [{"categoryGroup": "audit", "enabled": True}]


@fact(
    ("main.bicep", "param maximumInstanceCount int = 1\n", "param maximumInstanceCount int = 100\n"),
    ("modules/app.bicep", "maximumInstanceCount: maximumInstanceCount", "maximumInstanceCount: 40"),
    ("modules/app.bicep", "version: '3.13'", "version: '3.12'"),
    ("modules/app.bicep", "    name: 'FC1'", "    name: 'Y1'"),
)
def test_one_message_an_instance_and_few_instances(t: Templates) -> None:
    config = t.one("resource", "Microsoft.Web/sites")["properties.functionAppConfig"]
    assert config["scaleAndConcurrency"]["maximumInstanceCount"] == Expression("maximumInstanceCount")
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert t.one("resource", "Microsoft.Web/serverfarms")["sku.name"] == "FC1"
    most = t.named("param", "maximumInstanceCount")
    assert most.value == most.decorators["minValue"][0] == 1
    queues = host()["extensions"]["queues"]  # type: ignore[index]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)
