"""What an export costs, as ratios within one run: no absolute time or size says whether a test passes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import requests

from bench import servers
from bench.cold_start import import_ratio
from bench.days import Volume
from bench.measure import Contender, open_bench
from local.simulator import Simulator
from shared.amplitude import Amplitude
from shared.app import App, open_app
from shared.archive.gunzip import PIECE_OUT
from shared.archive.members import Archive
from shared.dates import whole_day
from shared.runs.messages import Order
from shared.settings import load_settings
from shared.storage.uploader import BLOCK_BYTES, BYTES_IN_FLIGHT, Uploader

DAY = date(2025, 11, 4)
SECONDS = 60
"""Far longer than anything here takes; only a failing test waits so long."""
LATENCY_SECONDS = 0.03
HOURS, PARTS = 24, 8


@pytest.fixture
def slow_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """App settings for a storage that answers after 30 ms, and for a day of 24 x 8 small files."""
    certificates = servers.make_certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    with (
        Simulator(events_per_hour=40, parts=PARTS) as simulator,
        servers.running("bench.sink", [str(certificates.server), str(LATENCY_SECONDS)]) as sink,
    ):
        settings = servers.settings(sink, sink, certificates, "small-parts")
        api_key, secret_key = simulator.keys
        yield settings | {"AMP_EXPORT_URL": simulator.url, "AMP_API_KEY": api_key, "AMP_SECRET_KEY": secret_key}


def one_after_the_other(app: App, files: int) -> float:
    """Seconds for so many files, each staged and committed before the next."""
    started = time.monotonic()
    for n in range(files):
        app.container.stage(f"alone-{n}", "0", [b"x" * 1000])
        app.container.commit(f"alone-{n}", ["0"], "application/x-ndjson", {})
    return time.monotonic() - started


def test_small_parts_do_not_wait_for_each_other(slow_sink: dict[str, str]) -> None:
    """A whole export takes at most a fifth of what staging and committing its files in sequence would."""
    with open_app(slow_sink) as app:
        sample = HOURS * PARTS // 8
        before = one_after_the_other(app, sample)
        started = time.monotonic()
        manifest = app.runs.run_now(Order(DAY, trigger="cli"))
        taken = time.monotonic() - started
        in_sequence = (before + one_after_the_other(app, sample)) / 2 * len(manifest.files) / sample
    assert len(manifest.files) == HOURS * PARTS
    assert taken <= in_sequence / 5


def test_memory_does_not_grow_with_the_day(tmp_path: Path) -> None:
    """Ten times the day takes at most a block more.

    The storage answers slowly, so that both days fill what may be in flight; a quick one might not let the small day.
    """
    small, large = (Contender(f"{size}", "project.export", Volume(size)) for size in (150_000_000, 1_500_000_000))
    with open_bench(tmp_path, [small.volume, large.volume], sink_wait_seconds=0.1) as bench:
        peaks = [bench.run(contender).peak_bytes for contender in (small, large)]
    assert peaks[1] <= peaks[0] + BLOCK_BYTES


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


def test_a_cold_start_waits_for_the_sdks_and_little_more() -> None:
    """Heavy imports stand only where they are used."""
    assert import_ratio(5) <= 1.3
