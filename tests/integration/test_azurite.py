import base64
import json
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests
import trustme
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from local.azurite import KEY, Azurite, AzuriteError


def container_of(azurite: Azurite) -> ContainerClient:
    return ContainerClient.from_connection_string(azurite.connection_string, "kept")


def test_blobs_and_queues_answer_where_the_urls_say(azurite: Azurite, container: ContainerClient) -> None:
    container.upload_blob("a", b"1")
    assert container.url == f"{azurite.blob_url}/{container.container_name}"
    assert container.download_blob("a").readall() == b"1"
    with QueueClient.from_connection_string(azurite.connection_string, "queue") as queue:
        queue.create_queue()
        queue.send_message("hello")
        assert queue.url == f"{azurite.queue_url}/queue"
        assert [message.content for message in queue.receive_messages()] == ["hello"]


def test_a_container_is_new_for_each_test(container: ContainerClient) -> None:
    assert list(container.list_blob_names()) == []


def test_stopped_and_started_again_it_has_the_same_ports_and_the_data_of_its_folder(tmp_path: Path) -> None:
    """Real events are neither left under the public key nor for other users to read."""
    folder = tmp_path / "data"
    with Azurite(folder, account_key=secrets.token_hex(32)) as azurite, container_of(azurite) as container:
        container.create_container()
        container.upload_blob("a", b"1")
        before = azurite.connection_string
        azurite.stop()
        with pytest.raises(requests.ConnectionError):
            requests.get(azurite.blob_url, timeout=5)
        azurite.start()
        assert azurite.connection_string == before
        assert container.download_blob("a").readall() == b"1"
        public = re.sub("AccountKey=[^;]+", f"AccountKey={KEY}", azurite.connection_string)
        with ContainerClient.from_connection_string(public, "kept") as stranger, pytest.raises(HttpResponseError):
            stranger.download_blob("a")
        assert [file for file in folder.rglob("*") if file.stat().st_mode & 0o077] == []


def test_in_memory_it_is_killed_and_starts_again_without_data_on_the_same_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets no key of Amplitude: it is a large program of others, and needs none."""
    monkeypatch.setenv("AMP_SECRET_KEY", "marker" * 5)
    before = set(psutil.Process().children())
    with Azurite() as azurite, container_of(azurite) as container:
        (emulator,) = set(psutil.Process().children()) - before
        assert "marker" not in "".join(emulator.environ().values())
        container.create_container()
        url = azurite.blob_url
        azurite.kill()
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        azurite.start()
        assert azurite.blob_url == url
        with pytest.raises(ResourceNotFoundError):
            container.get_container_properties()


class UnsignedToken:
    """A credential whose tokens have the right claims and no signature: Azurite looks at the claims only."""

    def get_token(self, *_scopes: str, **_options: object) -> AccessToken:
        """What the SDK asks a credential for."""
        now = int(time.time())
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
            "iat": now - 60,
            "nbf": now - 60,
            "exp": now + 3600,
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return AccessToken(".".join([*encoded, ""]), now + 3600)


def test_over_tls_it_takes_tokens(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    chain, key, root = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "root.pem"
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(root)
    with (
        Azurite(certificate=chain, key=key) as azurite,
        ContainerClient(
            azurite.blob_url, "kept", credential=UnsignedToken(), connection_verify=str(root), retry_total=0
        ) as container,
    ):
        assert azurite.blob_url.startswith("https://")
        container.create_container()
        assert container.exists()
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(azurite.blob_url, timeout=5)


def test_a_port_in_use_is_an_error_with_what_azurite_says(azurite: Azurite) -> None:
    taken = int(azurite.blob_url.split(":")[2].split("/")[0])
    with pytest.raises(AzuriteError, match="EADDRINUSE"):
        Azurite(ports=(taken, 0, 0)).start()


def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    script = "from local.azurite import Azurite; Azurite().start(); print('up', flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"up\n"
        emulators = psutil.Process(parent.pid).children()
        assert len(emulators) == 1
        parent.kill()
    assert psutil.wait_procs(emulators, timeout=30)[1] == []
