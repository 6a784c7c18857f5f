"""The Delta table in a folder, read back by other engines."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Barrier
from typing import Any

import duckdb
import polars as pl
import psutil
import pyarrow as pa
import pytest
import sqlglot
import yaml
from deltalake import DeltaTable, write_deltalake
from sqlglot import exp

from downstream.delta import EventsTable, Replaced, TableError, main
from downstream.event_rows import schema
from downstream.source import FolderSource
from shared.days.manifest import LandedFile, Manifest
from tests.downstream.conftest import ROOT
from tests.downstream.landed import TUESDAY, WEDNESDAY, Landed, hour_of_events

MONDAY = date(2025, 11, 3)
MORNING, NOON, EVENING = (hour_of_events(TUESDAY, hour, 5) for hour in (9, 12, 20))
GOOD = json.dumps({"uuid": "u", "event_type": "t", "event_id": 7, "event_time": "2025-11-04 09:00:00.000001"}).encode()


@pytest.fixture
def landed(tmp_path: Path) -> Landed:
    return Landed(tmp_path / "lan[d'ed", "web-")


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "table")


def update(target: str, source: Landed | FolderSource) -> list[Replaced | TableError]:
    if isinstance(source, Landed):
        source = FolderSource(source.folder, source.prefix)
    return list(EventsTable(target, dict, "web-").update(source))


def rows(target: str, query: str) -> list[tuple[Any, ...]]:
    """What DuckDB finds in the table `events`. Its times have no zone here: DuckDB wants an extension for that."""
    table = DeltaTable(target).to_pyarrow_table()
    without_zones = [f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in table.schema]
    with duckdb.connect() as connection:
        connection.register("events", table.cast(pa.schema(without_zones)))
        return connection.sql(query).fetchall()


def days(target: str) -> list[tuple[Any, ...]]:
    return rows(target, "select export_date, export_try, count(*) from events group by all order by all")


@pytest.mark.parametrize("odd", ["-1", "f" * 20, "0x10", " 1", "1_0", "", "A0000000", "٣" * 8, "zz", "1\n"])
def test_a_day_of_a_try_that_the_app_does_not_write_is_reported(landed: Landed, target: str, odd: str) -> None:
    landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    manifest = landed.export(MONDAY, {9: [MORNING]}, attempt="00000001") | {"try": odd}
    landed.manifest(MONDAY).write_text(json.dumps(manifest))
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000002")

    refused, replaced = update(target, landed)
    assert isinstance(refused, TableError)
    assert replaced == Replaced(TUESDAY, "00000002", 5, 0)


@pytest.mark.parametrize(
    "way", ["../" * 40 + "dev/zero", "../../web-events/x", "hour=09/..\\x", "/etc/hostname", "./x"]
)
def test_a_name_that_leads_elsewhere_is_not_followed(landed: Landed, target: str, way: str) -> None:
    manifest = landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    manifest["files"][0]["name"] = f"web-events/date={MONDAY}/{way}"
    landed.manifest(MONDAY).write_text(json.dumps(manifest))
    (refused,) = update(target, landed)
    assert "the name of a file" in str(refused)


def test_new_and_changed_days_come_expired_ones_go_and_others_stay(landed: Landed, target: str) -> None:
    landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    landed.export(TUESDAY, {9: [MORNING], 20: [EVENING]}, attempt="00000002", file_format="json.gz")
    landed.export(WEDNESDAY, {9: [MORNING]}, attempt="00000003")

    assert update(target, landed) == [
        Replaced(MONDAY, "00000001", 5, 0),
        Replaced(TUESDAY, "00000002", 10, 0),
        Replaced(WEDNESDAY, "00000003", 5, 0),
    ]
    before = DeltaTable(target)
    assert update(target, landed) == []

    landed.export(TUESDAY, {9: [MORNING], 12: [NOON], 20: [EVENING]}, attempt="ffffffff")
    landed.manifest(WEDNESDAY).unlink()
    assert update(target, landed) == [Replaced(TUESDAY, "ffffffff", 15, 0), Replaced(WEDNESDAY, None, 0, 0)]
    after = DeltaTable(target)

    assert days(target) == [(MONDAY, "00000001", 5), (TUESDAY, "ffffffff", 15)]
    assert after.version() == before.version() + 2
    untouched = [[uri for uri in table.file_uris() if str(MONDAY) in uri] for table in (before, after)]
    assert untouched[0] == untouched[1]
    assert rows(target, "select raw from events where export_try = 'ffffffff' order by blob, event_id") == [
        (line.decode(),) for hour in (MORNING, NOON, EVENING) for line in hour.splitlines()
    ]


def test_an_empty_day_is_recorded_once(landed: Landed, target: str) -> None:
    """A day that becomes empty loses its rows; one that was empty from the start is no change at the next run."""
    landed.export(MONDAY, {}, attempt="00000001")
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000002")
    update(target, landed)
    landed.export(TUESDAY, {}, attempt="00000003")

    assert update(target, landed) == [Replaced(TUESDAY, "00000003", 0, 0)]
    assert update(target, landed) == []
    assert days(target) == []


def test_a_day_of_two_tries_is_loaded_again(landed: Landed, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has added rows. Which try is listed first does not matter."""
    landed.export(WEDNESDAY, {}, attempt="00000003")
    update(target, landed)
    for day, *tries in (MONDAY, "00000001", "00000002"), (TUESDAY, "00000002", "00000001"):
        landed.export(day, {9: [MORNING]}, attempt="00000002")
        for each in tries:
            row = pa.table({"export_date": [day], "export_try": [each]})
            write_deltalake(target, row, mode="append", schema_mode="merge")

    monkeypatch.setattr(FolderSource, "days", lambda _: dict.fromkeys((MONDAY, TUESDAY), "00000002"))
    assert update(target, landed) == [Replaced(day, "00000002", 5, 0) for day in (MONDAY, TUESDAY)]


