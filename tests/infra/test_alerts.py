"""What tells people that something is wrong: alerts, the workbook, and the logs that they read."""

import json

from tests.infra.facts import Deploy, fact
from tests.infra.snapshots import INFRA, ROOT

LOGS = "Microsoft.Insights/diagnosticSettings"
QUERIES = {path.stem: path.read_text().splitlines() for path in (INFRA / "queries").glob("*.kql")}

MINUTES = {"PT15M": 15, "PT1H": 60, "P1D": 24 * 60, "P2D": 48 * 60}
"""Two days are the most that a log alert reads (Azure Monitor's documentation)."""


@fact(r"""
    alerts:     name: 'poison-queue' >>>     name: 'poisoned'
    alerts: loadTextContent('../queries/volume-low.kql') >>> loadTextContent('../queries/volume.kql')
    alerts:     timeRange: 'P2D' >>>     timeRange: 'P7D'
    alerts:     window: 'PT1H' >>>     window: 'PT5M'
    alerts: Runbook: docs/operations.md. >>>
    alerts: 'let due_hour = 12;' >>> 'let due_hour = 11;'
    mass-deletion: let most = 1000; >>> let most=1000;
    main:     lowVolumePercent: lowVolumePercent >>>     lowVolumePercent: missingDayHour
    alerts: operator: 'GreaterThan' >>> operator: 'LessThan'
    alerts: enabled: true\n      severity >>> enabled: false\n      severity
    alerts: union([people.id], actionGroupIds) >>> [people.id]
    alerts: emailAddress: email >>> emailAddress: 'nobody@example.com'
""")
def test_each_alert_runs_its_query_without_a_gap_and_tells_people(deploy: Deploy) -> None:
    figures = {"day-missing": ("due_hour", "12", "9"), "volume-low": ("least_percent", "50", "50")}
    figures["mass-deletion"] = ("most", "1000", "1000")
    names = {"day-missing", "day-given-up", "volume-low", "poison-queue", "mass-deletion"}
    for n, way in enumerate(("default", "changed")):
        alerts = deploy(way).all("Microsoft.Insights/scheduledQueryRules")
        assert {id_.partition("TOKEN-")[2] for id_ in alerts} == names
        for id_, alert in alerts.items():
            name, rule = id_.partition("TOKEN-")[2], alert["properties"]
            figure, before, *after = figures.get(name, ("", "", "", ""))
            (condition,) = rule["criteria"]["allOf"]
            changed = {f"let {figure} = {before};": f"let {figure} = {[before, *after][n]};"}
            assert condition["query"] == [changed.get(line, line) for line in QUERIES[name]]
            asked = (condition["timeAggregation"], condition["operator"], condition["threshold"], rule["enabled"])
            assert asked == ("Count", "GreaterThan", 0, True)
            seen = MINUTES.get(rule["overrideQueryTimeRange"] or rule["windowSize"], 0)
            assert seen >= MINUTES.get(rule["windowSize"], 0) >= MINUTES[rule["evaluationFrequency"]]
            assert "docs/operations.md" in rule["description"]
            (group, *others) = rule["actions"]["actionGroups"]
            assert group.endswith("-people")
            assert [each.rpartition("/")[2] for each in others] == (["on-call"] if way == "changed" else [])
        (receiver,) = deploy(way).one("Microsoft.Insights/actionGroups")["properties"]["emailReceivers"]
        assert receiver["emailAddress"] == "data-team@example.com"


@fact(r"""
    workbook: loadTextContent('../queries/failures.kql') >>> 'AppTraces'
    workbook: items: concat([timeItem], queryItems) >>> items: [timeItem]
""")
def test_the_workbook_shows_runs_volume_duration_and_failures(deploy: Deploy) -> None:
    items = deploy("default").one("Microsoft.Insights/workbooks")["properties"]["serializedData"]["items"]
    shown = [item["content"].get("query") for item in items][1:]
    assert shown == [QUERIES[name] for name in ("runs", "volume", "duration", "failures")]


@fact(r"""
    host-storage: category: 'StorageWrite' >>> category: 'StorageDelete'
    host-storage:   scope: account::queues\n >>>   scope: account\n
    data-storage: category: 'StorageDelete'\n        enabled: true >>> category: 'StorageDelete'\n        enabled: false
    vault: categoryGroup: 'audit' >>> categoryGroup: 'none'
    app: 'FunctionAppLogs' >>> 'AppServiceHTTPLogs'
    monitoring:     features: { >>>     workspaceCapping: { dailyQuotaGb: 1 }\n    features: {
""")
def test_the_logs_that_alerts_and_audits_read_are_kept(deploy: Deploy) -> None:
    """No log of addresses with their query: it would hold the key that a caller put there."""
    logs = {
        id_.partition("/providers/")[0].partition("/")[2]: {
            each.get("category") or each["categoryGroup"] for each in found["properties"]["logs"] if each["enabled"]
        }
        for id_, found in deploy("default").all(LOGS).items()
    }
    assert logs == {
        "storageAccounts/sthostTOKEN/queueServices/default": {"StorageWrite"},
        "storageAccounts/sthostTOKEN/blobServices/default": {"StorageWrite", "StorageDelete"},
        "storageAccounts/stdataTOKEN/blobServices/default": {"StorageRead", "StorageWrite", "StorageDelete"},
        "vaults/kv-amp-TOKEN": {"audit"},
        "sites/func-amplitude-TOKEN": {"FunctionAppLogs"},
    }
    sent_to = {each["properties"]["workspaceId"] for each in deploy("default").all(LOGS).values()}
    assert [id_ for id_ in deploy("default").resources if id_ in sent_to] == list(sent_to)
    workspace = deploy("default").one("Microsoft.OperationalInsights/workspaces")["properties"]
    assert (workspace["retentionInDays"], "workspaceCapping" in workspace) == (90, False)
    host = json.loads((ROOT / "host.json").read_text())
    telemetry = host["logging"]["applicationInsights"]
    assert telemetry["enableQueryStringTracing"] is False, "a request's line would hold its key"
    assert "Trace" in telemetry["samplingSettings"]["excludedTypes"].split(";")


@fact(r"""
    app: version: '3.13' >>> version: '3.12'
    app:     name: 'FC1' >>>     name: 'Y1'
    param: 'MAXIMUM_INSTANCE_COUNT', '4' >>> 'MAXIMUM_INSTANCE_COUNT', '6'
""")
def test_one_message_an_instance_and_fewer_instances_than_amplitude_takes_requests(deploy: Deploy) -> None:
    config = deploy("default").one("Microsoft.Web/sites")["properties"]["functionAppConfig"]
    assert config["runtime"] == {"name": "python", "version": (ROOT / ".python-version").read_text().strip()}
    assert deploy("default").one("Microsoft.Web/serverfarms")["sku"]["name"] == "FC1"
    assert config["scaleAndConcurrency"]["maximumInstanceCount"] == 4
    assert deploy("changed").one("Microsoft.Web/sites")["properties"]["functionAppConfig"]["scaleAndConcurrency"] == {
        "instanceMemoryMB": 2048,
        "maximumInstanceCount": 40,
    }
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    assert (queues["batchSize"], queues["newBatchThreshold"]) == (1, 0)
