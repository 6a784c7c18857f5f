"""Settings: every error is found at once and named in one message, and no secret is ever in it."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.settings import (
    DEFAULT_QUEUE,
    DEFAULT_SCHEDULE,
    ENDPOINTS,
    binding,
    load_settings,
    sign_in_problem,
    uses_entra,
)

API_KEY, SECRET_KEY, ACCOUNT_KEY = (
    "api-key-marker",
    "secret-key-marker",
    "account-key-marker==",
)  # pragma: allowlist secret
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={ACCOUNT_KEY};EndpointSuffix=core.windows.net"
KEYS = {"AMP_API_KEY": API_KEY, "AMP_SECRET_KEY": SECRET_KEY}
LAPTOP = KEYS | {"EXPORT_STORAGE": CONNECTION}
UNRESOLVED = "@Microsoft.KeyVault(SecretUri=https://vault-marker.vault.azure.net/secrets/key-marker)"
ACCOUNT = "https://acme.blob.core.windows.net"
URI = "EXPORT_STORAGE__blobServiceUri"


def refused(environ: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


EACH: list[tuple[str, str, object, str, object]] = [
    ("AMP_API_KEY", "api_key", API_KEY, " key\n", "key"),
    ("AMP_SECRET_KEY", "secret_key", SECRET_KEY, "secret", "secret"),
    ("AMP_EXPORT_URL", "export_url", "https://analytics.eu.amplitude.com/api/2/export", "", ENDPOINTS["us"]),
    ("AMP_DATA_REGION", "region", "eu", "US", "us"),
    ("EXPORT_STORAGE", "storage_connection", CONNECTION, "", ""),
    (URI, "storage_url", "", ACCOUNT, ACCOUNT),
    ("EXPORT_STORAGE__clientId", "storage_client_id", "", "client", "client"),
    ("EXPORT_CONTAINER", "container", "amplitude-events", "a-container", "a-container"),
    ("EXPORT_PREFIX", "prefix", "", "acme/web ", "acme/web "),
    ("EXPORT_FORMAT", "format", "json", "json.gz", "json.gz"),
    ("EXPORT_SCHEDULE", "schedule", "0 30 3 * * *", "0 */15 2-4 1,15 JAN-Mar monday", "0 */15 2-4 1,15 JAN-Mar monday"),
    ("EXPORT_QUEUE", "queue", "amplitude-exports", "a-queue", "a-queue"),
    ("EXPORT_LOOKBACK_DAYS", "lookback_days", 7, "0", 0),
    ("EXPORT_RECHECK", "recheck", "all", "Empty-Hours", "empty-hours"),
    ("EXPORT_START_DATE", "start_date", None, "2024-02-29", date(2024, 2, 29)),
    ("EXPORT_RETENTION_DAYS", "retention_days", 0, "400", 400),
    ("EXPORT_HTTP_AUTH", "http_auth", "function", "Entra", "entra"),
    ("EXPORT_WINDOW_HOURS", "window_hours", 24, "1", 1),
    ("EXPORT_MAX_ATTEMPTS", "max_attempts", 5, "1", 1),
    ("EXPORT_RETRY_SECONDS", "retry_seconds", 1, "0.25", 0.25),
    ("EXPORT_READ_TIMEOUT_SECONDS", "read_timeout_seconds", 600, "60", 60),
    ("IDENTITY_ENDPOINT", "in_azure", False, "http://localhost:8081/token", True),
]
"""App setting, field, what it is on a laptop where only what is needed is set; another value, and what that becomes."""


def test_the_least_that_is_needed_gives_the_documented_defaults() -> None:
    assert asdict(load_settings(LAPTOP)) == {name: default for _, name, default, _, _ in EACH}


def test_an_empty_value_is_an_absent_one() -> None:
    """App settings are often left in place without a value."""
    names = [name for name, *_ in EACH if name not in (*LAPTOP, "EXPORT_PREFIX", "IDENTITY_ENDPOINT")]
    assert load_settings(LAPTOP | dict.fromkeys(names, " ")) == load_settings(LAPTOP)


def test_all_settings_are_read() -> None:
    settings = load_settings({name: value for name, _, _, value, _ in EACH})
    assert asdict(settings) == {name: read for _, name, _, _, read in EACH}


@pytest.mark.parametrize("name", LAPTOP)
def test_each_missing_one_is_named(name: str) -> None:
    says = refused({key: value for key, value in LAPTOP.items() if key != name})
    assert name in says
    assert [other for other in LAPTOP if other in says] == [name]


MALFORMED: dict[str, list[str]] = {
    "AMP_API_KEY": ["two\nlines", "user:password"],
    "AMP_SECRET_KEY": ["a\tb"],
    "AMP_DATA_REGION": ["de"],
    "AMP_EXPORT_URL": [
        "analytics.eu.amplitude.com", "ftp://analytics.eu.amplitude.com", "https://", "http://127.evil.example/",
        "https://[::1", "https://host:port/", "https://host/a b", "https://host/\tpath",
        "https://amplitude。com/api/2/export", "https://user@host/", "https://host/?start=1",
        "http://example.org/api/2/export", "http://localhost.example.org/", "http://0.0.0.0/",
        "https://amplitude.com\\.example/",
    ],
    "EXPORT_STORAGE": [
        "acme", "https://acme.blob.core.windows.net", "AccountName=;AccountKey=k",
        "DefaultEndpointsProtocol=http;AccountName=acme;AccountKey=k",
        "defaultendpointsprotocol=HTTP; accountname=acme;accountkey=k;EndpointSuffix=acme.example",
        "AccountName=acme;AccountKey=k;BlobEndpoint=http://acme.example/acme",
        "BlobEndpoint=http://127.evil.example;SharedAccessSignature=sig=s",
        "BlobEndpoint=http://127.0.0.1@evil.example;SharedAccessSignature=sig=s",
        "BlobEndpoint=//acme.example;SharedAccessSignature=sig=s",
        "BlobEndpoint=http://127.0.0.1;BlobSecondaryEndpoint=http://acme.example;AccountName=a",
        "BlobEndpoint=http://acme.example\\@127.0.0.1",  # `requests` goes to acme.example
        "BlobEndpoint=http://127.0.0.1.:10000/a",  # a name that a resolver answers
    ],
    "EXPORT_CONTAINER": ["ab", "a" * 64, "Upper", "a--b", "-ab", "ab\n", "$web"],
    "EXPORT_PREFIX": ["/acme/", "acme//", "a\\b", "a\x00b", "../other-container/", "a/./", "a" * 513],
    "EXPORT_FORMAT": ["parquet"],
    "EXPORT_SCHEDULE": [
        "30 3 * * *", "0 0 30 3 * * *", "0 60 3 * * *", "0 0 24 * * *", "0 0 0 0 * *", "0 0 0 * 13 *", "0 0 0 * * 7",
        "0 0 5-3 * * *", "0 0 1-2-3 * * *", "0 */0 * * * *", "0 0 , * * *", "0 30 3\t* * *", "0 0 3 * * thurs",
        "every day at half past three", "0 0 3 * * Monntag", "%TIMER%",
    ],
    "EXPORT_QUEUE": ["a" * 57, "Queue"],
    "EXPORT_LOOKBACK_DAYS": ["-1", "367", "1.5", "٣", "1_0"],
    "EXPORT_START_DATE": ["2023-02-29", "04.11.2025"],
    "EXPORT_RETENTION_DAYS": ["for ever"],
    "EXPORT_HTTP_AUTH": ["anonymous"],
    "EXPORT_WINDOW_HOURS": ["0", "25"],
    "EXPORT_MAX_ATTEMPTS": ["0"],
    "EXPORT_RETRY_SECONDS": ["-1", "60.1", "1,5", "nan", "1_0"],
    "EXPORT_READ_TIMEOUT_SECONDS": ["0", "inf", "ten minutes"],
}  # fmt: skip
WRONG = [(name, value) for name, values in MALFORMED.items() for value in values]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_each_malformed_one_is_named(name: str, value: str) -> None:
    """And no other one; the message stays on one line."""
    says = refused(LAPTOP | {name: value})
    assert says.startswith(f"App settings to fix: {name} ")
    assert says.isprintable()
    assert "; " not in says


@pytest.mark.parametrize(
    "value",
    [
        "UseDevelopmentStorage=true",
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=k;BlobEndpoint=http://127.0.0.1:10000/a",
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=k;BlobEndpoint=https://a.blob.core.windows.net",
        "BlobEndpoint=http://localhost:10000/a;SharedAccessSignature=sig=s",
    ],
)
def test_a_storage_that_is_this_machine_or_protected(value: str) -> None:
    """Plain http may go to the emulator."""
    assert load_settings(LAPTOP | {"EXPORT_STORAGE": value}).storage_connection == value


@pytest.mark.parametrize(
    "value", ["http://example.blob.core.windows.net", "acme", "https://", "https://acme/?sv=2024&sig=signature-marker"]
)
def test_an_account_is_the_https_url_of_its_blob_service(value: str) -> None:
    says = refused(KEYS | {URI: value})
    assert URI in says
    assert "signature-marker" not in says


@pytest.mark.parametrize(
    "url",
    [ENDPOINTS["eu"], "http://127.0.0.1:8080/api/2/export", "http://[::1]:80/", "http://localhost/", "https://a//b@c"],
)
def test_another_endpoint_is_taken_as_it_is(url: str) -> None:
    assert load_settings(LAPTOP | {"AMP_EXPORT_URL": url}).export_url == url


US_HOSTS = "amplitude.com AMPLITUDE.com. amplitude.com%2e amplitude%2Ecom www.amplitude.com analytics.amplitude.com:443"


@pytest.mark.parametrize("host", US_HOSTS.split())
def test_the_us_host_is_refused_while_the_region_is_eu(host: str) -> None:
    """No event of a European project goes through the United States by a slip."""
    url = f"https://{host}/api/2/export"
    assert "US servers while AMP_DATA_REGION is eu" in refused(LAPTOP | {"AMP_EXPORT_URL": url})
    assert load_settings(LAPTOP | {"AMP_EXPORT_URL": url, "AMP_DATA_REGION": "us"}).export_url == url


def test_two_ways_to_the_storage_are_one_too_many() -> None:
    for environ in (LAPTOP | {URI: ACCOUNT}, LAPTOP | {"EXPORT_STORAGE": ""}):
        says = refused(environ)
        assert f"EXPORT_STORAGE, {URI}: set exactly one of them" in says


@pytest.mark.parametrize("reference", [UNRESOLVED, "@Microsoft.KeyVault(VaultName=marker;SecretName=key-marker)"])
@pytest.mark.parametrize("name", [*LAPTOP, "EXPORT_WINDOW_HOURS"])
def test_an_unresolved_reference_is_called_that(name: str, reference: str) -> None:
    """It is not missing, and the text of the reference stays out of the message."""
    says = refused(LAPTOP | {name: reference})
    assert f"{name} is a Key Vault reference that did not resolve" in says
    assert "missing" not in says
    assert "marker" not in says


def test_sign_in_must_be_on_where_it_is_relied_on() -> None:
    """It concerns the routes alone: the settings are read all the same, so that the nights go on."""
    for off in ({}, {"WEBSITE_AUTH_ENABLED": "False"}, {"WEBSITE_AUTH_ENABLED": ""}):
        environ = {"EXPORT_HTTP_AUTH": " Entra"} | off
        assert uses_entra(environ)
        assert "WEBSITE_AUTH_ENABLED" in sign_in_problem(environ)
        assert load_settings(LAPTOP | environ).http_auth == "entra"
    assert not sign_in_problem({"EXPORT_HTTP_AUTH": "entra", "WEBSITE_AUTH_ENABLED": "True"})
    assert not sign_in_problem({})
    assert "EXPORT_HTTP_AUTH must be function or entra" in sign_in_problem({"EXPORT_HTTP_AUTH": "none"})
    assert not uses_entra({})


def test_all_problems_are_named_in_one_message() -> None:
    """Missing, malformed, contradictory and unresolved ones at once: nobody mends them one deployment after another."""
    wrong = {name: values[0] for name, values in MALFORMED.items()} | {"AMP_SECRET_KEY": UNRESOLVED, URI: ACCOUNT}
    del wrong["AMP_API_KEY"]
    says = refused(wrong)
    assert [name for name in [*wrong, "AMP_API_KEY"] if name not in says] == []


@given(
    st.dictionaries(
        st.sampled_from([*MALFORMED, URI, "EXPORT_STORAGE__clientId"]),
        st.text() | st.sampled_from([value for _, value in WRONG] + [CONNECTION, ACCOUNT, UNRESOLVED]),
    )
)
def test_any_environment_is_read_or_refused(environ: dict[str, str]) -> None:
    """Whatever stands in it: settings or one printable message, no other exception."""
    try:
        shown = repr(load_settings(environ))
    except SettingsError as error:
        shown = str(error)
    assert shown.isprintable()


@pytest.mark.parametrize(
    "wrong",
    [
        {"AMP_API_KEY": f"{API_KEY}:{SECRET_KEY}"},
        {"AMP_SECRET_KEY": f"{SECRET_KEY}\n{SECRET_KEY}"},
        {"AMP_EXPORT_URL": f"https://{API_KEY}:{SECRET_KEY}@analytics.eu.amplitude.com/api/2/export"},
        {"AMP_EXPORT_URL": f"https://[{SECRET_KEY}/"},
        {"EXPORT_STORAGE": f"AccountKey={ACCOUNT_KEY}"},
        {URI: f"{ACCOUNT}?sig={SECRET_KEY}"},
        {URI: f"https://acme:{SECRET_KEY}@[acme"},
    ],
)
def test_no_secret_is_in_a_message(wrong: dict[str, str]) -> None:
    says = refused(LAPTOP | wrong)
    assert [secret for secret in (API_KEY, SECRET_KEY, ACCOUNT_KEY) if secret in says] == []


def test_no_secret_is_in_the_repr() -> None:
    settings = load_settings(LAPTOP)
    assert "marker" not in repr(settings) + str(settings)
    assert "export_url='https://analytics.eu" in repr(settings)


def test_the_secrets_are_known() -> None:
    """What must be struck out of other people's words: both keys, and what opens the account."""
    settings = load_settings(LAPTOP)
    assert set(settings.secrets) == {*KEYS.values(), ACCOUNT_KEY}
    shared_access = f"BlobEndpoint={ACCOUNT};SharedAccessSignature=sv=2024&sig=marker"
    assert set(replace(settings, storage_connection=shared_access).secrets) == {*KEYS.values(), "sv=2024&sig=marker"}
    for form in ("accountkey={};AccountName=a", "BlobEndpoint=https://a.example?{};a=b", "sharedaccesssignature={}"):
        assert "sig=marker" in replace(settings, storage_connection=form.format("sig=marker")).secrets


