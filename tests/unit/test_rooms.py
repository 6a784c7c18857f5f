"""Which room may import what (docs/design.md): arrows point downwards only, and libraries stay in their rooms."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEVELS = (
    ("api",),
    ("app", "nightly"),
    ("export", "runs", "page"),
    ("fetch", "lock", "coverage"),
    ("amplitude", "landing", "archive", "page_text"),
    ("settings", "manifest", "status", "names", "orders", "zipstream"),
    ("windows", "documents", "retry", "journal", "upload", "inflate"),
    ("errors",),
)
"""All rooms of `shared`, the highest first. A room imports only from levels below its own."""

ROOMS_OF = {
    "azure.core": {"landing"},
    "azure.functions": {"api", "function_app"},
    "azure.identity": {"landing"},
    "azure.storage": {"landing"},
    "isal": {"inflate", "zipstream"},
    "jinja2": {"page"},
    "markupsafe": {"page"},
    "requests": {"amplitude", "app", "landing"},
    "urllib3": {"amplitude"},
}
"""The only libraries from outside, and the rooms that may know them."""

TO_DISK = {"mmap", "shelve", "shutil", "sqlite3", "tempfile"}
LEVEL_OF = {room: -depth for depth, rooms in enumerate(LEVELS) for room in rooms}
SOURCES = {path.stem: path for path in [*(ROOT / "shared").glob("[!_]*.py"), ROOT / "function_app.py"]}
TREES = {room: ast.parse(path.read_text(encoding="utf-8")) for room, path in SOURCES.items()}


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported, wherever in the file, each with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "rooms are named in full"
            if node.module in ("shared", "azure"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def library(module: str) -> str:
    """What a module belongs to: `azure.storage` for `azure.storage.blob`, `shared.errors`, `json`."""
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] in ("azure", "shared") else parts[:1])


def test_each_room_has_its_level() -> None:
    """A new room gets a place before it gets an import."""
    assert sorted(LEVEL_OF) == sorted(SOURCES.keys() - {"function_app"})


@pytest.mark.parametrize("room", LEVEL_OF)
def test_imports_go_downwards(room: str) -> None:
    inner = {library(module).removeprefix("shared.") for module in imports(TREES[room]) if module.startswith("shared")}
    assert [other for other in inner if LEVEL_OF[other] >= LEVEL_OF[room]] == []


@pytest.mark.parametrize("room", SOURCES)
def test_libraries_stay_in_their_rooms(room: str) -> None:
    """Nothing but the standard library, what the table allows, and `shared`; so `local` and the tests are out too."""
    known = {"__future__", *sys.stdlib_module_names, *(f"shared.{other}" for other in LEVEL_OF)}
    foreign = {library(module) for module in imports(TREES[room])} - known
    assert [name for name in foreign if room not in ROOMS_OF.get(name, ())] == []


def test_the_table_of_libraries_is_true() -> None:
    """No room keeps a permission that it does not use."""
    used = {(library(module), room) for room in SOURCES for module in imports(TREES[room])}
    assert [(name, room) for name, rooms in ROOMS_OF.items() for room in rooms if (name, room) not in used] == []


def test_the_function_app_knows_only_shared() -> None:
    outer = {library(module) for module in imports(TREES["function_app"])} - {"__future__", *sys.stdlib_module_names}
    assert "azure.functions" in outer
    assert [name for name in outer - {"azure.functions"} if not name.startswith("shared.")] == []


@pytest.mark.parametrize("room", LEVEL_OF)
def test_the_environment_is_handed_in(room: str) -> None:
    """Settings are read once, from a mapping; no room looks at the process's own environment."""
    names = {node.attr for node in ast.walk(TREES[room]) if isinstance(node, ast.Attribute)} | {
        alias.name for node in ast.walk(TREES[room]) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert names.isdisjoint({"environ", "environb", "getenv", "putenv"})


def test_the_function_app_reads_the_environment() -> None:
    """What the test above looks for is what an access looks like."""
    assert "environ" in {node.attr for node in ast.walk(TREES["function_app"]) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("room", SOURCES)
def test_nothing_is_written_to_a_disk(room: str) -> None:
    """Neither a temporary file nor another one."""
    assert TO_DISK.isdisjoint(library(module) for module in imports(TREES[room]))
    calls = [node.func for node in ast.walk(TREES[room]) if isinstance(node, ast.Call)]
    assert "open" not in {call.id for call in calls if isinstance(call, ast.Name)}
    assert {"write_bytes", "write_text"}.isdisjoint(call.attr for call in calls if isinstance(call, ast.Attribute))
