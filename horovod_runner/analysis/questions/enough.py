"""How much warmup is enough? The shortest that costs no more than what counts as no difference.

Where many lengths of warmup are equally good, which of them is best is chance; where that plateau begins is not. What
counts as no difference is the margin that the experiment file stated for the metric, or else one validation example.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Answer
from horovod_runner.analysis.questions import cells as of
from horovod_runner.analysis.questions.warmup import BOTH, Growth, Samples, asking, growths, sampled
from horovod_runner.analysis.report import words
from horovod_runner.results.store import read_asked
from horovod_runner.statistics import seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def answers(runs: Sequence[Run]) -> list[Answer]:
    """Answer it for each job whose runs have three lengths of warmup or more at two batches or more."""
    made = [_answer(names, equal) for names, equal in asking(runs)]
    return [answer for answer in made if answer is not None]


def _answer(names: Sequence[str], runs: Sequence[Run]) -> Answer | None:
    final = of.Final(runs)
    _, samples = sampled(runs, final)
    stated = (read_asked(runs[0].folder.parent).get("margins") or {}).get("val_metric")
    slack = (of.resolution(runs) or 0.0) if stated is None else stated
    found = growths(samples, partial(seeds.least_enough, slack=slack))
    if not found:
        return None
    less = f"{'the margin that was stated' if stated is not None else 'one validation example'}, {slack:.4g}"
    return Answer(
        name="-".join(("warmup-enough", *map(words.file_part, names))),
        title=", ".join(("How much warmup is enough?", *map(words.job, names))),
        sentences=(
            f"Enough is the shortest warmup whose mean is no more than {less}, below that of the best.",
            *map(_told, found),
            "A slope's interval knows the warmups that were tried alone: where every draw picks the same, it has none.",
        ),
        rows=tuple(map(_row, found)),
        draw=partial(_draw, samples, final.metric),
    )


def _told(growth: Growth) -> str:
    who = "All frameworks together" if growth.framework == BOTH else words.framework(growth.framework)
    where = ", ".join(f"{least:g} at {batch:,}" for least, batch in zip(growth.chosen, growth.batches, strict=True))
    slope = growth.per_thousand
    verdict = "that it changes with the batch is not shown"
    if slope.ci95_low is None:
        verdict = "too few seeds to say whether it grows"
    elif slope.leaves_out(0):
        verdict = f"it {'grows' if slope.mean > 0 else 'shrinks'} with the batch"
    start = f"{who}, {words.rule(growth.rule)}: enough is {where} images a step, a slope of {words.with_bounds(slope)}"
    return f"{start} epochs for 1,000 images more ({growth.seeds} seeds): {verdict}."


def _row(growth: Growth) -> dict[str, Any]:
    row: dict[str, Any] = {"framework": growth.framework, "rule": growth.rule}
    row |= {f"batch {batch}": least for batch, least in zip(growth.batches, growth.chosen, strict=True)}
    return row | bounds("epochs_per_thousand_images", growth.per_thousand) | {"seeds": growth.seeds}


def _draw(samples: Samples, metric: str) -> Figure:
    from horovod_runner.analysis.plots.warmup import Point, finals

    points = [
        Point(*place, warmup, seeds.over_seeds(by_seed))
        for place, table in samples.items()
        for warmup, by_seed in table.items()
    ]
    return finals(points, metric)
