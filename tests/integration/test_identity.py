"""A managed identity for real: a token from the platform's endpoint, TLS, and a storage account that wants both."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from azure.storage.blob import ContainerClient, ExponentialRetry

from local.azurite import Azurite
from local.simulator import Simulator
from shared.app import App, open_app
from shared.days.manifest import Manifest
from shared.errors import ExportError, StorageDenied
from shared.runs.messages import Order
from tests.faults.tries import hurried

DAY = date(2025, 11, 4)
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
HEADER = "the-platforms-own"
CONTAINER = "amplitude-events"


@dataclass
class IdentityEndpoint:
    """What the platform serves to an app: tokens. `refusal` is a status with which it refuses them."""

    refusal: int = 0
    audience: str = "https://storage.azure.com"
    asked: list[dict[str, str]] = field(default_factory=list)
    """The query of each request that held the right header."""
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str]]:
        """Status and body for a request."""
        if handler.headers["X-IDENTITY-HEADER"] != HEADER:
            return 401, {"message": "who are you?"}
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(handler.path).query).items()})
        if self.refusal:
            return self.refusal, {"statusCode": str(self.refusal), "message": "No User Assigned identity found."}
        expires = int(time.time()) + 3600
        claims = {"aud": self.audience, "iss": "https://sts.windows.net/tenant/", "exp": expires}
        token = _jwt(claims | {"iat": int(time.time()) - 5, "nbf": int(time.time()) - 5})
        return 200, {"access_token": token, "expires_on": str(expires), "token_type": "Bearer", "resource": ""}


@pytest.fixture
def endpoint() -> Iterator[IdentityEndpoint]:
    """The endpoint, served on a loopback address."""
    endpoint = IdentityEndpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = endpoint.answer(self)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint.url = f"http://127.0.0.1:{server.server_port}/msi/token"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield endpoint
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate of an authority, and one of the storage account by it."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    server.private_key_pem.write_to_path(folder / "key.pem")
    server.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return folder


@pytest.fixture(scope="module")
def azurite(authority: Path) -> Iterator[Azurite]:
    """A storage account that serves TLS, and takes tokens."""
    with Azurite(certificate=authority / "certificate.pem", key=authority / "key.pem") as azurite:
        yield azurite


@pytest.fixture
def container(azurite: Azurite, authority: Path) -> Iterator[ContainerClient]:
    """The container, empty; it is made by the account's key, as the template makes it."""
    with ContainerClient.from_connection_string(
        azurite.connection_string, CONTAINER, connection_verify=str(authority / "authority.pem")
    ) as container:
        if container.exists():
            container.delete_container()
        container.create_container()
        yield container


@pytest.fixture
def environ(
    azurite: Azurite,
    simulator: Simulator,
    endpoint: IdentityEndpoint,
    authority: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """App settings as in Azure: no secret of the storage among them. What the platform sets is in the environment."""
    platform = {"IDENTITY_ENDPOINT": endpoint.url, "IDENTITY_HEADER": HEADER}
    monkeypatch.setattr("shared.storage.connect.ExponentialRetry", hurried)
    for name, value in (platform | {"REQUESTS_CA_BUNDLE": str(authority / "authority.pem")}).items():
        monkeypatch.setenv(name, value)
    return platform | {
        "AMP_API_KEY": simulator.keys[0],
        "AMP_SECRET_KEY": simulator.keys[1],
        "AMP_EXPORT_URL": simulator.url,
        "EXPORT_STORAGE__blobServiceUri": azurite.blob_url,
        "EXPORT_STORAGE__clientId": CLIENT_ID,
        "EXPORT_CONTAINER": CONTAINER,
    }


@pytest.fixture
def app(environ: dict[str, str]) -> Iterator[App]:
    """The app with these settings."""
    with open_app(environ) as app:
        yield app


def export(app: App) -> Manifest:
    return app.runs.run_now(Order(DAY, trigger="test"))


def error(app: App) -> ExportError:
    with pytest.raises(ExportError) as caught:
        export(app)
    return caught.value


def test_a_day_lands_by_identity(
    app: App, container: ContainerClient, simulator: Simulator, endpoint: IdentityEndpoint
) -> None:
    """One token for the whole run, asked for by the client id, and the day is what Amplitude sent."""
    manifest = export(app)
    landed = {(file.hour, file.part): container.download_blob(file.name).readall() for file in manifest.files}
    assert landed == simulator.member_bytes(DAY)
    assert [(query["client_id"], query["resource"]) for query in endpoint.asked] == [
        (CLIENT_ID, "https://storage.azure.com")
    ]


@pytest.mark.usefixtures("container")
@pytest.mark.parametrize("status", [400, 403])
def test_an_endpoint_that_refuses(app: App, endpoint: IdentityEndpoint, status: int) -> None:
    """The identity is not the app's, or its client id is wrong: the message names both."""
    endpoint.refusal = status
    refused = error(app)
    assert isinstance(refused, StorageDenied)
    assert "managed identity" in str(refused)
    assert "EXPORT_STORAGE__clientId" in str(refused)
    assert endpoint.asked
    assert HEADER not in str(refused)


@pytest.mark.usefixtures("container")
def test_a_token_for_somebody_else(app: App, endpoint: IdentityEndpoint) -> None:
    """The account refuses it: the message names the role that is needed."""
    endpoint.audience = "https://vault.azure.net"
    refused = error(app)
    assert isinstance(refused, StorageDenied)
    assert "Storage Blob Data Contributor" in str(refused)


def test_a_container_that_nobody_made(app: App, container: ContainerClient) -> None:
    """The app does not make one: it may not, in Azure. The message says who does."""
    container.delete_container()
    refused = error(app)
    assert isinstance(refused, StorageDenied)
    assert "EXPORT_CONTAINER" in str(refused)
    assert "template" in str(refused)
    assert not container.exists()


def test_without_a_sign_in_outside_azure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, simulator: Simulator) -> None:
    """No retry brings one, and no managed identity is there to look at: the message says what to type."""

    def sleep(*_: object) -> None:
        pytest.fail("it tries again")

    monkeypatch.setattr(ExponentialRetry, "sleep", sleep)
    for name in ("HOME", "PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    account = {"EXPORT_STORAGE__blobServiceUri": "https://account.blob.core.windows.net"}
    keys = {"AMP_API_KEY": simulator.keys[0], "AMP_SECRET_KEY": simulator.keys[1]}
    with open_app(account | keys) as app, pytest.raises(StorageDenied, match="az login"):
        export(app)


def _jwt(claims: dict[str, object]) -> str:
    """An unsigned token."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"


def test_the_delta_table_is_loaded_by_identity(
    app: App, environ: dict[str, str], endpoint: IdentityEndpoint, authority: Path, container: ContainerClient
) -> None:
    """Source and target are reached by tokens of the same identity, and by nothing else."""
    manifest = export(app)
    endpoint.asked.clear()
    trusted = {"SSL_CERT_FILE": str(authority / "authority.pem")}  # delta-rs has a TLS library of its own
    command = [sys.executable, "-m", "downstream.delta", f"az://{CONTAINER}/tables/events"]

    done = subprocess.run(command, env=os.environ | environ | trusted, capture_output=True, text=True, check=False)  # noqa: S603 - ours

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == f"{DAY}: {manifest.events:,} events of try {manifest.try_id}\n"
    assert {query["client_id"] for query in endpoint.asked} == {CLIENT_ID}
    log = container.list_blob_names(name_starts_with="tables/events/_delta_log/")
    assert [name.rpartition("/")[2] for name in log] == [f"{0:020}.json", f"{1:020}.json"]
