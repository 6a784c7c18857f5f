"""What is deployed: where data is stored, who may do what, which ways are open, what can be restored."""

import re
from contextlib import nullcontext

import pytest

from tests.infra.facts import Deploy, fact, needs_compiler
from tests.infra.snapshots import (
    SNAPSHOTS,
    RefusedByCompilerError,
    compiled,
    compiled_template,
    renewed,
    templates,
    ways,
)

ACCOUNT, VAULT, APP = "Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults", "Microsoft.Web/sites"
LOCK, RIGHTS = "Microsoft.Authorization/locks", "Microsoft.Authorization/roleAssignments"
DETECTOR = "microsoft.alertsManagement/smartDetectorAlertRules"
ENDPOINT, ZONE = "Microsoft.Network/privateEndpoints", "Microsoft.Network/privateDnsZones"
DATA, HOST = "modules/data-storage.bicep", "modules/host-storage.bicep"
SITE, ALERTS, KEYS = "modules/app.bicep", "modules/alerts.bicep", "modules/vault.bicep"
NETWORK, PRIVATE = "modules/network.bicep", "modules/private-endpoints.bicep"
PEOPLE = "00000000-0000-0000-0000-00000000000a"


@needs_compiler
def test_the_snapshots_are_those_of_the_templates() -> None:
    for name, text in renewed().items():
        same = (SNAPSHOTS / name).read_text() == text
        assert same, f"{name}: run `python -m tests.infra.snapshots`, and look at what changes"
    assert set(ways()) | {"ways"} == {path.stem for path in SNAPSHOTS.iterdir()}


CHOICES = {
    "location": ("'germanywestcentral'", "'westeurope'"),
    "storageRedundancy": ("'Standard_LRS'", "'Standard_GRS'"),
    "deletedRetentionDays": ("7", "1"),
    "alertEmail": ("'a@b'", "''"),
    "recheck": ("'off'", "'sometimes'"),
    "windowHours": ("24", "25"),
    "missingDayHour": ("4", "2"),
}
"""Parameters, each with a value that is allowed and one that is not."""


@needs_compiler
@pytest.mark.parametrize("wrong", [None, *CHOICES])
def test_a_wrong_choice_is_refused_before_anything_is_deployed(wrong: str | None) -> None:
    texts = templates()
    texts["main.bicepparam"] = re.sub(rf"(?m)^param ({'|'.join(CHOICES)}) .*$", "", texts["main.bicepparam"])
    lines = "\n".join(f"param {name} = {pair[name == wrong]}" for name, pair in CHOICES.items())
    with pytest.raises(RefusedByCompilerError) if wrong else nullcontext():
        compiled(texts, {}, lines)


@fact(r"""
    data-storage:   location: location\n >>>   location: 'germanynorth'\n
    monitoring:   location: location\n >>>   location: 'global'\n
    alerts:   location: location // `global` >>>   location: 'global' // `global`
    main:   location: location\n  tags: tags\n} >>>   location: 'westeurope'\n  tags: tags\n}
    host-storage:     name: redundancy\n >>>     name: 'Standard_RAGRS'\n
    alerts:     state: 'Disabled' >>>     state: 'Enabled'
""")
def test_data_is_stored_in_one_region_and_replicated_inside_it(deploy: Deploy) -> None:
    """Azure has DNS zones and detectors in no region: they hold names, or are disabled."""
    for way in ("default", "private-with-addresses"):
        for id_, each in deploy(way).resources.items():
            region = "global" if each["type"].startswith(ZONE) or each["type"] == DETECTOR else "germanywestcentral"
            part_of_another = id_.count("/") > 2 or ": " in id_
            assert each.get("location", region if part_of_another else "none") == region, id_
    for way, sku in (("default", "Standard_ZRS"), ("changed", "Standard_LRS")):
        assert {account["sku"]["name"] for account in deploy(way).all(ACCOUNT).values()} == {sku}
    assert deploy("default").one(DETECTOR)["properties"]["state"] == "Disabled"


