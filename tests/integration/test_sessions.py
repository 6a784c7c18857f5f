"""Sessions: what they take from the environment, and how a failed connection is named."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from azure.core.exceptions import ServiceRequestError

from local.azurite import ACCOUNT, KEY, Azurite
from local.simulator import Simulator
from shared.amplitude import Amplitude
from shared.dates import whole_day
from shared.errors import AmplitudeUnavailable, StorageDenied, StorageUnavailable
from shared.http import Session, is_loopback, reason
from shared.settings import load_settings
from shared.storage.connect import open_client, open_container
from shared.storage.container import Container
from tests.faults.tries import hurried

LOGIN = "Basic bmV0cmM6bG9naW4="
PERSON = "somebody:secret"
NOBODY = "http://127.0.0.1:9"
"""A proxy that is not there."""
ELSEWHERE = "https://storage.example"
KEYS = {"AMP_API_KEY": "a", "AMP_SECRET_KEY": "s"}


class Server(HTTPServer):
    """Answers each request with a status, and keeps the login of the last one."""

    status = 200
    authorization: str | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _handle(self) -> None:
        self.server.authorization = self.headers["Authorization"]
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    do_GET = do_PUT = do_CONNECT = _handle  # noqa: N815 - names that the base class asks for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server on this machine."""
    with Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Tunnel(ThreadingHTTPServer):
    """A proxy that brings whatever it is asked for to one port of this machine, and keeps what it was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Tunneller)
        self.port, self.asked = port, set[tuple[str, str | None]]()


class _Tunneller(BaseHTTPRequestHandler):
    server: Tunnel

    def do_CONNECT(self) -> None:
        self.server.asked.add((self.path, self.headers["Proxy-Authorization"]))
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(("127.0.0.1", self.server.port)) as target, selectors.DefaultSelector() as ready:
            ready.register(self.connection, selectors.EVENT_READ, target)
            ready.register(target, selectors.EVENT_READ, self.connection)
            while True:
                for key, _ in ready.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # a socket
                    if not data:
                        return
                    key.data.sendall(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nx-ms-client-request-id: ID\r\n\r\n"
SLOW = CREATED.replace(b"Created", b"Slow")
WITHOUT_ID, ANOTHERS = CREATED.replace(b"x-ms-client-request-id: ID\r\n", b""), CREATED.replace(b"ID", b"another")
CHUNKED = CREATED.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
BOTH = CREATED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
NO_CHUNK, CHUNK = b"0\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"
HUGE = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99999999999999\r\n\r\n"
BAD_CHUNK = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n"


class Scripted(ThreadingHTTPServer):
    """Answers each request, by TLS, with the next bytes for its connection: ID becomes the request's.

    Writes its authority into a file.
    """

    def __init__(self, connections: list[list[bytes]], bundle: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Reader)
        authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.cert_pem.write_to_path(bundle)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.connections, self.heads, self.ended = iter(connections), set[tuple[str, str]](), threading.Event()


class _Reader(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def handle(self) -> None:
        self.answers = iter(next(self.server.connections))
        super().handle()
        self.server.ended.set()

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heads.add((self.headers["Host"], self.headers["x-ms-version"]))
        answer = next(self.answers)
        time.sleep(1.2 * (answer == SLOW))
        self.wfile.write(answer.replace(b"ID", self.headers["x-ms-client-request-id"].encode()))


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def failure(url: str = ELSEWHERE) -> str:
    """Why a request fails."""
    with Session() as session, pytest.raises(OSError) as caught:  # noqa: PT011 - of any kind: the words count
        session.get(url, timeout=10)
    return reason(caught.value)


@pytest.mark.parametrize("status", [200, 302])
def test_netrc_is_never_read(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Its login would replace the storage's signature, and the account would receive it."""
    (tmp_path / "netrc").write_text("default login netrc password login\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.status = status
    with Session() as session:
        session.get(url_of(server), headers={"Authorization": "SharedKey x"}, allow_redirects=False)
        assert server.authorization == "SharedKey x"
        session.put(url_of(server), data=b"x", allow_redirects=False)
        assert server.authorization is None
    requests.get(url_of(server), timeout=10, allow_redirects=False)
    assert server.authorization == LOGIN, "the file would be read otherwise"


def test_this_machine_is_reached_without_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, NOBODY)
    with Session() as session:
        assert session.get(url_of(server), timeout=10).ok


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - not bound to
        ("", False),
    ],
)
def test_loopback_is_an_address_not_a_beginning(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(("status", "words"), [(407, "needs a user and a password"), (502, "answered 502")])
def test_a_proxy_that_refuses(server: Server, monkeypatch: pytest.MonkeyPatch, status: int, words: str) -> None:
    server.status = status
    monkeypatch.setenv("HTTPS_PROXY", url_of(server))
    assert words in failure()
    assert "proxy" in failure()


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        (NOBODY, "cannot be reached: ConnectionRefusedError"),
        ("socks5://127.0.0.1:9", "scheme that is not supported"),
        ("ftp://127.0.0.1:9", "scheme that is not supported"),
        ("http://", "malformed"),
    ],
)
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, proxy: str, words: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    found = failure()
    assert words in found
    assert "HTTPS_PROXY" in found


def test_a_certificate_bundle_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("no certificate\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    assert "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names does not exist" in failure()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "empty.pem"))
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with Simulator(certificate=tmp_path / "server.pem") as simulator:
        assert "has no certificate" in failure(simulator.url)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "REQUESTS_CA_BUNDLE"])
