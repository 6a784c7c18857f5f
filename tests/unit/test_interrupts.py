"""Ctrl-C and SIGTERM in a process of its own: none gets lost, none shows a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = """
import os, signal, time, weakref
from cli.interrupts import handled, install, raise_at_once
from shared.errors import Interrupted
from shared.stop import check_stop, received
install()
"""
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
def test_a_signal_ends_a_command_that_only_reads_without_a_traceback(place: str, name: str) -> None:
    """In a finalizer, too, where Python would print an exception and go on."""
    done = run(IN_A_FINALIZER[place].format(send=SEND.format(name)) + "time.sleep(60)\n")
    assert (done.returncode, done.stderr) == (128 + getattr(signal, name), "")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("place", IN_A_FINALIZER)
def test_the_first_signal_changes_nothing_before_a_safe_point_and_a_second_ends_at_once(place: str, name: str) -> None:
    first = IN_A_FINALIZER[place].format(send=SEND.format(name))
    safe = "try: check_stop()\n except Interrupted: print('stopped', flush=True)\n"
    indented = "".join(f" {line}\n" for line in first.splitlines())
    done = run(f"with handled(received.append):\n{indented} print('going on')\n {safe} {SEND.format(name)}\n")
    assert (done.returncode, done.stdout) == (128 + getattr(signal, name), "going on\nstopped\n")
    assert done.stderr == ""


def test_commands_that_clean_up_by_themselves_get_an_exception() -> None:
    """Once: a second signal ends the process, whatever the first one began to clean up."""
    send = SEND.format("SIGINT")
    twice = f"try:\n  {send}\n except KeyboardInterrupt:\n  print('cleaning', flush=True)\n  {send}\n"
    done = run(f"with handled(raise_at_once):\n {twice}")
    assert (done.returncode, done.stdout) == (130, "cleaning\n")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """A background job does not end by the Ctrl-C that is meant for another."""
    ignore, send = "signal.signal(signal.SIGINT, signal.SIG_IGN)", SEND.format("SIGINT")
    done = run(f"{ignore}\ninstall()\n{send}\nwith handled(received.append): {send}\n{send}\nprint(received)\n")
    assert (done.returncode, done.stdout) == (0, "[]\n")
