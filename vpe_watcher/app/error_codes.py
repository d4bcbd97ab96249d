"""Every error code of the program with its hints, read out of the source: for the handbook.

Runs nothing of what it reads. A code or hint that is not to be seen there is a mistake, so that
none is forgotten: write it as a constant, or tell in `COMPUTED` and `BESIDE` what it can be.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
UNREAD = frozenset({"sandbox"})  # who runs the service never meets its errors
UNSEEN = "…"
Word = str  # "code" or "hint"

COMPUTED = {
    "f'folder_{name.lower()}'": ("folder_e…",),
    "f'{verb}_link_expired'": ("upload_link_expired", "download_link_expired"),
    "f'{verb}_{_link_trouble(status)}'": tuple(
        f"{verb}_{trouble}"
        for verb in ("upload", "download")
        for trouble in ("rate_limited", "server_error", "redirected", "refused")
    ),
    "case.state": ("failed", "held", "cancelled"),
}
"""What a code or hint can be that is put together at run time, by its expression in the source."""

BESIDE = {
    "WrongValueError": "config_wrong_value",
    "Mistake": "config_unknown_key",
    "Finding": "(check)",
    "_folder_away": "folder_missing",
    "verdict": "demo_failed",
    "replace": "(any)",
    "__init__": "config_wrong_value",
}
"""Whose hint it is that is given without a code, by the name of what takes it."""


@dataclass(frozen=True, slots=True)
class Saying:
    """A place where the program says what is wrong: the codes that it may give, and the hints."""

    codes: tuple[str, ...]
    hints: tuple[str, ...]


def sayings(package: Path = PACKAGE) -> Iterator[Saying]:
    """Yield what all places say. Raises `LookupError` for a code or hint that is not to be seen."""
    for module in Source(package).modules.values():
        for scope in module.scopes():
            yield from _sayings_in(scope)


def hints_by_code(package: Path = PACKAGE) -> dict[str, tuple[str, ...]]:
    """Return the hints of each code, both in the order of the alphabet."""
    hints: dict[str, set[str]] = {}
    for saying in sayings(package):
        for code in saying.codes:
            hints.setdefault(code, set()).update(saying.hints)
    return {code: tuple(sorted(hints[code])) for code in sorted(hints)}


# --- the source ----------------------------------------------------------------------------------


class Source:
    """The package as trees; `leaves` are what expressions in it have been found to come to."""

    def __init__(self, package: Path) -> None:
        self.modules: dict[str, Module] = {}
        self.leaves: dict[int, tuple[Leaf, ...]] = {}
        for file in sorted(package.rglob("*.py")):
            parts = file.relative_to(package.parent).with_suffix("").parts
            if not UNREAD.intersection(parts):
                name = ".".join(part for part in parts if part != "__init__")
                self.modules[name] = Module(self, name, ast.parse(file.read_text("utf-8")))


@dataclass
class Module:
    """One file: what it defines, and where what it imports is defined."""

    source: Source
    name: str
    tree: ast.Module

    @cached_property
    def own(self) -> dict[str, ast.AST]:
        """Return what each name stands for: a function, a method, a class, an expression."""
        return dict(_definitions(self.tree.body))

    @cached_property
    def imported(self) -> dict[str, str]:
        """Return the module of each name that comes from another one."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom)]
        return {
            alias.asname or alias.name: node.module or "" for node in nodes for alias in node.names
        }

    def find(self, name: str) -> tuple[ast.AST, Module] | None:
        """Return what a name stands for, and the module that says so."""
        if name in self.own:
            return self.own[name], self
        home = self.source.modules.get(self.imported.get(name, ""))
        return home.find(name) if home else None

    def scopes(self) -> Iterator[Scope]:
        """Yield the module itself and each function in it."""
        yield Scope(self, None, tuple(_within(self.tree)))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef):
                yield Scope(self, node, tuple(_within(node)))


