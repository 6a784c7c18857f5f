"""The templates as values: what each file declares, read from its syntax tree.

Strings without interpolation, numbers, booleans, null, lists and objects become Python's own. All else, such as a
name, a call or a condition, is an `Expression` with its text.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"

type Value = Any
"""str | int | bool | None | list | dict | Expression | Each: a tree whose shape is known only to who reads it."""


@dataclass(frozen=True, slots=True)
class Expression:
    """What stands for a value that only a deployment knows; spaces and line breaks count as one space."""

    text: str


@dataclass(frozen=True, slots=True)
class Each:
    """A loop: one `item` for each of `over`."""

    over: str
    item: Value


@dataclass(frozen=True, slots=True)
class Declared:
    """A parameter, variable, resource, module or output. `type`: that of Bicep, of Azure, or a module's path."""

    file: str
    kind: str
    symbol: str
    type: str = ""
    version: str = ""
    value: Value = None
    condition: str = ""
    loop: str = ""
    decorators: Mapping[str, Value] = field(default_factory=dict)
    existing: bool = False

    def __getitem__(self, path: str) -> Value:
        """What stands at a path like `properties.networkAcls.bypass`; None where nothing does."""
        found: Value = self.value
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return found


@dataclass(frozen=True, slots=True)
class Templates:
    """All files of infra/ by their path below it, and what the Bicep files among them declare."""

    texts: Mapping[str, str]
    declared: tuple[Declared, ...]

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> "Templates":
        """Read the templates.

        Raises:
            SyntaxError: where a file is not understood as a whole.

        """
        bicep = sorted(name for name in texts if name.endswith(".bicep"))
        return cls(texts, tuple(found for name in bicep for found in _declarations(name, texts[name])))

    def changed(self, name: str, old: str, new: str) -> "Templates":
        """A copy in which `old`, which must stand in the file, is `new` at its first place."""
        assert old in self.texts[name], f"{name} does not hold {old!r}"
        return Templates.of({**self.texts, name: self.texts[name].replace(old, new, 1)})

    def all(self, kind: str, type_: str = "", file: str = "") -> list[Declared]:
        """What is declared of a kind, of a type if one is given, in a file if one is given."""
        return [
            found
            for found in self.declared
            if found.kind == kind and type_ in ("", found.type) and file in ("", found.file)
        ]

    def one(self, kind: str, type_: str = "", file: str = "") -> Declared:
        """The only one of these."""
        found = self.all(kind, type_, file)
        assert len(found) == 1, f"{len(found)} times {kind} {type_} {file}, not once"
        return found[0]

    def named(self, kind: str, symbol: str, file: str = "main.bicep") -> Declared:
        """What a file declares under a name."""
        found = [each for each in self.all(kind, file=file) if each.symbol == symbol]
        assert len(found) == 1, f"{file} declares {kind} {symbol} {len(found)} times, not once"
        return found[0]

    def json(self, name: str) -> Value:
        """A JSON file's content."""
        return json.loads(self.texts[name])


@functools.cache
def templates() -> Templates:
    """The project's own."""
    names = [path for pattern in ("*.bicep*", "*.json", "*.kql") for path in INFRA.rglob(pattern)]
    return Templates.of({path.relative_to(INFRA).as_posix(): path.read_text() for path in names})


@functools.cache
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


@functools.cache
def _declarations(file: str, text: str) -> tuple[Declared, ...]:
    root = _parser().parse(text.encode()).root_node
    if root.has_error:
        raise SyntaxError(f"{file} is not understood as a whole")
    found: list[Declared] = []
    decorators: dict[str, Value] = {}
    for node in root.named_children:
        if node.type == "decorators":
            decorators = dict(_decorator(each) for each in node.named_children)
        elif node.type.endswith("_declaration"):
            found += (replace(each, file=file) for each in _declaration(node, decorators))
            decorators = {}
    return tuple(found)


def _decorator(node: tree_sitter.Node) -> tuple[str, Value]:
    call = node.named_children[0]
    name, arguments = call.named_children
    return _text(name), [_value(each) for each in arguments.named_children]


def _declaration(node: tree_sitter.Node, decorators: Mapping[str, Value]) -> Iterator[Declared]:
    kind = {"parameter": "param", "variable": "var"}.get(node.type.removesuffix("_declaration"), "")
    kind = kind or node.type.removesuffix("_declaration")
    parts = [each for each in node.named_children if each.type != "comment"]
    symbol, type_, rest = _text(parts[0]), "", parts[1:]
    if kind in ("param", "output") or (rest and kind in ("resource", "module")):
        type_, rest = _text(rest[0]).strip("'"), rest[1:]
    body = rest[0] if rest else None
    condition, loop = "", ""
    if body and body.type == "if_statement":
        condition, body = _text(body.named_children[0])[1:-1], body.named_children[1]
    if body and body.type == "for_statement" and kind != "var":
        loop, body = _text(body.named_children[-2]), body.named_children[-1]
    type_, _, version = type_.partition("@")
    value = _value(body) if body else None
    existing = any(each.type == "existing" for each in node.children)
    yield Declared("", kind, symbol, type_, version, value, condition, loop, decorators, existing)
    for inner in _nested(body):
        for each in _declaration(inner, {}):
            yield replace(each, type=f"{type_}/{each.type}", version=version)


def _nested(body: tree_sitter.Node | None) -> Iterator[tree_sitter.Node]:
    """Resources that stand inside another's object."""
    for entry in body.named_children if body else ():
        if entry.type == "object_property" and entry.named_children[0].type == "resource_declaration":
            yield entry.named_children[0]


def _value(node: tree_sitter.Node) -> Value:
    children = [each for each in node.named_children if each.type != "comment"]
    if node.type in ("number", "boolean", "null"):
        return json.loads(_text(node))
    if node.type == "string" and all(each.type in ("string_content", "escape_sequence") for each in children):
        return "".join(_text(each).removeprefix("\\") for each in children)
    if node.type == "array":
        return [_value(each) for each in children]
    if node.type == "for_statement":
        return Each(_text(children[-2]), _value(children[-1]))
    if node.type == "object":
        return dict(_property(each) for each in children if each.named_children[0].type != "resource_declaration")
    return Expression(_text(node))


def _property(node: tree_sitter.Node) -> tuple[str, Value]:
    parts = [each for each in node.named_children if each.type != "comment"]
    return _text(parts[0]).strip("'"), _value(parts[1])


def _text(node: tree_sitter.Node) -> str:
    return re.sub(r"\s+", " ", (node.text or b"").decode()).strip()
