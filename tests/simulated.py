"""Runs with a known truth, in memory: what the questions' statistics are tried on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from horovod_runner.analysis.load.runs import Run
from horovod_runner.config.schema import decode
from horovod_runner.results import record

EPOCHS = 8


def simulated(raw: dict[str, Any], metric: Sequence[float], status: record.Status = "completed", **changes: Any) -> Run:
    """Return a run with these validation metrics, one an epoch; `changes` replace fields of its result."""
    config = decode({"framework": "torch", "experiment": "study", "epochs": EPOCHS} | raw, "simulated")
    losses = tuple(1.0 - value for value in metric)
    result = record.RunResult(
        run_id=config.run_id,
        status=status,
        **{name: getattr(config, name) for name in ("experiment", "framework", "workload", "workers", "scaling")},
        **{name: getattr(config, name) for name in ("seed", "repeat", "local_batch", "global_batch")},
        epochs=len(metric),
        steps=20 * len(metric),
        train_loss=losses,
        val_loss=losses,
        val_metric=record.Metric(name="top1", values=tuple(metric)) if metric else None,
        wall_seconds=1.0,
    )
    provenance = {"machine": {"id": "one"}, "started": "2026-01-02T03:04:05+00:00"}
    folder = Path("results/study") / config.run_id
    return Run(folder, config, result.model_copy(update=changes), provenance)


def risen(final: float, epochs: int = EPOCHS, start: float = 0.1) -> list[float]:
    """Return metrics that rise from `start` and end at `final`, with the last quarter there."""
    rise = [start + (final - start) * min(1.0, (epoch + 1) / (0.6 * epochs)) for epoch in range(epochs)]
    return [round(value, 12) for value in rise]


def crossed(
    base: dict[str, Any],
    axes: dict[str, Sequence[Any]],
    truth: Callable[[dict[str, Any]], float | None],
) -> list[Run]:
    """Return a run for every combination of the axes (flat names), ending at `truth(point)`; None: it diverged."""
    from itertools import product

    made = []
    for values in product(*axes.values()):
        point = dict(zip(axes, values, strict=True))
        raw: dict[str, Any] = dict(base)
        for path, value in point.items():
            head, _, rest = path.partition(".")
            raw[head] = {**raw.get(head, {}), rest: value} if rest else value
        final = truth(point)
        made.append(simulated(raw, risen(final)) if final is not None else simulated(raw, [0.1], "diverged"))
    return made
