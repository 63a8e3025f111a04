"""Small breaks of a source file: other constants, operators, arguments, axes and orders, one at a time.

A mutant is one changed node of the syntax tree. What cannot change a result is left alone: docstrings, annotations,
messages of exceptions, imports and what only type checkers read.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult, ast.Mod: ast.FloorDiv, ast.MatMult: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
"""An operator, and what stands in its place."""


@dataclass(frozen=True)
class Mutant:
    """One break of a file: its path in the tree, the line, what was changed into what, and the whole new source."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before} -> {self.after}"


@dataclass(frozen=True)
class Place:
    """Where a file can be broken, and how: the node's number in the tree, and the number of the change it admits."""

    file: str
    node: int
    change: int


def places(root: Path, file: str) -> list[Place]:
    """Return every place of a file."""
    tree = ast.parse((root / file).read_text())
    return [
        Place(file, number, choice)
        for number, node in enumerate(_nodes(tree))
        for choice, _ in enumerate(_changes(node))
    ]


def broken(root: Path, place: Place) -> Mutant | None:
    """Return the file broken in this place; None where the change leaves it as it was, as that of two equal values."""
    tree = ast.parse((root / place.file).read_text())
    node = list(_nodes(tree))[place.node]
    kind, change = list(_changes(node))[place.change]
    before = ast.unparse(node)
    change(node)
    after = ast.unparse(node)
    if after == before:
        return None
    source = ast.unparse(ast.fix_missing_locations(tree))
    return Mutant(place.file, node.lineno, kind, _short(before), _short(after), source)


def mutants(root: Path, file: str) -> list[Mutant]:
    """Return every mutant of a file, in the order of its lines."""
    found = [mutant for place in places(root, file) if (mutant := broken(root, place)) is not None]
    return sorted(found, key=lambda mutant: mutant.line)


def _short(text: str, width: int = 100) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."


def _nodes(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Yield the nodes that may be changed, always in the same order."""
    for child in _children(tree):
        if _is_silent(child):
            continue
        if isinstance(child, ast.BinOp | ast.BoolOp | ast.Compare | ast.Constant | ast.Call | ast.UnaryOp | ast.Tuple
                      | ast.IfExp | ast.If | ast.Subscript | ast.Return):  # fmt: skip
            yield child
        yield from _nodes(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the children of a node that run: annotations do not, nor do aliases of types."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            alias = isinstance(child, ast.Assign) and isinstance(child.value, ast.Subscript) and child.col_offset == 0
            if isinstance(child, ast.AST) and not alias:
                yield child


def _is_silent(node: ast.AST) -> bool:
    """Tell whether a node is one that no run executes, or whose text is for people."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Raise):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.arg | ast.JoinedStr):
        return True
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


Change = Callable[[ast.AST], None]


def _changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """Yield the kinds of change that a node admits, and what makes each."""
    if isinstance(node, ast.Constant):
        yield from _other_constants(node)
    elif (isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS) or isinstance(node, ast.BoolOp):
        yield "operator", _operator
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _OPERATORS:
        yield "operator", _comparison
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield "operator", _without_sign
    elif isinstance(node, ast.If | ast.IfExp):
        yield "condition", _negated
    elif isinstance(node, ast.Tuple) and len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
        yield "order", _turned
    elif isinstance(node, ast.Call):
        yield from _other_calls(node)


def _other_constants(node: ast.Constant) -> Iterator[tuple[str, Change]]:
    if isinstance(node.value, bool):
        yield "constant", lambda n: setattr(n, "value", not n.value)
    elif isinstance(node.value, int):
        yield "constant", lambda n: setattr(n, "value", n.value + 1)
    elif isinstance(node.value, float):
        yield "constant", lambda n: setattr(n, "value", n.value * 1.5 if n.value else 1.0)


def _other_calls(node: ast.Call) -> Iterator[tuple[str, Change]]:
    if len(node.args) > 1 and not any(isinstance(argument, ast.Starred) for argument in node.args):
        yield "arguments", _swapped
    for place, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            yield "arguments", lambda n, place=place: n.keywords.pop(place)


def _operator(node: ast.AST) -> None:
    node.op = _OPERATORS[type(node.op)]()  # type: ignore[attr-defined]


def _comparison(node: ast.AST) -> None:
    node.ops[0] = _OPERATORS[type(node.ops[0])]()  # type: ignore[attr-defined]


def _without_sign(node: ast.AST) -> None:
    node.op = ast.UAdd() if isinstance(node.op, ast.USub) else node.op  # type: ignore[attr-defined]
    if isinstance(node.op, ast.Not):  # type: ignore[attr-defined]
        node.operand = ast.UnaryOp(ast.Not(), node.operand)  # type: ignore[attr-defined]


def _negated(node: ast.AST) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)  # type: ignore[attr-defined]


def _turned(node: ast.AST) -> None:
    node.elts = [*node.elts[1:], node.elts[0]]  # type: ignore[attr-defined]


def _swapped(node: ast.AST) -> None:
    node.args[0], node.args[1] = node.args[1], node.args[0]  # type: ignore[attr-defined]
