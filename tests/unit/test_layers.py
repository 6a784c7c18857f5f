"""Which module may import what (docs/design.md): arrows point downwards only, and each library has its place."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEVELS = (
    ("web.routes",),
    ("app", "runs.nightly", "runs.poison", "web.access", "web.pages"),
    ("days.calendar", "runs.runs", "export.publish", "storage.queue"),
    ("runs.lock", "export.fetch", "days.coverage", "storage.connect"),
    ("amplitude", "storage.container", "archive.members", "days.day", "text", "web.answers"),
    ("settings", "days.manifest", "days.status", "runs.messages", "archive.unzip", "storage.errors"),
    ("days.documents", "names", "retry", "log", "stop", "storage.client", "storage.uploader", "archive.gunzip"),
    ("archive.reader", "dates"),
    ("errors", "http", "redact", "days.state"),
)
"""All modules of `shared`, the highest first. A module imports only from levels below its own."""

MODULES_WITH = {
    "azure.core": {"storage.client", "storage.connect", "storage.container", "storage.errors", "storage.queue"},
    "azure.functions": {"web.access", "web.answers", "web.routes", "function_app"},
    "azure.identity": {"storage.connect"},
    "azure.storage": {"storage.client", "storage.connect", "storage.container", "storage.queue"},
    "isal": {"archive.gunzip", "archive.unzip"},
    "jinja2": {"web.pages"},
    "markupsafe": {"web.pages"},
    "requests": {"amplitude", "http", "storage.client", "storage.connect"},
    "urllib3": {"amplitude", "http", "storage.client", "storage.errors"},
}
"""The only third-party libraries, and the modules that may import each."""

TO_DISK = {"mmap", "shelve", "shutil", "sqlite3", "tempfile"}
LEVEL_OF = {module: -depth for depth, modules in enumerate(LEVELS) for module in modules}
SOURCES = {
    ".".join(path.relative_to(ROOT / "shared").with_suffix("").parts): path
    for path in (ROOT / "shared").rglob("*.py")
    if path.name != "__init__.py"
} | {"function_app": ROOT / "function_app.py"}
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}
PACKAGES = {module.partition(".")[0] for module in LEVEL_OF if "." in module}


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, wherever in the file, each with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "modules are named in full"
            if node.module in ("shared", "azure", *(f"shared.{package}" for package in PACKAGES)):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def library(module: str) -> str:
    """What a module belongs to: `azure.storage` for `azure.storage.blob`, `shared.days.manifest` itself, `json`."""
    parts = module.split(".")
    return module if parts[0] == "shared" else ".".join(parts[:2] if parts[0] == "azure" else parts[:1])


def test_each_module_has_its_level() -> None:
    """A new module gets a place before it gets an import."""
    assert sorted(LEVEL_OF) == sorted(SOURCES.keys() - {"function_app"})


@pytest.mark.parametrize("module", LEVEL_OF)
def test_imports_go_downwards(module: str) -> None:
    inner = {name.removeprefix("shared.") for name in imports(TREES[module]) if name.startswith("shared")}
    assert [other for other in inner if LEVEL_OF[other] >= LEVEL_OF[module]] == []


@pytest.mark.parametrize("module", SOURCES)
def test_libraries_stay_in_their_modules(module: str) -> None:
    """Nothing but the standard library, what the table allows, and `shared`; so `local` and the tests are out too."""
    known = {"__future__", *sys.stdlib_module_names, *(f"shared.{other}" for other in LEVEL_OF)}
    foreign = {library(name) for name in imports(TREES[module])} - known
    assert [name for name in foreign if module not in MODULES_WITH.get(name, ())] == []


def test_the_table_of_libraries_is_true() -> None:
    """No module keeps a permission that it does not use."""
    used = {(library(name), module) for module in SOURCES for name in imports(TREES[module])}
    assert {(name, module) for name, modules in MODULES_WITH.items() for module in modules} <= used


def test_the_function_app_knows_only_shared() -> None:
    outer = {library(name) for name in imports(TREES["function_app"])} - {"__future__", *sys.stdlib_module_names}
    assert "azure.functions" in outer
    assert [name for name in outer - {"azure.functions"} if not name.startswith("shared.")] == []


@pytest.mark.parametrize("module", LEVEL_OF)
def test_the_environment_is_handed_in(module: str) -> None:
    """Settings are read once, from a mapping; no module looks at the process's own environment."""
    names = {node.attr for node in ast.walk(TREES[module]) if isinstance(node, ast.Attribute)} | {
        alias.name for node in ast.walk(TREES[module]) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert names.isdisjoint({"environ", "environb", "getenv", "putenv"})


def test_the_function_app_reads_the_environment() -> None:
    """What the test above looks for is what an access looks like."""
    assert "environ" in {node.attr for node in ast.walk(TREES["function_app"]) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_is_written_to_a_disk(module: str) -> None:
    """Neither a temporary file nor another one."""
    assert TO_DISK.isdisjoint(library(name) for name in imports(TREES[module]))
    calls = [node.func for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    assert "open" not in {call.id for call in calls if isinstance(call, ast.Name)}
    assert {"write_bytes", "write_text"}.isdisjoint(call.attr for call in calls if isinstance(call, ast.Attribute))