def test_an_expired_day_may_come_back(landed: Landed, target: str) -> None:
    landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000002")
    update(target, landed)
    manifest = landed.manifest(TUESDAY).read_bytes()
    landed.manifest(TUESDAY).unlink()
    update(target, landed)
    landed.manifest(TUESDAY).write_bytes(manifest)

    assert update(target, landed) == [Replaced(TUESDAY, "00000002", 5, 0)]


LINES = {
    **dict.fromkeys(
        (b'{"name":' + rest for rest in (b'"\\ud83d"}', b'"\\p"}', b'"a\tb"}', b'"a\0b"}', b"")), "not a JSON object"
    ),
    b"[1]": "not a JSON object",
    b'{"name":"\xff"}': "not UTF-8",
    b'{"uuid":"x","event_time":"2022:05:27 10:00:00","app":"none"}': "event_time, app",
    b'{"uuid":"x","event_time":"300000-01-01 10:00:00"}': "event_time",
    b'{"uuid":"x","event_time":"infinity"}': "event_time",
    b'{"event_type":"without uuid"}': None,
    b'{"uuid":"x","event_properties":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}": None,
    b' \t{"uuid":"x"} \r': None,
}
"""Lines that look odd, each with the problem that is told of it."""


def test_a_bad_line_stops_nothing(landed: Landed, target: str) -> None:
    """It is a row, so that a day has as many rows as its manifest has events."""
    landed.export(TUESDAY, {9: [b"\n".join([GOOD, *LINES, b" \t", GOOD])]}, attempt="00000001")

    problems = len(LINES) - list(LINES.values()).count(None)
    assert update(target, landed) == [Replaced(TUESDAY, "00000001", len(LINES) + 2, problems)]
    found = rows(target, "select raw, problem from events where event_id is null")
    assert Counter(found) == Counter((line.decode(errors="replace"), problem) for line, problem in LINES.items())
    assert rows(target, "select count(*), count(problem) from events where event_id = 7 and uuid = 'u'") == [(2, 0)]


