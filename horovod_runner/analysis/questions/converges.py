"""Does training still converge on many workers? Weak against strong scaling, with warmup and without. (Cunha et al.,
arXiv:1807.09161, 2018.)

Asked of runs on different numbers of workers, virtual ones counted, of which some keep the local batch (weak) and some
the global one (strong).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from horovod_runner.analysis.load.arms import arm
from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.load.learning import not_learned, unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.questions import Finding, by_job, labelled
from horovod_runner.analysis.questions import samples as of
from horovod_runner.statistics import seeds
from horovod_runner.statistics.interval import Interval

SUBJECT = ("framework", "arm", "schedule.warmup_epochs", "schedule.scaling", *of.OF_A_BATCH)
WEAK, STRONG = "weak", "strong"


class Recipe(NamedTuple):
    """A scaling recipe: which batch is fixed, the epochs of warmup, and the rule of the learning rate."""

    scaling: str
    warmup: float
    rule: str


@dataclass(frozen=True)
class RecipeOutcome:
    """One recipe in one framework on so many workers: the share of runs that converged, and what they ended with.

    `final` and `steps`, to the target, are by seed; a seed that never reached the target has no steps.
    """

    framework: str
    recipe: Recipe
    workers: int
    batch: int
    converged: Interval
    runs: int
    diverged: int
    final: Mapping[int, float]
    steps: Mapping[int, float]
    not_learned: int | None = None

    @property
    def to_target(self) -> Interval | None:
        """The mean steps to the target over the seeds that reached it; None where none did."""
        return seeds.over_seeds(self.steps) if self.steps else None

    @property
    def row(self) -> dict[str, Any]:
        """The point as a row of a table."""
        row: dict[str, Any] = {"framework": self.framework, "scaling": self.recipe.scaling, "workers": self.workers}
        row |= {"batch": self.batch, "warmup_epochs": self.recipe.warmup, "rule": self.recipe.rule, "runs": self.runs}
        row |= {"diverged": self.diverged} | bounds("converged", self.converged)
        row |= bounds("final_metric", seeds.over_seeds(self.final) if self.final else None)
        return row | bounds("steps_to_target", self.to_target) | {"seeds_to_target": len(self.steps)}


class Difference(NamedTuple):
    """What one recipe's final metric is more than another's, in one framework on the most workers that both have."""

    framework: str
    first: Recipe
    second: Recipe
    workers: int
    change: Interval
    seeds: int


@dataclass(frozen=True)
class Converges(Finding):
    """What became of the runs of every framework, scaling recipe and number of workers."""

    question: ClassVar[str] = "converges"

    runs: Sequence[Run]
    points: Sequence[RecipeOutcome]
    final: of.Final
    target: bool  # whether the runs had one

    @property
    def most(self) -> int:
        """The most workers."""
        return max(point.workers for point in self.points)

    @property
    def on_most(self) -> dict[str, list[RecipeOutcome]]:
        """The points on the most workers by framework; a framework that has none there is there nevertheless."""
        by_framework = of.by_key(self.points, lambda point: point.framework)
        return {name: [p for p in known if p.workers == self.most] for name, known in by_framework.items()}

    def apart(self, recipe: Recipe) -> tuple[bool, bool]:
        """Say whether warmup and rule tell a recipe from the others of its scaling."""
        others = [other for other in {point.recipe for point in self.points} if other.scaling == recipe.scaling]
        return len({other.warmup for other in others}) > 1, len({other.rule for other in others}) > 1

    @property
    def differences(self) -> Iterator[Difference]:
        """Weak less strong, and with less without warmup, paired by seed."""
        recipes = sorted({point.recipe for point in self.points})
        pairs = [(a, b) for a in recipes for b in recipes if _comparable(a, b, recipes)]
        for framework in self.on_most:
            of_way = {
                recipe: {p.workers: p for p in self.points if (p.framework, p.recipe) == (framework, recipe)}
                for recipe in recipes
            }
            for first, second in pairs:
                shared = of_way[first].keys() & of_way[second].keys()
                most = max(shared, default=0)
                change = seeds.paired(of_way[first][most].final, of_way[second][most].final) if shared else {}
                if change:
                    yield Difference(framework, first, second, most, seeds.over_seeds(change), len(change))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [point.row | self.unlearned.column(point.not_learned) for point in self.points]


def findings(runs: Sequence[Run]) -> list[Converges]:
    """Find it for each job scaled weakly and strongly over two numbers of workers or more; none otherwise."""
    made = []
    for names, members in by_job(runs):
        trained = [run for run in members if arm(run) in ("training", "alone") and of.validations(run)]
        for label, equal in of.split(trained, SUBJECT):
            scalings = {run.result.scaling for run in equal}
            if {WEAK, STRONG} <= scalings and len({all_workers(run) for run in equal}) > 1:
                final = of.Final(equal)
                target = any(getattr(run.result, "target", None) is not None for run in equal)
                found = points(equal, final)
                made.append(Converges(labelled(names, label), equal, found, final, target, unlearned=unlearned(equal)))
    return made


def all_workers(run: Run) -> int:
    """Return a run's workers, each of its virtual ones counted."""
    return run.config.all_workers


def converged(run: Run) -> bool:
    """Whether a run completed and, if it had a target, reached it."""
    target, steps = (getattr(run.result, name, None) for name in ("target", "steps_to_target"))
    return run.completed and (target is None or steps is not None)


def points(runs: Sequence[Run], final: of.Final) -> list[RecipeOutcome]:
    """Return every recipe, framework and number of workers, in this order."""
    by_setting = of.by_key(runs, lambda run: (run.result.framework, recipe_of(run), all_workers(run)))
    return [
        RecipeOutcome(
            framework,
            recipe,
            workers,
            setting[0].result.global_batch,
            seeds.share(sum(map(converged, setting)), len(setting)),
            len(setting),
            of.diverged(setting),
            of.by_seed(setting, final),
            of.by_seed(setting, of.steps_to_target),
            not_learned(setting),
        )
        for (framework, recipe, workers), setting in by_setting.items()
    ]


def recipe_of(run: Run) -> Recipe:
    """Return a run's scaling recipe."""
    schedule = run.config.schedule
    return Recipe(run.result.scaling, schedule.warmup_epochs, schedule.scaling)


def _comparable(a: Recipe, b: Recipe, recipes: Sequence[Recipe]) -> bool:
    """Whether b is what a is set against: strong scaling with the same warmup, if there is, or no warmup."""
    if a.scaling == b.scaling:
        return a.rule == b.rule and a.warmup > b.warmup == 0
    alike = [recipe for recipe in recipes if recipe.scaling == STRONG and recipe.warmup == a.warmup]
    return a.scaling == WEAK and b.scaling == STRONG and (b in alike or not alike)
