"""The rules of hardening, one by one."""

from tests.infra.facts import fact
from tests.infra.templates import Expression, Templates

DATA, HOST, VAULT = "modules/data-storage.bicep", "modules/host-storage.bicep", "modules/vault.bicep"
APP, MONITORING = "modules/app.bicep", "modules/monitoring.bicep"
NETWORK, PRIVATE = "modules/network.bicep", "modules/private-endpoints.bicep"
ACCOUNT = "Microsoft.Storage/storageAccounts"

STORAGE = {
    "allowBlobPublicAccess": False,
    "allowCrossTenantReplication": False,
    "allowSharedKeyAccess": False,
    "defaultToOAuthAuthentication": True,
    "minimumTlsVersion": "TLS1_2",
    "supportsHttpsTrafficOnly": True,
}


@fact(
    (DATA, "allowBlobPublicAccess: false", "allowBlobPublicAccess: true"),
    (HOST, "allowCrossTenantReplication: false", "allowCrossTenantReplication: true"),
    (HOST, "allowSharedKeyAccess: false", "allowSharedKeyAccess: true"),
    (DATA, "    allowSharedKeyAccess: false\n", ""),
    (DATA, "'TLS1_2'", "'TLS1_0'"),
    (HOST, "supportsHttpsTrafficOnly: true", "supportsHttpsTrafficOnly: false"),
)
def test_storage_takes_no_key_no_stranger_and_no_plain_text(t: Templates) -> None:
    for account in t.all("resource", ACCOUNT):
        for name, value in STORAGE.items():
            assert account[f"properties.{name}"] == value, f"{account.file}: {name}"


@fact(
    (HOST, "publicNetworkAccess: privateNetworking ? 'Disabled' : 'Enabled'", "publicNetworkAccess: 'Enabled'"),
    (DATA, "privateNetworking ? 'Deny' : 'Allow'", "privateNetworking ? 'Allow' : 'Allow'"),
    (VAULT, "bypass: 'None'", "bypass: 'AzureServices'"),
    ("main.bicep", "    privateNetworking: privateNetworking\n", "    privateNetworking: false\n"),
)
def test_private_networking_turns_public_access_off(t: Templates) -> None:
    closed = Expression("privateNetworking ? 'Disabled' : 'Enabled'")
    closed_but_for_some = Expression("privateNetworking && empty(allowedIpAddresses) ? 'Disabled' : 'Enabled'")
    for type_, file, access in (
        (ACCOUNT, HOST, closed),
        (ACCOUNT, DATA, closed_but_for_some),
        ("Microsoft.KeyVault/vaults", VAULT, closed_but_for_some),
    ):
        resource = t.one("resource", type_, file)
        assert resource["properties.publicNetworkAccess"] == access, file
        assert resource["properties.networkAcls.defaultAction"] == Expression("privateNetworking ? 'Deny' : 'Allow'")
        assert resource["properties.networkAcls.bypass"] == "None", file
    for symbol in ("hostStorage", "dataStorage", "vault"):
        assert t.named("module", symbol)["params.privateNetworking"] == Expression("privateNetworking")


@fact(
    (DATA, "isVersioningEnabled: true", "isVersioningEnabled: false"),
    (DATA, "        enabled: true\n        days: deletedRetentionDays", "        enabled: false\n        days: 1"),
    ("main.bicep", "@minValue(7)\n", "@minValue(1)\n"),
)
def test_a_deleted_or_replaced_event_can_be_had_back(t: Templates) -> None:
    blobs = t.one("resource", f"{ACCOUNT}/blobServices", DATA)
    kept = {"enabled": True, "days": Expression("deletedRetentionDays")}
    assert blobs["properties.isVersioningEnabled"] is True
    assert blobs["properties.deleteRetentionPolicy"] == kept
    assert blobs["properties.containerDeleteRetentionPolicy"] == kept
    assert t.named("param", "deletedRetentionDays").decorators["minValue"] == [7]


COOL = "                  tierToCool: {\n                    daysAfterModificationGreaterThan: coolAfterDays\n"


