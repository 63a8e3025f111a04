"""What an experiment file consists of, and the design that it stands for: base x axes - exclusions, so many repeats."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from horovod_runner.config.defaults import put, put_all
from horovod_runner.config.diagnostics import Origins, Place
from horovod_runner.errors import UserError

ARM = "arm"
IN_PLACE_OF = {"epochs": "steps", "steps": "epochs", "local_batch": "global_batch", "global_batch": "local_batch"}
"""Settings of which a run has one: whoever gives one of them does not want the other that the file has."""

Point = dict[str, Any]
"""One value of every axis, by the axis' path."""


class _Part(BaseModel):
    """The base of what a file consists of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Exclusion(_Part):
    """Runs that are left out: those whose axes have all values of `when`, but not all of `unless`, where there is one.

    `unless` keeps what is measured at one place of the other axes alone.
    """

    when: Annotated[dict[str, Any], Field(min_length=1)]
    unless: dict[str, Any] = {}
    because: Annotated[str, Field(min_length=1)]

    def matches(self, point: Mapping[str, Any]) -> bool:
        """Whether a point of the matrix is excluded."""
        return _has(point, self.when) and not (self.unless and _has(point, self.unless))


class Smoke(_Part):
    """What the minutes-long variant has instead: keys of base and axes are replaced, not merged deeper.

    `arms` are the names of those that it keeps.
    """

    base: dict[str, Any] = {}
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    arms: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    repeats: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Experiment(_Part):
    """The contents of an experiment file.

    `arms` are named bundles of settings, by their paths, that go together: they cross with the axes as an axis of their
    own, and the first is what the others are compared with. `margins` are the largest differences between frameworks
    that count as none, by figure, and are stated before the runs begin. That of `steps_to_target_ratio` is a factor
    above 1, such as 1.1: either framework may then take a tenth more steps than the other.
    """

    description: Annotated[str, Field(min_length=1)]
    base: dict[str, Any] = {}
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    arms: dict[str, dict[str, Any]] = {}
    scaling: Literal["weak", "strong"] = "weak"
    repeats: Annotated[int, Field(ge=1, le=10_000)] = 1
    at_once: Annotated[int, Field(ge=1, le=4096)] = 1  # runs of one worker that share the machine, untimed
    exclude: Annotated[tuple[Exclusion, ...], Field(strict=False)] = ()
    margins: dict[
        Literal["val_metric", "val_loss", "steps_to_target", "steps_to_target_ratio"],
        Annotated[float, Field(gt=0, allow_inf_nan=False)],
    ] = {}
    smoke: Smoke = Smoke()

    _origins: Origins = PrivateAttr(default_factory=dict)

    @field_validator("margins")
    @classmethod
    def _factors_exceed_one(cls, margins: dict[str, float]) -> dict[str, float]:
        if margins.get("steps_to_target_ratio", 2.0) <= 1:
            raise ValueError("steps_to_target_ratio is a factor, and should be greater than 1, such as 1.1")
        return margins

    @property
    def origins(self) -> Origins:
        """The line or option that each setting was read from; empty where there was no file."""
        return self._origins

    def read_from(self, origins: Origins) -> Experiment:
        """Return the experiment with the lines of its file."""
        copy = self.model_copy()
        copy._origins = origins
        return copy

    def smoked(self) -> Experiment:
        """Return the minutes-long variant."""
        dropped = [IN_PLACE_OF[name] for name, value in self.smoke.base.items() if name in IN_PLACE_OF and value]
        changed = self.model_copy(
            update={
                "base": {**_without_settings(self.base, dropped), **self.smoke.base},
                "axes": {**self.axes, **self.smoke.axes},
                "arms": {name: _without_settings(self.arms[name], dropped) for name in self.smoke.arms or self.arms},
                "repeats": self.smoke.repeats or self.repeats,
            }
        )
        for group, names in (("base", self.smoke.base), ("axes", self.smoke.axes)):
            for name in names:
                changed._origins = _moved(changed._origins, ("smoke", group, name), (group, name))
        return changed

    def changed(self, settings: Mapping[str, Any]) -> Experiment:
        """Return the experiment with settings of every run replaced; an axis keeps this one value.

        Arms of another workload than the one that is given go, if there is one of it. A path may begin with `base.`, as
        the file has it.
        """
        base, axes, arms, origins = dict(self.base), dict(self.axes), self.arms, self._origins
        for path, value in ((given.removeprefix("base."), value) for given, value in settings.items()):
            if path == ARM and arms:
                arms = _only(arms, value)
                continue
            if path == "workload":
                arms = {name: arm for name, arm in arms.items() if arm.get(path) == value} or arms
            dropped = [path] + ([IN_PLACE_OF[path]] if path in IN_PLACE_OF and value is not None else [])
            arms = {name: _without_settings(arm, dropped) for name, arm in arms.items()}
            base = _without_settings(base, dropped[1:])
            group: Place = ("axes", path) if path in axes else ("base", *path.split("."))
            origins = {**_given(path, group), **_without(origins, group), group: f"--set {path}"}
            if path in axes:
                axes[path] = [value]
            else:
                base = put(base, path, value)
        changed = self.model_copy(update={"base": base, "axes": axes, "arms": arms})
        changed._origins = origins
        return changed

    @property
    def factors(self) -> dict[str, list[Any]]:
        """The axes, with the arms' names before them where there are arms."""
        return ({ARM: list(self.arms)} if self.arms else {}) | self.axes

    def points(self) -> list[Point]:
        """Return the matrix: every combination of the axes that is not excluded, in the file's order."""
        return [point for point in self._all_points() if self._exclusion_of(point) is None]

    def left_out(self) -> list[tuple[str, int]]:
        """Return (reason, points) of every exclusion that leaves points out; the first that matches counts."""
        matching = [self._exclusion_of(point) for point in self._all_points()] if self.exclude else []
        counts = [(exclusion.because, matching.count(index)) for index, exclusion in enumerate(self.exclude)]
        return [(because, count) for because, count in counts if count]

    def size(self) -> int:
        """Return how many runs there are before exclusions."""
        return math.prod(len(values) for values in self.factors.values()) * self.repeats

    def ordered(self, name: str) -> Iterator[tuple[Point, int]]:
        """Yield (point, repeat) of every run in the order they are to be done: in blocks that hold each point once.

        Where points are repeated every block is shuffled, by the experiment's name and the block's number: a machine
        that drifts hits all arms alike, and none is always first.
        """
        for repeat in range(self.repeats):
            block = self.points()
            if self.repeats > 1:
                random.Random(f"{name} {repeat}").shuffle(block)
            yield from ((point, repeat) for point in block)

    def plain_run(self, point: Point, repeat: int, name: str) -> dict[str, Any]:
        """Return one run as plain data; UserError when a path leads through a value that has no settings inside."""
        run: dict[str, Any] = {"scaling": self.scaling, "experiment": name}
        run = put_all(run, {path: self.base[path] for path in sorted(self.base, key=_depth)})
        if self.repeats > 1:
            run["repeat"] = repeat
        changes = self.arms.get(point.get(ARM, ""), {}) | point
        # `data` before `data.image_size`, whichever axis comes first
        return put_all(run, {path: changes[path] for path in sorted(changes, key=_depth)})

    def origin(self, point: Point, key: str) -> Place:
        """Return where the setting `key` of a point's run is written: the value of an axis, or else the base."""
        arm = self.arms.get(point.get(ARM, ""), {})
        related = [path for path in (*self.axes, *arm) if overlap(path, key)]
        if not related:
            dotted = [path for path in self.base if "." in path and overlap(path, key)]
            return ("base", *(dotted[:1] or key.split(".")))
        path = max(related, key=len)
        if path in arm:
            return ("arms", point[ARM], path)
        return ("axes", path, next(i for i, value in enumerate(self.axes[path]) if value is point[path]))

    def _all_points(self) -> Iterator[Point]:
        return (dict(zip(self.factors, values, strict=True)) for values in itertools.product(*self.factors.values()))

    def _exclusion_of(self, point: Point) -> int | None:
        return next((index for index, exclusion in enumerate(self.exclude) if exclusion.matches(point)), None)


