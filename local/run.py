"""`make run`: exports a day on this machine, from the HTTP call to the landed files, and shows them.

With `--stay` it exports a week, and keeps the page open. A simulated week has typical days (empty, failed, low).
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import requests
from azure.storage.blob import ContainerClient
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cli.progress import ExportProgress
from cli.settings import find_settings
from local.azurite import DEFAULT_PORTS, KEY, Azurite, AzuriteError, FolderInUse
from local.host import FunctionsHost
from local.simulator import EVENTS_PER_HOUR, Fault, Simulator
from local.simulator.answers import Asked
from shared.dates import DAY, HOURS, newest_complete_day
from shared.export.fetch import Progress
from shared.runs.runs import utc_now

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / ".run"
SAMPLE_CHARACTERS = 400
FOLLOW_SECONDS = 7200
EVENT_BYTES = 2000
"""The average size of a simulated event."""
DISTINCT_EVENTS = 2000
_MADE_UP = ("", "simulator")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@dataclass(frozen=True, slots=True)
class Host:
    """A running Functions host. `key` is empty if the host needs none."""

    url: str
    key: str

    def request(self, method: str, path: str) -> requests.Response:
        """Call a route, such as `/2025-11-04`."""
        return requests.request(
            method, f"{self.url}/api/exports{path}", headers={"x-functions-key": self.key}, timeout=60
        )


def main(arguments: Sequence[str]) -> int:
    """`python -m local run`. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local run", description=__doc__)
    parser.add_argument("--stay", action="store_true", help="export a week, and keep everything running until Ctrl-C")
    parser.add_argument("--size", type=_bytes, metavar="SIZE", help="bytes of a simulated day, such as 500MB or 2GB")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="save the output as an SVG file")
    options = parser.parse_args(arguments)
    os.umask(0o077)  # what lands and what is logged is for this user only
    console = Console(highlight=False, record=options.picture is not None, width=100 if options.picture else None)
    try:
        code = run(console, stay=options.stay, size=options.size)
    except AzuriteError as error:
        console.print(f"{error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.picture:
        # Without the font that a reader's browser would otherwise download.
        svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make run"), flags=re.DOTALL)
        options.picture.write_text(svg, encoding="utf-8")
    return code


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMG]?)B?", text, re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 500MB or 2GB")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def run(console: Console, *, stay: bool, size: int | None = None) -> int:
    """Start everything, export the newest complete day over HTTP, and show what landed. Returns the exit code."""
    _no_proxy_for_loopback()
    day = newest_complete_day(utc_now())
    first = day - 6 * DAY if stay else day
    with ExitStack() as stack:
        environ, simulated = _environment(stack, console, day, size)
        host = stack.enter_context(_host(environ, console))
        manifest = _export(console, host, first, day, replace=simulated)
        if manifest is not None:
            _show(console, manifest, environ)
        if not stay:
            console.print("\n`make run STAY=1` exports a week, and keeps a page open that shows what has landed.")
            return 0 if manifest is not None else 1
        settings = RUN / f"settings-{host.url.rpartition(':')[2]}.env"
        stack.callback(settings.unlink, missing_ok=True)
        _invite(console, host, environ, day, settings)
        return _watch(console, host)


def _no_proxy_for_loopback() -> None:
    """Requests to this machine use no proxy, even if the environment names one."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost,::1")))


def _environment(stack: ExitStack, console: Console, day: date, size: int | None) -> tuple[dict[str, str], bool]:
    """The app's settings, and whether Amplitude is simulated. It is, unless real keys are set."""
    environ = find_settings(ROOT)
    simulated = environ.get("AMP_API_KEY", "") in _MADE_UP
    # Real events need another account key: with the emulator's public key, any page in a browser could read them.
    account_key = KEY if simulated else _own_key(RUN / "azurite-real.key")
    azurite = open_emulator(stack, console, RUN / ("azurite" if simulated else "azurite-real"), account_key)
    environ |= {"AzureWebJobsStorage": azurite.connection_string, "EXPORT_STORAGE": azurite.connection_string}
    environ.pop("EXPORT_STORAGE__blobServiceUri", None)
    if simulated:
        simulator = stack.enter_context(_simulator(day, size))
        environ |= {"AMP_API_KEY": "simulator", "AMP_SECRET_KEY": "simulator", "AMP_EXPORT_URL": simulator.url}
        console.print(f"Amplitude a simulator of the Export API, {simulator.url} (set AMP_API_KEY to use the real one)")
    else:
        console.print("Amplitude the real Export API, with the keys that are set")
    return environ, simulated


def open_emulator(stack: ExitStack, console: Console, folder: Path, account_key: str) -> Azurite:
    """The storage emulator. If another one is running, this one uses other ports and its own folder."""
    ports = DEFAULT_PORTS if all(_free(port) for port in DEFAULT_PORTS) else (0, 0, 0)
    try:
        azurite = stack.enter_context(Azurite(folder, ports=ports, account_key=account_key))
    except FolderInUse:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="azurite-", dir=folder.parent)))
        azurite = stack.enter_context(Azurite(folder, account_key=account_key))
    console.print(f"Storage   the emulator Azurite, {azurite.blob_url} (data in {os.path.relpath(folder, ROOT)})")
    return azurite


