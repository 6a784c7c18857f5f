"""Settings that are missing, malformed, contradictory or unresolved: one message names all, and nothing is done."""

from __future__ import annotations

import json

import pytest
from azure.storage.blob import ContainerClient

from local.host import FunctionsHost, HostError
from local.simulator import Simulator
from tests.faults.exports import DAY, Exports, call
from tests.faults.reader import Reader

VAULT = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/amplitude)"
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


def test_all_of_them_are_named_in_one_message(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    done = Exports(exports.environ | ALL_WRONG).cli("export", str(DAY))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"SettingsError: {done.stderr.count('\n') - 1} to fix. ")
    assert [name for name in ALL_WRONG if name not in done.stderr] == []
    assert "Traceback" not in done.stderr
    assert simulator.requests == []
    assert list(reader.everything()) == []


class TestHost:
    """Over HTTP: 503, and a message that waits."""

    @pytest.fixture
    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """All of them are wrong but who may call: else the routes would answer nothing but that."""
        return environ | ALL_WRONG | {"EXPORT_HTTP_AUTH": ""}

    def test_each_route_says_which_settings_are_wrong(self, host: FunctionsHost, simulator: Simulator) -> None:
        """The app starts all the same, or nobody could be told."""
        for method, path in (("GET", f"/{DAY}"), ("POST", f"/{DAY}"), ("GET", ""), ("POST", "?from=a&to=b")):
            answer = call(host, method, path)
            assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
            assert answer.json()["title"] == "App settings are missing or wrong"
            assert [name for name in ALL_WRONG if name not in answer.json()["detail"]] == ["EXPORT_HTTP_AUTH"]
            assert "Traceback" not in answer.text
        with pytest.raises(HostError):
            host.fire_timer("nightly")
        lines = [json.loads(line.message) for line in host.log_lines() if line.logger == "amplitude_export"]
        assert lines[0]["error_message"] == answer.json()["detail"]
        told = [line["event"] for line in lines]
        assert (told.count("settings_invalid"), told.count("http_refused"), len(told)) == (5, 4, 9)
        assert "vault.example" not in host.output()
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