@pytest.mark.parametrize("file_format", ["json", "json.gz"])
def test_a_damaged_file_fails_its_day_and_no_other(landed: Landed, target: str, file_format: str) -> None:
    landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    update(target, landed)
    damaged = landed.export(MONDAY, {9: [MORNING, EVENING]}, attempt="00000002", file_format=file_format)["files"][1]
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000003")
    stored = landed.folder / damaged["name"]
    stored.write_bytes(stored.read_bytes()[:-9])

    failed, done = update(target, landed)
    assert isinstance(failed, TableError)
    assert f"{MONDAY} was not changed" in str(failed)
    assert damaged["name"] in str(failed)
    assert done == Replaced(TUESDAY, "00000003", 5, 0)
    assert days(target) == [(MONDAY, "00000001", 5), (TUESDAY, "00000003", 5)]


def test_a_source_without_manifests_empties_no_table(landed: Landed, target: str) -> None:
    landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    update(target, landed)
    landed.manifest(MONDAY).unlink()

    with pytest.raises(TableError, match="EXPORT_PREFIX"):
        update(target, landed)
    assert days(target) == [(MONDAY, "00000001", 5)]


def test_a_table_of_something_else_is_left_alone(landed: Landed, target: str) -> None:
    landed.export(MONDAY, {9: [MORNING]}, attempt="00000001")
    write_deltalake(target, pa.table({"export_date": [MONDAY]}))

    with pytest.raises(TableError, match="another target"):
        update(target, landed)
    assert DeltaTable(target).version() == 0

    other = str(Path(target).with_name("other"))
    update(other, landed)
    with pytest.raises(TableError, match="EXPORT_PREFIX"):
        list(EventsTable(other, dict, "app-").update(FolderSource(landed.folder, "web-")))


class Interrupted(FolderSource):
    """A source in which something happens as soon as Tuesday's manifest is read, or once the first file is opened."""

    def __init__(self, landed: Landed, then: Callable[[], object], at: str = "file") -> None:
        super().__init__(landed.folder, landed.prefix)
        self._at, self._then = at, then

    def manifest(self, day: date) -> Manifest | None:
        manifest = super().manifest(day)
        if day == TUESDAY:
            self._interrupt("manifest")
        return manifest

    @contextmanager
    def open(self, file: LandedFile) -> Iterator[Iterator[bytes]]:
        self._interrupt("file")
        with super().open(file) as stored:
            yield stored

    def _interrupt(self, place: str) -> None:
        if place == self._at:
            self._at = ""
            with ThreadPoolExecutor(1) as other:  # a thread of delta-rs opens files, and cannot call it again
                other.submit(self._then).result()


def test_of_two_writers_at_the_same_day_one_commits(landed: Landed, target: str) -> None:
    """Each has opened the table before the other commits."""
    for day, attempt in ((MONDAY, "00000001"), (TUESDAY, "00000002")):
        landed.export(day, {9: [MORNING]}, attempt=attempt)
    barrier = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        sources = [Interrupted(landed, lambda: barrier.wait(60)) for _ in range(2)]
        outcomes = [outcome for each in pool.map(lambda source: update(target, source), sources) for outcome in each]

    assert sorted(outcomes, key=str) == [Replaced(MONDAY, "00000001", 5, 0), Replaced(TUESDAY, "00000002", 5, 0)]
    assert days(target) == [(MONDAY, "00000001", 5), (TUESDAY, "00000002", 5)]
    assert DeltaTable(target).version() == 2


def test_writers_that_begin_together_create_one_table(landed: Landed, tmp_path: Path) -> None:
    """The table's metadata, and so its id, is written once."""
    landed.export(MONDAY, {}, attempt="00000001")
    for number in range(5):
        target, barrier = str(tmp_path / f"table-{number}"), Barrier(3)

        def work(_: int, target: str = target, barrier: Barrier = barrier) -> None:
            barrier.wait(60)
            update(target, landed)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3)))
        log = [path.read_text() for path in sorted(Path(target, "_delta_log").glob("*.json"))]
        assert ["metaData" in entry for entry in log] == [True] + [False] * (len(log) - 1)


