"""Answers of the Export API as values or errors, over real sockets; and no foreign exception gets through."""

from __future__ import annotations

import base64
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import date

import pytest
import requests

from local.simulator import Fault, Gate, Simulator, redirect, too_many_requests
from local.simulator.faults import parse
from shared import stop
from shared.amplitude import Amplitude
from shared.archive.members import Archive
from shared.dates import Window, whole_day
from shared.errors import (
    AmplitudeUnavailable,
    BadCredentials,
    BadRequest,
    BrokenArchive,
    ExportError,
    ExportTooLarge,
    Interrupted,
    UnexpectedAnswer,
)
from shared.http import Session
from shared.settings import Settings, load_settings

DAY = date(2025, 11, 4)
KEYS = ("made+up/key", "made+up/secret")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(keys=KEYS, events_per_hour=5) as simulator:
        yield simulator


@pytest.fixture
def settings(simulator: Simulator) -> Settings:
    amplitude = {"AMP_API_KEY": KEYS[0], "AMP_SECRET_KEY": KEYS[1], "AMP_EXPORT_URL": simulator.url}
    return load_settings(
        amplitude | {"EXPORT_STORAGE": "UseDevelopmentStorage=true", "EXPORT_READ_TIMEOUT_SECONDS": "0.3"}
    )


@pytest.fixture
def amplitude(settings: Settings) -> Iterator[Amplitude]:
    with requests.Session() as session:
        yield Amplitude(session, settings)


def body(amplitude: Amplitude, window: Window | None = None) -> bytes | None:
    """The whole archive of a window; None for 404."""
    with amplitude.fetch(window or whole_day(DAY)) as answer:
        return None if answer is None else b"".join(answer.chunks)


def error(amplitude: Amplitude) -> ExportError:
    """The error that asking for the day ends with."""
    with pytest.raises(ExportError) as caught:
        body(amplitude)
    return caught.value


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_archive_comes_byte_by_byte_as_it_was_sent(amplitude: Amplitude, simulator: Simulator, framing: str) -> None:
    simulator.fail(Fault(framing=framing))  # type: ignore[arg-type]
    sent = b"".join(simulator.archive(DAY))
    with amplitude.fetch(whole_day(DAY)) as answer:
        assert answer is not None
        assert b"".join(answer.chunks) == sent
        assert (answer.status, answer.received) == (200, len(sent))


def test_both_hours_of_a_window_are_asked_for_inclusively(amplitude: Amplitude, simulator: Simulator) -> None:
    body(amplitude, whole_day(DAY))
    body(amplitude, Window(DAY, 5, 6))
    assert [(asked.start, asked.end) for asked in simulator.requests] == [
        ("20251104T00", "20251104T23"),
        ("20251104T05", "20251104T05"),
    ]
    assert {asked.credentials for asked in simulator.requests} == {"right"}


@pytest.mark.parametrize("pause_at", [-1, 0, 1000], ids=["no status line", "no first byte", "in mid-body"])
def test_a_read_that_blocks_ends_if_the_process_is_to_end(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch, pause_at: int
) -> None:
    """Nothing is sent for as long as the test wants, and the read time-out is far away."""
    received: list[int] = []
    monkeypatch.setattr(stop, "received", received)
    gate = Gate()
    simulator.fail(Fault(pause=gate, pause_at=pause_at))

    def end() -> None:
        gate.wait_until_reached()
        received.append(signal.SIGTERM)

    with requests.Session() as session, ThreadPoolExecutor(1) as pool:
        ended = pool.submit(end)
        with pytest.raises(Interrupted):
            body(Amplitude(session, replace(settings, read_timeout_seconds=600)))
        ended.result()
    assert not gate.opened.is_set()


def test_chunks_are_read_as_they_are_asked_for(amplitude: Amplitude, simulator: Simulator) -> None:
    """The first bytes are there while the last are still to be sent."""
    gate = Gate()
    simulator.fail(Fault(pause=gate, pause_at=1000, framing="chunked"))
    with amplitude.fetch(whole_day(DAY)) as answer:
        assert answer is not None
        assert len(next(answer.chunks)) == 1000
        gate.open()
        assert next(answer.chunks)


