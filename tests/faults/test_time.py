"""Midnight, summer time, leap days and clocks that jump: a day is a UTC day, and only a finished one is exported."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from cli import codes, coverage, export
from cli import main as cli
from cli.doctor import Doctor
from local.simulator import Asked, Fault, Simulator
from shared.app import open_app
from shared.dates import newest_complete_day
from shared.errors import InvalidDate, TransientError
from shared.runs.nightly import Nightly
from shared.runs.runs import Asked as AskedRun
from shared.settings import load_settings
from tests.doubles.memory import MemoryClient
from tests.faults.exports import DAY, Exports
from tests.faults.reader import Landed, Reader

pytestmark = pytest.mark.in_memory

BERLIN = ZoneInfo("Europe/Berlin")

Command = Callable[..., int]


@pytest.fixture
def command(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs the command line at a given time, on a laptop in Berlin; returns the exit code."""
    for name, value in {**environ, "TZ": "Europe/Berlin"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    time.tzset()

    def run(now: datetime, *arguments: str) -> int:
        for module in (export, coverage):
            monkeypatch.setattr(module, "utc_now", lambda: now.astimezone(UTC))
        return cli.main(list(arguments))

    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)
    monkeypatch.undo()
    time.tzset()


def berlin(*moment: int, fold: int = 0) -> datetime:
    """A wall clock's time in Berlin; `fold`: the second of an hour that comes twice."""
    return datetime(*moment, tzinfo=BERLIN, fold=fold)  # type: ignore[arg-type, misc]


YESTERDAYS = [
    (berlin(2026, 1, 1, 3, 0), date(2025, 12, 31)),
    (berlin(2026, 1, 1, 0, 59), date(2025, 12, 30)),
    (berlin(2024, 3, 1, 12, 0), date(2024, 2, 29)),
    (berlin(2024, 3, 2, 0, 30), date(2024, 2, 29)),
    (berlin(2025, 3, 1, 12, 0), date(2025, 2, 28)),
    # The night to 29 March 2026 skips the hour from 2:00 to 3:00.
    (berlin(2026, 3, 29, 0, 30), date(2026, 3, 27)),
    (berlin(2026, 3, 29, 4, 0), date(2026, 3, 28)),
    (berlin(2026, 3, 30, 1, 59), date(2026, 3, 28)),
    (berlin(2026, 3, 30, 4, 0), date(2026, 3, 29)),
    # The night to 25 October 2026 has it twice.
    (berlin(2026, 10, 25, 1, 30), date(2026, 10, 23)),
    (berlin(2026, 10, 25, 3, 0), date(2026, 10, 24)),
    (berlin(2026, 10, 26, 0, 30), date(2026, 10, 24)),
    (berlin(2026, 10, 26, 3, 0), date(2026, 10, 25)),
]


@pytest.mark.parametrize(("now", "yesterday"), YESTERDAYS, ids=str)
def test_yesterday_is_the_utc_day_with_all_its_hours(
    command: Command, simulator: Simulator, reader: Reader, now: datetime, yesterday: date
) -> None:
    files = {(hour, 0): b'{"hour":%d}\n' % hour for hour in range(24)}
    simulator.set_day(yesterday, files)
    assert command(now, "export", "yesterday") == codes.DONE
    assert [(asked.start, asked.end) for asked in simulator.requests] == [
        (f"{yesterday:%Y%m%d}T00", f"{yesterday:%Y%m%d}T23")
    ]
    assert reader.files(yesterday) == files


TOO_EARLY = [
    berlin(2025, 11, 5, 1, 0),
    berlin(2025, 11, 5, 1, 30),
    berlin(2025, 11, 5, 2, 59, 59),
    berlin(2026, 3, 29, 1, 59),
    berlin(2026, 3, 29, 3, 59),
    berlin(2026, 10, 25, 2, 30),
    berlin(2026, 10, 25, 2, 30, fold=1),
    datetime(2024, 3, 1, 0, 30, tzinfo=UTC),
]


@pytest.mark.parametrize("now", TOO_EARLY, ids=str)
def test_before_two_in_the_morning_yesterday_is_not_finished(
    command: Command, simulator: Simulator, reader: Reader, capsys: pytest.CaptureFixture[str], now: datetime
) -> None:
    """UTC, that is. The message says from when, and nothing at all is done."""
    assert command(now, "export", "yesterday") == codes.WRONG
    today = now.astimezone(UTC).date()
    said = " ".join(capsys.readouterr().err.split())
    assert f"InvalidDate: {today - timedelta(days=1)} is not complete yet" in said
    assert f"from {today}T02:00Z on" in said
    assert simulator.requests == []
    assert list(reader.everything()) == []


@pytest.mark.parametrize("day", ["2025-02-29", "2100-02-29", "2025-11-31", "04.11.2025", "2025-11-4", "", "today"])
def test_what_is_no_day_is_wrong(command: Command, capsys: pytest.CaptureFixture[str], day: str) -> None:
    assert command(datetime.now(UTC), "export", day) == codes.WRONG
    assert f"InvalidDate: {day!r} is not a date" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("days", [0, 1, 400])
