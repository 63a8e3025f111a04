"""What steps to target say in sentences: each claims a difference only where its interval leaves no doubt of one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from horovod_runner.analysis.questions.target_study import Study, b_crit, b_crit_ratio, batch_rows, s_min, steps_ratio
from horovod_runner.analysis.questions.trials import Arm
from horovod_runner.analysis.report import words
from horovod_runner.statistics.batch_limits import TOLERANCE
from horovod_runner.statistics.interval import FEWEST_SAMPLES, Interval

COARSE = 0.1  # of the steps to target: from there on steps between validations are said to be many


def told_of_batches(study: Study) -> Iterator[str]:
    yield from (sentence for arm in study.arms for sentence in _told_of_rates(arm))
    yield from _protocol(study)
    yield from _told_of_times(study)


def _who(arm: Arm) -> str:
    return f"{words.framework(arm.framework)}, {arm.name}"


def _told_of_rates(arm: Arm) -> Iterator[str]:
    """Yield what one arm's best rates have to be read with: edges, misses, and what was left out."""
    batches, places = arm.trials.batches, range(len(arm.trials.batches))
    missed = [batches[place] for place in places if not math.isfinite(arm.limits.steps[place])]
    edges = [place for place in places if arm.edge(place) and batches[place] not in missed]
    if edges:
        told = ", ".join(f"{batches[place]:,} ({arm.rate(place):g}, {arm.edge(place)})" for place in edges)
        yield (
            f"{_who(arm)}: the best rate is at the edge of those tried at batch {told}; a wider grid may find fewer"
            " steps."
        )
    if missed:
        yield (
            f"{_who(arm)}: at batch {_listed(missed)} no rate took most of the"
            f" {words.count(len(arm.trials.seeds), 'seed')} to the target within the budget; the fit leaves such"
            " batches out."
        )
    if arm.left_out or arm.lost_seeds:
        lost = f" {words.count(arm.lost_seeds, 'seed')} that not every batch has," if arm.lost_seeds else ""
        yield (
            f"{_who(arm)}: left out are{lost} {words.count(arm.left_out, 'rate')} without all the seeds that others"
            " of their batch have; runs may be missing or have failed."
        )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)


def _protocol(study: Study) -> Iterator[str]:
    """Yield how rates were chosen, and how exactly steps are known."""
    seeds = sorted({len(arm.trials.seeds) for arm in study.arms})
    tried = sorted({len(rates) for arm in study.arms for rates in arm.trials.rates})
    equal = f"{tried[0]}" if len(tried) == 1 else f"{tried[0]} to {tried[-1]} (not equal budgets)"
    few = " (too few for intervals)" if seeds[0] < FEWEST_SAMPLES else ""
    yield (
        f"At each batch the best of {equal} rates, by the median steps to target over {' or '.join(map(str, seeds))}"
        f" seeds{few}. Rate and steps come from the same seeds, so that steps are a little optimistic; intervals"
        " (95 %, bootstrap over seeds) choose the rate anew in each resample. A diverged run has missed the target"
        " unless it had reached it before."
    )
    coarse = {
        f"{arm.trials.batches[place]:,}": None
        for arm in study.arms
        for place, every in enumerate(arm.resolution)
        if math.isfinite(arm.limits.steps[place]) and every > COARSE * arm.limits.steps[place]
    }
    if coarse:
        yield (
            f"At batch {', '.join(coarse)} validations are further apart than {COARSE:.0%} of the steps to target:"
            " these are known no better, and come out too many rather than too few."
        )


def _told_of_times(study: Study) -> Iterator[str]:
    """Yield the batch of the least time to target, or that times were not measured."""
    rows = [row for row in batch_rows(study) if row.get("seconds_to_target") is not None]
    if not rows:
        yield "Times were not measured: no run was timed by itself with real workers. Steps are all that this tells."
        return
    for arm in study.arms:
        own = [row for row in rows if (row["framework"], row["optimizer"]) == (arm.framework, arm.name)]
        if len(own) > 1:
            yield _fastest(arm, own)


def _fastest(arm: Arm, rows: Sequence[Mapping[str, Any]]) -> str:
    best = min(rows, key=lambda row: row["seconds_to_target"])
    high = best["seconds_to_target_ci95_high"]
    close = [
        row["global_batch"]
        for row in rows
        if row is not best and (high is None or (row["seconds_to_target_ci95_low"] or 0) <= high)
    ]
    told = Interval(*(best[f"seconds_to_target{end}"] for end in ("", "_ci95_low", "_ci95_high")))
    unsure = f"; not told apart from it by the intervals: batch {_listed(close)}" if close else ""
    return (
        f"{_who(arm)}: the least time to target on this machine, {words.with_bounds(told)} s, is that of batch"
        f" {best['global_batch']:,} of {len(rows)} timed{unsure}."
    )