@dataclass(frozen=True)
class Scope:
    """A function, or what stands outside of all functions of a module."""

    module: Module
    function: ast.FunctionDef | None
    nodes: tuple[ast.AST, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """Return the names of the function's parameters."""
        return _parameters(self.function) if self.function else ()


Leaf = tuple[ast.expr, Scope]


def _definitions(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name):
                yield name, node
            case ast.ClassDef(name=name, body=inside):
                yield from _definitions([one for one in inside if isinstance(one, ast.FunctionDef)])
                yield name, node
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value


def _within(top: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a function, without the functions in it."""
    for node in ast.iter_child_nodes(top):
        if not isinstance(node, ast.FunctionDef):
            yield node
            yield from _within(node)


def _parameters(function: ast.FunctionDef) -> tuple[str, ...]:
    given = (*function.args.args, *function.args.kwonlyargs)
    return tuple(one.arg for one in given if one.arg != "self")


# --- what is said --------------------------------------------------------------------------------


def _sayings_in(scope: Scope) -> Iterator[Saying]:
    for call in scope.nodes:
        if not isinstance(call, ast.Call) or _name_of(call.func).endswith("log"):
            continue
        given = _given(call, scope)
        told = {word: tuple(_told(*leaf)) for word, leaf in given.items()}
        codes, hints = told.get("code", ()), told.get("hint", ())
        if hints and not codes:
            yield Saying((_beside(call, scope),), hints)
        elif len(codes) == len(hints):  # chosen by the same condition, or out of the same row
            yield from (Saying((code,), (hint,)) for code, hint in zip(codes, hints, strict=True))
        else:
            yield Saying(codes, hints)


def _beside(call: ast.Call, scope: Scope) -> str:
    name = _name_of(call.func)
    if name not in BESIDE:
        raise LookupError(f"{scope.module.name}:{call.lineno}: for which code is the hint?")
    return BESIDE[name]


def _given(call: ast.Call, scope: Scope) -> dict[Word, Leaf]:
    """Return the code and the hint that a call is given: by keyword, by position, by default."""
    names, given = _shape(call, scope)
    if "code" in names and any(isinstance(one, ast.Starred) for one in call.args):
        raise LookupError(f"{scope.module.name}:{call.lineno}: what is in {ast.unparse(call)}?")
    given |= {name: (value, scope) for name, value in zip(names, call.args, strict=False)}
    given |= {one.arg: (one.value, scope) for one in call.keywords if one.arg}
    return {name: given[name] for name in ("code", "hint") if name in given}


def _shape(call: ast.Call, scope: Scope) -> tuple[tuple[str, ...], dict[str, Leaf]]:
    """Return what a callee takes by position, and what it takes for granted."""
    match scope.module.find(_name_of(call.func)):
        case ast.FunctionDef() as function, _:
            return _parameters(function), {}
        case ast.ClassDef(body=body), module:
            fields = [(one.target, one.value) for one in body if isinstance(one, ast.AnnAssign)]
            named = {one.id: value for one, value in fields if isinstance(one, ast.Name)}
            outside = Scope(module, None)
            return tuple(named), {n: (value, outside) for n, value in named.items() if value}
    return (), {}


def _told(node: ast.expr, scope: Scope) -> Iterator[str]:
    for leaf, at in _leaves(node, scope):
        expression = ast.unparse(leaf)
        if expression in COMPUTED:
            yield from COMPUTED[expression]
            continue
        for text in filter(None, _texts(leaf, at)):
            if UNSEEN in text and " " not in text:  # a code that nobody knows, or no hint at all
                raise LookupError(f"{at.module.name}:{leaf.lineno}: what is {expression}?")
            yield text


# --- expressions ---------------------------------------------------------------------------------


def _leaves(node: ast.expr, scope: Scope) -> tuple[Leaf, ...]:
    """Return the expressions that one can come to: branches, values of names, rows of tables."""
    known = scope.module.source.leaves
    if id(node) not in known:
        known[id(node)] = ()  # a circle ends here
        nexts = list(_nexts(node, scope))
        found = [leaf for following in nexts for leaf in _leaves(*following)]
        known[id(node)] = tuple(found) if nexts else ((node, scope),)
    return known[id(node)]


def _nexts(node: ast.expr, scope: Scope) -> Iterator[Leaf]:
    match node:
        case ast.IfExp(body=body, orelse=orelse):
            yield from ((body, scope), (orelse, scope))
        case ast.BoolOp(values=values):
            yield from ((value, scope) for value in values)
        case ast.Name(id=name):
            yield from _values_of(node, scope)
        case ast.Call(func=ast.Name(id="str"), args=[value]):
            yield value, scope
        case ast.Call(func=ast.Attribute(value=table, attr="get"), args=[_, default]):
            rows = [row for row, _ in _leaves(table, scope) if isinstance(row, ast.Dict)]
            yield from ((value, scope) for row in rows for value in (*row.values, default))
        case ast.Call(func=ast.Name(id=name)):
            yield from _returns_of(name, scope)
        case ast.Attribute(value=value, attr="code" | "hint" as word):
            for call, at in _leaves(value, scope):
                if isinstance(call, ast.Call) and (leaf := _given(call, at).get(word)):
                    yield leaf


def _values_of(use: ast.Name, scope: Scope) -> Iterator[Leaf]:
    """Yield what a name was given in its function, or in the module that it comes from."""
    if use.id in scope.parameters:
        yield from _passed(use.id, scope)
        return
    local = list(_assigned(use, scope))
    yield from local
    match None if local else scope.module.find(use.id):
        case ast.expr() as value, module:
            yield value, Scope(module, None)


def _assigned(use: ast.Name, scope: Scope) -> Iterator[Leaf]:
    """Yield what the assignments give that reach a use: the last one, and branches after it."""
    statements = [one for one in scope.nodes if isinstance(one, ast.stmt)]
    begun = [one for one in statements if one.lineno <= use.lineno]
    around = [one.col_offset for one in begun if (one.end_lineno or 0) >= use.lineno]
    indent = max(around, default=0)
    for node in reversed(begun):
        is_over = (node.end_lineno or 0) < use.lineno
        if is_over and isinstance(node, ast.Assign) and use.id in _targets(node):
            yield from _parts_of(node, use.id, scope)
            if node.col_offset <= indent:
                return


def _targets(node: ast.Assign) -> list[str]:
    targets = node.targets[0]
    several = targets.elts if isinstance(targets, ast.Tuple) else [targets]
    return [ast.unparse(target) for target in several]


def _parts_of(node: ast.Assign, name: str, scope: Scope) -> Iterator[Leaf]:
    if isinstance(node.targets[0], ast.Name):
        yield node.value, scope
        return
    for leaf, at in _leaves(node.value, scope):
        if isinstance(leaf, ast.Tuple):
            yield leaf.elts[_targets(node).index(name)], at


def _passed(name: str, scope: Scope) -> Iterator[Leaf]:
    """Yield the codes that callers in the same module give; hints count where they are given."""
    callee = scope.function.name if scope.function and name == "code" else ""
    for caller in scope.module.scopes() if callee else ():
        calls = [node for node in caller.nodes if isinstance(node, ast.Call)]
        for call in calls:
            if _name_of(call.func) == callee and (leaf := _given(call, caller).get("code")):
                yield leaf


def _returns_of(name: str, scope: Scope) -> Iterator[Leaf]:
    match scope.module.find(name):
        case ast.FunctionDef() as function, module:
            inside = Scope(module, function, tuple(_within(function)))
            for node in inside.nodes:
                if isinstance(node, ast.Return) and node.value:
                    yield node.value, inside


def _texts(leaf: ast.expr, scope: Scope) -> Iterator[str]:
    """Yield what an expression says; `…` stands for what only a run can tell."""
    match leaf:
        case ast.Name(id="code" | "hint" as name) if name in scope.parameters:
            return  # somebody else has said it: a caller …
        case (
            ast.Attribute(attr="code" | "hint")
            | ast.Subscript(slice=ast.Constant(value="code" | "hint"))
        ):
            return  # … or a fault that was caught
        case ast.Constant(value=value):
            yield str(value or "")
        case ast.JoinedStr(values=parts):
            yield from _joined(parts, scope)
        case ast.FormattedValue(value=value):
            found = {text for one, at in _leaves(value, scope) for text in _texts(one, at)}
            yield found.pop() if len(found) == 1 else UNSEEN
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from _joined([left, right], scope)
        case _:
            yield UNSEEN


def _joined(parts: list[ast.expr], scope: Scope) -> Iterator[str]:
    each = [
        [text for leaf, at in _leaves(part, scope) for text in _texts(leaf, at)] or [UNSEEN]
        for part in parts
    ]
    yield from ("".join(chosen) for chosen in product(*each))


def _name_of(callee: ast.expr) -> str:
    match callee:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""
