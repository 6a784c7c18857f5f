"""Each fault as a client sees it, over real sockets."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime

import pytest
import requests

from local.simulator import Fault, Gate, Simulator, http_date, page, too_many_requests
from local.simulator.faults import parse

DAY = date(2025, 11, 4)
PARAMS = {"start": "20251104T00", "end": "20251104T23"}


def ask(simulator: Simulator, end: str = "20251104T23", timeout: float = 30) -> requests.Response:
    return requests.get(
        simulator.url, PARAMS | {"end": end}, auth=simulator.keys, timeout=timeout, allow_redirects=False
    )


def test_faults_are_taken_in_order_and_then_answers_are_good(simulator: Simulator) -> None:
    simulator.fail(Fault(status=503), None, too_many_requests(7))
    answers = [ask(simulator) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [503, 200, 429, 200]
    assert answers[2].headers["Retry-After"] == "7"
    assert [request.status for request in simulator.requests] == [503, 200, 429, 200]
    assert [request.start for request in simulator.requests] == ["20251104T00"] * 4


def test_a_rule_decides_by_what_is_asked(simulator: Simulator) -> None:
    simulator.rule = lambda asked: Fault(status=504) if asked.hours > 6 else None
    assert ask(simulator).status_code == 504
    assert ask(simulator, end="20251104T05").status_code == 200


def test_a_date_to_retry_after_lies_ahead() -> None:
    assert 50 < (parsedate_to_datetime(http_date(60)) - datetime.now(UTC)).total_seconds() <= 60


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_lets_through_just_the_bytes_before_it(simulator: Simulator, *, reset: bool) -> None:
    simulator.fail(Fault(cut=5000, reset=reset))
    received: list[bytes] = []
    with (
        requests.get(simulator.url, PARAMS, auth=simulator.keys, timeout=30, stream=True) as answer,
        pytest.raises(requests.RequestException),
    ):
        received.extend(answer.iter_content(100))
    assert b"".join(received) == b"".join(simulator.archive(DAY))[:5000]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_is_the_same_however_its_end_is_shown(simulator: Simulator, framing: str) -> None:
    simulator.fail(parse(framing) if framing != "length" else Fault())
    answer = ask(simulator)
    assert answer.content == b"".join(simulator.archive(DAY))
    assert ("Content-Length" in answer.headers) == (framing == "length")
    assert (answer.headers.get("Transfer-Encoding") == "chunked") == (framing == "chunked")


def test_a_cut_without_length_is_indistinguishable_from_an_end(simulator: Simulator) -> None:
    simulator.fail(Fault(cut=5000, framing="close"))
    assert ask(simulator).content == b"".join(simulator.archive(DAY))[:5000]


@pytest.mark.parametrize("position", [0, 12345, -1])
def test_a_flip_changes_one_bit(simulator: Simulator, position: int) -> None:
    good = b"".join(simulator.archive(DAY))
    simulator.fail(Fault(flip=position))
    bad = ask(simulator).content
    assert [n for n in range(len(good)) if good[n] != bad[n]] == [position % len(good)]
    assert (good[position] ^ bad[position]).bit_count() == 1


def test_stopping_ends_an_answer_that_is_held_up(simulator: Simulator) -> None:
    gate = Gate()
    simulator.fail(Fault(pause=gate, pause_at=0))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, simulator)
        gate.wait_until_reached()
        simulator.stop()
        with pytest.raises(requests.RequestException):
            answer.result()


def test_a_drip_brings_all_in_the_end(simulator: Simulator) -> None:
    simulator.fail(Fault(drip=0.001, drip_bytes=5000))
    assert ask(simulator).content == b"".join(simulator.archive(DAY))


def test_latency_precedes_each_answer(simulator: Simulator) -> None:
    simulator.latency = 30
    with pytest.raises(requests.ReadTimeout):
        ask(simulator, timeout=0.3)


def test_other_bodies_are_sent_as_they_are(simulator: Simulator) -> None:
    simulator.fail(page(), page('{"error":1}', "application/json"), Fault(body=b""), Fault(body=b"PK", status=400))
    answers = [ask(simulator) for _ in range(4)]
    assert [answer.headers["Content-Type"] for answer in answers[:2]] == ["text/html", "application/json"]
    found = [(answer.status_code, answer.content[:9]) for answer in answers]
    assert found == [(200, b"<!doctype"), (200, b'{"error":'), (200, b""), (400, b"PK")]


def test_a_fault_outside_the_body_fails_instead_of_not_happening() -> None:
    simulator = Simulator(events_per_hour=1).start()
    simulator.fail(Fault(cut=10**9))
    with pytest.raises(requests.ConnectionError):
        ask(simulator)
    with pytest.raises(ExceptionGroup) as caught:
        simulator.stop()
    assert "lies outside the body" in str(caught.value.exceptions[0])


def test_a_spelling_that_means_no_fault_is_refused() -> None:
    assert parse("reset:100") == Fault(cut=100, reset=True)
    assert parse("503") == Fault(status=503)
    for text in ("bogus", "cut:", "cut:x", "503:1"):
        with pytest.raises(ValueError, match="is none of"):
            parse(text)
