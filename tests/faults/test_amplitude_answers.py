"""Refusals, storms, redirects and connections that fail: each is tried again, or told, by what it means."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from local.host import FunctionsHost
from local.simulator import Asked, Fault, Simulator, redirect, too_many_requests
from local.simulator.faults import parse
from shared.errors import AmplitudeUnavailable, InvalidMessage, PermanentError
from shared.runs.messages import Order
from tests.faults.exports import DAY, Exports, call, log_events
from tests.faults.reader import Landed, Reader

pytestmark = pytest.mark.in_memory

REFUSALS = {
    "401": (Fault(status=401), "BadCredentials", "AMP_DATA_REGION"),
    "403": (parse("wrong-keys"), "BadCredentials", "Invalid API/Secret Key combination"),
    "400": (Fault(status=400, body=b"Invalid start date"), "BadRequest", "Invalid start date"),
    "400 in silence": (Fault(status=400, body=b""), "BadRequest", "answered 400"),
    "204": (Fault(status=204, body=b""), "UnexpectedAnswer", "204"),
    "206": (Fault(status=206), "UnexpectedAnswer", "206"),
    "402": (Fault(status=402), "UnexpectedAnswer", "402"),
    "418": (Fault(status=418, body=b"short and stout"), "UnexpectedAnswer", "short and stout"),
    "301": (redirect("https://elsewhere.invalid/", 301), "UnexpectedAnswer", "AMP_EXPORT_URL"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_refusal_is_told_at_once_and_changes_nothing(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, refusal: str
) -> None:
    fault, kind, words = REFUSALS[refusal]
    simulator.rule = lambda _: fault
    error = exports.error()
    assert isinstance(error, PermanentError)
    assert (error.type, words in str(error)) == (kind, True)
    assert len(simulator.requests) == 1
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", kind)
    assert not reader.is_locked(DAY)


STORMS = {
    "5xx": [Fault(status=status) for status in (500, 502, 503, 599)],
    "429": [too_many_requests()] * 4,
    "no answer": [Fault(cut=-1), Fault(cut=-1, reset=True)] * 2,
    "404 in other words": [
        parse("not-found-page"),
        Fault(status=404),
        Fault(status=404, body=b""),
        parse("early-hints"),
    ],
    "one after the other": [Fault(status=503), Fault(cut=-1), Fault(cut=500), Fault(status=500, body=b"")],
}


@pytest.mark.parametrize("storm", STORMS)
def test_a_storm_that_passes_leaves_no_trace(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, storm: str
) -> None:
    assert before is None or before != simulator.member_bytes(DAY)
    simulator.fail(*STORMS[storm])
    manifest = exports.run()
    assert [request.attempts for request in manifest.requests] == [5]
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("complete", None)


@pytest.mark.parametrize("storm", ["5xx", "429", "no answer", "404 in other words"])
def test_a_storm_that_stays_ends_the_try(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, storm: str
) -> None:
    simulator.rule = lambda _: STORMS[storm][0]
    error = exports.error(EXPORT_MAX_ATTEMPTS="4")
    assert isinstance(error, AmplitudeUnavailable)
    assert "Attempts: 4" in str(error)
    assert len(simulator.requests) == 4
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", "AmplitudeUnavailable")


def test_a_storm_in_mid_day_costs_only_its_window(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """Windows that are verified are not asked for again."""
    simulator.fail(None, Fault(status=503), Fault(status=503))
    manifest = exports.run(EXPORT_WINDOW_HOURS="12")
    assert [request.attempts for request in manifest.requests] == [1, 3]
    assert [asked.start for asked in simulator.requests] == ["20251104T00", *["20251104T12"] * 3]
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_half_a_day_does_not_land(simulator: Simulator, exports: Exports, reader: Reader, before: Landed) -> None:
    """The first half is fetched and staged, the second does not come."""

    def rule(asked: Asked) -> Fault | None:
        return Fault(status=500) if asked.start == "20251104T12" else None

    simulator.rule = rule
    assert exports.error(EXPORT_WINDOW_HOURS="12", EXPORT_MAX_ATTEMPTS="2").type == "AmplitudeUnavailable"
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()


def test_the_wait_that_amplitude_asks_for_is_kept(
    simulator: Simulator, exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.fail(too_many_requests(1), Fault(status=503, headers={"Retry-After": "0"}), too_many_requests("soon"))
    started = datetime.now(UTC)
    exports.run()
    waits = [line["wait_seconds"] for line in log_events(caplog, "window_retry")]
    assert waits[:2] == [1, 0]
    assert 0 < waits[2] <= 0.08, "what says nothing sensible leaves it to the settings"
    assert datetime.now(UTC) - started >= timedelta(seconds=1)


def test_the_date_that_amplitude_asks_to_wait_for_is_kept(
    simulator: Simulator, exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2025, 11, 5, 3, 30, tzinfo=UTC)
    in_a_second = format_datetime(now + timedelta(seconds=1), usegmt=True)
    simulator.fail(too_many_requests(in_a_second), too_many_requests("Tue, 04 Nov 2025 00:00:00 GMT"))
    exports.run(clock=lambda: now)
    assert [line["wait_seconds"] for line in log_events(caplog, "window_retry")] == [1, 0]


@pytest.mark.parametrize("asked", ["601", "100000000000", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_too_long_ends_the_try(
    simulator: Simulator, exports: Exports, reader: Reader, asked: str, status: int
) -> None:
    now = datetime(2025, 11, 5, 3, 30, tzinfo=UTC)
    header = format_datetime(now + timedelta(hours=1), usegmt=True) if asked == "date" else asked
    simulator.rule = lambda _: Fault(status=status, headers={"Retry-After": header})
    error = exports.error(clock=lambda: now)
    assert isinstance(error, AmplitudeUnavailable)
    assert f"asks to wait {3600 if asked == 'date' else asked} seconds" in str(error)
    assert len(simulator.requests) == 1
    assert reader.outcome(DAY) == ("failed", "AmplitudeUnavailable")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_follow_no_redirect(simulator: Simulator, exports: Exports, reader: Reader, status: int) -> None:
    """Neither they nor the request: another host hears nothing at all."""
    with Simulator(keys=simulator.keys) as other:
        simulator.fail(redirect(other.url, status), redirect(simulator.url, status))
        for _ in range(2):
            assert exports.error().type == "UnexpectedAnswer"
        assert other.requests == []
    assert len(simulator.requests) == 2
    assert reader.manifest(DAY) is None


def test_an_untrusted_certificate_gets_no_credentials(
    simulator: Simulator, exports: Exports, reader: Reader, tmp_path: Path
) -> None:
    pem = tmp_path / "server.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    with Simulator(keys=simulator.keys, certificate=pem) as impostor:
        error = exports.error(AMP_EXPORT_URL=impostor.url, EXPORT_MAX_ATTEMPTS="2")
        assert impostor.requests == []
    assert isinstance(error, AmplitudeUnavailable)
    assert "certificate not trusted" in str(error)
    assert reader.outcome(DAY) == ("failed", "AmplitudeUnavailable")


def test_a_certificate_for_another_name_gets_no_credentials(
    simulator: Simulator, exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    pem, root = tmp_path / "server.pem", tmp_path / "root.pem"
    authority.issue_cert("analytics.eu.amplitude.com").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(root)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(root))
    with Simulator(keys=simulator.keys, certificate=pem) as impostor:
        error = exports.error(AMP_EXPORT_URL=impostor.url, EXPORT_MAX_ATTEMPTS="1")
        assert impostor.requests == []
    assert "certificate not trusted" in str(error)


def test_tls_where_there_is_none(simulator: Simulator, exports: Exports) -> None:
    error = exports.error(AMP_EXPORT_URL=simulator.url.replace("http:", "https:"), EXPORT_MAX_ATTEMPTS="1")
    assert isinstance(error, AmplitudeUnavailable)
    assert simulator.requests == []


@pytest.mark.usefixtures("azurite")  # the command line is a process of its own
def test_a_refused_connection_exits_with_1_and_says_so(exports: Exports, reader: Reader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api/2/export"
    done = exports.cli("export", str(DAY), AMP_EXPORT_URL=url, EXPORT_MAX_ATTEMPTS="2")
    assert done.returncode == 1
    assert done.stderr.startswith("AmplitudeUnavailable: ")
    assert "could not be reached" in done.stderr
    assert "Attempts: 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert reader.outcome(DAY) == ("failed", "AmplitudeUnavailable")


def test_a_message_waits_for_better_times_and_ends_at_a_refusal(
    simulator: Simulator, exports: Exports, reader: Reader
) -> None:
    """A transient error leaves the run queued, for its message comes back; a permanent one ends both."""
    simulator.rule = lambda _: Fault(status=500)
    error = exports.deliver(run_id="first", EXPORT_MAX_ATTEMPTS="1")
    assert isinstance(error, AmplitudeUnavailable)
    assert reader.outcome(DAY) == ("queued", "AmplitudeUnavailable")

    simulator.rule = lambda _: Fault(status=403)
    assert exports.deliver(run_id="first") is None
    assert reader.outcome(DAY) == ("failed", "BadCredentials")
    assert reader.manifest(DAY) is None

    simulator.rule = lambda _: None
    assert exports.deliver(run_id="") is None
    assert reader.outcome(DAY) == ("complete", None)
    assert reader.files(DAY) == simulator.member_bytes(DAY)


@pytest.mark.parametrize(
    "text", ["", "no JSON", "[]", "null", "{}", '{"date": 20251104}', '{"date": "2025-11-31"}', "[" * 60_000]
)
def test_a_message_that_asks_for_nothing_is_invalid(text: str) -> None:
    with pytest.raises(InvalidMessage):
        Order.from_message(text)


def test_over_http_a_refusal_is_a_state_and_no_error_of_the_answer(
    host: FunctionsHost, simulator: Simulator, reader: Reader
) -> None:
    simulator.fail(Fault(status=403, body=b'{"error":"Invalid API Key"}'))
    assert call(host, "POST").status_code == 202
    host.wait_for(lambda line: "run_failed" in line, 60)
    answer = call(host, "GET")
    assert (answer.status_code, answer.json()["status"], answer.json()["manifest"]) == (200, "failed", None)
    assert answer.json()["error"]["type"] == "BadCredentials"
    assert "Invalid API Key" in answer.json()["error"]["message"]
    assert reader.manifest(DAY) is None
