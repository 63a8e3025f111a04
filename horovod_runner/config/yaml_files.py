"""Plain data from YAML 1.2, as ruamel.yaml reads it, with the line on which each value stands.

Numbers are read as people write them: 010 is ten and 1e-3 a number. `yes`, `no`, `on`, `off` and dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import Node
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scalarbool import ScalarBoolean

from horovod_runner.config.diagnostics import Diagnostics, Place
from horovod_runner.errors import UserError

MOST_VALUES = 50_000
DEEPEST = 20
LARGEST_FILE = 1_000_000  # bytes

_FLOAT = re.compile(r"[-+]?\.[0-9]+[eE][0-9]+$")  # .5e1, which ruamel.yaml takes for text
_PLAIN = (int, float, str)
_REMEDIES = {
    r"'\t'": "a tab stands where only spaces may; replace it by spaces",
    "found another document": "it holds a second document (---); put that into a file of its own",
    "undefined alias": "it refers to an anchor (&name) that does not stand before it; write the value out",
}
"""What is said instead of what ruamel.yaml says, by a piece of the latter."""


class Unreadable(Exception):
    """A text that is no YAML, or too much of it; `line` counts from 1, None where there is none to name."""

    def __init__(self, what: str, line: int | None) -> None:
        super().__init__(what)
        self.what, self.line = what, line


@dataclass(frozen=True)
class Document:
    """A text's data, the line of every value in it, and the keys that are given again: place, line, and first line."""

    data: Any
    lines: Mapping[Place, int]
    twice: tuple[tuple[Place, int, int], ...] = ()

    def diagnostics(self, file: Path) -> Diagnostics:
        """Return the list of what is wrong with the file that this was read from: so far, what is given twice."""
        found = Diagnostics(file, self.lines)
        for place, line, first in self.twice:
            found.add_at(line, f"{'.'.join(map(str, place))}: is given in line {first} already; remove one of the two")
        return found


