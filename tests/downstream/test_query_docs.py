"""What docs/query.md says, run or, where the service is out of reach, parsed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from tests.downstream.conftest import ROOT
from tests.downstream.landed import TUESDAY, WEDNESDAY, Landed, hour_of_events

QUERY_MD = (ROOT / "docs/query.md").read_text()
OPENROWSET = re.compile(
    r"OPENROWSET\((?P<options>[^)]*)\)( WITH \((?P<columns>(?:[^()]|\([^()]*\))*)\))? AS (?P<alias>\w+)"
)


def blocks(language: str, containing: str = "") -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", QUERY_MD, re.MULTILINE | re.DOTALL)
    return [block for block in found if containing in block]


@pytest.fixture
def landed(tmp_path: Path) -> Landed:
    """Two days, one in each format, and the files of an export that has been replaced."""
    landed = Landed(tmp_path)
    landed.export(TUESDAY, {7: [hour_of_events(TUESDAY, 7, 9)]}, attempt="0dead000")
    landed.export(
        TUESDAY,
        {hour: [hour_of_events(TUESDAY, hour, 8), hour_of_events(TUESDAY, hour + 1, 4).rstrip()] for hour in (9, 20)},
        attempt="aaaaaaaa",
    )
    landed.export(WEDNESDAY, {3: [hour_of_events(WEDNESDAY, 3, 6)]}, attempt="bbbbbbbb", file_format="json.gz")
    return landed


def lines_of(day: date) -> list[bytes]:
    """The events that a day's manifest lists, in the order of its files."""
    if day == WEDNESDAY:
        return hour_of_events(day, 3, 6).splitlines()
    counts = {9: 8, 10: 4, 20: 8, 21: 4}
    return [line for hour, count in counts.items() for line in hour_of_events(day, hour, count).splitlines()]


def counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str | None, str | None]]:
    """What the documented DuckDB command finds in a folder: events by type and platform."""
    (command,) = blocks("sh", "duckdb <<'SQL'")
    monkeypatch.chdir(folder)
    with duckdb.connect() as database:
        rows = database.execute(command.removeprefix("duckdb <<'SQL'\n").removesuffix("SQL\n")).fetchall()
    return Counter({(event_type, platform): events for event_type, platform, events in rows})


def test_the_duckdb_command_counts_the_listed_events(landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = map(json.loads, lines_of(TUESDAY) + lines_of(WEDNESDAY))
    assert counted(landed.folder, monkeypatch) == Counter((event["event_type"], event["platform"]) for event in listed)


def test_the_duckdb_command_goes_on_past_what_is_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After many empty days, under a prefix that looks like a pattern, with a line of 40 MB; and with no file."""
    landed = Landed(tmp_path, "it's [web]*-")
    for number in range(40):
        landed.export(date(2025, 1, 1) + timedelta(days=number), {}, attempt="aaaaaaaa")
    (tmp_path / "manifests").symlink_to("it's [web]*-manifests")
    assert not counted(tmp_path, monkeypatch)

    huge = b'{"event_type":"huge","text":"%s"}\n' % (b"x" * 40_000_000)
    bad = [b'{"name":"\\ud83d"}\n', b'{"name":"\xff"}\n', b'{"a":1}{"a":2}\n', b" \n"]
    landed.export(TUESDAY, {9: [b"".join([huge, *bad, b'{"event_type":"last"}'])]}, attempt="aaaaaaaa")
    assert counted(tmp_path, monkeypatch) == {("not an event", None): 3, ("huge", None): 1, ("last", None): 1}


def test_the_one_liner_makes_an_array_of_a_day(landed: Landed) -> None:
    for day in (TUESDAY, WEDNESDAY):
        made = array_of(landed, day)
        assert made == b"[\n" + b",\n".join(lines_of(day)) + b"\n]\n"
        assert len(json.loads(made)) == len(lines_of(day))
    landed.export(TUESDAY, {}, attempt="cccccccc")
    assert json.loads(array_of(landed, TUESDAY)) == []


def array_of(landed: Landed, day: date) -> bytes:
    """Run the documented command for a day; returns the file that it makes."""
    (command,) = blocks("sh", "python3 -c")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(  # noqa: S603 - from our own docs
        ["/bin/bash", "-euo", "pipefail", "-c", command.replace(str(TUESDAY), str(day))],
        cwd=landed.folder, env={"PATH": path}, check=True,
    )  # fmt: skip
    return (landed.folder / f"{day}.json").read_bytes()


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [(dialect, block) for dialect in ("tsql", "databricks", "snowflake") for block in blocks(dialect)],
)
def test_statements_for_warehouses_parse(dialect: str, statement: str) -> None:
    """Each is understood as a query as a whole, and takes its files from the manifests."""
    parsed = sqlglot.parse_one(OPENROWSET.sub(r"rowset AS \g<alias>", statement), dialect=dialect)

    assert not list(parsed.find_all(exp.Command))
    assert parsed.find(exp.Select)
    assert "manifests/" in statement or "JOIN landed_files" in statement


def test_rowsets_have_known_options() -> None:
    """What sqlglot does not know: OPENROWSET. Its options are checked here against Microsoft's documentation."""
    known = {"BULK", "DATA_SOURCE", "FORMAT", "FIELDTERMINATOR", "FIELDQUOTE", "ROWTERMINATOR"}
    rowsets = [match for block in blocks("tsql") for match in OPENROWSET.finditer(block)]
    assert len(rowsets) == 3
    for rowset in rowsets:
        options = rowset["options"]
        assert re.fullmatch(r"\s*BULK '[^']+'(,\s+\w+ = '[^']+')*\s*", options)
        assert set(re.findall(r"(\w+)(?= = '| ')", options)) <= known
        assert sqlglot.parse_one(f"CREATE TABLE t ({re.sub(r" '\$[^']*'", '', rowset['columns'])})", dialect="tsql")


def test_no_statement_is_forgotten() -> None:
    languages = re.findall(r"^```(\w+)$", QUERY_MD, re.MULTILINE)
    assert sorted(set(languages)) == ["databricks", "sh", "snowflake", "tsql", "yaml"]