def test_a_content_encoding_is_not_undone(amplitude: Amplitude, simulator: Simulator) -> None:
    """What lands is what was sent, whatever a header claims of it."""
    simulator.fail(Fault(headers={"Content-Encoding": "gzip"}))
    assert body(amplitude) == b"".join(simulator.archive(DAY))


def test_an_answer_without_a_coding_is_asked_for(settings: Settings) -> None:
    """A proxy may code what the client says it takes; an archive is checked as it was sent."""
    asked: list[str] = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda answer, **_: asked.append(answer.request.headers["Accept-Encoding"]))
        with Amplitude(session, settings).fetch(whole_day(DAY)):
            pass
    assert asked == ["identity"]


def test_no_events_are_a_value(amplitude: Amplitude, simulator: Simulator) -> None:
    simulator.fail(parse("empty"))
    assert body(amplitude) is None
    simulator.forget(DAY)
    assert body(amplitude) is None


@pytest.mark.parametrize("words", [b"Raw data files were not found.", b'{"error":"RAW DATA\\nNot Found"}'])
def test_a_404_in_amplitudes_words_is_no_events(amplitude: Amplitude, simulator: Simulator, words: bytes) -> None:
    simulator.fail(Fault(status=404, body=words))
    assert body(amplitude) is None


@pytest.mark.parametrize(
    "words",
    [b"", b"Not Found", b"<html><title>404: Not Found</title>", b"<p>Raw data files were not found.</p>", b"Raw data"],
)
def test_a_404_in_other_words_is_never_an_empty_day(amplitude: Amplitude, simulator: Simulator, words: bytes) -> None:
    simulator.fail(Fault(status=404, body=words))
    found = error(amplitude)
    assert type(found) is AmplitudeUnavailable
    assert "AMP_EXPORT_URL" in str(found)
    assert ("Not Found" in str(found)) == (b"Not Found" in words), "it is quoted"


@pytest.mark.parametrize("path", ["/api/2/exports", "/api/2/export/", "/"])
def test_a_wrong_path_is_never_an_empty_day(settings: Settings, path: str) -> None:
    url = settings.export_url.replace("/api/2/export", path)
    with requests.Session() as session:
        found = error(Amplitude(session, replace(settings, export_url=url)))
    assert type(found) is AmplitudeUnavailable
    assert '"404: Not Found' in str(found)


def test_what_follows_early_hints_is_not_taken_for_the_next_answer(amplitude_at: Callable[..., Amplitude]) -> None:
    late = b"HTTP/1.1 404 Not Found\r\nContent-Length: 29\r\n\r\nRaw data files were not found."
    amplitude = amplitude_at(b"HTTP/1.1 103 Early Hints\r\n\r\n", late)
    assert "answered 103" in str(error(amplitude))
    assert "answered" not in str(error(amplitude))


def test_an_answer_with_a_content_encoding_is_named_as_such(amplitude: Amplitude, simulator: Simulator) -> None:
    simulator.fail(parse("coded"))
    found = error(amplitude)
    assert type(found) is AmplitudeUnavailable
    assert "Content-Encoding 'gzip'" in str(found)


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_an_answer_that_drips_for_ever_ends(simulator: Simulator, settings: Settings, framing: str) -> None:
    """Each byte arrives long before the read time-out."""
    simulator.fail(Fault(drip=0.1, drip_bytes=1, framing=framing))  # type: ignore[arg-type]
    with requests.Session() as session:
        amplitude = Amplitude(session, settings, longest_answer=0.5)
        with pytest.raises(AmplitudeUnavailable, match=r"not complete after 0\.5 seconds"):
            for _ in read_archive(amplitude):
                pass


def test_a_head_without_an_end_ends(settings: Settings) -> None:
    """Preliminary answers for ever, each long before the read time-out."""
    ended = threading.Event()

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            while not ended.wait(0.05):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with Session() as session, socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(answer)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        found = error(Amplitude(session, replace(settings, export_url=url), longest_answer=0.5))
        ended.set()
    assert "not complete after 0.5 seconds" in str(found)