@pytest.mark.parametrize("at", ["manifest", "file"])
@pytest.mark.parametrize("newer", [{9: [EVENING]}, {}], ids=["with events", "empty"])
@pytest.mark.parametrize("held", [True, False], ids=["a day that is there", "a new day"])
def test_an_older_manifest_never_replaces_a_newer_one(
    landed: Landed, target: str, at: str, newer: dict[int, list[bytes]], *, held: bool
) -> None:
    """While a writer reads one export, another exports the day again and loads that."""
    landed.export(MONDAY, {}, attempt="00000001")
    if held:
        landed.export(TUESDAY, {9: [NOON]}, attempt="00000002")
    update(target, landed)
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000003")

    def overtake() -> None:
        landed.export(TUESDAY, newer, attempt="00000004")
        assert len(update(target, landed)) == 1

    assert update(target, Interrupted(landed, overtake, at)) == []
    assert days(target) == ([(TUESDAY, "00000004", 5)] if newer else [])


def test_a_day_whose_files_are_replaced_while_it_is_read_is_read_again(landed: Landed, target: str) -> None:
    old = landed.export(TUESDAY, {9: [MORNING], 20: [EVENING]}, attempt="00000001")["files"]

    def overtake() -> None:
        landed.export(TUESDAY, {9: [EVENING]}, attempt="00000002")
        for file in old:
            (landed.folder / file["name"]).unlink()

    assert update(target, Interrupted(landed, overtake)) == [Replaced(TUESDAY, "00000002", 5, 0)]


def test_a_listed_file_that_stays_away_is_an_error(landed: Landed, target: str) -> None:
    (file,) = landed.export(TUESDAY, {9: [MORNING]}, attempt="00000001")["files"]
    (landed.folder / file["name"]).unlink()

    (outcome,) = update(target, landed)
    assert isinstance(outcome, TableError)
    assert "overtaken 5 times" in str(outcome)


def test_every_engine_can_read_it(landed: Landed, target: str) -> None:
    """The table asks no more of a reader than the first version of the protocol, and its times have a zone."""
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000001")
    update(target, landed)

    protocol = DeltaTable(target).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    frame = pl.read_delta(target).sort("event_id")
    assert frame["raw"].to_list() == MORNING.decode().splitlines()
    assert frame["event_time"].dtype == pl.Datetime("us", "UTC")


