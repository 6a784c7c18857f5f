"""What the documents say of the code is true, as far as a test can tell."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local.simulator import EVENTS_PER_HOUR, Simulator
from shared import errors
from shared.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]


def settings_read() -> set[str]:
    return set(re.findall(r'"((?:AMP|EXPORT)_[A-Za-z_]+)"', (ROOT / "shared" / "settings.py").read_text()))


def test_the_readme_names_every_setting_and_no_other() -> None:
    rows = re.findall(r"^\| (`(?:AMP|EXPORT)_.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([^`]+)`", row)} == settings_read()


def test_the_sample_in_the_readme_is_a_real_day() -> None:
    """Its figures and its first event are those of the simulator's 4 November 2025."""
    text = (ROOT / "README.md").read_text()
    files = Simulator(events_per_hour=EVENTS_PER_HOUR).member_bytes(date(2025, 11, 4))
    first, whole = files[0, 0], b"".join(files.values())
    digest = hashlib.sha256(first).hexdigest()[:8]
    assert f'"bytes": {len(first)}, "events": {first.count(b"\n")}, "sha256": "{digest}…"' in text
    assert f'"totals": {{"files": 24, "bytes": {len(whole)}, "events": {whole.count(b"\n")}, ' in text
    shown = re.findall(r'^\{"\$insert_id.*$', text, re.MULTILINE)
    assert re.fullmatch(".*".join(map(re.escape, shown[0].split("…"))), first.decode().partition("\n")[0])


def test_the_settings_example_works_as_it_is() -> None:
    """Once copied: it is whole, and it speaks of the simulator where the README starts it."""
    values = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    settings = load_settings(values)
    assert f"local.simulator --port {urlsplit(settings.export_url).port} " in (ROOT / "README.md").read_text()
    assert values["AzureWebJobsStorage"] == settings.storage_connection == "UseDevelopmentStorage=true"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere_and_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert [each for each in targets if "://" not in each and not (document.parent / each).exists()] == []
    headed = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text)
    assert [link for link in headed if link[1] not in anchors(document.parent / link[0] if link[0] else document)] == []
    named = re.findall(r"`((?:bench|cli|docs|downstream|examples|infra|local|shared|tests)/[\w./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []


def anchors(document: Path) -> set[str]:
    """The names by which a document's headings can be linked to, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_shell_examples_are_shell_and_no_path_is_of_somebodys_machine(document: Path) -> None:
    """Each block, with a word in place of a placeholder like <object id>."""
    assert not re.search(r"/home/|/Users/|/root/", document.read_text())
    for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL):
        script = re.sub(r"<[\w .]+>", "placeholder", block)
        done = subprocess.run(["/bin/bash", "-n", "-c", script], capture_output=True, text=True, check=False)  # noqa: S603 - only parsed
        assert done.returncode == 0, f"{done.stderr}\n{block}"


def test_the_runbook_says_of_each_error_what_the_code_says() -> None:
    """One row an error: whether it comes back, what it means, what to do. The code is where these are written."""
    # A message is dropped if its day is locked (`Runs.work`), and comes back if the settings are wrong (`export_day`).
    comes_back = {*errors.leaves(errors.TransientError), "SettingsError"} - {"DayLocked"}
    rows = []
    for name, kind in errors.leaves().items():
        again = "yes" if name in comes_back else "no"
        rows.append(f"| `{name}` | {again} | {str(kind.__doc__).splitlines()[0]} | {kind.advice} |")
    runbook = (ROOT / "docs" / "operations.md").read_text()
    assert re.findall(r"^\| `[A-Z]\w+` \| (?:yes|no) \|.*", runbook, re.MULTILINE) == rows, "\n".join(rows)


def log_lines_of(source: Path) -> Iterator[tuple[str, str, set[str]]]:
    """Event, level and the fields that are written out, for each call that logs: `log(logging.INFO, "event", …)`."""
    for call in ast.walk(ast.parse(source.read_text())):
        match call:
            case ast.Call(args=[ast.Attribute(ast.Name("logging"), level), ast.Constant(str(event)), *_]):
                yield event, level, {keyword.arg for keyword in call.keywords if keyword.arg}
            case ast.Call(ast.Name("reported"), [ast.Constant(str(event))]):
                yield event, "ERROR", {"error_type", "error_message"}


def test_the_design_lists_every_log_line_and_no_other() -> None:
    """With its level. Its fields include those that the code writes out; the others come from values of the run."""
    text = (ROOT / "docs" / "design.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| ([A-Z]+) \| `([a-z_ ]+)`", text, re.MULTILINE)
    sources = [ROOT / "function_app.py", *ROOT.glob("shared/**/*.py")]
    lines = [line for source in sources for line in log_lines_of(source)]
    assert sorted({(event, level) for event, level, _ in lines}) == sorted((event, level) for event, level, _ in rows)
    listed = {event: set(fields.split()) for event, _, fields in rows}
    assert [(event, fields - listed[event]) for event, _, fields in lines if not fields <= listed[event]] == []