@fact(
    (DATA, COOL, COOL.replace("tierToCool", "delete")),
    (DATA, "                baseBlob: {", "                baseBlob: {\n                  delete: {}"),
    (
        DATA,
        "                version: {\n                  delete: {",
        "                version: {\n                  a: {",
    ),
    (DATA, "'${containerName}/${prefix}events/'", "'${containerName}/'"),
)
def test_no_lifecycle_rule_deletes_a_current_blob(t: Templates) -> None:
    """A day would lose blobs under a manifest that still lists them: retention is the app's."""
    rules = t.one("resource", f"{ACCOUNT}/managementPolicies")["properties.policy.rules"]
    actions = {rule["name"]: rule["definition"]["actions"] for rule in rules}
    assert actions == {
        "events-cool-down": {
            "baseBlob": {"tierToCool": {"daysAfterModificationGreaterThan": Expression("coolAfterDays")}}
        },
        "old-versions-go": {"version": {"delete": {"daysAfterCreationGreaterThan": Expression("oldVersionDays")}}},
    }
    assert rules[0]["definition"]["filters"]["prefixMatch"] == [Expression("'${containerName}/${prefix}events/'")]


@fact(
    (DATA, "= if (protect) {", "= if (!protect) {"),
    (DATA, "level: 'CanNotDelete'", "level: 'ReadOnly'"),
    (VAULT, "protect ? true : null", "null"),
    ("main.bicep", "param protect bool = true", "param protect bool = false"),
    ("main.bicepparam", "readEnvironmentVariable('PROTECT', 'true')", "readEnvironmentVariable('PROTECT', 'false')"),
)
def test_one_parameter_on_by_default_guards_the_vault_and_the_data(t: Templates) -> None:
    lock = t.one("resource", "Microsoft.Authorization/locks")
    assert (lock.file, lock.condition, lock["scope"]) == (DATA, "protect", Expression("account"))
    assert lock["properties.level"] == "CanNotDelete", "a read-only lock would keep the app from writing"
    vault = t.one("resource", "Microsoft.KeyVault/vaults")
    assert vault["properties.enablePurgeProtection"] == Expression("protect ? true : null")
    assert t.named("param", "protect").value is True
    assert "param protect = bool(readEnvironmentVariable('PROTECT', 'true'))" in t.texts["main.bicepparam"]
    for symbol in ("dataStorage", "vault"):
        assert t.named("module", symbol)["params.protect"] == Expression("protect")


@fact(
    (VAULT, "enableRbacAuthorization: true", "enableRbacAuthorization: false"),
    (VAULT, "enableSoftDelete: true", "enableSoftDelete: false"),
)
def test_the_vault_knows_roles_only_and_forgets_nothing_at_once(t: Templates) -> None:
    vault = t.one("resource", "Microsoft.KeyVault/vaults")
    assert vault["properties.enableRbacAuthorization"] is True
    assert vault["properties.enableSoftDelete"] is True