def test_an_export_is_told_the_same(server: Server, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A proxy that wants a login and a missing bundle are no broken archives."""
    server.status = 407
    monkeypatch.setenv(name, url_of(server) if name == "HTTPS_PROXY" else "/nowhere.pem")
    words = {"HTTPS_PROXY": "the proxy answered 407", "REQUESTS_CA_BUNDLE": "REQUESTS_CA_BUNDLE .* does not exist"}
    settings = load_settings(KEYS | {"EXPORT_STORAGE": "UseDevelopmentStorage=true"})
    with (
        Session() as session,
        pytest.raises(AmplitudeUnavailable, match=words[name]),
        Amplitude(session, settings).fetch(whole_day(date(2025, 11, 4))),
    ):
        pass


@pytest.mark.parametrize(("name", "words"), [("HTTPS_PROXY", "scheme"), ("REQUESTS_CA_BUNDLE", "does not exist")])
def test_the_storage_is_told_the_same(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    """No bare traceback: the error is the app's own, and names the setting."""
    monkeypatch.setenv(name, "ftp://127.0.0.1:9")
    monkeypatch.setattr("shared.storage.connect.ExponentialRetry", hurried)
    settings = load_settings(KEYS | {"EXPORT_STORAGE": "AccountName=nobody;AccountKey=eA=="})
    with pytest.raises(StorageUnavailable, match=f"{name}.*{words}"), open_container(settings):
        pass
    monkeypatch.delenv(name)
    monkeypatch.setenv("HTTPS_PROXY", NOBODY)
    with pytest.raises(ServiceRequestError), open_client(settings) as client:  # as the library's retries know it
        client.stage_block("a.json", "try-0", [])


def test_the_storage_is_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blocks and block lists too, with the proxy's login and the authority that `REQUESTS_CA_BUNDLE` names."""
    host, authority = f"{ACCOUNT}.blob.example", trustme.CA()
    certificate = authority.issue_cert(host)
    chain, key, root = (tmp_path / name for name in ("chain.pem", "key.pem", "root.pem"))
    certificate.cert_chain_pems[0].write_to_path(chain)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(root)
    connection = f"BlobEndpoint=https://{host};AccountName={ACCOUNT};AccountKey={KEY}"
    settings = load_settings(KEYS | {"EXPORT_STORAGE": connection})
    with Azurite(certificate=chain, key=key) as azurite, Tunnel(urlsplit(azurite.blob_url).port or 0) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://{PERSON}@127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(root))
        with open_container(settings) as container:
            for number in range(2):
                container.stage("a.json", f"try-{number}", [b"{" + b" " * 100_000, b"}", b"\n"])
            container.commit("a.json", ["try-0", "try-1"], "application/x-ndjson", {"events": "2"})
            found = container.read("a.json")
        proxy.shutdown()
        thread.join()
    assert found
    assert found.data == (b"{" + b" " * 100_000 + b"}\n") * 2
    assert proxy.asked == {(f"{host}:443", "Basic c29tZWJvZHk6c2VjcmV0")}


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        ([[CREATED, CREATED]], [None, None]),
        ([[SLOW, CREATED]], [None, None]),
        ([[WITHOUT_ID, HUGE], [CREATED]], [None, None]),
        ([[ANOTHERS, HUGE], [CREATED, CREATED]], [None, None]),
        ([[CREATED[:-2] + b"Connection: keep-alive\r\n\r\n", CREATED]], [None, None]),
        ([[CHUNKED + NO_CHUNK, CREATED]], [None, None]),
        ([[CHUNKED + CHUNK, HUGE], [CREATED]], [None, None]),
        ([[BOTH + CHUNK, HUGE], [CREATED]], [None, None]),
        ([[CREATED[:-2] + b"Connection: close\r\n\r\n", HUGE], [CREATED]], [None, None]),
        ([[CREATED.replace(b": 0", b": 1") + b"x", HUGE], [CREATED]], [None, None]),
        ([[CREATED.replace(b"201", b"200")]] * 2, [StorageUnavailable, StorageUnavailable]),
        ([[CREATED.ljust(8192) + CREATED], [HUGE]], [None, StorageDenied]),
        ([[b"HTTP/1.1 103 Early Hints\r\n\r\n", CREATED + HUGE], [HUGE]], [StorageUnavailable, StorageDenied]),
        ([[BAD_CHUNK], [BAD_CHUNK]], [StorageDenied, StorageDenied]),
    ],
)
def test_an_answer_belongs_to_its_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, connections: list[list[bytes]], expected: list[type[Exception]]
) -> None:
    """Whatever follows it. The server ends no connection: the client does, at the latest when it is closed."""
    monkeypatch.setattr("shared.storage.connect.CONNECT_SECONDS", 1)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    with Scripted(connections, tmp_path / "bundle.pem") as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        connection = f"BlobEndpoint=https://{PERSON}@127.0.0.1:{server.server_port}/a;AccountName=a;AccountKey=eA=="
        with open_client(load_settings(KEYS | {"EXPORT_STORAGE": connection})) as client:
            for pieces, error in zip(([], [b"{}"]), expected, strict=True):
                with pytest.raises(error) if error else nullcontext():
                    Container(client).stage("a.json", "try-0", pieces)
        assert server.ended.wait(10)
        assert server.heads == {(f"127.0.0.1:{server.server_port}", client.api_version)}
        server.shutdown()
