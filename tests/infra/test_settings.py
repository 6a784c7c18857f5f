"""The app settings of the template and those that the code reads: the same ones, with the same defaults."""

import ast
import re

import pytest

from shared.errors import SettingsError
from shared.settings import binding_queue, binding_schedule, load_settings
from tests.infra.facts import fact
from tests.infra.templates import ROOT, Declared, Expression, Templates

APP = "modules/app.bicep"

LOCAL_ONLY = {"EXPORT_STORAGE"}
"""A connection string: in Azure the managed identity takes its place, and the app refuses both at once."""

REFUSED_BY_FLEX = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_TIME_ZONE",
}

AT_DEPLOYMENT = {
    "dataStorage.outputs.blobServiceUrl": "https://account.blob.core.windows.net/",
    "identity.outputs.clientId": "00000000-0000-0000-0000-000000000000",
}
"""What only a deployment knows."""

REQUIRED = {
    "AMP_API_KEY": "key",
    "AMP_SECRET_KEY": "secret",
    "EXPORT_STORAGE__blobServiceUri": AT_DEPLOYMENT["dataStorage.outputs.blobServiceUrl"],
    "EXPORT_STORAGE__clientId": AT_DEPLOYMENT["identity.outputs.clientId"],
}


def settings_that_the_code_reads() -> set[str]:
    """Each name of a setting that shared/settings.py mentions as a whole string."""
    tree = ast.parse((ROOT / "shared/settings.py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"(AMP|EXPORT)_[A-Z]+[A-Za-z_]*", text)}


def environment(t: Templates, **changed: object) -> dict[str, str]:
    """The app's environment as the template sets it, with the defaults of its parameters but for those changed."""
    settings = t.named("module", "app")["params.settings"]
    return {name: _resolved(t, value, changed) for name, value in settings.items()} | {
        "AMP_API_KEY": "key",
        "AMP_SECRET_KEY": "secret",
        "WEBSITE_AUTH_ENABLED": "True",
    }


def _resolved(t: Templates, value: object, changed: dict[str, object]) -> str:
    if isinstance(value, str):
        return value
    assert isinstance(value, Expression)
    if value.text in AT_DEPLOYMENT or value.text.startswith("'"):
        return AT_DEPLOYMENT.get(value.text, value.text)
    symbol = value.text.removeprefix("string(").removesuffix(")")
    return str(changed.get(symbol, t.named("param", symbol).value))


@fact(
    ("main.bicep", "      EXPORT_WINDOW_HOURS: string(windowHours)\n", ""),
    ("main.bicep", "EXPORT_PREFIX: prefix", "EXPORT_PREFIXES: prefix"),
    ("main.bicep", "AMP_EXPORT_URL: exportUrl", "AMP_EXPORT_URL: exportUrl\n      EXPORT_STORAGE: ''"),
)
def test_the_template_sets_what_the_code_reads_and_nothing_else(t: Templates) -> None:
    assert set(t.named("module", "app")["params.settings"]) == settings_that_the_code_reads() - LOCAL_ONLY


@fact(
    ("main.bicep", "param windowHours int = 24", "param windowHours int = 12"),
    ("main.bicep", "param schedule string = '0 30 3 * * *'", "param schedule string = '0 0 4 * * *'"),
    ("main.bicep", "param retrySeconds string = '1'", "param retrySeconds string = '2'"),
    ("main.bicep", "EXPORT_MAX_ATTEMPTS: string(maxAttempts)", "EXPORT_MAX_ATTEMPTS: string(windowHours)"),
    ("main.bicep", "param queueName string = 'amplitude-exports'", "param queueName string = 'exports'"),
)
def test_the_defaults_are_those_of_the_code(t: Templates) -> None:
    assert load_settings(environment(t)) == load_settings(REQUIRED)


@fact(
    ("main.bicep", "@maxValue(24)\nparam windowHours", "@maxValue(48)\nparam windowHours"),
    ("main.bicep", "@allowed(['eu', 'us'])", "@allowed(['eu', 'us', 'apac'])"),
    ("main.bicep", "@minValue(0)\n@maxValue(366)", "@minValue(-1)\n@maxValue(366)"),
)
def test_the_code_takes_all_that_the_parameters_allow(t: Templates) -> None:
    for param in t.all("param", file="main.bicep"):
        for value in _extremes(param):
            try:
                load_settings(environment(t, **{param.symbol: value}))
            except SettingsError as error:
                raise AssertionError(f"{param.symbol}: {value} is allowed, but: {error}") from error


def _extremes(param: Declared) -> list[object]:
    limits = [param.decorators[each][0] for each in ("minValue", "maxValue") if each in param.decorators]
    return limits + [each for allowed in param.decorators.get("allowed", []) for each in allowed]


@fact(
    ("main.bicep", "EXPORT_QUEUE: queueName", "EXPORT_QUEUE: containerName"),
    ("main.bicep", "    queueName: queueName", "    queueName: 'exports'"),
    ("modules/host-storage.bicep", "'${queueName}-poison'", "'poison-${queueName}'"),
    ("main.bicep", "'0 30 3 * * *'", "'30 3 * * *'"),
)
def test_queues_and_schedule_are_those_of_the_bindings(t: Templates) -> None:
    """The host gives a message up to a queue of the same name with `-poison`."""
    given = environment(t)
    assert binding_schedule(given) == given["EXPORT_SCHEDULE"]
    assert binding_queue(given) == given["EXPORT_QUEUE"] == t.named("param", "queueName").value
    assert t.named("module", "hostStorage")["params.queueName"] == Expression("queueName")
    queues = t.all("resource", "Microsoft.Storage/storageAccounts/queueServices/queues")
    assert [queue["name"] for queue in queues] == [Expression("queueName"), Expression("'${queueName}-poison'")]


@fact(
    ("main.bicep", "secrets/amplitude-secret-key)'", "secrets/amplitude-api-key)'"),
    ("main.bicep", "AMP_API_KEY: '@Microsoft.KeyVault(SecretUri=", "AMP_API_KEY: '@Microsoft.KeyVault(VaultName="),
    (APP, "keyVaultReferenceIdentity: identityId", "keyVaultReferenceIdentity: 'SystemAssigned'"),
)
def test_the_keys_are_references_that_the_identity_resolves(t: Templates) -> None:
    settings = t.named("module", "app")["params.settings"]
    for name, secret in (("AMP_API_KEY", "amplitude-api-key"), ("AMP_SECRET_KEY", "amplitude-secret-key")):
        reference = f"'@Microsoft.KeyVault(SecretUri=${{vault.outputs.url}}secrets/{secret})'"
        assert settings[name] == Expression(reference)
    app = t.one("resource", "Microsoft.Web/sites")
    assert app["properties.keyVaultReferenceIdentity"] == Expression("identityId")


def test_the_app_says_which_key_is_not_in_the_vault_yet() -> None:
    """Until someone sets the secrets, the platform hands the text of the reference on."""
    unresolved = "@Microsoft.KeyVault(SecretUri=https://vault.vault.azure.net/secrets/amplitude-api-key)"
    with pytest.raises(SettingsError, match=r"AMP_API_KEY .*Key Vault"):
        load_settings({**REQUIRED, "AMP_API_KEY": unresolved})


@fact(
    (APP, "AzureWebJobsStorage__accountName: hostStorageName", "AzureWebJobsStorage: hostStorageName"),
    (APP, "AzureWebJobsStorage__clientId: identityClientId", "AzureWebJobsStorage__clientId: ''"),
    (APP, "var platformSettings = {", "var platformSettings = {\n  FUNCTIONS_WORKER_RUNTIME: 'python'"),
    (APP, "type: 'UserAssignedIdentity'", "type: 'StorageAccountConnectionString'"),
    (
        APP,
        "union(platformSettings, settings, signInSettings)",
        "union(platformSettings, signInSettings)",
    ),
)
def test_the_host_reaches_its_storage_by_the_identity(t: Templates) -> None:
    platform = t.named("var", "platformSettings", APP).value
    assert {name: value for name, value in platform.items() if name.startswith("AzureWebJobsStorage")} == {
        "AzureWebJobsStorage__accountName": Expression("hostStorageName"),
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__clientId": Expression("identityClientId"),
    }
    assert not REFUSED_BY_FLEX & set(platform)
    app = t.one("resource", "Microsoft.Web/sites")
    assert app["properties.functionAppConfig.deployment.storage.authentication.type"] == "UserAssignedIdentity"
    set_ = t.named("resource", "appSettings", APP)
    assert (set_["name"], set_["properties"].text) == (
        "appsettings",
        "union(platformSettings, settings, signInSettings)",
    )
