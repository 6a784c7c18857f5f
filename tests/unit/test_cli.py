"""The command line before it reaches anything: usage, dates, settings, where settings come from."""

from __future__ import annotations

import ast
import io
import shlex
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import entry, export
from cli.main import main
from cli.output import SafeStream
from cli.progress import describe
from cli.settings import find_settings
from shared.errors import SettingsError
from shared.export.fetch import Progress

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without settings files, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        *[[], ["export"], ["unknown"], ["run"], ["export", "--to", "2025-11-04"]],
        *[["export", "2025-11-04", "--wrong"], ["export", "2025-11-04", "--from", "2025-11-01"]],
    ],
)
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
    monkeypatch.setattr(export, "utc_now", lambda: datetime(2025, 11, 5, 0, 30, tzinfo=UTC))
    assert main(["export", "yesterday"]) == 2
    assert "2025-11-04 is not complete yet" in capsys.readouterr().err


def test_settings_that_are_missing_are_2_and_named_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "2025-11-04"]) == 2
    shown = capsys.readouterr().err
    for name in ("AMP_API_KEY", "AMP_SECRET_KEY", "EXPORT_STORAGE"):
        assert name in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) == 4, "one problem a line"
    assert "from the environment, then .env, then local.settings.json" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        *["coverage --from 2025-11-05 --to 2025-11-04", "coverage --from 2024-01-01 --to 2025-01-01"],
        *["export --from 2025-11-05 --to 2025-11-04", "export --from 2025-11-05 --to 2999-01-01"],
    ],
)
def test_a_range_that_is_none_is_2(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (main(arguments.split()), "InvalidDate" in capsys.readouterr().err) == (2, True)


def test_the_first_days_of_the_calendar_are_no_crash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coverage", "--to", "0001-01-05"]) == 2, "only the settings are missing"
    shown = capsys.readouterr().err
    assert "EXPORT_STORAGE" in shown
    assert "AMP_" not in shown, "who reads the container needs no Amplitude keys"
    assert main(["export", "--missing", "--to", "0001-01-05"]) == 2, "here too"


def test_the_environment_wins_over_dotenv_and_that_over_local_settings(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "local.settings.json").write_text('{"Values": {"A": "json", "B": "json", "C": "json", "D": 5}}')
    (elsewhere / ".env").write_text("A=dotenv\nB=dot$env\nE=\n", encoding="utf-8-sig")
    monkeypatch.setenv("A", "environment")
    found = find_settings(elsewhere)
    assert [found[name] for name in "ABCDE"] == ["environment", "dot$env", "json", "5", ""]


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("local.settings.json", b"{", "line 1"),
        ("local.settings.json", b'{\n"Values": {"A": "b"\n"C": "d"}}', "line 3"),
        ("local.settings.json", b"[]", '"Values"'),
        ("local.settings.json", b'{"Values": []}', '"Values"'),
        ("local.settings.json", b'{"Values": {"A": null}}', "A"),
        ("local.settings.json", b'{"IsEncrypted": true, "Values": {"AMP_API_KEY": "CfDJ8"}}', "IsEncrypted"),
        ("local.settings.json", b"\xff", ""),
        (".env", b"\xff\xfe", ""),
    ],
)
def test_a_settings_file_that_cannot_be_read_is_named(elsewhere: Path, file: str, content: bytes, says: str) -> None:
    (elsewhere / file).write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        find_settings(elsewhere)
    assert file in str(caught.value)
    assert says in str(caught.value)
    assert "CfDJ8" not in str(caught.value)


def test_local_settings_are_read_as_core_tools_reads_them(elsewhere: Path) -> None:
    """With comments, trailing commas, a byte order mark, and names in any case."""
    text = '\ufeff{ // comment\n "isEncrypted": false, /* two */\n "values": {"EXPORT_PREFIX": "a//b", "ON": true,},\n}'
    (elsewhere / "local.settings.json").write_text(text, encoding="utf-8")
    found = find_settings(elsewhere)
    assert (found["EXPORT_PREFIX"], found["ON"]) == ("a//b", "true")


@pytest.mark.parametrize(
    "line", ["EXPORT_PREFIX='shop/", "AMP_DATA_REGION: us", "EXPORT_PREFIX", "=x", "A B=3", 'A="b"c', "1A=x"]
)
def test_a_dotenv_line_that_cannot_be_read_is_named(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """Never skipped: the day would land under another prefix, or from another region."""
    (elsewhere / ".env").write_text(f"# keys\nEXPORT_STORAGE=UseDevelopmentStorage=true\n{line}\n")
    assert main(["export", "2025-11-04"]) == 2
    assert ".env, line 3" in capsys.readouterr().err


def test_a_misspelt_setting_gets_a_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EXPORT_FROMAT", "json.gz")
    main(["coverage"])
    assert "Warning: EXPORT_FROMAT is not a setting" in (shown := capsys.readouterr().err)
    assert "EXPORT_FORMAT?" in shown


@pytest.mark.parametrize("package", ["cli", "local"])
def test_an_old_python_gets_a_sentence_and_not_a_syntax_error(package: str) -> None:
    """What runs before the version is checked parses on any Python 3 in use."""
    for name in ("__init__", "__main__"):
        ast.parse((ROOT / package / f"{name}.py").read_text(), feature_version=(3, 8))
    ast.parse((ROOT / "cli" / "entry.py").read_text(), feature_version=(3, 8))


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.version_info", (3, 11, 7, "final", 0))
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 2
    assert "needs Python 3.12 or later; this is Python 3.11.7" in capsys.readouterr().err


@pytest.mark.parametrize("stream", ["/dev/full", "closed"])
def test_lost_output_changes_nothing(stream: str) -> None:
    """A full disk or a closed pipe: the exit code is the command's, and there is no traceback."""
    program = (
        "import sys; from cli.output import stdout; out = stdout();"
        "out.write('x' * 99999); out.flush(); print(out.lost, file=sys.stderr)"
    )
    command = f"{sys.executable} -c {shlex.quote(program)} " + (">/dev/full" if stream == "/dev/full" else ">&-")
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S602
    assert (done.returncode, done.stderr) == (0, "True\n")


def test_a_character_that_the_terminal_lacks_is_escaped() -> None:
    inner = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    SafeStream(inner).write("Köln\n")
    inner.flush()
    assert inner.buffer.getvalue() == b"K\\xf6ln\n"


def test_the_package_needs_what_the_command_line_needs() -> None:
    """But not what only the function app imports: the Functions model, its queue, and the templates of its pages."""
    wanted = set()
    for file in ("requirements.in", "requirements-cli.in"):
        lines = (ROOT / file).read_text().splitlines()
        wanted |= {line.split()[0] for line in lines if line and line[0] not in "-#"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(project["project"]["dependencies"]) == wanted - {"azure-functions", "azure-storage-queue", "jinja2"}
    packages = {".".join(file.relative_to(ROOT).parent.parts) for file in (ROOT / "shared").rglob("__init__.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == packages | {"cli", "downstream"}


def test_a_pending_retry_is_shown_with_its_reason() -> None:
    progress = Progress(attempt=2, download_bytes=9, retry_at="2025-11-05T03:30:02Z", retry_reason="503\x1b[2J")
    assert describe(progress) == r"attempt 2 failed, the next one begins at 2025-11-05T03:30:02Z: 503\u001b[2J"
