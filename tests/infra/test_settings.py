"""The app settings of the template and those that the code reads: the same ones, with the same defaults."""

import ast
import re
from itertools import cycle, islice

import pytest

from shared.errors import SettingsError
from shared.settings import binding_queue, binding_schedule, load_settings
from tests.infra.facts import Deploy, fact, needs_compiler
from tests.infra.snapshots import ROOT, Deployment, compiled, compiled_template, templates, ways

SITE = "modules/app.bicep"
QUEUE = "Microsoft.Storage/storageAccounts/queueServices/queues"
REQUIRED = {
    "AMP_API_KEY": "key",
    "AMP_SECRET_KEY": "secret",
    "EXPORT_STORAGE__blobServiceUri": "https://account.blob.core.windows.net/",
    "EXPORT_STORAGE__clientId": "00000000-0000-0000-0000-000000000000",
}
"""What only a deployment knows."""

REFUSED_BY_FLEX = {
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_TIME_ZONE",
}


def settings(found: Deployment) -> dict[str, str]:
    """All settings of the app."""
    properties: dict[str, str] = found.one("Microsoft.Web/sites/config", "appsettings")["properties"]
    return properties


def environment(found: Deployment) -> dict[str, str]:
    """What the app would find in its environment, with the sign-in on."""
    return settings(found) | REQUIRED | {"WEBSITE_AUTH_ENABLED": "True"}


def read_by_the_code() -> set[str]:
    """Each name of a setting that shared/settings.py mentions, but that of a connection string, which is local."""
    tree = ast.parse((ROOT / "shared/settings.py").read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"(AMP|EXPORT)_[A-Z]+[A-Za-z_]*", text)} - {"EXPORT_STORAGE"}


@fact(r"""
    main:       EXPORT_WINDOW_HOURS: string(windowHours)\n >>>
    main: EXPORT_PREFIX: prefix >>> EXPORT_PREFIXES: prefix
    main: AMP_EXPORT_URL: exportUrl >>> AMP_EXPORT_URL: exportUrl\n      EXPORT_STORAGE: ''
""")
def test_the_template_sets_what_the_code_reads_and_nothing_else(deploy: Deploy) -> None:
    ours = {name for name in settings(deploy("default")) if name.startswith(("AMP_", "EXPORT_"))}
    assert ours == read_by_the_code()


@fact(r"""
    main: param maxAttempts int = 5 >>> param maxAttempts int = 6
    main: EXPORT_MAX_ATTEMPTS: string(maxAttempts) >>> EXPORT_MAX_ATTEMPTS: string(windowHours)
    main: param queueName string = 'amplitude-exports' >>> param queueName string = 'exports'
    param: 'EXPORT_SCHEDULE', '0 30 3 * * *' >>> 'EXPORT_SCHEDULE', '0 30 4 * * *'
    param: 'EXPORT_LOOKBACK_DAYS', '7' >>> 'EXPORT_LOOKBACK_DAYS', '6'
""")
def test_the_defaults_are_those_of_the_code(deploy: Deploy) -> None:
    found = environment(deploy("default"))
    assert load_settings(found) == load_settings(REQUIRED)
    assert found["EXPORT_RECHECK"] == "all"


@fact(r"""
    param: readEnvironmentVariable('EXPORT_FORMAT', 'json') >>> 'json'
    main: EXPORT_RECHECK: recheck >>> EXPORT_RECHECK: 'all'
""")
def test_an_azd_variable_sets_the_setting_of_its_name(deploy: Deploy) -> None:
    given = {name: value for name, value in ways()["changed"][1].items() if name.startswith(("AMP_", "EXPORT_"))}
    assert settings(deploy("changed")).items() >= given.items()


@needs_compiler
def test_the_code_takes_all_that_the_parameters_allow() -> None:
    """Each round sets every parameter to another one of its extremes."""
    texts = templates()
    texts["main.bicepparam"] = "using 'main.bicep'\nparam environmentName = 'e'\nparam alertEmail = 'a@b'\n"
    allowed = {
        name: each.get("allowedValues") or [each[limit] for limit in ("minValue", "maxValue") if limit in each]
        for name, each in compiled_template(texts)["parameters"].items()
        if each["type"] != "array"
    }
    for n in range(3):
        values = {name: next(islice(cycle(each), n, None)) for name, each in allowed.items() if each}
        found = environment(
            compiled(texts, {}, "\n".join(f"param {name} = {value!r}" for name, value in values.items()))
        )
        load_settings(found)
        assert binding_schedule(found) == found["EXPORT_SCHEDULE"]


@fact(r"""
    main: EXPORT_QUEUE: queueName >>> EXPORT_QUEUE: containerName
    host-storage: '${queueName}-poison' >>> 'poison-${queueName}'
""")
def test_the_queues_are_those_of_the_bindings(deploy: Deploy) -> None:
    """The host moves a message that it gives up to the queue of the same name with `-poison`."""
    queue = binding_queue(environment(deploy("default")))
    assert {id_.rpartition("/")[2] for id_ in deploy("default").all(QUEUE)} == {queue, f"{queue}-poison"}


@fact(r"""
    main: secrets/amplitude-secret-key)' >>> secrets/amplitude-api-key)'
    main: AMP_API_KEY: '@Microsoft.KeyVault(SecretUri= >>> AMP_API_KEY: '@Microsoft.KeyVault(VaultName=
    app: keyVaultReferenceIdentity: identityId >>> keyVaultReferenceIdentity: 'SystemAssigned'
    app: AzureWebJobsStorage__accountName: hostStorageName >>> AzureWebJobsStorage: hostStorageName
    app: AzureWebJobsStorage__clientId: identityClientId >>> AzureWebJobsStorage__clientId: ''
    app: var platformSettings = { >>> var platformSettings = {\n  FUNCTIONS_WORKER_RUNTIME: 'python'
    app: type: 'UserAssignedIdentity' >>> type: 'StorageAccountConnectionString'
""")
def test_keys_and_host_storage_are_reached_by_the_identity(deploy: Deploy) -> None:
    found = settings(deploy("default"))
    for name, secret in (("AMP_API_KEY", "amplitude-api-key"), ("AMP_SECRET_KEY", "amplitude-secret-key")):
        assert f"@Microsoft.KeyVault(SecretUri={{0}}secrets/{secret})" in found[name]
    storage = {
        name.partition("__")[2]: value for name, value in found.items() if name.startswith("AzureWebJobsStorage")
    }
    assert "id-amplitude-TOKEN" in storage.pop("clientId")
    assert storage == {"accountName": "sthostTOKEN", "credential": "managedidentity"}
    app = deploy("default").one("Microsoft.Web/sites")["properties"]
    assert app["keyVaultReferenceIdentity"].endswith("/id-amplitude-TOKEN")
    assert app["functionAppConfig"]["deployment"]["storage"]["authentication"]["type"] == "UserAssignedIdentity"
    assert not REFUSED_BY_FLEX & set(found)


def test_the_app_says_which_key_is_not_in_the_vault_yet() -> None:
    """Until someone sets the secrets, the platform passes on the text of the reference."""
    unresolved = "@Microsoft.KeyVault(SecretUri=https://vault.vault.azure.net/secrets/amplitude-api-key)"
    with pytest.raises(SettingsError, match=r"AMP_API_KEY .*Key Vault"):
        load_settings({**REQUIRED, "AMP_API_KEY": unresolved})
