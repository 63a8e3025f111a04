"""Diagnostics: what is wrong with settings or a file, a sentence each, its key first, its remedy last."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from horovod_runner.errors import UserError

MOST = 20  # lines of one complaint

Place = tuple[str | int, ...]
"""The way to a value: keys of mappings and numbers of lists, from the outermost in."""

Origins = Mapping[Place, int | str]
"""The line of each place of a file, or the option that was put in its stead."""


class Diagnostics:
    """What is wrong with one file, each said once, in the order of its lines."""

    def __init__(self, file: Path, origins: Origins) -> None:
        self._file, self._origins = file, origins
        self._said: dict[str, float] = {}

    def add(self, place: Place, sentence: str) -> None:
        """Keep a diagnostic: the key first, what is wrong, then the remedy. An unknown place is its surroundings'."""
        while place and place not in self._origins:
            place = place[:-1]
        self.add_at(self._origins.get(place), sentence)

    def add_at(self, origin: int | str | None, sentence: str) -> None:
        """Keep a diagnostic of this line or option; None: of the whole file."""
        where = f"{self._file}:{origin}" if isinstance(origin, int) else str(self._file)
        option = f"{origin}: " if isinstance(origin, str) else ""
        self._said.setdefault(_printable(f"{where}: {option}{sentence}"), origin if isinstance(origin, int) else 0)

    def __bool__(self) -> bool:
        return bool(self._said)

    def stop(self) -> None:
        """Raise UserError with all of them, one a line, if there are any; far too many are only counted."""
        if not self._said:
            return
        lines = sorted(self._said, key=lambda sentence: self._said[sentence])
        more = [f"… and {len(lines) - MOST} more"] if len(lines) > MOST else []
        raise UserError("\n".join(lines[:MOST] + more))


class WrongSettings(UserError):
    """Settings that describe no run: `problems` are (key, sentence), and each sentence begins with its key."""

    def __init__(self, source: str, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{source}: {'; '.join(sentence for _, sentence in problems)}")
        self.problems = tuple(problems)


class Inconsistent(ValueError):
    """Settings that are right one by one, and not together; each of `sentences` begins with a key and a colon."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = tuple(sentences)


def unknown_key(key: str, known: Iterable[str], kind: str) -> str:
    """Return the sentence about a key that does not exist, with the one that was meant, or all there are."""
    known = sorted(known)
    meant = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    remedy = f"write {meant[0]}" if meant else f"the known ones are {', '.join(known)}"
    return f"{key}: is not a {kind}; {remedy}"


def wrong_value(key: str, item: Mapping[str, Any]) -> str:
    """Return the sentence about one of pydantic's complaints: what should stand there, and what does."""
    if item["type"] == "missing":
        return f"{key}: is missing; add it"
    if item["type"] in ("model_type", "dict_type"):
        return f"{key}: should be a group of settings, but it is {shown(item['input'])}"
    if item["type"] == "value_error":
        message = item["msg"].removeprefix("Value error, ")
        return f"{key}: {message[:1].lower()}{message[1:]}"
    return f"{key}: should be {_wanted(item)}, but it is {shown(item['input'])}"


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LENGTHS = {"string_too_short": ("min_length", "characters"), "too_short": ("min_length", "values")}
_LENGTHS |= {"string_too_long": ("max_length", "characters"), "too_long": ("max_length", "values")}


def _wanted(item: Mapping[str, Any]) -> str:
    """Return what a value should be, in a reader's words for pydantic's kinds of complaint."""
    kind, context = str(item["type"]), item.get("ctx", {})
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"{words} {context[name]:g}"
    if kind in _LENGTHS:
        name, what = _LENGTHS[kind]
        most = "at least" if name == "min_length" else "at most"
        return f"{most} {context[name]} {what if context[name] != 1 else what[:-1]} long"
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    return _KINDS.get(kind.split("_")[0], item["msg"].removeprefix("Input should be ").rstrip("."))


def shown(given: Any) -> str:
    """Return a value as a reader would write it, in at most 80 characters."""
    try:
        return json.dumps(given, default=str)[:80]
    except (TypeError, ValueError, RecursionError):  # what JSON has not: keys that are no words, loops
        return f"a {type(given).__name__}"


def _printable(sentence: str) -> str:
    """Return a sentence that any terminal can show on one line, whatever was found in the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