APP_RIGHTS = {
    f"{ACCOUNT}/sthostTOKEN: Storage Blob Data Owner",
    f"{ACCOUNT}/sthostTOKEN: Storage Queue Data Contributor",
    f"{ACCOUNT}/sthostTOKEN: Storage Table Data Contributor",
    f"{ACCOUNT}/stdataTOKEN/blobServices/default/containers/amplitude-events: Storage Blob Data Contributor",
    "Microsoft.Insights/components/appi-amplitude-TOKEN: Monitoring Metrics Publisher",
    f"{VAULT}/kv-amp-TOKEN: Key Vault Secrets User",
}


@fact(r"""
    data-storage:   scope: account::blobs::container\n >>>   scope: account\n
    data-storage:       roleIds['Storage Blob Data Contributor'] >>>       roleIds['Storage Blob Data Owner']
    host-storage:   'Storage Queue Data Contributor'\n >>>
    host-storage:   'Storage Blob Data Owner'\n >>>   'Storage Blob Data Owner'\n  'Key Vault Secrets User'\n
    host-storage:   scope: account::queues::poison\n >>>   scope: account\n
    vault:     principalId: appPrincipalId >>>     principalId: keysPrincipalId
    vault: principalType: empty(keysPrincipalType) ? null : keysPrincipalType >>> principalType: 'User'
    monitoring:   scope: applicationInsights\n >>>   scope: resourceGroup()\n
    roles: 4633458b-17de-408a-b874-0445c86b69e6 >>> 00482a5a-887f-4fb3-b363-3b7fe8e74483
    main: keysPrincipalId == 'none' ? '' >>> keysPrincipalId == 'nobody' ? ''
    main: empty(keysPrincipalId) ? deployer().objectId : keysPrincipalId >>> keysPrincipalId
""")
def test_each_role_is_at_its_smallest_scope(deploy: Deploy) -> None:
    app = {f"{right} for id-amplitude-TOKEN" for right in APP_RIGHTS}
    officer = f"{VAULT}/kv-amp-TOKEN: Key Vault Secrets Officer for "
    events = f"{ACCOUNT}/stdataTOKEN/blobServices/default/containers/product-events"
    poison = f"{ACCOUNT}/sthostTOKEN/queueServices/default/queues/amplitude-exports-poison"
    assert set(deploy("default").all(RIGHTS)) == app | {officer + "[deployer().objectId]"}
    assert set(deploy("unprotected").all(RIGHTS)) == app, "the variable `none` gives nobody the right to set keys"
    assert set(deploy("changed").all(RIGHTS)) == {right.replace("amplitude-ev", "product-ev") for right in app} | {
        officer + PEOPLE,
        f"{events}: Storage Blob Data Reader for {PEOPLE}",
        f"{poison}: Storage Queue Data Reader for {PEOPLE}",
    }
    for way, type_ in (("default", None), ("changed", "Group")):  # a wrong guess would be refused
        assert deploy(way).one(RIGHTS, "Officer")["properties"]["principalType"] == type_


SECURE: dict[str, dict[str, object]] = {
    ACCOUNT: {
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    },
    VAULT: {"enableRbacAuthorization": True, "enableSoftDelete": True},
    APP: {"httpsOnly": True},
    f"{APP}/basicPublishingCredentialsPolicies": {"allow": False},
    "Microsoft.Insights/components": {"DisableLocalAuth": True, "SamplingPercentage": 100},
    "Microsoft.OperationalInsights/workspaces": {"features": {"disableLocalAuth": True}},
}