def test_optimize_and_vacuum_keep_rows_but_no_leftover(landed: Landed, target: str, capsys: pytest.CaptureFixture[str],
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("EXPORT_PREFIX", landed.prefix)
    landed.export(TUESDAY, {9: [MORNING]}, attempt="00000001")
    command = [target, "--mirror", str(landed.folder)]
    left = Path(target, f"export_date={TUESDAY}", "part-of-a-killed-writer.parquet")
    left.parent.mkdir(parents=True)
    left.touch()
    os.utime(left, (0, 0))

    assert main([*command, "--optimize", "--vacuum"]) == 0
    assert not left.exists()
    assert capsys.readouterr().out == f"{TUESDAY}: 5 events of try 00000001\n"
    assert main(command) == 0
    assert capsys.readouterr().out == ""
    assert days(target) == [(TUESDAY, "00000001", 5)]


def test_the_command_names_the_day_that_failed(landed: Landed, target: str, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("EXPORT_PREFIX", landed.prefix)
    monkeypatch.chdir(landed.folder.parent)
    landed.export(TUESDAY, {9: [GOOD + b"\n{"]}, attempt="00000001")
    (file,) = landed.export(WEDNESDAY, {9: [MORNING]}, attempt="00000002")["files"]
    (landed.folder / file["name"]).write_bytes(EVENING)

    assert main([target, "--mirror", str(landed.folder)]) == 1
    said = capsys.readouterr()
    assert said.out == f"{TUESDAY}: 2 events of try 00000001, 1 of them with a problem\n"
    assert said.err.startswith(f"TableError: {WEDNESDAY} was not changed: TableError: {file['name']}")
    assert main([target]) == 2
    assert "EXPORT_STORAGE" in capsys.readouterr().err


@pytest.mark.parametrize("language", ["tsql", "databricks", "snowflake"])
def test_the_documented_statements_parse_and_name_columns_of_the_table(language: str) -> None:
    """OPENROWSET, which the parser does not know, is given to it as the name of a table."""
    found = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs/delta.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    for statement in found:
        parsed = sqlglot.parse_one(re.sub(r"OPENROWSET\([^)]*\)", "lake", statement), read=language)
        assert {column.name for column in parsed.find_all(exp.Column)} <= {*schema().names}


def test_the_documented_polars_query_runs(landed: Landed, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/delta.md").read_text(), re.MULTILINE | re.DOTALL)
    landed.export(TUESDAY, {9: [GOOD + b"\n{"]}, attempt="00000001")
    update(target, landed)
    Path(target).rename(Path(target).with_name("events"))
    monkeypatch.chdir(Path(target).parent)

    query = compile(code.strip().rpartition("\n")[2], "docs/delta.md", "eval")
    assert eval(query, {"polars": pl}).to_dicts() == [{"event_type": "t", "len": 1}]  # noqa: S307 - our own docs


def test_the_documented_schedules_are_whole_and_call_the_command_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command of cron, the workflow and the job gets past its options, as far as the settings that it has not."""
    docs = (ROOT / "docs/delta.md").read_text()
    (step,) = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```", docs, re.MULTILINE | re.DOTALL)[0])
    (job,) = re.findall(r"^az containerapp job create .*?^```", docs, re.MULTILINE | re.DOTALL)
    words = shlex.split(job.removesuffix("```").replace("\\\n", " "))
    passed = words[words.index("--args") + 1 : words.index("--env-vars")]
    _, *entry = json.loads(re.findall(r"`ENTRYPOINT (.*?)`", docs)[0])
    crons = re.findall(r"^(\S+ \S+ \S+ \S+ \S+) +cd \S+ && \.venv/bin/python (.*)$", docs, re.MULTILINE)
    times = [when for when, _ in crons] + [words[words.index("--cron-expression") + 1]]
    commands = [step["run"].removeprefix("python "), *(command for _, command in crons)]
    calls = [[*entry, *passed], *map(shlex.split, commands)]

    assert len(times) == 3
    assert not any(word.startswith("-") for word in passed), "az would take it for an option of its own"
    assert all(re.fullmatch(r"30 4 \* \* (\*|0|1-6)", when) for when in times)
    monkeypatch.chdir(tmp_path)
    for module, name, *arguments in calls:
        assert (module, name) == ("-m", "downstream.delta")
        assert main(arguments) == 2
        with pytest.raises(SystemExit):
            main([*arguments, "--no-such-option"])
    settings = {*step["env"], *(setting.partition("=")[0] for setting in words[words.index("--env-vars") + 1 :])}
    assert settings == {"EXPORT_STORAGE__blobServiceUri", "EXPORT_STORAGE__clientId"}


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_day(landed: Landed, target: str) -> None:
    """A day of about 1 GB is loaded in 400 MiB, besides the pages of files such as libraries: those can be dropped."""
    landed.export(TUESDAY, {h: [hour_of_events(TUESDAY, h, 20_000)] for h in range(24)}, attempt="00000001")
    command = [sys.executable, "-m", "downstream.delta", target, "--mirror", str(landed.folder)]
    peak = 0
    with psutil.Popen(
        command, cwd=ROOT, env=os.environ | {"EXPORT_PREFIX": "web-"}, stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            memory = process.memory_info()
            peak = max(peak, memory.rss - memory.shared)
            try:
                process.wait(0.02)
            except psutil.TimeoutExpired:
                continue
    assert process.returncode == 0
    assert peak < 400 * 1024 * 1024
