"""The command line before it reaches anything: usage, dates, settings, where settings come from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import main as cli
from cli.main import main
from cli.settings import find_settings
from shared.errors import SettingsError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings files, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["export"], ["unknown"], ["export", "2025-11-04", "--wrong"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("day", ["2025-11-4", "04.11.2025", "2025-02-29", "tomorrow", "", "2999-01-01"])
def test_a_day_that_is_none_is_2_and_says_so(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", day]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "InvalidDate" in shown.err


def test_yesterday_before_two_says_from_when(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "utc_now", lambda: datetime(2025, 11, 5, 0, 30, tzinfo=UTC))
    assert main(["export", "yesterday"]) == 2
    assert "2025-11-04 is not complete yet" in capsys.readouterr().err


def test_settings_that_are_missing_are_2_and_named_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "2025-11-04"]) == 2
    shown = capsys.readouterr().err
    for name in ("AMP_API_KEY", "AMP_SECRET_KEY", "EXPORT_STORAGE"):
        assert name in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("span", [["--from", "2025-11-05", "--to", "2025-11-04"], ["--from", "2020-01-01"]])
def test_a_range_that_is_none_is_2(span: list[str]) -> None:
    assert main(["coverage", *span]) == 2


def test_the_first_days_of_the_calendar_are_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--to", "0001-01-05"]) == 2, "only the settings are missing"
    assert "App settings" in capsys.readouterr().err


def test_the_environment_wins_over_dotenv_and_that_over_local_settings(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "local.settings.json").write_text('{"Values": {"A": "json", "B": "json", "C": "json", "D": 5}}')
    (elsewhere / ".env").write_text("A=dotenv\nB=dot$env\nE=\n")
    monkeypatch.setenv("A", "environment")
    found = find_settings(elsewhere)
    assert [found[name] for name in "ABCDE"] == ["environment", "dot$env", "json", "5", ""]


@pytest.mark.parametrize("text", ["{", "[]", '{"Values": []}', '{"values": {}}'])
def test_a_settings_file_that_cannot_be_read_is_named(elsewhere: Path, text: str) -> None:
    (elsewhere / "local.settings.json").write_text(text)
    with pytest.raises(SettingsError, match=r"local\.settings\.json"):
        find_settings(elsewhere)
