"""The servers, each in its own process, with certificates that only this run trusts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi
import psutil
import trustme

from local.azurite import ACCOUNT, KEY

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its port and its process."""

    port: int
    process: psutil.Process

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time since its start."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What the servers show, and what the clients trust: the files of a certificate authority for one run."""

    server: Path
    authority: Path


def make_certificates(folder: Path) -> Certificates:
    """Write the files into a folder."""
    authority = trustme.CA()
    made = Certificates(folder / "server.pem", folder / "authority.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(made.server)
    # With the public authorities as well, because loading a real bundle takes 15 ms.
    made.authority.write_bytes(authority.cert_pem.bytes() + Path(certifi.where()).read_bytes())
    return made


@contextmanager
def running(module: str, arguments: Sequence[str]) -> Iterator[Server]:
    """Run a server module. It ends when this process ends, for any reason."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, and our own module
        [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        if process.stdout is None or process.stdin is None:
            raise AssertionError("both are pipes")
        yield Server(json.loads(process.stdout.readline())["port"], psutil.Process(process.pid))
        process.stdin.close()


def settings(archives: Server, sink: Server, certificates: Certificates, container: str) -> dict[str, str]:
    """The app settings for the two servers, and the CA bundle."""
    return {
        "AMP_API_KEY": "bench",
        "AMP_SECRET_KEY": "bench",
        "AMP_EXPORT_URL": f"https://127.0.0.1:{archives.port}/api/2/export",
        "EXPORT_STORAGE": f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=https://127.0.0.1:{sink.port}/{ACCOUNT};",
        "EXPORT_CONTAINER": container,
        "REQUESTS_CA_BUNDLE": str(certificates.authority),
    }
