"""Plain data from text: YAML as people write it, with 1e-3 a number, and the line on which each value stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""The way to a value: keys of mappings and numbers of lists, from the outermost in."""

MOST_VALUES = 50_000
DEEPEST = 20


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3 for a word unless it is written 1.0e-3; YAML 1.2 and everybody else take it for a number."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return a node's value; what is no number, date or word after all is an error of YAML's, with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError, TypeError):
            raise yaml.constructor.ConstructorError(None, None, "a value that is none", node.start_mark) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


class Unreadable(Exception):
    """A text that is no YAML, or too much of it; `line` counts from 1, None where there is none to name."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.what, self.line = what, line


@dataclass(frozen=True)
class Document:
    """A text's data, the line of every value in it, and the places that are filled twice, with the second's line."""

    data: Any
    lines: Mapping[Place, int]
    twice: tuple[tuple[Place, int], ...]


def load_yaml(text: str) -> Any:
    """Return the data that a YAML text stands for; yaml.YAMLError when it stands for none."""
    return yaml.load(text, _Loader)


def read_document(text: str) -> Document:
    """Return the data of a YAML text with its lines; Unreadable when there is none, or too much.

    Values are counted as often as aliases repeat them, before anything is made of them: a short text can stand for
    billions.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {}, ())
        lines, twice = _lines(node)
        return Document(loader.construct_document(node), lines, tuple(twice))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(f"it holds a character that YAML has not ({error.character!r})", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Unreadable(f"it is not valid YAML ({error.problem})", mark.line + 1 if mark else None) from None
    except RecursionError:
        raise Unreadable(f"it nests deeper than {DEEPEST} levels", None) from None


def _lines(root: yaml.Node) -> tuple[dict[Place, int], list[tuple[Place, int]]]:
    """Return the line of every place, a key's where there is one, and the places that stand twice."""
    lines: dict[Place, int] = {(): root.start_mark.line + 1}
    twice: list[tuple[Place, int]] = []
    waiting: list[tuple[Place, yaml.Node]] = [((), root)]
    seen = 0
    while waiting:
        place, node = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or len(place) > DEEPEST:
            what = f"more than {MOST_VALUES} values" if seen > MOST_VALUES else f"more than {DEEPEST} levels"
            raise Unreadable(f"it stands for {what}", node.start_mark.line + 1)
        own: set[Place] = set()
        for inner, marked, value in _inside(place, node):
            line = marked.start_mark.line + 1
            if inner in own and inner != place:
                twice.append((inner, line))
            own.add(inner)
            lines.setdefault(inner, line)
            waiting.append((inner, value))
    return lines, twice


def _inside(place: Place, node: yaml.Node) -> Iterator[tuple[Place, yaml.Node, yaml.Node]]:
    """Yield (place, node that marks it, value) of what a node holds; merged mappings (<<) stand at its own place."""
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*place, index), value, value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            merged = key.tag == "tag:yaml.org,2002:merge"
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            yield (place if merged else (*place, name)), key, value
