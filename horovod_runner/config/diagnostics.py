"""Diagnostics of settings that are wrong: a sentence each, its key first, its remedy last."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from horovod_runner.errors import UserError


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
    return f"{key}: is no {kind}; {remedy}"


def wrong_value(key: str, item: Mapping[str, Any]) -> str:
    """Return the sentence about one of pydantic's complaints: what should stand there, and what does."""
    if item["type"] == "missing":
        return f"{key}: is missing; add it"
    if item["type"] in ("model_type", "dict_type"):
        return f"{key}: should be a group of settings, but it is {shown(item['input'])}"
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = f"{key}: {message[:1].lower()}{message[1:]}"
    return message if item["type"] == "value_error" else f"{message}, but it is {shown(item['input'])}"


def shown(given: Any) -> str:
    """Return a value as a reader would write it, in at most 80 characters."""
    try:
        return json.dumps(given, default=str)[:80]
    except (TypeError, ValueError, RecursionError):  # what JSON has not: keys that are no words, loops
        return f"a {type(given).__name__}"
