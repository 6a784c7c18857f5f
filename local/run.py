"""`make run`: the whole way of a day on this machine, from an HTTP call to what landed."""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import requests
from azure.storage.blob import ContainerClient
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.progress import PLAIN_SECONDS
from cli.settings import find_settings
from local.azurite import DEFAULT_PORTS, Azurite
from local.host import FunctionsHost
from local.simulator import Simulator
from shared.dates import newest_complete_day
from shared.runs.runs import utc_now

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_CHARACTERS = 400
FOLLOW_SECONDS = 1800
_MADE_UP = ("", "simulator")


def main(arguments: Sequence[str]) -> int:
    """`python -m local run`. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local run", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save the output as an SVG file")
    options = parser.parse_args(arguments)
    console = Console(highlight=False, record=options.picture is not None, width=100 if options.picture else None)
    code = run(console, stay=options.stay)
    if options.picture:
        # Without the font that the format would have a reader's browser fetch.
        svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make run"), flags=re.DOTALL)
        options.picture.write_text(svg, encoding="utf-8")
    return code


def run(console: Console, *, stay: bool) -> int:
    """Start everything, export the newest complete day over HTTP, and show what landed. Returns the exit code."""
    day = newest_complete_day(utc_now())
    with ExitStack() as stack:
        environ = _environment(stack, console)
        url, key = stack.enter_context(_host(environ, console))
        manifest = _export(console, url, key, day)
        if manifest is None:
            return 1
        _show(console, manifest, environ)
        page = f"{url}/api/exports?code={key}"
        if stay:
            console.print(f"\nIs the data complete? {page}\nCtrl-C ends everything.", soft_wrap=True)
            return _watch(console, url)
        console.print("\n`make run STAY=1` keeps it running, with a page of what has landed.")
    return 0


def _environment(stack: ExitStack, console: Console) -> dict[str, str]:
    """The app's settings, with emulator and simulator where no real keys and no other storage are set."""
    environ = find_settings(ROOT)
    ports = DEFAULT_PORTS if all(_free(port) for port in DEFAULT_PORTS) else (0, 0, 0)
    azurite = stack.enter_context(Azurite(ROOT / ".run" / "azurite", ports=ports))
    console.print(f"Storage   the emulator Azurite, {azurite.blob_url} (data in .run/azurite)")
    environ |= {"AzureWebJobsStorage": azurite.connection_string, "EXPORT_STORAGE": azurite.connection_string}
    environ.pop("EXPORT_STORAGE__blobServiceUri", None)
    if environ.get("AMP_API_KEY", "") in _MADE_UP:
        simulator = stack.enter_context(Simulator(events_per_hour=400, empty_hours={3, 4}))
        environ |= {"AMP_API_KEY": "simulator", "AMP_SECRET_KEY": "simulator", "AMP_EXPORT_URL": simulator.url}
        console.print(f"Amplitude a simulator of its Export API, {simulator.url} (set AMP_API_KEY for the real one)")
    else:
        console.print("Amplitude the real Export API, with the keys that are set")
    return environ


@contextmanager
def _host(environ: dict[str, str], console: Console) -> Iterator[tuple[str, str]]:
    """A host that runs `function_app.py`: its URL and its key."""
    if shutil.which("func"):
        console.print("Host      Azure Functions Core Tools (func start)")
        with _core_tools(environ) as url:
            yield url, ""
        return
    console.print("Host      Microsoft's Python worker library: there is no `func` (Core Tools) on the PATH")
    key = secrets.token_urlsafe(16)
    storage = environ.pop("AzureWebJobsStorage")
    with FunctionsHost(app_dir=ROOT, connection_string=storage, environ=environ, key=key) as host:
        yield host.url, key