@fact(r"""
    data-storage: allowBlobPublicAccess: false >>> allowBlobPublicAccess: true
    host-storage: allowCrossTenantReplication: false >>> allowCrossTenantReplication: true
    host-storage: allowSharedKeyAccess: false >>> allowSharedKeyAccess: true
    data-storage:     allowSharedKeyAccess: false\n >>>
    data-storage: 'TLS1_2' >>> 'TLS1_0'
    vault: enableRbacAuthorization: true >>> enableRbacAuthorization: false
    monitoring:     DisableLocalAuth: true >>>     DisableLocalAuth: false
    monitoring: disableLocalAuth: true >>> disableLocalAuth: false
    monitoring: SamplingPercentage: 100 >>> SamplingPercentage: 50
    app: ;Authorization=AAD' >>> '
    app: httpsOnly: true >>> httpsOnly: false
    app: ftpsState: 'Disabled' >>> ftpsState: 'AllAllowed'
    app:       allow: false >>>       allow: true
    app:     name: 'ftp' >>>     name: 'other'
    vault: output name string = vault.name >>> output name string = vault.listKeys().value
""")
def test_nothing_takes_a_key_a_password_or_plain_text(deploy: Deploy) -> None:
    default = deploy("default")
    for type_, wanted in SECURE.items():
        for id_, each in default.all(type_).items():
            assert each["properties"].items() >= wanted.items(), id_
    config = default.one(APP)["properties"]["siteConfig"]
    assert (config["ftpsState"], config["minTlsVersion"], config["scmMinTlsVersion"]) == ("Disabled", "1.2", "1.2")
    passwords = default.all(f"{APP}/basicPublishingCredentialsPolicies").values()
    assert {each["name"].partition("/")[2] for each in passwords} == {"ftp", "scm"}
    telemetry = default.one(f"{APP}/config", "appsettings")["properties"]["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    assert "Authorization=AAD" in telemetry
    assert not default.all(f"{VAULT}/secrets"), "the Amplitude keys pass through no template"
    assert "list" not in str(default.outputs), "no output asks for a key"


@fact(r"""
    data-storage: isVersioningEnabled: !hierarchicalNamespace >>> isVersioningEnabled: false
    data-storage:         enabled: true\n        days: deletedRetentionDays >>>         enabled: false\n        days: 7
    data-storage:           daysAfterModificationGreaterThan >>>           daysAfterCreationGreaterThan
    data-storage:     actions: {\n      baseBlob: { >>>     actions: {\n      baseBlob: {\n        delete: {}
    data-storage: '${containerName}/${prefix}events/' >>> '${containerName}/'
    data-storage: hierarchicalNamespace ? [] :  >>>
    data-storage: isHnsEnabled: hierarchicalNamespace >>> isHnsEnabled: false
""")
def test_what_is_deleted_or_replaced_can_be_restored_and_no_rule_deletes_a_current_blob(deploy: Deploy) -> None:
    """A rule that deletes by age would take blobs from a day whose manifest still lists them."""
    for way, directories in (("default", False), ("private-with-directories", True)):
        found = deploy(way)
        blobs = found.one(f"{ACCOUNT}/blobServices", "stdata")["properties"]
        assert found.one(ACCOUNT, "stdata")["properties"]["isHnsEnabled"] is directories
        assert blobs["isVersioningEnabled"] is not directories, "an account with directories has no versions"
        assert (
            blobs["deleteRetentionPolicy"] == blobs["containerDeleteRetentionPolicy"] == {"enabled": True, "days": 14}
        )
        rules = found.one(f"{ACCOUNT}/managementPolicies")["properties"]["policy"]["rules"]
        assert [rule["definition"]["actions"] for rule in rules] == [
            {"baseBlob": {"tierToCool": {"daysAfterModificationGreaterThan": 60}}},
            {"version": {"delete": {"daysAfterCreationGreaterThan": 30}}},
        ][: 1 if directories else 2]
    (cool, _) = deploy("changed").one(f"{ACCOUNT}/managementPolicies")["properties"]["policy"]["rules"]
    assert cool["definition"]["filters"]["prefixMatch"] == ["product-events/web/events/"]


@fact(r"""
    data-storage: = if (protect) { >>> = if (!protect) {
    data-storage: level: 'CanNotDelete' >>> level: 'ReadOnly'
    data-storage:   scope: account\n  name: 'keep-events' >>>   scope: account::blobs\n  name: 'keep-events'
    vault: protect ? true : null >>> null
    param: readEnvironmentVariable('PROTECT', 'true') >>> readEnvironmentVariable('PROTECT', 'false')
""")
def test_the_vault_and_the_events_are_protected_unless_someone_says_no(deploy: Deploy) -> None:
    assert {
        id_.partition("/providers/")[0]: lock["properties"]["level"]
        for id_, lock in deploy("default").all(LOCK).items()
    } == {
        f"{ACCOUNT}/stdataTOKEN": "CanNotDelete"  # a read-only lock would keep the app from writing
    }
    assert not deploy("unprotected").all(LOCK)
    purge = [deploy(way).one(VAULT)["properties"]["enablePurgeProtection"] for way in ("default", "unprotected")]
    assert purge == [True, None], "Azure refuses false"


@fact(r"""
    host-storage: publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled' >>> publicNetworkAccess: 'Enabled'
    data-storage: privateNetworking ? 'Deny' : 'Allow' >>> privateNetworking ? 'Allow' : 'Allow'
    data-storage: bypass: 'AzureServices' >>> bypass: 'None'
    vault: bypass: 'None' >>> bypass: 'AzureServices'
    vault: empty(allowedIpAddresses) ? 'Disabled' >>> empty(allowedIpAddresses) ? 'Enabled'
    host-storage: bypass: 'None' >>> ipRules: [{ value: '203.0.113.7' }]\n      bypass: 'None'
""")
def test_private_networking_closes_storage_and_vault(deploy: Deploy) -> None:
    """Only lifecycle management may come in from outside: nothing would cool down, and old versions would never go."""
    for way, allowed in (("default", None), ("private", []), ("private-with-addresses", ["203.0.113.7"])):
        for type_, part in ((ACCOUNT, "sthost"), (ACCOUNT, "stdata"), (VAULT, "kv-")):
            found = deploy(way).one(type_, part)["properties"]
            rules = found["networkAcls"]
            addresses = (allowed or []) if part != "sthost" else []
            assert rules["bypass"] == ("AzureServices" if part == "stdata" else "None")
            assert rules["defaultAction"] == ("Allow" if allowed is None else "Deny")
            assert [rule["value"] for rule in rules.get("ipRules", [])] == addresses
            assert found["publicNetworkAccess"] == ("Enabled" if allowed is None or addresses else "Disabled")


@fact(r"""
    main: resource: hostStorageName, service: 'queue' } >>> resource: dataStorageName, service: 'queue' }
    private-endpoints: 'privatelink.queue. >>> 'privatelink.queues.
    private-endpoints: zones[indexOf(services, endpoint.service)].id >>> zones[0].id
    network: 'Microsoft.App/environments' >>> 'Microsoft.Web/serverFarms'
    network: privateEndpointNetworkPolicies: 'Enabled' >>> privateEndpointNetworkPolicies: 'Disabled'
    network:           sourceAddressPrefix: appSubnetPrefix\n >>>           sourceAddressPrefix: '10.20.0.64/26'\n
    main: = if (privateNetworking && httpPrivateEndpoint) >>> = if (httpPrivateEndpoint && !privateNetworking)
    main: = if (privateNetworking) {\n  name: 'network' >>> = {\n  name: 'network'
    app: virtualNetworkSubnetId: empty(subnetId) ? null : subnetId >>> virtualNetworkSubnetId: null
""")
def test_there_is_a_private_way_to_all_that_the_app_reaches(deploy: Deploy) -> None:
    expected = {
        "pe-data-blob": (f"{ACCOUNT}/stdataTOKEN", "privatelink.blob"),
        "pe-host-blob": (f"{ACCOUNT}/sthostTOKEN", "privatelink.blob"),
        "pe-host-queue": (f"{ACCOUNT}/sthostTOKEN", "privatelink.queue"),
        "pe-host-table": (f"{ACCOUNT}/sthostTOKEN", "privatelink.table"),
        "pe-vault": (f"{VAULT}/kv-amp-TOKEN", "privatelink.vaultcore"),
    }
    more = {
        "private": {},
        "private-with-addresses": {"pe-http": (f"{APP}/func-amplitude-TOKEN", "privatelink.azurewebsites")},
        "private-with-directories": {"pe-data-dfs": (f"{ACCOUNT}/stdataTOKEN", "privatelink.dfs")},
    }
    for way, extra in more.items():
        found, endpoints = deploy(way), {}
        for id_, each in found.all(ENDPOINT).items():
            (record,) = found.one(f"{ENDPOINT}/privateDnsZoneGroups", id_ + "/")["properties"]["privateDnsZoneConfigs"]
            (target,) = each["properties"]["privateLinkServiceConnections"]
            zone = re.findall(r"privatelink\.\w+", record["properties"]["privateDnsZoneId"])
            endpoints[each["name"]] = (target["properties"]["privateLinkServiceId"], *zone)
        assert endpoints == expected | extra
        zones = {zone for _, zone in endpoints.values()}
        assert {re.findall(r"privatelink\.\w+", id_)[0] for id_ in found.all(ZONE)} == zones
        assert len(found.all(f"{ZONE}/virtualNetworkLinks")) == len(zones)
    network = found.one("Microsoft.Network/virtualNetworks")
    app, endpoint = (each["properties"] for each in network["properties"]["subnets"])
    assert [each["properties"]["serviceName"] for each in app["delegations"]] == ["Microsoft.App/environments"]
    assert endpoint["privateEndpointNetworkPolicies"] == "Enabled", "else its rules would not apply"
    rules = found.one("Microsoft.Network/networkSecurityGroups")["properties"]["securityRules"]
    assert [(rule["properties"]["access"], rule["properties"]["sourceAddressPrefix"]) for rule in rules] == [
        ("Allow", app["addressPrefix"]),
        ("Allow", "VirtualNetwork"),
        ("Deny", "*"),
    ]
    assert str(found.one(APP)["properties"]["virtualNetworkSubnetId"]).endswith("/subnets/app")
    assert not [id_ for id_ in deploy("default").resources if id_.startswith("Microsoft.Network/")]


@needs_compiler
def test_the_app_starts_after_its_private_endpoints() -> None:
    modules = {each["name"]: str(each.get("dependsOn")) for each in compiled_template(templates())["resources"]}
    assert "'private-endpoints'" in modules["app"]
    assert "'app'" in modules["http-endpoint"]


@fact(r"""
    app: restricted ? 'Deny' : 'Allow' >>> 'Allow'
    app: contains(address, '/') ? address : '${address}/32' >>> address
    app: httpPrivateEndpoint || !empty(httpAllowedIpAddresses) >>> false
    app: scmIpSecurityRestrictionsUseMain: false >>> scmIpSecurityRestrictionsUseMain: true
""")
def test_the_routes_can_be_closed_to_all_but_some_and_deployments_still_come_in(deploy: Deploy) -> None:
    for way, action, allowed in (
        ("default", "Allow", []),
        ("private-with-addresses", "Deny", ["203.0.113.7/32", "198.51.100.0/24"]),
    ):
        found = deploy(way).one(APP)["properties"]
        config = found["siteConfig"]
        assert (found["publicNetworkAccess"], config["scmIpSecurityRestrictionsUseMain"]) == ("Enabled", False)
        assert config["ipSecurityRestrictionsDefaultAction"] == action
        assert [rule["ipAddress"] for rule in config["ipSecurityRestrictions"]] == allowed


@fact(r"""
    app: requireAuthentication: entra >>> requireAuthentication: false
    app: 03-01' = {\n  parent: app >>> 03-01' = if (entra) {\n  parent: app
    app:       enabled: entra\n >>>       enabled: true\n
    app: union([entraClientId], entraAllowedApplications) >>> [entraClientId]
    app: loginEndpoint}${tenant().tenantId}/v2.0' >>> loginEndpoint}common/v2.0'
    app: clientSecretSettingName: 'OVER >>> clientSecretSettingName: 'UNDER
    main: EXPORT_HTTP_AUTH: httpAuth >>> EXPORT_HTTP_AUTH: 'function'
""")
def test_sign_in_is_switched_with_the_app_both_ways(deploy: Deploy) -> None:
    """A deployment deletes nothing: a sign-in that is only left out would stay on after the way back to host keys."""
    for way, on in (("default", False), ("entra", True)):
        found = deploy(way)
        sign_in = found.one(f"{APP}/config", "authsettingsV2")["properties"]
        settings = found.one(f"{APP}/config", "appsettings")["properties"]
        assert (sign_in["platform"]["enabled"], sign_in["globalValidation"]["requireAuthentication"]) == (on, on)
        assert settings["EXPORT_HTTP_AUTH"] == ("entra" if on else "function")
        assert ("OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID" in settings, bool(sign_in["identityProviders"])) == (on, on)
    provider = sign_in["identityProviders"]["azureActiveDirectory"]
    registration, scheduler = provider["registration"], "00000000-0000-0000-0000-00000000000c"
    assert registration["clientSecretSettingName"] in settings, "no secret: the identity signs in"
    assert "tenant()" in registration["openIdIssuer"], "people of this tenant only"
    allowed = provider["validation"]["defaultAuthorizationPolicy"]["allowedApplications"]
    assert allowed == [registration["clientId"], scheduler]
