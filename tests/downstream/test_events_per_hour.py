from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from examples.events_per_hour import events_by_hour, main
from local.simulator.events import events_in_hour
from tests.downstream.landed import TUESDAY, Landed, hour_of_events


@pytest.fixture
def landed(tmp_path: Path) -> Landed:
    """A simulated day, and files of it that its manifest does not list."""
    landed = Landed(tmp_path / "landed", "web-")
    landed.export(TUESDAY, {5: [hour_of_events(TUESDAY, 5, 30)]}, attempt="0dead000")
    hours = {
        hour: [hour_of_events(TUESDAY, hour, events_in_hour(TUESDAY, hour, 20))] for hour in range(24) if hour != 5
    }
    landed.export(TUESDAY, hours, attempt="aaaaaaaa", file_format="json.gz")
    return landed


def test_counts_the_listed_events_of_each_hour(landed: Landed) -> None:
    by_platform = events_by_hour(landed.folder, "2025-11-04", "web-")

    assert [sum(counts) for counts in zip(*by_platform.values(), strict=True)] == [
        0 if hour == 5 else events_in_hour(TUESDAY, hour, 20) for hour in range(24)
    ]
    assert next(iter(by_platform)) == "Web"


def test_draws_the_same_picture_of_the_same_day(landed: Landed, tmp_path: Path) -> None:
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for picture in pictures:
        assert main([str(landed.folder), "2025-11-04", str(picture), "--prefix", "web-"]) == 0

    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_lines_that_are_no_events_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    landed = Landed(tmp_path / "it's [landed]*")
    odd = [b'{"name":"\\ud83d"}\n', b'{"server_upload_time":"2022:05:27 10:00:00"}\n']
    landed.export(TUESDAY, {5: [hour_of_events(TUESDAY, 5, 3) + b"".join(odd)]}, attempt="aaaaaaaa")

    assert sum(map(sum, events_by_hour(landed.folder, "2025-11-04").values())) == 3
    assert "2 lines are left out" in capsys.readouterr().err


def test_an_empty_day_is_drawn_and_a_missing_one_is_an_error(
    landed: Landed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    landed.export(date(2025, 11, 5), {}, attempt="bbbbbbbb")
    assert main([str(landed.folder), "2025-11-05", str(tmp_path / "empty.png"), "--prefix", "web-"]) == 0

    assert main([str(landed.folder), "2025-11-06", str(tmp_path / "missing.png"), "--prefix", "web-"]) == 1
    assert "2025-11-06 has not landed here" in capsys.readouterr().err
    assert not (tmp_path / "missing.png").exists()
