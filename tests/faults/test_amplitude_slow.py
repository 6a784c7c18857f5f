"""Answers that take too long, and days too large for one answer: asked for in parts, never more than needed."""

from __future__ import annotations

import pytest

from local.simulator import Asked, Fault, Simulator, too_many_requests
from shared.errors import AmplitudeUnavailable, ExportTooLarge
from tests.faults.exports import DAY, Exports, log_events
from tests.faults.reader import Landed, Reader

pytestmark = pytest.mark.in_memory

STALL = "0.25"
"""EXPORT_READ_TIMEOUT_SECONDS of these tests; a stall lasts a hundred times as long."""

TOO_SLOW = {
    "a stall before the status line": Fault(pause=30),
    "a stall before the first byte": Fault(pause=30, pause_at=0),
    "a stall in mid-body": Fault(pause=30, pause_at=500),
    "504": Fault(status=504),
}
TOO_LARGE = Fault(status=400, body=b'{"error":"The exported data is too large"}')


def hours_asked(simulator: Simulator) -> list[int]:
    return [request.hours for request in simulator.requests]


def beyond(hours: int, fault: Fault, simulator: Simulator) -> None:
    """Answer so whatever asks for more than so many hours."""

    def rule(asked: Asked) -> Fault | None:
        return fault if asked.hours > hours else None

    simulator.rule = rule


@pytest.mark.parametrize("kind", TOO_SLOW)
def test_what_is_too_slow_twice_is_asked_for_in_halves(
    simulator: Simulator, exports: Exports, reader: Reader, kind: str
) -> None:
    beyond(11, TOO_SLOW[kind], simulator)
    manifest = exports.run(EXPORT_READ_TIMEOUT_SECONDS=STALL)
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert hours_asked(simulator) == [24, 24, 12, 12, 6, 6, 6, 6]
    assert [(request.start[-2:], request.end[-2:]) for request in manifest.requests] == [
        ("00", "05"),
        ("06", "11"),
        ("12", "17"),
        ("18", "23"),
    ]
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("complete", None)
    assert reader.status(DAY)["max_window_hours"] == 6


def test_too_slow_once_is_just_tried_again(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """Only the second time in a row counts: what comes between shows that it was the moment, not the size."""
    simulator.fail(Fault(status=504), Fault(status=503), Fault(status=504), too_many_requests(0))
    manifest = exports.run()
    assert hours_asked(simulator) == [24] * 5
    assert [request.attempts for request in manifest.requests] == [5]
    assert reader.status(DAY)["max_window_hours"] == 24


def test_a_stall_and_a_504_are_two_in_a_row(simulator: Simulator, exports: Exports) -> None:
    simulator.fail(Fault(pause=30), Fault(status=504))
    exports.run(EXPORT_READ_TIMEOUT_SECONDS=STALL)
    assert hours_asked(simulator) == [24, 24, 12, 12]


def test_too_slow_at_the_last_try_is_halved_instead_of_given_up(simulator: Simulator, exports: Exports) -> None:
    simulator.fail(Fault(status=503), Fault(status=504))
    exports.run(EXPORT_MAX_ATTEMPTS="2")
    assert hours_asked(simulator) == [24, 24, 12, 12]


def test_with_one_attempt_each_slow_answer_halves(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    beyond(5, Fault(status=504), simulator)
    exports.run(EXPORT_MAX_ATTEMPTS="1")
    assert hours_asked(simulator) == [24, 12, 6, *[3] * 8]
    assert reader.files(DAY) == simulator.member_bytes(DAY)


@pytest.mark.parametrize("kind", ["a stall in mid-body", "504"])
def test_an_hour_that_is_too_slow_ends_the_try(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, kind: str
) -> None:
    beyond(0, TOO_SLOW[kind], simulator)
    error = exports.error(EXPORT_WINDOW_HOURS="1", EXPORT_MAX_ATTEMPTS="3", EXPORT_READ_TIMEOUT_SECONDS=STALL)
    assert isinstance(error, AmplitudeUnavailable)
    assert "Attempts: 3" in str(error)
    assert hours_asked(simulator) == [1, 1, 1]
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", "AmplitudeUnavailable")


@pytest.mark.parametrize("attempts", ["1", "5"])
def test_what_is_too_large_is_halved_at_once(
    simulator: Simulator, exports: Exports, reader: Reader, attempts: str
) -> None:
    """However few attempts there are: asking again for as much would be in vain."""
    beyond(3, TOO_LARGE, simulator)
    exports.run(EXPORT_MAX_ATTEMPTS=attempts)
    assert hours_asked(simulator) == [24, 12, 6, *[3] * 8]
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.outcome(DAY) == ("complete", None)


def test_an_odd_window_is_halved_into_whole_hours(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    beyond(2, TOO_LARGE, simulator)
    exports.run(EXPORT_WINDOW_HOURS="7")
    assert hours_asked(simulator)[:3] == [7, 4, 2]
    assert max(hours_asked(simulator)[3:]) == 2
    assert reader.files(DAY) == simulator.member_bytes(DAY)


@pytest.mark.parametrize("words", ["is too large", "EXCEEDS the limit", "more than 4GB", "over 4 gb"])
def test_an_hour_that_is_too_large_ends_the_run_for_good(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, words: str
) -> None:
    beyond(0, Fault(status=400, body=f"The export {words}.".encode()), simulator)
    error = exports.error()
    assert isinstance(error, ExportTooLarge)
    assert words in str(error)
    assert "empty project" in str(error), "the other cause that is known"
    assert hours_asked(simulator) == [24, 12, 6, 3, 2, 1]
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", "ExportTooLarge")
    assert reader.status(DAY)["max_window_hours"] == 1


def test_what_proved_too_large_is_never_asked_for_again(
    simulator: Simulator, exports: Exports, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by a later window of the day, nor by the next try, nor by a run that takes its place."""

    def rule(asked: Asked) -> Fault | None:
        return TOO_LARGE if asked.hours > 6 else Fault(status=500) if asked.start == "20251104T06" else None

    simulator.rule = rule
    assert exports.error(EXPORT_MAX_ATTEMPTS="3").type == "AmplitudeUnavailable"
    assert hours_asked(simulator) == [24, 12, 6, 6, 6, 6]
    assert [(line["start"][-2:], line["end"][-2:]) for line in log_events(caplog, "window_halved")] == [
        ("00", "23"),
        ("00", "11"),
    ]
    assert reader.status(DAY)["max_window_hours"] == 6

    beyond(6, TOO_LARGE, simulator)
    simulator.requests.clear()
    exports.run()
    assert hours_asked(simulator) == [6] * 4
    assert exports.deliver(run_id="") is None
    assert hours_asked(simulator) == [6] * 8
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_a_slow_drip_is_no_stall(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """What counts is the silence between two bytes, not the time that all of them take."""
    simulator.fail(Fault(drip=0.15, drip_bytes=200))
    manifest = exports.run(EXPORT_READ_TIMEOUT_SECONDS="1")
    (request,) = manifest.requests
    assert (request.attempts, request.seconds > 1) == (1, True)
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_a_day_in_halves_is_the_same_day(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    """Each file keeps its blob when the day comes in other windows."""
    exports.run()
    blobs = reader.event_blobs(DAY)
    simulator.largest = 1500
    manifest = exports.run()
    assert len(manifest.requests) > 1
    assert manifest.changes.unchanged == len(blobs)
    assert reader.event_blobs(DAY) == blobs
    assert reader.files(DAY) == simulator.member_bytes(DAY)
