"""What `plan` prints: the matrix, what of it is done, what is left out and why, and how long the rest will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.matrix.design import Experiment
from horovod_runner.matrix.estimate import Experience, Finished, planned_steps
from horovod_runner.matrix.sharing import shares
from horovod_runner.results.store import RunFolder, Store
from horovod_runner.training.notes import of_matrix

MOST_ROWS = 40
MOST_OTHERS = 200  # runs of other experiments that are read for the estimate
_ALWAYS = ("workload", "framework", "workers", "local_batch")
_STATES = {"completed": "done", "diverged": "diverged", "failed": "failed", "timeout": "failed"}
_STANDING = ("done", "diverged")


def show(experiment: Experiment, configs: Sequence[RunConfig], store: Store, console: Console) -> None:
    """Print an experiment's runs and what is known about them."""
    finished = read_finished(configs, store)
    states = [_STATES[finished[c.run_id].result.status] if c.run_id in finished else "to do" for c in configs]
    console.print(experiment.description.strip(), highlight=False, markup=False)
    console.print(_table(experiment, configs, states))
    if len(configs) > MOST_ROWS:
        counts = ", ".join(f"{count:,} {state}" for state, count in Counter(states).items())
        console.print(f"… {len(configs) - MOST_ROWS:,} more; by state, of all: {counts}", highlight=False, markup=False)
    for because, count in experiment.left_out():
        console.print(f"left out: {_counted(count, 'point')}: {because}", highlight=False, markup=False, soft_wrap=True)
    for sentence in of_matrix(configs):
        console.print(f"note: {sentence}", highlight=False, markup=False, soft_wrap=True)
    left = [config for config, state in zip(configs, states, strict=True) if state not in _STANDING]
    console.print(f"{_counted(len(configs), 'run')}, {len(left):,} to do", highlight=False)
    if left:
        known = [*finished.values(), *_read_like(left, store, set(finished))]
        console.print(_estimate(left, known, experiment.at_once), highlight=False, soft_wrap=True)


def read_finished(configs: Sequence[RunConfig], store: Store) -> dict[str, Finished]:
    """Return those of the runs that have a result, by run id; UserError when one is damaged."""
    finished = {}
    names = {experiment: store.names(experiment) for experiment in {config.experiment for config in configs}}
    for config in configs:
        if config.run_id in names[config.experiment]:
            folder = store.folder(config)
            if folder.result_file.exists():
                finished[config.run_id] = _finished(config, folder)
    return finished


def _read_like(configs: Sequence[RunConfig], store: Store, known: set[str]) -> list[Finished]:
    """Return runs of the same jobs from all experiments here; what cannot be read tells nothing."""
    beginnings = tuple({f"{c.workload}-{c.framework}-n{c.workers}-" for c in configs})
    like: list[Finished] = []
    for folder in store.finished():
        if folder.path.name.startswith(beginnings) and folder.path.name not in known and len(like) < MOST_OTHERS:
            try:
                like.append(_finished(folder.read_config(), folder))
            except UserError:
                continue
    return like


def _finished(config: RunConfig, folder: RunFolder) -> Finished:
    """Return a run with its seconds: a rank's clock starts late, so the time between its first and last file counts.

    Unless it cannot be: a run that was interrupted has fewer, a copied one any number.
    """
    result = folder.read_result()
    between = folder.result_file.stat().st_mtime - folder.config_file.stat().st_mtime
    believable = result.wall_seconds <= between <= 2 * result.wall_seconds + 60
    return Finished(config, result, between if believable else result.wall_seconds)


def _table(experiment: Experiment, configs: Sequence[RunConfig], states: Sequence[str]) -> Table:
    counted = ["repeat"] if experiment.repeats > 1 else []
    paths = list(dict.fromkeys([*_ALWAYS, *experiment.factors, *counted]))
    table = Table(box=None, pad_edge=False)
    for title in (*map(_title, paths), "steps", "state"):
        table.add_column(title, overflow="fold", vertical="bottom")
    for config, state in list(zip(configs, states, strict=True))[:MOST_ROWS]:
        table.add_row(*(escape(str(look_up(config, path))) for path in paths), _length(config), escape(state))
    return table


def _title(path: str) -> str:
    """Return the name that a path ends in, a word a line: whole paths make tables wider than terminals."""
    return path.rpartition(".")[2].replace("_", "\n")


def _length(config: RunConfig) -> str:
    steps = planned_steps(config)
    return f"{steps:,}" if steps is not None else f"{config.epochs} epochs"


def _estimate(left: Sequence[RunConfig], known: Sequence[Finished], at_once: int) -> str:
    experience = Experience(known, at_once)
    seconds = [experience.matrix_seconds_of(config) for config in left]
    sure = [s for s in seconds if s is not None]
    if not sure:
        return "no estimate yet: nothing like these runs was done here"
    unknown = len(seconds) - len(sure)
    rest = f"; no estimate for the other {unknown:,}: nothing like them was done here" if unknown else ""
    what = f"{len(sure):,} of the runs to do" if unknown else f"the {_counted(len(sure), 'run')} to do"
    how = f", {at_once} at once" if any(shares(config, at_once) for config in left) else ""
    return f"about {duration(sum(sure))} for {what}{how}, by runs like them that were done here{rest}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s'[: count != 1]}"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def look_up(config: RunConfig, path: str) -> Any:
    """Return a setting of a run by its path."""
    value: Any = config
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
    return value