@pytest.mark.parametrize("target", ["/elsewhere", "http://["])
def test_the_body_of_a_redirect_is_not_waited_for(simulator: Simulator, settings: Settings, target: str) -> None:
    """It may have any length, and `requests` would read all of it into memory."""
    simulator.fail(Fault(status=302, headers={"Location": target}, body=b"moved", pause=30, pause_at=1))
    with Session() as session:
        assert type(error(Amplitude(session, settings))) is UnexpectedAnswer


def read_archive(amplitude: Amplitude) -> Iterator[object]:
    with amplitude.fetch(whole_day(DAY)) as answer:
        assert answer is not None
        for member in Archive(answer.chunks, whole_day(DAY), compressed=False):
            yield from member


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=401), BadCredentials),
        (parse("wrong-keys"), BadCredentials),
        (parse("not-found-page"), AmplitudeUnavailable),
        (parse("too-large"), ExportTooLarge),
        *((Fault(status=status, body=b"", framing="close"), AmplitudeUnavailable) for status in (101, 102, 103)),
        (Fault(status=400), BadRequest),
        (Fault(status=400, body=b""), BadRequest),
        (Fault(status=400, body=b"The file is too large"), ExportTooLarge),
        (Fault(status=500, body=b"too large"), AmplitudeUnavailable),
        (too_many_requests(), AmplitudeUnavailable),
        *((Fault(status=status), AmplitudeUnavailable) for status in (500, 501, 502, 503, 504, 520, 599)),
        *((Fault(status=status), UnexpectedAnswer) for status in (201, 202, 204, 206, 402, 405, 408, 410, 418, 451)),
        *((redirect("/elsewhere", status), UnexpectedAnswer) for status in (301, 302, 303, 304, 307, 308)),
        *((Fault(cut=-1, reset=reset), AmplitudeUnavailable) for reset in (False, True)),
        *((Fault(pause=30, pause_at=at), AmplitudeUnavailable) for at in (-1, 0, 500)),
        *((Fault(cut=at), BrokenArchive) for at in (0, 500)),
        *((Fault(cut=500, framing="chunked", reset=reset), BrokenArchive) for reset in (False, True)),
        *((Fault(cut=500, reset=True), BrokenArchive), (Fault(cut=500, framing="close", reset=True), BrokenArchive)),
    ],
    ids=str,
)
def test_each_answer_has_its_error(
    amplitude: Amplitude, simulator: Simulator, fault: Fault, kind: type[ExportError]
) -> None:
    simulator.fail(fault)
    assert type(error(amplitude)) is kind
    assert len(simulator.requests) == 1


@pytest.mark.parametrize(
    ("fault", "slow", "throttled", "retry_after"),
    [
        (Fault(status=504), True, False, None),
        (Fault(pause=30), True, False, None),
        (Fault(pause=30, pause_at=500), True, False, None),
        (Fault(status=503, headers={"Retry-After": "7"}), False, False, 7),
        (too_many_requests(), False, True, None),
        (too_many_requests(90), False, True, 90),
        (too_many_requests("soon"), False, True, None),
        (too_many_requests("Fri, 31 Dec 1999 23:59:59 GMT"), False, True, 0),
        (Fault(cut=-1), False, False, None),
    ],
    ids=str,
)
def test_what_a_retry_has_to_know(  # noqa: PLR0913 - each is a column of the table
    amplitude: Amplitude, simulator: Simulator, fault: Fault, retry_after: float | None, *, slow: bool, throttled: bool
) -> None:
    simulator.fail(fault)
    found = error(amplitude)
    assert isinstance(found, AmplitudeUnavailable)
    assert (found.slow, found.throttled, found.retry_after) == (slow, throttled, retry_after)


@pytest.mark.parametrize(
    "words",
    ["too large", "Too Large.", "TOO LARGE", "exceeds the limit", "Exceeded", "over 4GB", "4 GB", "4gb", "4\N{NBSP}GB"],
)
def test_too_large_in_each_spelling(amplitude: Amplitude, simulator: Simulator, words: str) -> None:
    simulator.fail(Fault(status=400, body=f'{{"error":"The export is {words}"}}'.encode()))
    found = error(amplitude)
    assert type(found) is ExportTooLarge
    assert "halves" in str(found)


