"""The command line in a process of its own: exit codes, what goes to which stream, and Ctrl-C at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from datetime import timedelta

import pytest

from cli import codes
from local.simulator import Fault, Gate, Simulator, too_many_requests
from tests.faults import tries
from tests.faults.exports import DAY, Exports
from tests.faults.reader import Landed, Reader
from tests.forks import Forked


def test_0_is_a_landed_day(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    done = exports.cli("export", str(DAY), "--json", "-v")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == reader.manifest(DAY)
    assert "run_complete" in done.stderr
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.outcome(DAY) == ("complete", None)


def test_0_is_an_empty_day_too(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    simulator.forget(DAY)
    done = exports.cli("export", str(DAY))
    assert (done.returncode, done.stdout) == (0, "")
    assert "0 events in 0 files" in done.stderr
    assert reader.files(DAY) == {}


def test_1_is_a_failure_and_its_reason(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    simulator.fail(Fault(status=403))
    done = exports.cli("export", str(DAY), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("BadCredentials: ")
    assert done.stderr.count("\n") == 1
    assert reader.outcome(DAY) == ("failed", "BadCredentials")


def test_2_is_wrong_usage_and_touches_nothing(simulator: Simulator, exports: Exports, reader: Reader) -> None:
    done = exports.cli("export", "2025-02-30")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert simulator.requests == []
    assert list(reader.everything()) == []


def test_a_range_goes_on_past_a_failed_day_and_missing_skips_what_has_landed(
    simulator: Simulator, exports: Exports
) -> None:
    first, second, third = (DAY + timedelta(days=n) for n in range(3))
    simulator.rule = lambda asked: Fault(status=403) if f"{second:%Y%m%d}" in str(asked.start) else None
    span = ("--from", str(first), "--to", str(third))
    done = exports.cli("export", *span, "--json")
    assert done.returncode == 1
    assert [json.loads(line)["date"] for line in done.stdout.splitlines()] == [str(first), str(third)]
    assert f"{second} BadCredentials" in done.stderr
    assert "2 of 3 days exported" in done.stderr
    checked = exports.cli("coverage", *span, "--check", "--json")
    assert (checked.returncode, exports.cli("coverage", *span).returncode) == (1, 0), "only --check judges"
    assert [row["status"] for row in json.loads(checked.stdout)["days"]] == ["complete", "failed", "complete"]
    simulator.rule, asked_before = (lambda _: None), len(simulator.requests)
    assert exports.cli("export", *span, "--missing").returncode == 0
    assert {str(asked.start)[:8] for asked in simulator.requests[asked_before:]} == {f"{second:%Y%m%d}"}
    without_keys = Exports({name: text for name, text in exports.environ.items() if not name.startswith("AMP_")})
    assert without_keys.cli("coverage", *span, "--check").returncode == 0
    before = ("--from", str(first - timedelta(days=2)), "--to", str(third))
    checked = exports.cli("coverage", *before, "--check")
    assert (checked.returncode, checked.stdout.count("never requested")) == (1, 3), "two days, and the legend"
    assert "2 of them are before the first day that was ever requested" in checked.stderr


def test_a_closed_pipe_does_not_fail_a_landed_day(exports: Exports, reader: Reader) -> None:
    with exports.start("export", str(DAY), "--json") as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert reader.outcome(DAY) == ("complete", None)


class TestDoctor:
    """Each check says what to do; the probe blob is gone afterwards."""

    def test_0_where_all_is_well(self, exports: Exports, reader: Reader) -> None:
        done = exports.cli("doctor")
        assert done.returncode == 0, done.stderr
        for what in ("settings", "Amplitude", "storage", "clock"):
            assert f"ok      {what}" in done.stderr
        assert list(reader.everything()) == []

    def test_1_for_wrong_keys_and_the_other_checks_are_made(self, simulator: Simulator, exports: Exports) -> None:
        simulator.fail(Fault(status=403))
        done = exports.cli("doctor")
        assert done.returncode == 1
        assert "FAILED  Amplitude  BadCredentials" in done.stderr
        assert "AMP_DATA_REGION" in done.stderr
        assert "ok      storage" in done.stderr
        assert "1 check failed" in done.stderr

    def test_1_for_a_storage_that_is_not_there(self, exports: Exports) -> None:
        gone = "AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:9/a"  # pragma: allowlist secret
        with tries.command(exports.environ | {"EXPORT_STORAGE": gone}, "doctor", patches=tries.HURRIED) as attempt:
            code, output = attempt.end(), attempt.output()
        assert code == codes.FAILED
        assert "FAILED  storage" in output
        assert "clock" not in output

    def test_2_for_settings(self, exports: Exports) -> None:
        assert Exports(exports.environ | {"EXPORT_FORMAT": "xml"}).cli("doctor").returncode == 2


def end(process: subprocess.Popen[str] | Forked, signal_number: int) -> int:
    """Send a signal, and wait for the exit code as a shell shows it. No traceback is ever shown."""
    assert process.pid
    os.kill(process.pid, signal_number)
    _, err = process.communicate()
    assert "Traceback" not in err, err
    code = process.wait()
    return code if code >= 0 else 128 - code


@pytest.mark.parametrize(
    ("pause_at", "signal_number", "code"),
    [(-1, signal.SIGINT, 130), (0, signal.SIGTERM, 143), (1000, signal.SIGINT, 130)],
    ids=["before the answer, Ctrl-C", "at its headers, SIGTERM", "in the download, Ctrl-C"],
)
def test_an_interrupted_run_is_failed_and_gives_its_lock_back(  # noqa: PLR0913 - all that a fault is seen by
    simulator: Simulator, exports: Exports, reader: Reader, pause_at: int, *, signal_number: int, code: int
) -> None:
    """The next run need not wait for a lease to run out, and nothing is left over."""
    gate = Gate()
    simulator.fail(Fault(pause=gate, pause_at=pause_at))
    with exports.fork("export", str(DAY)) as process:
        gate.wait_until_reached()
        assert reader.is_locked(DAY)
        assert end(process, signal_number) == code
    assert not reader.is_locked(DAY)
    assert reader.outcome(DAY) == ("failed", "Interrupted")
    assert reader.manifest(DAY) is None
    assert reader.event_blobs(DAY) == set()
    exports.run()
    assert reader.files(DAY) == simulator.member_bytes(DAY)


@pytest.mark.parametrize("before", ["landed"], indirect=True)
def test_a_wait_between_two_tries_can_be_interrupted(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed
) -> None:
    """A range ends there, too: its other days are not asked for."""
    simulator.fail(too_many_requests(300))
    with exports.fork("export", "--from", str(DAY), "--to", str(DAY + timedelta(days=1)), "-v") as process:
        while "window_retry" not in process.stderr.readline():
            pass
        assert end(process, signal.SIGINT) == codes.INTERRUPTED
    assert len(simulator.requests) == 1
    assert not reader.is_locked(DAY)
    assert reader.outcome(DAY) == ("failed", "Interrupted")
    assert reader.files(DAY) == before


def interrupt_anywhere(simulator: Simulator, exports: Exports, reader: Reader, seeds: range) -> None:
    """Ctrl-C at moments of which some lie in the download, some in the commit, some behind the manifest."""
    for seed in seeds:
        asked = threading.Event()
        simulator.observe = lambda _, asked=asked: asked.set()  # type: ignore[misc]
        simulator.put(DAY, 11, 0, b'{"try":%d}\n' % seed * 300)
        landed, sent = reader.files(DAY), simulator.member_bytes(DAY)
        with exports.start("export", str(DAY)) as process:
            while not asked.wait(1):
                assert process.poll() is None, process.communicate()
            time.sleep(random.Random(seed).uniform(0, 0.08))  # noqa: S311 - a spread, no secret
            code = end(process, signal.SIGINT)
        status, error = reader.outcome(DAY)
        assert (code, status, error) in (
            (codes.INTERRUPTED, "failed", "Interrupted"),
            (codes.INTERRUPTED, "complete", None),
            (codes.DONE, "complete", None),
        )
        assert reader.files(DAY) == (sent if status == "complete" else landed)
        assert not reader.is_locked(DAY)
        assert reader.unlisted(DAY) == set()


def test_ctrl_c_leaves_a_whole_day_or_none_at_any_moment(
    simulator: Simulator, exports: Exports, reader: Reader
) -> None:
    interrupt_anywhere(simulator, exports, reader, range(2))


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_ctrl_c_leaves_a_whole_day_or_none_at_many_moments(
    simulator: Simulator, exports: Exports, reader: Reader
) -> None:
    interrupt_anywhere(simulator, exports, reader, range(2, 66))
