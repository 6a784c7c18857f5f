"""Settings that are missing, malformed, contradictory or unresolved: one message names all, and nothing is done."""

from __future__ import annotations

import json

import pytest
from azure.storage.blob import ContainerClient

from local.host import FunctionsHost, HostError
from local.simulator import Simulator
from tests.faults.exports import DAY, Exports, call, leaks
from tests.faults.reader import Reader

VAULT = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/amplitude)"
WRONG: dict[str, tuple[dict[str, str], list[str]]] = {
    "no key": ({"AMP_API_KEY": ""}, ["AMP_API_KEY is missing"]),
    "a blank key": ({"AMP_SECRET_KEY": "  "}, ["AMP_SECRET_KEY is missing"]),
    "a key of two lines": ({"AMP_API_KEY": "marker+api/\nkey=7f3a91"}, ["AMP_API_KEY holds characters"]),
    "both keys in one": ({"AMP_API_KEY": "api:secret"}, ["AMP_API_KEY holds characters"]),
    "unresolved": ({"AMP_API_KEY": VAULT}, ["AMP_API_KEY is a Key Vault reference that did not resolve"]),
    "an unresolved number": ({"EXPORT_WINDOW_HOURS": VAULT}, ["EXPORT_WINDOW_HOURS is a Key Vault reference"]),
    "an unresolved connection": ({"EXPORT_STORAGE": VAULT}, ["EXPORT_STORAGE is a Key Vault reference"]),
    "no such region": ({"AMP_DATA_REGION": "mars"}, ["AMP_DATA_REGION must be eu or us"]),
    "the US endpoint in the EU": (
        {"AMP_EXPORT_URL": "https://amplitude.com/api/2/export"},
        ["AMP_EXPORT_URL points to Amplitude's US servers"],
    ),
    "plain http": ({"AMP_EXPORT_URL": "http://10.0.0.1/api/2/export"}, ["AMP_EXPORT_URL may use plain http only"]),
    "keys in the URL": (
        {"AMP_EXPORT_URL": "https://a:b@example.com/"},
        ["AMP_EXPORT_URL must hold neither credentials"],
    ),
    "no URL": ({"AMP_EXPORT_URL": "https://[::1"}, ["AMP_EXPORT_URL must be an http or https URL"]),
    "no storage": ({"EXPORT_STORAGE": ""}, ["EXPORT_STORAGE, EXPORT_STORAGE__blobServiceUri: set exactly one"]),
    "two storages": (
        {"EXPORT_STORAGE__blobServiceUri": "https://account.blob.core.windows.net"},
        ["EXPORT_STORAGE, EXPORT_STORAGE__blobServiceUri: set exactly one"],
    ),
    "a path for a connection": ({"EXPORT_STORAGE": "/var/data"}, ["EXPORT_STORAGE must be a connection string"]),
    "a container's name": ({"EXPORT_CONTAINER": "My_Container"}, ["EXPORT_CONTAINER must be a container's name"]),
    "a prefix": ({"EXPORT_PREFIX": "/root"}, ["EXPORT_PREFIX must have"]),
    "a format": ({"EXPORT_FORMAT": "parquet"}, ["EXPORT_FORMAT must be json or json.gz"]),
    "a schedule of five fields": ({"EXPORT_SCHEDULE": "30 3 * * *"}, ["EXPORT_SCHEDULE must be a six-field"]),
    "a queue's name": ({"EXPORT_QUEUE": "Q"}, ["EXPORT_QUEUE must be a queue's name"]),
    "a look-back": ({"EXPORT_LOOKBACK_DAYS": "-1"}, ["EXPORT_LOOKBACK_DAYS must be a whole number"]),
    "a start date": ({"EXPORT_START_DATE": "2025-02-30"}, ["EXPORT_START_DATE must be a date"]),
    "a retention": ({"EXPORT_RETENTION_DAYS": "ninety"}, ["EXPORT_RETENTION_DAYS must be a whole number"]),
    "sign-in of another kind": ({"EXPORT_HTTP_AUTH": "none"}, ["EXPORT_HTTP_AUTH must be function or entra"]),
    "no hour": ({"EXPORT_WINDOW_HOURS": "0"}, ["EXPORT_WINDOW_HOURS must be a whole number from 1 to 24"]),
    "a day and an hour": ({"EXPORT_WINDOW_HOURS": "25"}, ["EXPORT_WINDOW_HOURS must be a whole number from 1 to 24"]),
    "no attempt": ({"EXPORT_MAX_ATTEMPTS": "0"}, ["EXPORT_MAX_ATTEMPTS must be a whole number"]),
    "no number of seconds": ({"EXPORT_RETRY_SECONDS": "nan"}, ["EXPORT_RETRY_SECONDS must be a number"]),
    "an endless time-out": ({"EXPORT_READ_TIMEOUT_SECONDS": "inf"}, ["EXPORT_READ_TIMEOUT_SECONDS must be a number"]),
}
ALL_WRONG = {
    "AMP_API_KEY": VAULT,
    "AMP_SECRET_KEY": "",
    "AMP_DATA_REGION": "mars",
    "AMP_EXPORT_URL": "ftp://example.com",
    "EXPORT_STORAGE": "",
    "EXPORT_CONTAINER": "X",
    "EXPORT_PREFIX": "a\\b",
    "EXPORT_FORMAT": "xml",
    "EXPORT_SCHEDULE": "often",
    "EXPORT_QUEUE": "Q",
    "EXPORT_LOOKBACK_DAYS": "1e3",
    "EXPORT_START_DATE": "tomorrow",
    "EXPORT_RETENTION_DAYS": "1.5",
    "EXPORT_HTTP_AUTH": "basic",
    "EXPORT_WINDOW_HOURS": "x",
    "EXPORT_MAX_ATTEMPTS": "101",
    "EXPORT_RETRY_SECONDS": "-1",
    "EXPORT_READ_TIMEOUT_SECONDS": "0",
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_setting_is_named_and_nothing_is_touched(
    simulator: Simulator, exports: Exports, reader: Reader, kind: str
) -> None:
    changes, words = WRONG[kind]
    error = Exports(exports.environ | changes).error()
    assert error.type == "SettingsError"
    assert [word for word in words if word not in str(error)] == []
    assert str(error).startswith("App settings to fix: ")
    assert not leaks(str(error))
    assert simulator.requests == []
    assert list(reader.everything()) == []


def test_all_of_them_are_named_in_one_message(simulator: Simulator, exports: Exports) -> None:
    done = Exports(exports.environ | ALL_WRONG).cli("export", str(DAY))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"SettingsError: {done.stderr.count('\n') - 1} to fix. ")
    assert [name for name in ALL_WRONG if name not in done.stderr] == []
    assert simulator.requests == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("local.settings.json", b"{"),
        ("local.settings.json", b"[]"),
        ("local.settings.json", b'{"Values": []}'),
        ("local.settings.json", b"\xff"),
        (".env", b"\xff\xfe"),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_named(
    exports: Exports, tmp_path_factory: pytest.TempPathFactory, file: str, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("settings")
    (folder / file).write_bytes(content)
    done = exports.cli("export", str(DAY), folder=folder)
    assert done.returncode == 2
    assert f"\n  {file}" in done.stderr
    assert "Traceback" not in done.stderr


class TestHost:
    """Over HTTP: 503, and a message that waits."""

    @pytest.fixture
    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """Several wrong settings beside good ones."""
        wrong = {"AMP_API_KEY": VAULT, "EXPORT_WINDOW_HOURS": "0", "EXPORT_FORMAT": "xml", "EXPORT_SCHEDULE": "often"}
        return environ | wrong

    def test_each_route_says_which_settings_are_wrong(self, host: FunctionsHost, simulator: Simulator) -> None:
        """The app starts all the same, or nobody could be told."""
        for method, path in (("GET", f"/{DAY}"), ("POST", f"/{DAY}"), ("GET", ""), ("POST", f"?from={DAY}&to={DAY}")):
            answer = call(host, method, path)
            assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
            assert answer.json()["title"] == "App settings are missing or wrong"
            for name in ("AMP_API_KEY", "EXPORT_WINDOW_HOURS", "EXPORT_FORMAT", "EXPORT_SCHEDULE"):
                assert name in answer.json()["detail"]
            assert "Traceback" not in answer.text
        with pytest.raises(HostError):
            host.fire_timer("nightly")
        lines = [json.loads(line.message) for line in host.log_lines() if line.logger == "amplitude_export"]
        told = [line["event"] for line in lines]
        assert (told.count("settings_invalid"), told.count("http_refused"), len(told)) == (5, 4, 9)
        assert simulator.requests == []


def test_a_container_that_cannot_be_made_is_told(exports: Exports) -> None:
    """A connection string that only looks like one, too: its text is not repeated, for it may hold a key."""
    broken = "AccountName=x;AccountKey=marker-in-the-string;BlobEndpoint=http://127.0.0.1:1/x"
    error = exports.error(EXPORT_STORAGE=broken)
    assert error.type == "StorageDenied"
    assert "marker-in-the-string" not in repr(error)


def test_settings_with_surprising_good_values_work(
    container: ContainerClient, simulator: Simulator, exports: Exports
) -> None:
    """Blanks around them, upper case, a prefix of odd characters taken literally."""
    prefix = "Team Ü/a+b%20c/ "
    exports.run(EXPORT_FORMAT=" JSON.GZ ", EXPORT_WINDOW_HOURS=" 12 ", AMP_DATA_REGION="EU", EXPORT_PREFIX=prefix)
    reader = Reader(container, prefix)
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert {blob.partition("events/")[0] for blob in container.list_blob_names() if "events/" in blob} == {prefix}