def read_file(file: Path, kind: str) -> Document:
    """Read a YAML file of this kind, as "machine file"; UserError names it, the line and the remedy."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{file}: it is larger than {LARGEST_FILE} bytes; name a {kind}")
        return read_document(content.decode())
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); name a {kind}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}:{line}: it is not UTF-8 text; save it as such") from None
    except Unreadable as error:
        found = Diagnostics(file, {})
        found.add_at(error.line, error.what if ";" in error.what else f"{error.what}; fix it")
        found.stop()
        raise


def load_yaml(text: str) -> Any:
    """Return the data that a YAML text stands for; Unreadable when it stands for none, or gives a key twice."""
    document = read_document(text)
    for place, line, _ in document.twice:
        raise Unreadable(f"{'.'.join(map(str, place))} is given twice", line)
    return document.data


def read_document(text: str) -> Document:
    """Return the data of a YAML text with its lines; Unreadable when there is none, or too much.

    Values are counted as often as aliases repeat them, before anything is made of them: a short text can stand for
    billions.
    """
    try:
        _refuse_too_much(text)
        yaml = round_trip()
        reading = _Reading(yaml.constructor.twice)
        return reading.document(yaml.load(text))
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(f"it holds a character that YAML does not allow ({error.character!r})", line) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context)
        what = next(
            (said for piece, said in _REMEDIES.items() if piece in problem), f"it is not valid YAML ({problem})"
        )
        raise Unreadable(what, mark.line + 1 if mark else None) from None
    except YAMLError as error:
        raise Unreadable(f"it is not valid YAML ({str(error).splitlines()[0]})", None) from None


def round_trip() -> YAML:
    """Return what reads a text and writes it again with its remarks, its order and its way of writing."""
    yaml = YAML()
    yaml.Constructor = _Constructor
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    assert yaml.resolver.versioned_resolver  # fills the table that the next line adds to
    yaml.resolver.add_version_implicit_resolver((1, 2), "tag:yaml.org,2002:float", _FLOAT, list("-+."))
    return yaml


class _Constructor(RoundTripConstructor):
    """Makes values of nodes, and collects the keys that a mapping has already, by the mapping's identity."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.twice: dict[int, list[tuple[Hashable, int]]] = {}

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        """Return a node's value; what is no number or word after all is an error of YAML's, with its line."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError, TypeError):
            raise ConstructorError(None, None, "a value that does not fit its type", node.start_mark) from None

    def check_mapping_key(self, node: Node, key_node: Node, mapping: Any, key: Hashable, value: Any) -> bool:
        """Return whether the key is new; of one that is not, the first value stays."""
        if key in mapping:
            self.twice.setdefault(id(mapping), []).append((key, key_node.start_mark.line + 1))
            return False
        return True


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", RoundTripConstructor.construct_yaml_str)


def _refuse_too_much(text: str) -> None:
    """Raise Unreadable for a text that stands for too many values, nests too deeply, or stands within itself."""
    total, open_at, sizes = 0, list[tuple[str | None, int]](), dict[str, int]()
    for event in YAML().parse(text):
        if isinstance(event, CollectionEndEvent):
            anchor, before = open_at.pop()
            sizes |= {anchor: total - before} if anchor else {}
        if not isinstance(event, NodeEvent):
            continue
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent) and event.anchor in {anchor for anchor, _ in open_at}:
            raise Unreadable(f"the anchor &{event.anchor} holds itself; write the value out", line)
        if isinstance(event, CollectionStartEvent):
            open_at.append((event.anchor, total))
        total += sizes.get(event.anchor, 1) if isinstance(event, AliasEvent) else 1
        if len(open_at) > DEEPEST:
            raise Unreadable(f"it nests deeper than {DEEPEST} levels", line)
        if total > MOST_VALUES:
            raise Unreadable(f"it stands for more than {MOST_VALUES} values", line)


@dataclass
class _Reading:
    """Walks through what was read, and keeps the lines; `known` are the keys that were given again."""

    known: Mapping[int, Sequence[tuple[Hashable, int]]]
    lines: dict[Place, int] = field(default_factory=lambda: {(): 1})
    twice: list[tuple[Place, int, int]] = field(default_factory=list)

    def document(self, root: Any) -> Document:
        """Return the document whose outermost value this is."""
        data = self._plain((), root, 1 if root is None or not hasattr(root, "lc") else root.lc.line + 1)
        return Document(data, self.lines, tuple(self.twice))

    def _plain(self, place: Place, value: Any, line: int) -> Any:
        self.lines[place] = line
        if isinstance(value, MutableMapping):
            return dict(self._items(place, value, line))
        if isinstance(value, MutableSequence):
            lines = {index: where[0] + 1 for index, where in (value.lc.data or {}).items()}  # type: ignore[attr-defined]
            return [self._plain((*place, index), inner, lines[index]) for index, inner in enumerate(value)]
        if value is None or isinstance(value, bool | ScalarBoolean):
            return None if value is None else bool(value)
        for kind in _PLAIN:
            if isinstance(value, kind):
                return kind(value)
        raise Unreadable("a value of a kind that no setting has; write text, a number, a list or a mapping", line)

    def _items(self, place: Place, mapping: Any, line: int) -> Iterator[tuple[Any, Any]]:
        """Yield what a mapping holds; merged keys (<<) stand where the mapping does."""
        for key, value in mapping.items():
            where = mapping.lc.data[key][0] + 1 if key in (mapping.lc.data or {}) else line
            if not isinstance(key, str | int | float | None):
                raise Unreadable("a key that is not text; write it as a word", where)
            yield str(key) if isinstance(key, str) else key, self._plain((*place, str(key)), value, where)
        for key, again in self.known.get(id(mapping), ()):
            self.twice.append(((*place, str(key)), again, self.lines[*place, str(key)]))
