"""Settings: every error is found at once and named in one message, and no secret is ever in it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SettingsError
from shared.settings import (
    DEFAULT_QUEUE,
    DEFAULT_SCHEDULE,
    ENDPOINTS,
    Settings,
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
LAPTOP = {"AMP_API_KEY": API_KEY, "AMP_SECRET_KEY": SECRET_KEY, "EXPORT_STORAGE": CONNECTION}
UNRESOLVED = "@Microsoft.KeyVault(SecretUri=https://vault-marker.vault.azure.net/secrets/key-marker)"
ACCOUNT = "https://acme.blob.core.windows.net"
URI = "EXPORT_STORAGE__blobServiceUri"


def refused(environ: Mapping[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


def test_the_least_that_is_needed_gives_the_documented_defaults() -> None:
    assert load_settings(LAPTOP) == Settings(
        api_key=API_KEY,
        secret_key=SECRET_KEY,
        export_url="https://analytics.eu.amplitude.com/api/2/export",
        region="eu",
        storage_connection=CONNECTION,
        storage_url="",
        storage_client_id="",
        container="amplitude-events",
        prefix="",
        format="json",
        schedule="0 30 3 * * *",
        queue="amplitude-exports",
        lookback_days=7,
        recheck="all",
        start_date=None,
        retention_days=0,
        http_auth="function",
        window_hours=24,
        max_attempts=5,
        retry_seconds=1,
        read_timeout_seconds=600,
        in_azure=False,
    )


def test_an_empty_value_is_an_absent_one() -> None:
    """App settings are often left in place without a value."""
    names = ["AMP_DATA_REGION", "AMP_EXPORT_URL", URI, "EXPORT_CONTAINER", "EXPORT_FORMAT", "EXPORT_LOOKBACK_DAYS"]
    assert load_settings(LAPTOP | dict.fromkeys(names, " ")) == load_settings(LAPTOP)


def test_all_settings_are_read() -> None:
    environ = {
        "AMP_API_KEY": f" {API_KEY}\n",
        "AMP_SECRET_KEY": SECRET_KEY,
        "AMP_DATA_REGION": "US",
        URI: ACCOUNT,
        "EXPORT_STORAGE__clientId": "client",
        "EXPORT_CONTAINER": "a-container",
        "EXPORT_PREFIX": "acme/web ",
        "EXPORT_FORMAT": "json.gz",
        "EXPORT_SCHEDULE": "0 */15 2-4 1,15 JAN-Mar monday",
        "EXPORT_QUEUE": "a-queue",
        "EXPORT_LOOKBACK_DAYS": "0",
        "EXPORT_RECHECK": "Empty-Hours",
        "EXPORT_START_DATE": "2024-02-29",
        "EXPORT_RETENTION_DAYS": "400",
        "EXPORT_HTTP_AUTH": "Entra",
        "WEBSITE_AUTH_ENABLED": "True",
        "EXPORT_WINDOW_HOURS": "1",
        "EXPORT_MAX_ATTEMPTS": "1",
        "EXPORT_RETRY_SECONDS": "0.25",
        "EXPORT_READ_TIMEOUT_SECONDS": "60",
        "IDENTITY_ENDPOINT": "http://localhost:8081/token",
    }
    assert load_settings(environ) == Settings(
        api_key=API_KEY,
        secret_key=SECRET_KEY,
        export_url=ENDPOINTS["us"],
        region="us",
        storage_connection="",
        storage_url=ACCOUNT,
        storage_client_id="client",
        container="a-container",
        prefix="acme/web ",
        format="json.gz",
        schedule="0 */15 2-4 1,15 JAN-Mar monday",
        queue="a-queue",
        lookback_days=0,
        recheck="empty-hours",
        start_date=date(2024, 2, 29),
        retention_days=400,
        http_auth="entra",
        window_hours=1,
        max_attempts=1,
        retry_seconds=0.25,
        read_timeout_seconds=60,
        in_azure=True,
    )


@pytest.mark.parametrize("name", LAPTOP)
def test_each_missing_one_is_named(name: str) -> None:
    says = refused({key: value for key, value in LAPTOP.items() if key != name})
    assert name in says
    assert [other for other in LAPTOP if other in says] == [name]


MALFORMED = [
    ("AMP_API_KEY", "two\nlines"),
    ("AMP_API_KEY", "user:password"),
    ("AMP_SECRET_KEY", "a\tb"),
    ("AMP_DATA_REGION", "de"),
    ("AMP_EXPORT_URL", "analytics.eu.amplitude.com"),
    ("AMP_EXPORT_URL", "ftp://analytics.eu.amplitude.com"),
    ("AMP_EXPORT_URL", "https://"),
    ("AMP_EXPORT_URL", "http://127.evil.example/"),
    ("AMP_EXPORT_URL", "https://[::1"),
    ("AMP_EXPORT_URL", "https://host:port/"),
    ("AMP_EXPORT_URL", "https://host/a b"),
    ("AMP_EXPORT_URL", "https://host/\tpath"),
    ("AMP_EXPORT_URL", "https://amplitude。com/api/2/export"),
    ("AMP_EXPORT_URL", "https://user@host/"),
    ("AMP_EXPORT_URL", "https://host/?start=1"),
    ("AMP_EXPORT_URL", "http://example.org/api/2/export"),
    ("AMP_EXPORT_URL", "http://localhost.example.org/"),
    ("AMP_EXPORT_URL", "http://0.0.0.0/"),
    ("EXPORT_STORAGE", "acme"),
    ("EXPORT_STORAGE", "https://acme.blob.core.windows.net"),
    ("EXPORT_STORAGE", "AccountName=;AccountKey=k"),
    ("EXPORT_STORAGE", "DefaultEndpointsProtocol=http;AccountName=acme;AccountKey=k"),
    ("EXPORT_STORAGE", "defaultendpointsprotocol=HTTP; accountname=acme;accountkey=k;EndpointSuffix=acme.example"),
    ("EXPORT_STORAGE", "AccountName=acme;AccountKey=k;BlobEndpoint=http://acme.example/acme"),
    ("EXPORT_STORAGE", "BlobEndpoint=http://127.evil.example;SharedAccessSignature=sig=s"),
    ("EXPORT_STORAGE", "BlobEndpoint=http://127.0.0.1@evil.example;SharedAccessSignature=sig=s"),
    ("EXPORT_STORAGE", "BlobEndpoint=//acme.example;SharedAccessSignature=sig=s"),
    ("EXPORT_STORAGE", "BlobEndpoint=http://127.0.0.1;BlobSecondaryEndpoint=http://acme.example;AccountName=a"),
    ("EXPORT_STORAGE", "BlobEndpoint=http://acme.example\\@127.0.0.1"),  # `requests` goes to acme.example
    ("EXPORT_STORAGE", "BlobEndpoint=http://127.0.0.1.:10000/a"),  # a name that a resolver answers
    ("AMP_EXPORT_URL", "https://amplitude.com\\.example/"),
    ("EXPORT_CONTAINER", "ab"),
    ("EXPORT_CONTAINER", "a" * 64),
    ("EXPORT_CONTAINER", "Upper"),
    ("EXPORT_CONTAINER", "a--b"),
    ("EXPORT_CONTAINER", "-ab"),
    ("EXPORT_CONTAINER", "ab\n"),
    ("EXPORT_CONTAINER", "$web"),
    ("EXPORT_PREFIX", "/acme/"),
    ("EXPORT_PREFIX", "acme//"),
    ("EXPORT_PREFIX", "a\\b"),
    ("EXPORT_PREFIX", "a\x00b"),
    ("EXPORT_PREFIX", "../other-container/"),
    ("EXPORT_PREFIX", "a/./"),
    ("EXPORT_PREFIX", "a" * 513),
    ("EXPORT_FORMAT", "parquet"),
    ("EXPORT_SCHEDULE", "30 3 * * *"),
    ("EXPORT_SCHEDULE", "0 0 30 3 * * *"),
    ("EXPORT_SCHEDULE", "0 60 3 * * *"),
    ("EXPORT_SCHEDULE", "0 0 24 * * *"),
    ("EXPORT_SCHEDULE", "0 0 0 0 * *"),
    ("EXPORT_SCHEDULE", "0 0 0 * 13 *"),
    ("EXPORT_SCHEDULE", "0 0 0 * * 7"),
    ("EXPORT_SCHEDULE", "0 0 5-3 * * *"),
    ("EXPORT_SCHEDULE", "0 0 1-2-3 * * *"),
    ("EXPORT_SCHEDULE", "0 */0 * * * *"),
    ("EXPORT_SCHEDULE", "0 0 , * * *"),
    ("EXPORT_SCHEDULE", "0 30 3\t* * *"),
    ("EXPORT_SCHEDULE", "0 0 3 * * thurs"),
    ("EXPORT_SCHEDULE", "every day at half past three"),
    ("EXPORT_SCHEDULE", "0 0 3 * * Monntag"),
    ("EXPORT_SCHEDULE", "%TIMER%"),
    ("EXPORT_QUEUE", "a" * 57),
    ("EXPORT_QUEUE", "Queue"),
    ("EXPORT_LOOKBACK_DAYS", "-1"),
    ("EXPORT_LOOKBACK_DAYS", "367"),
    ("EXPORT_LOOKBACK_DAYS", "1.5"),
    ("EXPORT_LOOKBACK_DAYS", "٣"),
    ("EXPORT_LOOKBACK_DAYS", "1_0"),
    ("EXPORT_START_DATE", "2023-02-29"),
    ("EXPORT_START_DATE", "04.11.2025"),
    ("EXPORT_RETENTION_DAYS", "for ever"),
    ("EXPORT_HTTP_AUTH", "anonymous"),
    ("EXPORT_WINDOW_HOURS", "0"),
    ("EXPORT_WINDOW_HOURS", "25"),
    ("EXPORT_MAX_ATTEMPTS", "0"),
    ("EXPORT_RETRY_SECONDS", "-1"),
    ("EXPORT_RETRY_SECONDS", "1,5"),
    ("EXPORT_RETRY_SECONDS", "nan"),
    ("EXPORT_RETRY_SECONDS", "1_0"),
    ("EXPORT_READ_TIMEOUT_SECONDS", "0"),
    ("EXPORT_READ_TIMEOUT_SECONDS", "inf"),
    ("EXPORT_READ_TIMEOUT_SECONDS", "ten minutes"),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
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
    says = refused({"AMP_API_KEY": API_KEY, "AMP_SECRET_KEY": SECRET_KEY, URI: value})
    assert URI in says
    assert "signature-marker" not in says


@pytest.mark.parametrize(
    "url", [ENDPOINTS["eu"], "http://127.0.0.1:8080/api/2/export", "http://[::1]:80/", "http://localhost/"]
)
def test_another_endpoint_is_taken_as_it_is(url: str) -> None:
    assert load_settings(LAPTOP | {"AMP_EXPORT_URL": url}).export_url == url


@pytest.mark.parametrize(
    "host",
    [
        "amplitude.com",
        "AMPLITUDE.com.",
        "amplitude.com%2e",
        "amplitude%2Ecom",
        "www.amplitude.com",
        "analytics.amplitude.com:443",
    ],
)
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
    wrong = dict(reversed(MALFORMED)) | {"AMP_SECRET_KEY": UNRESOLVED, URI: ACCOUNT}
    del wrong["AMP_API_KEY"]
    says = refused(wrong)
    assert [name for name in [*wrong, "AMP_API_KEY"] if name not in says] == []


@given(
    st.dictionaries(
        st.sampled_from(sorted({name for name, _ in MALFORMED} | {URI, "EXPORT_STORAGE__clientId"})),
        st.text() | st.sampled_from([value for _, value in MALFORMED] + [CONNECTION, ACCOUNT, UNRESOLVED]),
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
    assert set(settings.secrets) == {API_KEY, SECRET_KEY, ACCOUNT_KEY}
    shared_access = "BlobEndpoint=https://acme.blob.core.windows.net;SharedAccessSignature=sv=2024&sig=signature-marker"
    assert set(replace(settings, storage_connection=shared_access).secrets) == {
        API_KEY,
        SECRET_KEY,
        "sv=2024&sig=signature-marker",
    }
    for form in ("accountkey={};AccountName=a", "BlobEndpoint=https://a.example?{};a=b", "sharedaccesssignature={}"):
        assert "sig=marker" in replace(settings, storage_connection=form.format("sig=marker")).secrets


@pytest.mark.parametrize(
    "schedule",
    [
        "0 30 3 * * *",
        "0  30 3 * * *",
        "*/5 * * * * *",
        "0 0 9-17 * * MON-FRI",
        "0,30 0/15 3 1-31/2 Jan,dec SUNDAY,3",
        "0 0 0 29 2 0-6",
    ],
)
def test_schedules_that_the_host_understands(schedule: str) -> None:
    assert load_settings(LAPTOP | {"EXPORT_SCHEDULE": schedule}).schedule == schedule
    assert binding({"EXPORT_SCHEDULE": schedule}, "EXPORT_SCHEDULE") == schedule


@pytest.mark.parametrize(
    ("name", "value"), [pair for pair in MALFORMED if pair[0] in ("EXPORT_SCHEDULE", "EXPORT_QUEUE")]
)
def test_a_binding_falls_back_to_its_default(name: str, value: str) -> None:
    """The host loads all the same, and the routes can say what is wrong."""
    default = DEFAULT_SCHEDULE if name == "EXPORT_SCHEDULE" else DEFAULT_QUEUE
    assert binding({}, name) == binding({name: value}, name) == default
    assert binding({"EXPORT_QUEUE": " a-queue "}, "EXPORT_QUEUE") == "a-queue"


@pytest.mark.parametrize(
    "name",
    [
        "AMP_DATA_REGION",
        "AMP_EXPORT_URL",
        "EXPORT_CONTAINER",
        "EXPORT_FORMAT",
        "EXPORT_QUEUE",
        "EXPORT_SCHEDULE",
        "EXPORT_LOOKBACK_DAYS",
        "EXPORT_RETRY_SECONDS",
        "EXPORT_START_DATE",
        "EXPORT_HTTP_AUTH",
        "EXPORT_STORAGE",
        "EXPORT_STORAGE__blobServiceUri",
    ],
)
@pytest.mark.parametrize("key", ["0123456789ABCDEF" * 2, "a short key", "AKey/with+16signs="])
def test_a_key_in_the_wrong_setting_is_not_shown(name: str, key: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"AMP_API_KEY": "k", "AMP_SECRET_KEY": "short key", name: key})
    assert name in str(caught.value)
    assert key.casefold() not in str(caught.value).casefold()