@fact(
    (APP, "httpsOnly: true", "httpsOnly: false"),
    (APP, " minTlsVersion: '1.2'", " minTlsVersion: '1.0'"),
    (APP, "ftpsState: 'Disabled'", "ftpsState: 'AllAllowed'"),
    (APP, "      allow: false", "      allow: true"),
    (APP, "    name: 'ftp'", "    name: 'scm'"),
)
def test_the_app_speaks_https_only_and_takes_no_publishing_password(t: Templates) -> None:
    app = t.one("resource", "Microsoft.Web/sites")
    assert app["properties.httpsOnly"] is True
    assert app["properties.siteConfig.minTlsVersion"] == app["properties.siteConfig.scmMinTlsVersion"] == "1.2"
    assert app["properties.siteConfig.ftpsState"] == "Disabled"
    passwords = t.all("resource", "Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    assert {each["name"]: each["properties.allow"] for each in passwords} == {"scm": False, "ftp": False}


@fact(
    (MONITORING, "    DisableLocalAuth: true", "    DisableLocalAuth: false"),
    (MONITORING, "disableLocalAuth: true", "disableLocalAuth: false"),
    (APP, ";Authorization=AAD'", "'"),
)
def test_telemetry_needs_a_role_not_a_key(t: Templates) -> None:
    assert t.one("resource", "Microsoft.Insights/components", MONITORING)["properties.DisableLocalAuth"]
    assert t.one("resource", "Microsoft.OperationalInsights/workspaces")["properties.features.disableLocalAuth"] is True
    platform = t.named("var", "platformSettings", APP)
    told = platform["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]
    assert told == Expression("'ClientId=${identityClientId};Authorization=AAD'")


@fact(
    (
        "main.bicep",
        "output EVENTS_CONTAINER string = containerName",
        "output K string = account.listKeys().keys[0]",
    ),
    (VAULT, "output name string = vault.name", "output secret string = vault.name"),
    (MONITORING, "= workspace.id", "= applicationInsights.properties.ConnectionString"),
)
def test_no_output_holds_a_secret(t: Templates) -> None:
    for output in t.all("output"):
        told = f"{output.symbol} {output.value}".lower()
        for word in ("listkeys", "secret", "password", "connectionstring", "instrumentationkey", "sas"):
            assert word not in told, f"{output.file}: {output.symbol}"


@fact(
    ("main.bicep", "param prefix string = ''", "param prefix string = ''\n\n@secure()\nparam apiSecret string"),
    (VAULT, "    sku: {", "    accessPolicies: []\n    sku: {"),
    (
        VAULT,
        "resource auditLogs",
        "resource s 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {}\n\nresource a",
    ),
    ("main.bicepparam", "param startDate", "param apiKey = readEnvironmentVariable('AMP_API_KEY')\nparam startDate"),
)
def test_the_amplitude_keys_never_pass_through_a_template(t: Templates) -> None:
    assert not t.all("resource", "Microsoft.KeyVault/vaults/secrets")
    assert t.one("resource", "Microsoft.KeyVault/vaults")["properties.accessPolicies"] is None
    for param in t.all("param"):
        assert "secure" not in param.decorators, f"{param.file}: {param.symbol}"
    assert "AMP_API_KEY" not in t.texts["main.bicepparam"]
    assert "AMP_SECRET_KEY" not in t.texts["main.bicepparam"]


ENDPOINTS = [
    ("data-blob", "dataStorageId", "blob"),
    ("host-blob", "hostStorageId", "blob"),
    ("host-queue", "hostStorageId", "queue"),
    ("host-table", "hostStorageId", "table"),
    ("vault", "vaultId", "vault"),
]


@fact(
    (PRIVATE, "  { name: 'vault', target: vaultId, service: 'vault' }\n", ""),
    (PRIVATE, "'privatelink.queue.", "'privatelink.blob."),
    (NETWORK, "'Microsoft.App/environments'", "'Microsoft.Web/serverFarms'"),
    (
        NETWORK,
        "privateEndpointNetworkPolicies: 'Enabled'",
        "privateEndpointNetworkPolicies: 'Disabled'",
    ),
    ("main.bicep", "  dependsOn: [privateEndpoints]\n", ""),
    (
        "main.bicep",
        "module network 'modules/network.bicep' = if (privateNetworking)",
        "module network 'modules/network.bicep' =",
    ),
)
def test_there_is_a_private_way_to_all_that_the_app_reaches(t: Templates) -> None:
    found = [(e["name"], e["target"].text, e["service"]) for e in t.named("var", "endpoints", PRIVATE).value]
    assert found == ENDPOINTS
    assert t.named("var", "zoneNames", PRIVATE).value == {
        "vault": "privatelink.vaultcore.azure.net",
        **{s: Expression(f"'privatelink.{s}.${{environment().suffixes.storage}}'") for s in ("blob", "queue", "table")},
    }
    app, endpoints = t.one("resource", "Microsoft.Network/virtualNetworks")["properties.subnets"]
    delegated = [each["properties"]["serviceName"] for each in app["properties"]["delegations"]]
    assert delegated == ["Microsoft.App/environments"]
    assert endpoints["properties"]["privateEndpointNetworkPolicies"] == "Enabled"
    assert {t.named("module", each).condition for each in ("network", "privateEndpoints")} == {"privateNetworking"}
    assert t.named("module", "app")["dependsOn"] == [Expression("privateEndpoints")]


@fact(
    (APP, "requireAuthentication: true", "requireAuthentication: false"),
    (APP, "if (httpAuth == 'entra')", "if (httpAuth == 'function')"),
    ("main.bicep", "EXPORT_HTTP_AUTH: httpAuth", "EXPORT_HTTP_AUTH: 'function'"),
    ("main.bicep", "    httpAuth: httpAuth", "    httpAuth: 'function'"),
    (APP, "clientSecretSettingName: 'OVER", "clientSecretSettingName: 'UNDER"),
)
def test_sign_in_and_the_app_are_switched_together(t: Templates) -> None:
    sign_in = t.named("resource", "signIn", APP)
    assert sign_in.condition == "httpAuth == 'entra'"
    assert sign_in["properties.platform.enabled"] is True
    assert sign_in["properties.globalValidation.requireAuthentication"] is True
    assert t.named("module", "app")["params.httpAuth"] == Expression("httpAuth")
    assert t.named("module", "app")["params.settings.EXPORT_HTTP_AUTH"] == Expression("httpAuth")
    secret = sign_in["properties.identityProviders.azureActiveDirectory.registration.clientSecretSettingName"]
    assert secret in t.named("var", "signInSettings", APP).value.text, "no secret: the identity signs in"