def _has(point: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(key in point and point[key] == value for key, value in values.items())


def overlap(path: str, other: str) -> bool:
    """Whether one of two dotted paths is the other, or leads to it."""
    return f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.")


def _only(arms: Mapping[str, dict[str, Any]], name: Any) -> dict[str, dict[str, Any]]:
    """Return the arm of this name alone; UserError when there is none."""
    if name not in arms:
        raise UserError(f"--set arm: there is no arm {name!r}; choose one of {', '.join(arms)}")
    return {name: arms[name]}


def _without_settings(settings: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """Return settings without those at these paths, or below one of them."""
    inside = tuple(f"{path}." for path in paths)
    return {known: value for known, value in settings.items() if not f"{known}.".startswith(inside)}


def _depth(path: str) -> int:
    return path.count(".")


def _given(path: str, place: Place) -> dict[Place, int | str]:
    """Return an option as the origin of the groups around its place as well, for those that no line made."""
    return {place[:length]: f"--set {path}" for length in range(2, len(place))}


def _without(origins: Origins, place: Place) -> dict[Place, int | str]:
    """Return the origins but for those at a place and inside it."""
    return {known: origin for known, origin in origins.items() if known[: len(place)] != place}


def _moved(origins: Origins, old: Place, new: Place) -> dict[Place, int | str]:
    """Return the origins with what stands at `old` also standing at `new`, in the stead of what stood there."""
    copies = {(*new, *known[len(old) :]): o for known, o in origins.items() if known[: len(old)] == old}
    return {**_without(origins, new), **copies}
