"""Values as they are typed: text where the setting is text, numbers as numbers are written, and no guessing.

YAML makes a date of 2024-01-31, a truth of `no` and a comment of what follows ` #`. A folder may have any of these
names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from horovod_runner.config.schema import RunConfig
from horovod_runner.config.yaml_files import Unreadable, load_yaml
from horovod_runner.errors import UserError

_INTEGER = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None}


def settings_from(given: Sequence[str]) -> dict[str, Any]:
    """Read `path=value` options. UserError names the one that is not of this form."""
    settings = {}
    for text in given:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise UserError(f"--set {text}: write it as path=value, for example --set optimizer.momentum=0.8")
        settings[path] = value_of(path, value)
    return settings


def value_of(path: str, text: str) -> Any:
    """Return what a text means for the setting at this dotted path, which may begin with `base.`.

    Text stays text where the setting is text. Elsewhere 010 is ten, `true`, `false` and `null` are what JSON means by
    them, and [lists] and {mappings} are YAML; all else is left as it is, for the checks to name.
    """
    if path.removeprefix("base.") == "data":
        return _mapping(text)
    annotation = _annotation(path.removeprefix("base.").split("."))
    if annotation is not None and _is_text(annotation):
        return None if text == "null" and type(None) in get_args(annotation) and "path" not in path else text
    return plain(text)


def plain(text: str) -> Any:
    """Return the number, truth, null, list or mapping that a text is, or the text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _REAL.fullmatch(text):
        return float(text)
    return _collection(text)


def _collection(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text
    try:
        return load_yaml(text)
    except Unreadable:
        return text


def _mapping(text: str) -> Any:
    """Return the settings that a text like {name: digits} stands for; any other is a source's name or a folder."""
    read = _collection(text)
    return read if isinstance(read, dict) else text


def _annotation(parts: Sequence[str]) -> Any:
    """Return the type of the setting at this path, None where there is none."""
    group: Any = RunConfig
    for place, part in enumerate(parts):
        if not (isinstance(group, type) and issubclass(group, BaseModel)) or part not in group.model_fields:
            return None
        group = group.model_fields[part].annotation
        if place == len(parts) - 1:
            return group
    return None


def _is_text(annotation: Any) -> bool:
    if annotation is str:
        return True
    if get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    inner = [one for one in get_args(annotation) if one is not type(None)]
    texts = [_is_text(one) for one in inner if isinstance(one, type) or get_args(one)]
    return bool(texts) and any(texts) and not {int, float, bool} & set(inner)
