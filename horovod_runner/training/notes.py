"""What a run's description asks for and its length leaves no room for: said before it trains, so that nobody waits.

None of it is a mistake: a short run of a long recipe is how people try things.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from horovod_runner.config.schema import RunConfig
from horovod_runner.training.plan import Plan, plan_of

EARLY = 100  # steps, of which running statistics lag behind by some 20


def notes(config: RunConfig, plan: Plan, validation_examples: int) -> list[str]:
    """Return a sentence for each thing that will not come to pass in this run."""
    found = [_peak(config, plan), _milestones(config, plan), _validation(config, validation_examples)]
    return [sentence for sentence in found if sentence]


def lag(config: RunConfig, plan: Plan, normalises: bool) -> str | None:
    """Return what the first validation shows of a model that normalises by running statistics, where it is early."""
    first = next((step + 1 for step in plan.steps if plan.validates(step)), EARLY)
    if not normalises or config.validation_statistics == "precise" or first >= EARLY:
        return None
    return (
        f"the model is validated after {first} step{'s'[: first != 1]}, and batch normalisation's running statistics"
        " lag behind the weights by some 20, so the first validations look worse than the model is"
        " (--set validation_statistics=precise)"
    )


def of_matrix(configs: Sequence[RunConfig]) -> list[str]:
    """Return what the runs of an experiment will not reach, a sentence each, with the number of runs that it is of.

    Runs on a folder, whose examples nobody has counted yet, say it themselves, in their logs.
    """
    counts: dict[str, int] = {}
    for config in configs:
        if config.examples is not None and config.examples >= (config.global_batch or 1):
            plan = plan_of(config, config.examples // (config.global_batch or 1))
            for sentence in notes(config, plan, config.workers):
                counts[sentence] = counts.get(sentence, 0) + 1
    total = len(configs)
    return [f"{count:,} of {total:,} runs: {sentence}" if total > 1 else sentence for sentence, count in counts.items()]


def _peak(config: RunConfig, plan: Plan) -> str | None:
    """Return whether the learning rate does not come to its peak, which it has where warmup ends, or else never."""
    schedule, warmup = plan.schedule, config.schedule.warmup_epochs * plan.steps_per_epoch
    peak, last = schedule.base * schedule.factor, plan.total_steps - 1
    after = math.ceil(warmup)
    nearest = min((schedule(min(last, max(0, s))) for s in (after - 1, after)), key=lambda rate: abs(rate - peak))
    if config.measure != "training" or math.isclose(nearest, peak, rel_tol=1e-9):
        return None
    why = (
        f"warmup takes {warmup:,.0f} steps and the run has {plan.total_steps:,}"
        if warmup >= plan.total_steps
        else "a milestone lies within the warmup"
    )
    return (
        f"the learning rate never reaches its peak of {peak:.4g}, {nearest:.4g} is the nearest: {why}"
        " (schedule.warmup_epochs, epochs)"
    )


def _milestones(config: RunConfig, plan: Plan) -> str | None:
    schedule, epochs = config.schedule, plan.total_steps / plan.steps_per_epoch
    beyond = [milestone for milestone in schedule.milestones if milestone * plan.steps_per_epoch > plan.total_steps - 1]
    if config.measure != "training" or schedule.decay != "step" or not beyond:
        return None
    those = ", ".join(f"{milestone:g}" for milestone in beyond)
    what = f"milestones {those} lie" if len(beyond) > 1 else f"milestone {those} lies"
    return (
        f"the learning rate does not fall at every milestone: {what} past the run's end, at epoch {epochs:.3g}"
        " (schedule.milestones, epochs)"
    )


def _validation(config: RunConfig, examples: int) -> str | None:
    if examples >= config.workers or config.measure != "training":
        return None
    return (
        f"there are fewer validation examples than workers, {examples} and {config.workers}, of which some have nothing"
        " to validate (workers)"
    )