def told_of_fits(study: Study) -> Iterator[str]:
    """Yield what the fits say: each arm's limits, what momentum and the framework change, and what the words mean."""
    yield from (_told_of_limits(arm) for arm in study.arms)
    yield from _told_of_momentum(study)
    yield from _told_of_frameworks(study)
    yield (
        "S(B) = S_min (1 + B_crit / B), fitted to log S over the batches; at B_crit, steps are twice S_min and"
        f" examples twice the fewest. Perfect scaling: at most {TOLERANCE:.0%} more examples to target than at the"
        " smallest batch. Maximum useful batch: the smallest whose steps are not distinguishably more than the fewest;"
        " with few seeds little can be distinguished, and it comes out small."
    )


def _told_of_limits(arm: Arm) -> str:
    made, batches, bend = arm.limits, arm.trials.batches, b_crit(arm)
    if math.isnan(bend.mean):
        law = "fewer than three batches reach the target, so that nothing is fitted"
    elif math.isinf(bend.mean):
        low = f" (95 % above {words.amount(bend.ci95_low)})" if bend.ci95_low and math.isfinite(bend.ci95_low) else ""
        law = f"steps fall like 1/B up to the largest batch, {batches[-1]:,}: B_crit lies beyond{low}"
    elif bend.mean == 0:
        law = f"steps fall nowhere from batch {batches[0]:,} on: B_crit lies below"
    else:
        out = " (beyond the batches: extrapolated)" if not batches[0] <= bend.mean <= batches[-1] else ""
        law = f"S_min {words.with_bounds(s_min(arm))} steps, B_crit {words.with_bounds(bend)}{out}"
    perfect = None if made.perfect is None else batches[made.perfect]
    scaling = f"; perfect scaling to {perfect:,}" if perfect is not None and made.perfect else "; no perfect scaling"
    return f"{_who(arm)}: {law}{scaling}{_useful(arm)} ({words.count(len(arm.trials.seeds), 'seed')})."


def _useful(arm: Arm) -> str:
    """Return the maximum useful batch in words, or why there is none."""
    batches, plateau = arm.trials.batches, arm.limits.plateau
    if len(arm.trials.seeds) < FEWEST_SAMPLES:
        return "; too few seeds to tell a plateau"
    if plateau is None:
        return f"; no plateau up to batch {batches[-1]:,}"
    return f"; maximum useful batch {batches[plateau]:,}"


def _told_of_momentum(study: Study) -> Iterator[str]:
    """Yield, for each pair of arms that differ in momentum alone, whether it extends perfect scaling."""
    for one, other in combinations(study.arms, 2):
        alike = (one.framework, one.optimizer) == (other.framework, other.optimizer)
        if not alike or _but_momentum(one) != _but_momentum(other) or "momentum" not in one.settings:
            continue
        low, high = sorted((one, other), key=lambda arm: float(arm.settings["momentum"]))
        gain = b_crit_ratio(high, low)
        yield (
            f"{words.framework(one.framework)}, {one.optimizer}: momentum {high.settings['momentum']}"
            f" {_verdict(gain, 'extend', 'shorten')} perfect scaling beyond momentum {low.settings['momentum']}'s:"
            f" B_crit ratio {words.with_bounds(gain)}, {words.count(len(one.trials.seeds), 'seed')}."
        )


def _but_momentum(arm: Arm) -> dict[str, Any]:
    return {key: value for key, value in arm.settings.items() if key != "momentum"}


def _verdict(value: Interval, more: str, less: str) -> str:
    """Return what may be claimed of a ratio: nothing where its interval includes 1, or there is none."""
    if not value.leaves_out(1):
        return f"is not shown to {more} or {less}"
    return f"{more}s" if value.mean > 1 else f"{less}s"


def _told_of_frameworks(study: Study) -> Iterator[str]:
    """Yield how far two frameworks differ with the same optimizer, paired by seed."""
    for one, other in combinations(study.arms, 2):
        if one.framework == other.framework or one.name != other.name:
            continue
        names = " over ".join(words.framework(arm.framework) for arm in (one, other))
        steps, bend = steps_ratio(one, other), b_crit_ratio(one, other)
        apart = [what for what, value in (("steps", steps), ("B_crit", bend)) if value.leaves_out(1)]
        verdict = (
            f"the frameworks differ in {' and '.join(apart)}"
            if apart
            else "no difference between the frameworks is shown"
        )
        same = one.trials.seeds == other.trials.seeds
        paired = f"paired by {words.count(len(one.trials.seeds), 'seed')}" if same else "of different seeds"
        yield (
            f"{one.name}: {verdict}; {names}, {paired}: steps to target {words.with_bounds(steps)} (geometric mean"
            f" over batches), B_crit {words.with_bounds(bend)}."
        )