@contextmanager
def _core_tools(environ: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = ROOT / ".run" / "func.log"
    with log.open("wb") as output:
        # The virtual environment's Python has to be the first on the PATH: Core Tools starts the worker with it.
        path = f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', '')}"
        process = subprocess.Popen(  # noqa: S603 - what `shutil.which` found
            ["func", "start", "--port", str(port)],  # noqa: S607 - as above
            cwd=ROOT,
            env={**environ, "PATH": path, "FUNCTIONS_WORKER_RUNTIME": "python"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/exports", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(180):
        if process.poll() is not None:
            break
        try:
            requests.get(url, timeout=5)
        except requests.RequestException:
            time.sleep(1)
        else:
            return
    raise SystemExit(f"Core Tools did not come up. What they said last:\n{log.read_text(errors='replace')[-3000:]}")


def _export(console: Console, url: str, key: str, day: date) -> dict[str, Any] | None:
    """Ask for a day over HTTP and follow it. Returns its manifest, or None where it failed."""
    headers = {"x-functions-key": key}
    console.print(f"\nPOST {url}/api/exports/{day}")
    answer = requests.post(f"{url}/api/exports/{day}", headers=headers, timeout=60)
    if not answer.ok:
        console.print(f"{answer.status_code}: {answer.text}", style="red", markup=False)
        return None
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        return _follow(console, bar, answer.json()["status_url"], headers)


def _follow(console: Console, bar: Progress, url: str, headers: dict[str, str]) -> dict[str, Any] | None:
    """Show how far the run is, to its end. Returns its manifest, or None where it failed."""
    task = bar.add_task("queued", total=None)
    next_line = time.monotonic() + PLAIN_SECONDS
    for _ in range(FOLLOW_SECONDS * 2):
        status = requests.get(url, headers=headers, timeout=60).json()
        so_far = f"{status['status']} {(status['progress'] or {}).get('bytes', 0) / 1e6:,.1f} MB"
        bar.update(task, description=so_far)
        if not console.is_terminal and time.monotonic() >= next_line:
            next_line += PLAIN_SECONDS
            console.print(so_far)
        if status["status"] == "complete":
            manifest: dict[str, Any] = status["manifest"]
            return manifest
        if status["status"] == "failed" or (status["status"] == "queued" and status["error"]):
            console.print(f"{status['error']['type']}: {status['error']['message']}", style="red", markup=False)
            return None
        time.sleep(0.5)
    console.print(f"Still not done after {FOLLOW_SECONDS // 60} minutes: {url}", style="red")
    return None


def _show(console: Console, manifest: dict[str, Any], environ: dict[str, str]) -> None:
    totals, container = manifest["totals"], environ.get("EXPORT_CONTAINER") or "amplitude-events"
    prefix = environ.get("EXPORT_PREFIX", "")
    folder = f"{prefix}events/date={manifest['date']}/"
    table = Table(title=f"What landed in {container}, {folder}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("blob", no_wrap=True)
    table.add_column("events", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("sha256", no_wrap=True)
    for file in manifest["files"]:
        name = file["name"].removeprefix(folder)
        table.add_row(name, f"{file['events']:,}", f"{file['bytes']:,}", file["sha256"][:6])
    table.add_section()
    table.add_row(f"{totals['files']} files", f"{totals['events']:,}", f"{totals['bytes']:,}", "")
    console.print(table)
    if manifest["empty_hours"]:
        console.print(f"Hours without events: {', '.join(map(str, manifest['empty_hours']))}")
    if manifest["files"]:
        with ContainerClient.from_connection_string(environ["EXPORT_STORAGE"], container) as client:
            first = client.download_blob(manifest["files"][0]["name"], offset=0, length=SAMPLE_CHARACTERS).readall()
        console.print("\nThe first event begins:")
        console.print(first.decode(errors="replace").partition("\n")[0] + " ...", markup=False, soft_wrap=True)
    console.print(f"\n{prefix}manifests/date={manifest['date']}.json says what the day holds; the day is whole.")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _watch(console: Console, url: str) -> int:
    """Wait for Ctrl-C, or for the end of the host, which is said."""
    try:
        while True:
            time.sleep(2)
            requests.get(url, timeout=30)
    except KeyboardInterrupt:
        return 0
    except requests.RequestException:
        console.print("The host has ended by itself.", style="red")
        return 1
