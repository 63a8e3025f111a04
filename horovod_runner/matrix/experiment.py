"""An experiment file: one question, and the list of the runs that answer it.

Everything is validated before anything starts, and all diagnostics are said at once, each with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from horovod_runner.config.diagnostics import Diagnostics, WrongSettings, shown, unknown_key, wrong_value
from horovod_runner.config.job_settings import JobSettings, decode_with
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.yaml_files import Document, read_file
from horovod_runner.errors import UserError
from horovod_runner.matrix.design import ARM, Exclusion, Experiment, Point, Smoke, overlap

MOST_RUNS = 100_000
LONGEST_ARM = 60  # characters of its name: it stands in tables and figures
MOST_SHOWN = 8  # values of an axis in one sentence


def load_experiment(file: Path) -> Experiment:
    """Read an experiment file; UserError names everything that is wrong, with its line, key and remedy."""
    document = read_file(file, "experiment file")
    diagnostics = document.diagnostics(file)
    if not isinstance(document.data, dict):
        diagnostics.add((), "it is not an experiment; it needs the keys description, base and axes")
        diagnostics.stop()
    experiment = _decoded(document, diagnostics)
    if experiment is not None:
        _check_names(experiment, diagnostics)
        if diagnostics:
            _valid_runs(experiment, file, diagnostics)
    diagnostics.stop()
    assert experiment is not None, "what is not decoded is a mistake"
    return experiment


def runs(experiment: Experiment, file: Path, settings: Sequence[JobSettings] = ()) -> list[RunConfig]:
    """Return the validated runs, with a machine's settings as their defaults; UserError lists what is wrong."""
    diagnostics = Diagnostics(file, experiment.origins)
    configs = _valid_runs(experiment, file, diagnostics, settings)
    diagnostics.stop()
    if not configs:
        raise UserError(f"{file}: exclude: every run is excluded; remove an exclusion, or add a value to an axis")
    return configs


def smoked(experiment: Experiment, file: Path) -> Experiment:
    """Return the minutes-long variant; UserError where the file has none: that would be the whole study."""
    if experiment.smoke == Smoke():
        raise UserError(
            f"{file}: smoke: is missing, so all {experiment.size()} runs would be done; add it, for example"
            f" {_small_variant(experiment)}"
        )
    return experiment.smoked()


def _small_variant(experiment: Experiment) -> str:
    """Return a small variant as a file could have it: a few steps, one value of each axis but the framework's."""
    base = {"steps": 10} if "steps" in experiment.base else {"epochs": 1}
    axes = {path: values[:1] for path, values in experiment.axes.items() if path != "framework" and len(values) > 1}
    repeats = {"repeats": 1} if experiment.repeats > 1 else {}
    plain = json.dumps({"base": base, **({"axes": axes} if axes else {}), **repeats})
    return "smoke: " + re.sub(r'"([\w.]+)":', r"\1:", plain)


def _decoded(document: Document, diagnostics: Diagnostics) -> Experiment | None:
    """Return the experiment with what is wrong with each key added; None where nothing can be said about its runs.

    What runs are not made of is left out after its complaint, so that theirs are said at the same time.
    """
    plain = dict(document.data)
    try:
        experiment = Experiment.model_validate(plain)
    except ValidationError as error:
        for item in error.errors():
            diagnostics.add(item["loc"], _sentence(item))
        wrong = {item["loc"][0] for item in error.errors()}
        if wrong & {"base", "axes", "arms", "exclude"}:
            return None
        kept = {key: value for key, value in plain.items() if key in Experiment.model_fields and key not in wrong}
        experiment = Experiment.model_validate({"description": "none", **kept})
    return experiment.read_from(document.lines)


