"""An experiment file: one question, and the list of the runs that answer it (base x axes - exclusions, so many
repeats).

Everything is validated before anything starts, and all mistakes are said at once.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from horovod_runner.config import RunConfig, data_from_word, decode
from horovod_runner.errors import UserError
from horovod_runner.plain import load_yaml

_REPEATED_AXIS = "repeat"


class Exclusion(BaseModel):
    """Runs that are left out: those whose axes have all of these values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: dict[str, Any]
    because: Annotated[str, Field(min_length=1)]

    def matches(self, point: Mapping[str, Any]) -> bool:
        """Whether a point of the matrix is excluded."""
        return all(point.get(key) == value for key, value in self.when.items())


class Smoke(BaseModel):
    """What the minutes-long variant has instead: keys of base and axes are replaced, not merged deeper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    repeats: Annotated[int, Field(ge=1)] | None = None


class Experiment(BaseModel):
    """The contents of an experiment file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Annotated[str, Field(min_length=1)]
    base: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    scaling: Literal["weak", "strong"] = "weak"
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    exclude: tuple[Exclusion, ...] = ()
    smoke: Smoke = Smoke()

    def smoked(self) -> Experiment:
        """Return the minutes-long variant."""
        return self.model_copy(
            update={
                "base": {**self.base, **self.smoke.base},
                "axes": {**self.axes, **self.smoke.axes},
                "repeats": self.smoke.repeats or self.repeats,
            }
        )

    def changed(self, settings: Mapping[str, Any]) -> Experiment:
        """Return the experiment with settings of every run replaced; one that was an axis is an axis no more."""
        base = dict(self.base)
        for path, value in settings.items():
            base = put(base, path, value)
        axes = {path: values for path, values in self.axes.items() if path not in settings}
        return self.model_copy(update={"base": base, "axes": axes})

    def points(self) -> list[dict[str, Any]]:
        """Return the matrix: every combination of the axes that is not excluded, in the file's order."""
        combinations = itertools.product(*self.axes.values())
        points = [dict(zip(self.axes, values, strict=True)) for values in combinations]
        return [point for point in points if not any(exclusion.matches(point) for exclusion in self.exclude)]

    def plain_runs(self, name: str) -> list[dict[str, Any]]:
        """Return every run as plain data, in blocks: a block holds each point once, shuffled, so that drift hits all
        alike.

        The first block keeps the file's order, since a reader watches it.
        """
        blocks = []
        for repeat in range(self.repeats):
            block = [self._run(point, repeat, name) for point in self.points()]
            if repeat:
                random.Random(repeat).shuffle(block)
            blocks += block
        return blocks

    def _run(self, point: Mapping[str, Any], repeat: int, name: str) -> dict[str, Any]:
        run: dict[str, Any] = {**self.base, "scaling": self.scaling, "experiment": name}
        if self.repeats > 1:
            run[_REPEATED_AXIS] = repeat
        for path, value in point.items():
            run = put(run, path, value)
        return run


def load_experiment(file: Path) -> Experiment:
    """Read an experiment file; UserError names the file, the key and the remedy."""
    try:
        plain = load_yaml(file.read_text())
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}); name an experiment file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        raise UserError(f"{file} is not valid YAML{f' (line {where.line + 1})' if where else ''}; mend it") from None
    if not isinstance(plain, dict):
        raise UserError(f"{file} is not an experiment; it needs the keys description, base and axes")
    try:
        return Experiment.model_validate(plain)
    except ValidationError as error:
        item = error.errors()[0]
        key = ".".join(str(part) for part in item["loc"])
        raise UserError(
            f"{file}: {key}: {item['msg'].lower()}; known keys are {', '.join(Experiment.model_fields)}"
        ) from None


def runs(experiment: Experiment, file: Path) -> list[RunConfig]:
    """Return the validated runs; UserError lists every mistake of every run, each once."""
    configs, problems = [], []
    for plain in _named(file, lambda: experiment.plain_runs(file.stem)):
        try:
            configs.append(decode(plain, str(file)))
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    if not configs:
        raise UserError(f"{file}: every run is excluded; remove an exclusion, or add a value to an axis")
    _refuse_equal(configs, file)
    return configs


def _named(file: Path, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Let a mistake in a path say which file it is in."""
    try:
        return make()
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _refuse_equal(configs: Sequence[RunConfig], file: Path) -> None:
    seen: set[str] = set()
    for config in configs:
        if config.run_id in seen:
            raise UserError(
                f"{file}: two runs are the same ({config.run_id}); remove the value that stands twice in an axis"
            )
        seen.add(config.run_id)


def put(plain: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return plain data with the value at a dotted path replaced; groups on the way are made, other keys kept."""
    head, _, rest = path.partition(".")
    if not rest:
        return {**plain, head: value}
    inner = plain.get(head) or {}
    if isinstance(inner, str) and head == "data":
        inner = data_from_word(inner)
    if not isinstance(inner, Mapping):
        raise UserError(f"{path}: {head} is {inner!r}, which has no settings inside; give {head} itself")
    return {**plain, head: put(inner, rest, value)}
