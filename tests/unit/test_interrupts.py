"""Ctrl-C and SIGTERM in a process of its own: none gets lost, none shows a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = "import os, signal, sys, time, weakref\nfrom cli.interrupts import install\ninstall()\n"
SEND = "os.kill(os.getpid(), signal.{})"
IN_A_FINALIZER = {
    "del": "class Kept:\n def __del__(self): {send}; time.sleep(0.1)\nkept = Kept()\ndel kept\n",
    "weakref": "class Kept: pass\ndef gone():\n {send}\n time.sleep(0.1)\n"
    "kept = Kept()\nweakref.finalize(kept, gone)\ndel kept\n",
    "generator": "def kept():\n try:\n  yield\n finally:\n  {send}\n  time.sleep(0.1)\n"
    "made = kept()\nnext(made)\ndel made\n",
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", START + code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("place", IN_A_FINALIZER)
def test_a_signal_in_a_finalizer_ends_the_command_all_the_same(place: str, name: str) -> None:
    """Python prints such an exception and goes on; here the signal is delivered again."""
    body = IN_A_FINALIZER[place].format(send=SEND.format(name)) + "time.sleep(60)\n"
    indented = "".join(f" {line}\n" for line in body.splitlines())
    done = run(f"try:\n{indented}except KeyboardInterrupt:\n sys.exit(130)\n")
    assert (done.returncode, done.stderr) == (128 + getattr(signal, name), "")


def test_a_second_one_ends_the_process_at_once() -> None:
    """Whatever the first one began to clean up."""
    send = SEND.format("SIGINT")
    done = run(f"try:\n {send}\nexcept KeyboardInterrupt:\n {send}\n time.sleep(60)\n")
    assert (done.returncode, done.stderr) == (130, "")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """A background job does not end by the Ctrl-C that is meant for another."""
    done = run(f"signal.signal(signal.SIGINT, signal.SIG_IGN)\ninstall()\n{SEND.format('SIGINT')}\nprint('alive')\n")
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_other_errors_in_finalizers_are_still_shown() -> None:
    assert "ZeroDivisionError" in run("class Kept:\n def __del__(self): 1 / 0\nkept = Kept()\ndel kept\n").stderr