def test_a_day_to_come_is_wrong(command: Command, capsys: pytest.CaptureFixture[str], days: int) -> None:
    now = datetime(2025, 11, 4, 12, tzinfo=UTC)
    assert command(now, "export", str(DAY + timedelta(days=days))) == codes.WRONG
    assert ("not complete yet" if days == 0 else "is in the future") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("now", "queued"),
    [
        ("2025-11-05T00:30:00", "2025-11-03"),
        ("2025-11-05T01:59:59", "2025-11-03"),
        ("2025-11-05T02:00:00", "2025-11-04"),
        ("2025-11-05T23:59:59", "2025-11-04"),
        ("2024-03-01T03:30:00", "2024-02-29"),
        ("2026-01-01T03:30:00", "2025-12-31"),
    ],
)
def test_the_timer_never_queues_an_unfinished_day(environ: dict[str, str], now: str, queued: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    with open_app(environ, clock=lambda: moment) as app:
        messages = Nightly(app.runs, app.container, app.settings).work()
    assert [json.loads(message)["date"] for message in messages] == [queued]


def test_an_unfinished_day_is_exported_by_no_way_in(
    environ: dict[str, str], exports: Exports, simulator: Simulator, reader: Reader
) -> None:
    """Nor by asking for it, nor by a message that somebody wrote, nor by a clock that went back since."""

    def early() -> datetime:
        return datetime(2025, 11, 5, 0, 30, tzinfo=UTC)

    with open_app(environ, clock=early) as app, pytest.raises(InvalidDate, match="2025-11-05T02:00Z"):
        app.runs.ask(DAY, "http")
    assert isinstance(exports.error(clock=early), InvalidDate)
    assert list(reader.everything()) == []
    assert exports.deliver(run_id="", clock=early) is None
    assert reader.outcome(DAY) == ("failed", "InvalidDate")
    assert simulator.requests == []
    assert reader.manifest(DAY) is None


@dataclass
class Jumping:
    """A clock that somebody sets anew while the second half of the day is asked for."""

    jump: timedelta
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        """The time that it shows."""
        return self.now

    def rule(self, asked: Asked) -> Fault | None:
        """A rule for the simulator."""
        if asked.start == "20251104T12":
            self.now += self.jump
        return None


BACK_AND_FORTH = [timedelta(hours=-3), timedelta(days=-1), timedelta(days=-3650), timedelta(hours=3)]


@pytest.mark.parametrize("jump", BACK_AND_FORTH, ids=str)
def test_a_clock_that_jumps_during_a_run_changes_nothing(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed, jump: timedelta
) -> None:
    """What is deleted or locked goes by the storage's clock."""
    clock = Jumping(jump)
    simulator.rule = clock.rule
    exports.run(clock=clock, EXPORT_WINDOW_HOURS="12")
    assert before != reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("complete", None)


def test_a_clock_that_jumps_beyond_a_tries_life_ends_the_try(
    simulator: Simulator, exports: Exports, reader: Reader, before: Landed
) -> None:
    """Like a laptop that slept for days: what the try has done may be swept by now. The next one lands."""
    clock = Jumping(timedelta(days=3650))
    simulator.rule = clock.rule
    error = exports.error(clock=clock, EXPORT_WINDOW_HOURS="12")
    assert isinstance(error, TransientError)
    assert reader.files(DAY) == before
    assert reader.unlisted(DAY) == set()
    assert reader.outcome(DAY) == ("failed", error.type)
    exports.run()
    assert before != reader.files(DAY) == simulator.member_bytes(DAY)
    assert reader.unlisted(DAY) == set()


def test_a_run_that_was_queued_by_a_fast_clock_is_not_queued_for_ever(environ: dict[str, str]) -> None:
    """The clock is set right in between: for an hour the run counts as on its way, then a new one takes its place."""
    fast = datetime(2025, 11, 6, 12, tzinfo=UTC)
    now = [fast]

    def ask() -> AskedRun:
        with open_app(environ, clock=lambda: now[0]) as app:
            return app.runs.ask(DAY, "http")

    first = ask()
    now[0] = fast - timedelta(hours=2)
    assert ask() == AskedRun(first.status, message="")
    now[0] = fast + timedelta(hours=1)
    assert ask().message


@pytest.mark.usefixtures("azurite")  # the command line is a process of its own
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_times_are_utc_wherever_the_laptop_is(
    exports: Exports, reader: Reader, simulator: Simulator, zone: str
) -> None:
    """A process of its own, whose local date may be another one."""
    began = datetime.now(UTC).replace(microsecond=0)
    done = exports.cli("export", str(DAY), "--json", TZ=zone)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    started, finished = (datetime.fromisoformat(manifest[key]) for key in ("started_at", "finished_at"))
    assert began <= started <= finished <= datetime.now(UTC)
    assert reader.files(DAY) == simulator.member_bytes(DAY)
    assert newest_complete_day(started) == newest_complete_day(began)


@pytest.mark.parametrize(("minutes", "outcome"), [(-6, "FAILED"), (-4, "ok"), (4, "ok"), (6, "FAILED")])
def test_the_doctor_wants_a_clock_within_five_minutes_of_the_storages(
    environ: dict[str, str], container: MemoryClient, minutes: int, outcome: str
) -> None:
    now, output = container.clock, io.StringIO()
    container.clock = lambda: now() + timedelta(minutes=minutes)
    Doctor(load_settings(environ), Console(file=output)).check_storage()
    assert f"{outcome:7} clock" in output.getvalue()
