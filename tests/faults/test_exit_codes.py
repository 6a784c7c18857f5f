"""The command line in a process of its own: exit codes, what goes to which stream, and Ctrl-C at any moment."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
import time

import pytest

from cli import main as cli
from local.simulator import Fault, Gate, Simulator, too_many_requests
from tests.faults.exports import DAY, Exports
from tests.faults.reader import Landed, Reader


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


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("export",),
        ("export", "2025-11-04", "--nonsense"),
        ("export", "2025-02-30"),
        ("export", "9999-12-31"),
        ("x",),
    ],
    ids=" ".join,
)
def test_2_is_wrong_usage_and_touches_nothing(
    simulator: Simulator, exports: Exports, reader: Reader, arguments: tuple[str, ...]
) -> None:
    done = exports.cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert simulator.requests == []
    assert list(reader.everything()) == []


CTRL_C, TERMINATE = (signal.SIGINT, 130), (signal.SIGTERM, 143)


def end(process: subprocess.Popen[str], signal_number: int) -> int:
    """Send a signal, and wait for the exit code as a shell shows it. No traceback is ever shown."""
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@pytest.mark.parametrize(("signal_number", "code"), [CTRL_C, TERMINATE], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("pause_at", [-1, 0, 1000])
def test_an_interrupted_run_is_failed_and_gives_its_lock_back(  # noqa: PLR0913 - all that a fault is seen by
    simulator: Simulator, exports: Exports, reader: Reader, pause_at: int, *, signal_number: int, code: int
) -> None:
    """The next run need not wait for a lease to run out, and nothing is left over."""
    gate = Gate()
    simulator.fail(Fault(pause=gate, pause_at=pause_at))
    with exports.start("export", str(DAY)) as process:
        gate.wait_until_reached()
        assert reader.is_locked(DAY)
        assert end(process, signal_number) == code
    assert not reader.is_locked(DAY)
    assert reader.outcome(DAY) == ("failed", "Interrupted")
    assert reader.manifest(DAY) is None
    assert reader.event_blobs(DAY) == set()
    exports.run()
    assert reader.files(DAY) == simulator.member_bytes(DAY)


def test_a_wait_between_two_tries_can_be_interrupted(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed
) -> None:
    simulator.fail(too_many_requests(300))
    with exports.start("export", str(DAY), "-v") as process:
        assert process.stderr
        while "window_retry" not in process.stderr.readline():
            pass
        assert end(process, signal.SIGINT) == cli.INTERRUPTED
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
            assert asked.wait(60)
            time.sleep(random.Random(seed).uniform(0, 0.08))  # noqa: S311 - a spread, no secret
            code = end(process, signal.SIGINT)
        status, error = reader.outcome(DAY)
        assert (code, status, error) in (
            (cli.INTERRUPTED, "failed", "Interrupted"),
            (cli.INTERRUPTED, "complete", None),
            (cli.DONE, "complete", None),
        )
        assert reader.files(DAY) == (sent if status == "complete" else landed)
        assert not reader.is_locked(DAY)
    exports.run()
    assert reader.unlisted(DAY) == set()


def test_ctrl_c_leaves_a_whole_day_or_none_at_any_moment(
    simulator: Simulator, exports: Exports, reader: Reader
) -> None:
    interrupt_anywhere(simulator, exports, reader, range(6))


@pytest.mark.soak
def test_ctrl_c_leaves_a_whole_day_or_none_at_many_moments(
    simulator: Simulator, exports: Exports, reader: Reader
) -> None:
    interrupt_anywhere(simulator, exports, reader, range(6, 206))