def _sentence(item: Any) -> str:
    """Return what one of pydantic's complaints about the file's own keys means."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return wrong_value(key, item)
    parts: dict[str, type[BaseModel]] = {"exclude": Exclusion, "smoke": Smoke}
    part = parts.get(str(item["loc"][0]), Experiment) if len(item["loc"]) > 1 else Experiment
    return unknown_key(key, part.model_fields, "key of an experiment")


def _check_names(experiment: Experiment, diagnostics: Diagnostics) -> None:
    """Add the axes and exclusions that mean nothing, values that stand twice, and settings that belong elsewhere."""
    _check_exclusions(experiment, diagnostics)
    _check_arms(experiment, diagnostics)
    for path in experiment.smoke.axes:
        if path not in experiment.axes:
            sentence = f"smoke.axes.{path}: is not an axis of the file; give its value in smoke.base, or add it to axes"
            diagnostics.add(("smoke", "axes", path), sentence)
    groups: dict[tuple[str, ...], Mapping[str, Any]] = {
        ("base",): experiment.base,
        ("smoke", "base"): experiment.smoke.base,
        ("axes",): experiment.axes,
        ("smoke", "axes"): experiment.smoke.axes,
    }
    for group, settings in groups.items():
        for name in settings:
            if name in _ELSEWHERE[group[-1]]:
                diagnostics.add((*group, name), f"{'.'.join((*group, name))}: {_ELSEWHERE[group[-1]][name]}")
            elif group[-1] == "axes":
                _check_values((*group, name), settings[name], diagnostics)


_FILE_NAME = {"experiment": "is the file's name; rename the file", "repeat": "is counted; write repeats beside base"}
_BESIDE = {"at_once": "is of the whole file; write it beside base"}
_NO_ARM = "makes no arm; make it an axis"
_OF_AN_ARM = {ARM: "is the name of an arm; write arms beside base, and a name for each"}
_COMMON = {**_FILE_NAME, **_BESIDE, **_OF_AN_ARM}
_ELSEWHERE = {
    "axes": _COMMON,
    "arms": {**_COMMON, "framework": _NO_ARM, "seed": _NO_ARM},
    "base": {**_COMMON, "scaling": "stands beside base; move it there, or make it an axis"},
}


def _check_arms(experiment: Experiment, diagnostics: Diagnostics) -> None:
    """Add the settings of arms that mean nothing or are given twice, and the smoke variant's arms that are none."""
    if len(experiment.arms) == 1:
        diagnostics.add(("arms",), "arms: there is only one, and nothing to compare it with; add another, or remove it")
    for name, arm in experiment.arms.items():
        if not name.strip() or not name.isprintable() or len(name) > LONGEST_ARM:
            what = f"an arm's name is one line of 1 to {LONGEST_ARM} characters; rename it"
            diagnostics.add(("arms", name), f"arms.{shown(name)}: {what}")
        for path in arm:
            key, place = f"arms.{name}.{path}", ("arms", name, path)
            axis = next((axis for axis in experiment.axes if overlap(axis, path)), None)
            if path in _ELSEWHERE["arms"]:
                diagnostics.add(place, f"{key}: {_ELSEWHERE['arms'][path]}")
            elif axis is not None:
                diagnostics.add(place, f"{key}: axes.{axis} gives it as well; keep one of the two")
    for index, name in enumerate(experiment.smoke.arms or ()):
        if name not in experiment.arms:
            sentence = f"smoke.arms: {shown(name)} is not an arm; choose one of {', '.join(experiment.arms) or 'none'}"
            diagnostics.add(("smoke", "arms", index), sentence)


def _check_exclusions(experiment: Experiment, diagnostics: Diagnostics) -> None:
    axes = experiment.factors
    for index, exclusion in enumerate(experiment.exclude):
        named = [("when", *item) for item in exclusion.when.items()]
        named += [("unless", *item) for item in exclusion.unless.items()]
        for part, path, value in named:
            key, place = f"exclude.{index}.{part}.{path}", ("exclude", index, part, path)
            if path not in axes:
                diagnostics.add(place, f"{key}: is not an axis; the axes are {', '.join(axes) or 'none'}")
            elif value not in axes[path]:
                known = list(map(shown, axes[path]))
                more = f" and {len(known) - MOST_SHOWN} others" if len(known) > MOST_SHOWN else ""
                choice = f"choose one of {', '.join(known[:MOST_SHOWN])}{more}"
                diagnostics.add(place, f"{key}: {shown(value)} is not a value of this axis; {choice}")


def _check_values(place: tuple[str, ...], values: list[Any], diagnostics: Diagnostics) -> None:
    """Add the values that stand twice in an axis."""
    seen: set[str] = set()
    for index, text in enumerate(map(shown, values)):
        if text in seen:
            diagnostics.add((*place, index), f"{'.'.join(place)}: {text} is listed twice; remove one")
        seen.add(text)


def _valid_runs(
    experiment: Experiment, file: Path, diagnostics: Diagnostics, settings: Sequence[JobSettings] = ()
) -> list[RunConfig]:
    """Return the runs that are valid, and add what is wrong with the others."""
    if experiment.size() > MOST_RUNS:
        diagnostics.add(("axes",), f"axes: they make more than {MOST_RUNS} runs; take values or repeats away")
        return []
    configs: dict[str, RunConfig] = {}
    equal: list[str] = []
    for point, repeat in experiment.ordered(file.stem):
        config = _run(experiment, (point, repeat), file, diagnostics, settings)
        if config is not None:
            equal += [config.run_id] if config.run_id in configs else []
            configs[config.run_id] = config
    if equal and not diagnostics:
        what = f"{len(equal)} runs stand twice, the first is {equal[0]}"
        diagnostics.add(("axes",), f"axes: {what}; remove the values that mean the same as another")
    return list(configs.values())


def _run(
    experiment: Experiment,
    which: tuple[Point, int],
    file: Path,
    diagnostics: Diagnostics,
    settings: Sequence[JobSettings],
) -> RunConfig | None:
    """Return one run, by its point and repeat, or None with its diagnostics added."""
    point, repeat = which
    try:
        return decode_with(settings, experiment.plain_run(point, repeat, file.stem), str(file))
    except WrongSettings as error:
        for key, sentence in error.problems:
            if key == "experiment" and key not in experiment.base:
                what = "its name is the experiment's; rename it, with letters, digits, '.', '-' and '_' only"
                diagnostics.add_at(None, what)
            else:
                diagnostics.add(experiment.origin(point, key), sentence)
    except UserError as error:  # a path that leads nowhere
        key = str(error).split(":")[0]
        diagnostics.add(experiment.origin(point, key), str(error))
    return None
