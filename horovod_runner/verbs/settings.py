"""The verb `settings`: every setting of a run, with its default, what it may be, and what it does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.names import meant, settings
from horovod_runner.config.one_of import OneOf
from horovod_runner.errors import UserError
from horovod_runner.machine.terminal import console

_TABLES: dict[str, Iterable[str]] = {"framework": FRAMEWORKS, "workload": WORKLOADS}
_KINDS = {int: "whole number", float: "number", bool: "true, false", str: "text"}


def show(word: str | None) -> int:
    """Print the settings whose path or sentence has this word, all without one; UserError where there is none."""
    found = [(path, field) for path, field in settings() if word is None or _has_to_do(path, field, word)]
    if not found:
        raise UserError(f"settings: no setting has to do with {word!r}; `horovod-runner settings` lists them all")
    to = console()
    to.print(_table(found))
    if word is None:
        to.print(
            "All of them can be given as --set setting=value, and in the base, axes and arms of an experiment file."
        )
    return 0


def _has_to_do(path: str, field: FieldInfo, word: str) -> bool:
    """Whether a word begins one of the setting's name or sentence, or stands for it in other programs."""
    begins = re.compile(rf"(?<![a-z0-9]){re.escape(word.lower())}")
    return bool(begins.search(f"{path} {field.description}".lower())) or meant(word) == path


def _table(found: Iterable[tuple[str, FieldInfo]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("setting", no_wrap=True)
    for heading in ("default", "may be", "what it does"):
        table.add_column(heading)
    for path, field in found:
        table.add_row(*map(Text, (path, _default(field), _allowed(path, field), _sentence(field))))
    return table


def _sentence(field: FieldInfo) -> str:
    """Return what a setting does, with `null` where the code says None: so it is written in a file."""
    return (field.description or "").replace("None", "null")


def _default(field: FieldInfo) -> str:
    """Return a default as a file would have it."""
    if field.is_required():
        return "(give it)"
    value = field.default
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(f'{one:g}' for one in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _allowed(path: str, field: FieldInfo) -> str:
    """Return what a setting may be: names, or a kind of number with its bounds."""
    if path in _TABLES:
        return ", ".join(_TABLES[path])
    return _of_type(field.annotation, tuple(field.metadata))


def _of_type(annotation: Any, metadata: tuple[Any, ...]) -> str:
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        nested = [each for one in more for each in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return _of_type(inner, (*metadata, *nested))
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    names = next((one.names for one in metadata if isinstance(one, OneOf)), None)
    if names is not None:
        return ", ".join(names)
    if get_origin(annotation) is tuple:
        return f"list of: {_of_type(get_args(annotation)[0], ())}"
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if inner:
        return _of_type(inner[0], metadata)
    return _KINDS.get(annotation, "text") + _bounds(metadata)


def _bounds(metadata: tuple[Any, ...]) -> str:
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    found = [(words[name], getattr(one, name)) for one in metadata for name in words if hasattr(one, name)]
    return "".join(f" {word} {bound:g}" for word, bound in found if abs(bound) < 1e6)