@pytest.mark.parametrize(
    "schedule",
    [
        *["0 30 3 * * *", "0  30 3 * * *", "*/5 * * * * *", "0 0 9-17 * * MON-FRI", "0 0 0 29 2 0-6"],
        "0,30 0/15 3 1-31/2 Jan,dec SUNDAY,3",
    ],
)
def test_schedules_that_the_host_understands(schedule: str) -> None:
    assert load_settings(LAPTOP | {"EXPORT_SCHEDULE": schedule}).schedule == schedule
    assert binding({"EXPORT_SCHEDULE": schedule}, "EXPORT_SCHEDULE") == schedule


@pytest.mark.parametrize(("name", "value"), [each for each in WRONG if each[0] in ("EXPORT_SCHEDULE", "EXPORT_QUEUE")])
def test_a_binding_falls_back_to_its_default(name: str, value: str) -> None:
    """The host loads all the same, and the routes can say what is wrong."""
    default = DEFAULT_SCHEDULE if name == "EXPORT_SCHEDULE" else DEFAULT_QUEUE
    assert binding({}, name) == binding({name: value}, name) == default
    assert binding({"EXPORT_QUEUE": " a-queue "}, "EXPORT_QUEUE") == "a-queue"


@pytest.mark.parametrize("name", sorted(MALFORMED.keys() - {*KEYS, "EXPORT_PREFIX"} | {URI}))
@pytest.mark.parametrize("key", ["0123456789ABCDEF" * 2, "a short key", "AKey/with+16signs="])
def test_a_key_in_the_wrong_setting_is_not_shown(name: str, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"AMP_API_KEY": "k", "AMP_SECRET_KEY": "short key", name: key})
    assert name in str(caught.value)
    assert key.casefold() not in str(caught.value).casefold()
