"""No secret gets out, whatever goes wrong: not in a log, a blob, an answer, an exception, or on a terminal.

All tests of this folder run with these secrets, and `conftest` looks through their logs. Here is looked everywhere.
"""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from azure.storage.blob import ContainerClient

from local.azurite import ACCOUNT, KEY, Azurite
from local.host import FunctionsHost
from local.simulator import Fault, Simulator, page, redirect, too_many_requests
from shared.app import open_app
from shared.settings import load_settings
from tests.faults.exports import API_KEY, DAY, SECRET_KEY, Exports, call, leaks
from tests.faults.reader import Reader

HEADER = base64.b64encode(f"{API_KEY}:{SECRET_KEY}".encode()).decode()
ECHO = f"<p>You sent Authorization: Basic {HEADER}</p> key={API_KEY} secret={SECRET_KEY} account={KEY} ".encode()
"""What a chatty proxy may show."""


def faults(simulator: Simulator) -> dict[str, Fault]:
    """One fault of each kind, and whatever repeats what was sent."""
    archive = b"".join(simulator.archive(DAY))
    return {
        "401": Fault(status=401, body=ECHO),
        "403": Fault(status=403, body=json.dumps({"error": ECHO.decode()}).encode()),
        "400": Fault(status=400, body=ECHO),
        "400, too large": Fault(status=400, body=b"too large " + ECHO),
        "418": Fault(status=418, body=ECHO),
        "429": Fault(status=429, body=ECHO, headers={"Retry-After": "9999"}),
        "429 with an odd wait": too_many_requests(API_KEY),
        "503": Fault(status=503, body=ECHO),
        "504": Fault(status=504, body=ECHO),
        "a page": page(ECHO.decode()),
        "a redirect": redirect(f"https://{quote(API_KEY, safe='')}:{quote(SECRET_KEY, safe='')}@elsewhere.invalid/"),
        "cut": Fault(body=archive, cut=1000),
        "reset": Fault(body=archive, cut=1000, reset=True),
        "damaged": Fault(body=archive, flip=700),
        "no answer": Fault(cut=-1),
        "a stall": Fault(pause=30),
        "a stall in mid-body": Fault(body=archive, pause=30, pause_at=1000),
    }


KINDS = list(faults(Simulator()))


def chain(error: BaseException | None) -> Iterator[str]:
    """All that an exception and those beneath it say, as text, as repr, and as a traceback."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), *traceback.format_exception(error))
        error = error.__cause__ or error.__context__


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """Each line of each logger from DEBUG on, the libraries' included."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "urllib3", "requests", "amplitude_export")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("kind", KINDS)
def test_no_fault_brings_a_secret_out(
    simulator: Simulator, exports: Exports, reader: Reader, everything_logged: list[str], kind: str
) -> None:
    fault = faults(simulator)[kind]
    simulator.rule = lambda _: fault
    error = exports.error(EXPORT_MAX_ATTEMPTS="2", EXPORT_READ_TIMEOUT_SECONDS="0.2", EXPORT_WINDOW_HOURS="1")
    texts = [*chain(error), *reader.everything(), *everything_logged]
    assert everything_logged
    assert any(name.startswith("logs/") for name in reader.container.list_blob_names())
    assert {leak for text in texts for leak in leaks(text)} == set()


def test_a_good_day_holds_no_secret(
    simulator: Simulator, exports: Exports, reader: Reader, everything_logged: list[str]
) -> None:
    simulator.fail(Fault(status=503, body=ECHO), Fault(status=504, body=ECHO), Fault(cut=500))
    exports.run()
    exports.run(EXPORT_FORMAT="json.gz")
    found = {leak for text in (*reader.everything(), *everything_logged) for leak in leaks(text)}
    assert found == set()


def test_tls_and_refused_connections_bring_no_secret_out(
    simulator: Simulator, exports: Exports, tmp_path: Path, everything_logged: list[str]
) -> None:
    pem = tmp_path / "server.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    with Simulator(certificate=pem) as impostor:
        errors = [exports.error(AMP_EXPORT_URL=impostor.url, EXPORT_MAX_ATTEMPTS="1")]
    simulator.stop()
    errors += [exports.error(EXPORT_MAX_ATTEMPTS="1")]
    texts = [text for error in errors for text in chain(error)]
    assert {leak for text in (*texts, *everything_logged) for leak in leaks(text)} == set()


def test_a_storage_that_refuses_brings_no_secret_out(
    azurite: Azurite, exports: Exports, everything_logged: list[str]
) -> None:
    """Connection strings hold the account's key; and so do the SDK's own words about broken ones."""
    strings = {
        "another account": azurite.connection_string.replace(ACCOUNT, "another"),
        "the key is cut": azurite.connection_string.replace(KEY, KEY[:-3]),
        "another key": azurite.connection_string.replace(KEY, base64.b64encode(KEY.encode()).decode()),
        "something behind it": f"AccountName=x;AccountKey={KEY};BlobEndpoint",
    }
    errors = [Exports(exports.environ | {"EXPORT_STORAGE": string}).error() for string in strings.values()]
    assert {error.type for error in errors} == {"StorageDenied"}
    texts = [text for error in errors for text in chain(error)]
    assert {leak for text in (*texts, *everything_logged) for leak in leaks(text)} == set()


def test_settings_do_not_show_their_secrets(environ: dict[str, str]) -> None:
    settings = load_settings(environ)
    with open_app(environ) as app:
        shown = f"{settings!r} {settings} {app!r} {app.runs!r} {app.container!r}"
    assert leaks(shown) == []
    assert set(settings.secrets) == {API_KEY, SECRET_KEY, KEY}
    assert leaks(str(asdict(settings))), "the watch is awake"


@pytest.mark.parametrize(
    "arguments", [("export", str(DAY), "-v", "--json"), ("coverage",), ("export", "yesterday-ish")]
)
def test_a_terminal_shows_no_secret(simulator: Simulator, exports: Exports, arguments: tuple[str, ...]) -> None:
    simulator.fail(Fault(status=503, body=ECHO), Fault(status=403, body=ECHO))
    done = exports.cli(*arguments)
    assert leaks(done.stdout + done.stderr) == []


def test_the_host_shows_no_secret(
    host: FunctionsHost, container: ContainerClient, simulator: Simulator, reader: Reader
) -> None:
    """Answers, pages, log and blobs, over a run that is tried again and one that fails; the caller's key included."""
    simulator.fail(*[Fault(status=503, body=ECHO)] * 5, Fault(status=403, body=ECHO))
    texts = [call(host, "POST").text]
    host.wait_for(lambda line: "run_failed" in line, 60)
    for path in (f"/{DAY}", f"?from={DAY}&to={DAY}", "", "/nonsense", f"/{DAY}?code={host.key}", f"?code={host.key}"):
        for method, accept in (("GET", "*/*"), ("GET", "text/html"), ("POST", "*/*")):
            answer = call(host, method, path, Accept=accept)
            texts.append(f"{answer.headers} {answer.text}")
    assert "Bad" in texts[1]
    assert {leak for text in (*texts, *reader.everything(), host.output()) for leak in leaks(text)} == set()
    assert [text for text in texts if host.key in text] == []
    assert container.container_name


def test_the_watch_finds_each_secret_in_each_spelling() -> None:
    for text in (API_KEY, SECRET_KEY, KEY, HEADER, quote(API_KEY, safe=""), quote(HEADER, safe="")):
        assert leaks(f'{{"message": "x{text}y"}}') != []
    assert leaks("nothing of the kind") == []