def test_amplitudes_words_are_kept_short_on_one_line_and_without_tags(
    amplitude: Amplitude, simulator: Simulator
) -> None:
    simulator.fail(Fault(status=400, body=b"<h1>Nope\r\n\x00\x1b[31m</h1>" + b"<p>xyz</p>" * 5000))
    said = str(error(amplitude))
    assert 'answered 400: "Nope [31m xyz xyz' in said
    assert len(said) < 400
    assert said.isprintable()


def test_words_that_cannot_be_read_are_left_out(amplitude: Amplitude, simulator: Simulator) -> None:
    encoded = Fault(status=400, body=b"no gzip at all", headers={"Content-Encoding": "gzip"})
    simulator.fail(encoded, Fault(status=400, pause=30, pause_at=0), Fault(status=400, cut=0))
    for _ in range(3):
        assert str(error(amplitude)).endswith("Amplitude answered 400.")


@pytest.mark.parametrize("status", [400, 403, 418, 503])
def test_words_that_repeat_a_key_are_masked(amplitude: Amplitude, simulator: Simulator, status: int) -> None:
    """A proxy's page can show the request, header and all."""
    header = base64.b64encode(":".join(KEYS).encode()).decode()
    simulator.fail(Fault(status=status, body=f"key {KEYS[0]}, secret {KEYS[1]}, sent Basic {header}.".encode()))
    assert "key ***, secret ***, sent Basic ***." in str(error(amplitude))


def test_a_refused_connection_is_unavailable(amplitude: Amplitude, simulator: Simulator) -> None:
    simulator.stop()
    found = error(amplitude)
    assert type(found) is AmplitudeUnavailable
    assert "ConnectionRefusedError" in str(found)


NO_HTTP = [
    (b"", AmplitudeUnavailable),
    (b"SSH-2.0-OpenSSH_9.9\r\n", AmplitudeUnavailable),
    (b"\x00" * 100, AmplitudeUnavailable),
    (b"HTTP/1.1 abc What\r\n\r\n", AmplitudeUnavailable),
    (b"HTTP/1.1 999999999999 What\r\n\r\n", AmplitudeUnavailable),
    (b"HTTP/1.1 200 OK\r\n" + b"X-Many: headers\r\n" * 200 + b"\r\n", AmplitudeUnavailable),
    (b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n", AmplitudeUnavailable),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nPK", BrokenArchive),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nPK", BrokenArchive),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPK", BrokenArchive),
    (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nPK", BrokenArchive),
]
"""What is no HTTP, or none to rely on."""


@pytest.mark.parametrize(("sent", "kind"), NO_HTTP, ids=lambda value: repr(value)[:60])
def test_what_is_no_http_is_an_error_too(
    amplitude_at: Callable[..., Amplitude], sent: bytes, kind: type[ExportError]
) -> None:
    assert type(error(amplitude_at(sent))) is kind


@pytest.mark.parametrize("length", [b"\xb2", b"-5", b"many", b""])
def test_a_length_that_is_no_number_announces_nothing(amplitude_at: Callable[..., Amplitude], length: bytes) -> None:
    """The archive's own end has to show then that it is whole."""
    assert body(amplitude_at(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nPK\x05\x06")) == b"PK\x05\x06"


@pytest.fixture
def amplitude_at(settings: Settings) -> Iterator[Callable[..., Amplitude]]:
    """Asks a server that answers one request after the other with these very bytes, and closes the connection."""
    with ExitStack() as stack:

        def ask(*answers: bytes) -> Amplitude:
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            thread = threading.Thread(target=_answer, args=(server, answers))
            thread.start()
            stack.callback(thread.join)
            session = stack.enter_context(requests.Session())
            return Amplitude(session, replace(settings, export_url=f"http://127.0.0.1:{server.getsockname()[1]}/"))

        yield ask


def _answer(server: socket.socket, answers: Sequence[bytes]) -> None:
    connection, _ = server.accept()
    connection.settimeout(1)
    with connection, suppress(TimeoutError):  # where a client comes no second time
        for answer in answers:
            if connection.recv(65536):
                connection.sendall(answer)
