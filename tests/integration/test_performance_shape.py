"""What an export costs, as ratios within one run: no absolute time or size says whether a test passes."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import requests

from bench.cold_start import libraries_beside_the_sdks
from bench.days import Volume
from bench.measure import Contender, open_bench
from local.simulator import Simulator
from shared.amplitude import Amplitude
from shared.archive.gunzip import PIECE_OUT
from shared.archive.members import Archive
from shared.dates import whole_day
from shared.http import Session
from shared.settings import load_settings
from shared.storage.uploader import BLOCK_BYTES, BYTES_IN_FLIGHT, Uploader

DAY = date(2025, 11, 4)
SECONDS = 60
"""Far longer than anything here takes; only a failing test waits so long."""


def test_small_files_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A whole export stages and commits many small files at once: far more than one after the other would be."""
    small = Contender("small files", "project.export", Volume(1_000_000, parts=4))
    with open_bench(tmp_path, [small.volume], sink_wait_seconds=0.2) as bench:
        bench.run(small)
        together = requests.get(
            f"https://127.0.0.1:{bench.sink.port}/together", verify=str(bench.certificates.authority), timeout=SECONDS
        ).json()
    assert min(together["block"], together["blocklist"]) >= 12


@pytest.mark.parametrize("size", [250_000_000, pytest.param(1_500_000_000, marks=pytest.mark.soak)])
def test_memory_does_not_grow_with_the_day(tmp_path: Path, size: int) -> None:
    """A day ten times as large takes no more than the bytes that may be in flight, which a small day may not fill."""
    small, large = (Contender(f"{n}", "project.export", Volume(n)) for n in (size // 10, size))
    with open_bench(tmp_path, [small.volume, large.volume], sink_wait_seconds=0.1) as bench:
        peaks = [bench.run(contender).peak_bytes for contender in (small, large)]
    assert peaks[1] <= peaks[0] + BYTES_IN_FLIGHT


def test_nobody_reads_ahead_of_a_storage_that_stands_still(simulator: Simulator) -> None:
    """What has been read of the archive and not landed is bounded, and the download waits."""
    events = b"{" + b"x" * 998 + b"\n"
    simulator.set_day(DAY, {(hour, 0): events * 10_000 for hour in range(12)})
    api_key, secret_key = simulator.keys
    environ = {
        "AMP_API_KEY": api_key,
        "AMP_SECRET_KEY": secret_key,
        "AMP_EXPORT_URL": simulator.url,
        "EXPORT_STORAGE": "UseDevelopmentStorage=true",
    }
    gate, all_out, read = threading.Event(), threading.Semaphore(0), [0]

    def stage(_: str, __: str, pieces: object) -> None:
        assert pieces
        all_out.release()
        assert gate.wait(SECONDS)

    def export(uploader: Uploader) -> None:
        with requests.Session() as session, Amplitude(session, load_settings(environ)).fetch(whole_day(DAY)) as answer:
            assert answer
            for member in Archive(answer.chunks, whole_day(DAY), compressed=False):
                file = uploader.upload(member.stem, "x-")
                for stored, content in member:
                    read[0] += len(content)
                    file.write(stored, content)
                file.finish()

    with Uploader(stage) as uploader:
        exporting = threading.Thread(target=export, args=(uploader,))
        exporting.start()
        for _ in range(BYTES_IN_FLIGHT // (BLOCK_BYTES + PIECE_OUT)):
            assert all_out.acquire(timeout=SECONDS)
        exporting.join(1)
        held = read[0]
        assert exporting.is_alive()
        assert held <= BYTES_IN_FLIGHT + BLOCK_BYTES + PIECE_OUT
        gate.set()
        exporting.join(SECONDS)
        assert not exporting.is_alive()
        uploader.settle()
    assert read[0] == 12 * len(events) * 10_000


def test_a_cold_start_waits_for_no_library_beside_the_sdks() -> None:
    """Others are imported only where they are used. How long it takes is a row of the benchmark."""
    assert libraries_beside_the_sdks() == set()


def test_connections_share_one_loaded_ca_bundle() -> None:
    """Those of all sessions: to Amplitude, to the storage and to the identity."""
    url = "https://storage.example/"
    adapters: list[Any] = [Session().get_adapter(url) for _ in range(2)]
    request = requests.Request("PUT", url).prepare()
    pools = [adapter.get_connection_with_tls_context(request, verify=True) for adapter in adapters]
    contexts = [pool.conn_kw["ssl_context"] for pool in pools]
    assert contexts[0].get_ca_certs()
    assert contexts[0] is contexts[1]