def _own_key(file: Path) -> str:
    """A random account key that only this user can read. It stays the same in later runs."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
            output.write(secrets.token_hex(32))  # hexadecimal digits are base64 as well
    return file.read_text()


def _simulator(day: date, size: int | None) -> Simulator:
    """A project whose week up to `day` has an empty day, a failed one, and one with few events (with `size`: none)."""
    events = EVENTS_PER_HOUR if size is None else max(size // EVENT_BYTES // HOURS, 1)
    simulator = Simulator(events_per_hour=events, distinct_events=DISTINCT_EVENTS, empty_hours={3, 4})
    simulator.forget(day - 4 * DAY)
    few = simulator.member_bytes(day - 2 * DAY) if size is None else {}
    simulator.set_day(day - 2 * DAY, {file: raw for file, raw in few.items() if file[0] in range(8, 12)})
    refused = f"{day - 3 * DAY:%Y%m%d}"

    def rule(asked: Asked) -> Fault | None:
        return Fault(status=400, body=b"Bad request: invalid time range") if refused in str(asked.start) else None

    simulator.rule = rule
    return simulator


@contextmanager
def _host(environ: dict[str, str], console: Console) -> Iterator[Host]:
    """A host that runs `function_app.py`."""
    if shutil.which("func"):
        console.print("Host      Azure Functions Core Tools (func start)")
        with _core_tools(environ) as url:
            yield Host(url, "")
        return
    console.print("Host      Microsoft's Python worker library, because `func` (Core Tools) is not on the PATH")
    key = secrets.token_urlsafe(16)
    storage = environ["AzureWebJobsStorage"]
    with FunctionsHost(app_dir=ROOT, connection_string=storage, environ=environ, key=key) as host:
        yield Host(host.url, key)


@contextmanager
def _core_tools(environ: dict[str, str]) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = ROOT / ".run" / "func.log"
    with log.open("wb") as output:
        # The virtual environment's Python must be first on the PATH, because Core Tools starts the worker with it.
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
    raise SystemExit(f"Core Tools did not start. The end of their output:\n{log.read_text(errors='replace')[-3000:]}")


def _export(console: Console, host: Host, first: date, last: date, *, replace: bool) -> dict[str, Any] | None:
    """Request the days over HTTP and follow each run. Returns the manifest of the last day, or None if it failed.

    `replace`: accept fewer events, because an earlier run of the simulator may have made more.
    """
    query = f"/{last}" if first == last else f"?from={first}&to={last}"
    if replace:
        query += ("&" if "?" in query else "?") + "replace=true"
    console.print(f"\nPOST {host.url}/api/exports{query}")
    answer = host.request("POST", query)
    if not answer.ok:
        console.print(f"{answer.status_code}: {answer.text}", style="red", markup=False)
        return None
    manifest = None
    with ExportProgress(console) as shown:
        for queued in answer.json().get("runs", [answer.json()]):
            with shown.of(date.fromisoformat(queued["date"])):
                manifest = _follow(console, shown, host, queued["date"])
            if first != last:
                console.print(f"  {queued['date']} {manifest['status'] if manifest else 'failed'}")
    return manifest


def _follow(console: Console, shown: ExportProgress, host: Host, day: str) -> dict[str, Any] | None:
    """Follow the run of a day to its end. Returns its manifest, or None if it failed."""
    give_up = time.monotonic() + FOLLOW_SECONDS
    while time.monotonic() < give_up:
        status = host.request("GET", f"/{day}").json()
        if status["status"] in ("complete", "empty"):
            manifest: dict[str, Any] = status["manifest"]
            return manifest
        if status["status"] == "failed" or (status["status"] == "queued" and status["error"]):
            console.print(f"{status['error']['type']}: {status['error']['message']}", style="red", markup=False)
            return None
        if status["status"] == "running":
            shown.update(Progress(**(status["progress"] or {})))
        time.sleep(0.3)
    console.print(f"Still not done after {FOLLOW_SECONDS // 3600} hours: {host.url}/api/exports/{day}", style="red")
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
    console.print(f"\n{prefix}manifests/date={manifest['date']}.json lists these files: the day is complete.")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _invite(console: Console, host: Host, environ: Mapping[str, str], day: date, settings: Path) -> None:
    """Write the settings for a second terminal, print the commands for it, and open the page if it needs no key."""
    names = sorted(name for name in environ if name.startswith(("AMP_", "EXPORT_")))
    with os.fdopen(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        output.writelines(f"{name}={shlex.quote(environ[name])}\n" for name in names)
    page = f"{host.url}/api/exports" + (f"?code={host.key}" if host.key else "")
    console.print(
        f"\nIs the data complete? {page}\n\n"
        f"In a second terminal, in {ROOT}:\n"
        f"  set -a; . {settings.relative_to(ROOT)}; set +a    # use the settings of this run\n"
        "  .venv/bin/python -m local coverage            # what has landed\n"
        f"  .venv/bin/python -m local export {day} --replace\n"
        "  .venv/bin/python -m downstream.mirror landed  # copy it, then query it: docs/query.md\n\n"
        "Ctrl-C ends everything.",
        soft_wrap=True,
        markup=False,
    )
    # With a key, the address would be an argument of the browser, which every user of the machine can see.
    if console.is_terminal and not host.key and (sys.platform == "darwin" or os.environ.get("DISPLAY")):
        webbrowser.open(page)


def _watch(console: Console, host: Host) -> int:
    """Wait for Ctrl-C. If the host ends first, say so."""
    try:
        while True:
            time.sleep(2)
            requests.get(host.url, timeout=30)
    except KeyboardInterrupt:
        return 0
    except requests.RequestException:
        console.print("The host has stopped unexpectedly.", style="red")
        return 1
