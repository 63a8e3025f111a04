"""Share of converged runs, final metric and steps to target by workers, and losses over epochs as the talk shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.plots import look as plots
from horovod_runner.analysis.questions.converges import all_workers, recipe_of

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from horovod_runner.analysis.questions.converges import Converges, Recipe

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
PANEL_INCHES = (4.4, 2.8)
HIGHEST = 3.0  # of a loss, over the largest that the best recipe ends with or starts from: what explodes is cut off


def sheet_of(found: Converges) -> Figure:
    """Draw what became of the runs by workers, and the losses on the most workers."""
    import pandas

    from horovod_runner.analysis.load.tables import epoch_table

    rows = pandas.DataFrame([point.row | {"recipe": _named(found, point.recipe)} for point in found.points])
    most = max(map(all_workers, found.runs))
    shown = {run.result.run_id: run for run in found.runs if all_workers(run) == most and run.completed}
    losses = epoch_table([run for run in found.runs if run.result.run_id in shown])
    losses["recipe"] = [_named(found, recipe_of(shown[name])) for name in losses["run_id"]]
    return sheet(rows, losses, found.final.metric, most)


def _named(found: Converges, recipe: Recipe) -> str:
    """Name a recipe by what tells it from the others of its scaling."""
    warmup, rule = found.apart(recipe)
    parts = [
        recipe.scaling,
        f"warmup {recipe.warmup:g}" if warmup else "",
        plots.rule_name(recipe.rule) if rule else "",
    ]
    return ", ".join(filter(None, parts))


def sheet(table: pandas.DataFrame, losses: pandas.DataFrame, metric: str, most: int) -> Figure:
    """Draw, a column a framework, what became of the runs by workers, and the losses on the most workers.

    `table` has a row a framework, recipe and number of workers, with 95 % intervals; `losses` has the columns of
    `tables.epochs` and `recipe`. Losses are means over completed seeds: training solid, validation dashed. Steps to
    target are drawn where runs had a target, means over the seeds that reached it.
    """
    drawn = [("converged", "runs that converge", "share of runs")]
    drawn += [("final_metric", f"final {metric.replace('_', ' ')}", metric.replace("_", " "))]
    if table["steps_to_target"].notna().any():
        drawn += [("steps_to_target", "steps to target, where reached", "steps")]
    frameworks, recipes = sorted(set(table["framework"])), list(dict.fromkeys(sorted(table["recipe"])))
    figure, axes = plots.grid(len(drawn) + 1, len(frameworks), PANEL_INCHES, sharey="row")
    for column, framework in enumerate(frameworks):
        rows, name = table[table["framework"] == framework], plots.framework_name(framework)
        for row, (value, title, beside) in enumerate(drawn):
            _by_workers(rows, axes[row][column], value, recipes)
            plots.titled(axes[row][column], f"{name}: {title}", "workers", "" if column else beside)
        _losses(losses[losses["framework"] == framework], axes[-1][column], recipes)
        plots.titled(axes[-1][column], f"{name}: loss on {most:,} workers", "epoch", "" if column else "loss")
    axes[0][0].set_ylim(-0.05, 1.05)
    lines = [(recipe, _colour(place), "-") for place, recipe in enumerate(recipes)]
    plots.legend(figure, [*lines, ("training", plots.INK, "-"), ("validation", plots.INK, plots.DASHED)], 4)
    return figure


def _by_workers(rows: pandas.DataFrame, axes: Axes, value: str, recipes: list[str]) -> None:
    for place, recipe in enumerate(recipes):
        line = rows[rows["recipe"] == recipe].dropna(subset=[value]).sort_values("workers")
        apart = 1 + 0.05 * (place - (len(recipes) - 1) / 2)  # so that intervals do not cover each other
        look: dict[str, Any] = {"color": _colour(place), "marker": "o", "markersize": 4.5, "capsize": 2.5}
        plots.error_bars(axes, line["workers"] * apart, line, value, linewidth=1.3, **look)
    plots.worker_ticks(axes, sorted(set(rows["workers"])))


def _losses(table: pandas.DataFrame, axes: Axes, recipes: list[str]) -> None:
    highest = 0.0
    for place, recipe in enumerate(recipes):
        rows = table[table["recipe"] == recipe]
        for value, line in (("train_loss", "-"), ("val_loss", plots.DASHED)):
            over = rows.dropna(subset=[value]).groupby("epoch")[value].mean()
            axes.plot(over.index, over, color=_colour(place), linestyle=line, linewidth=1.3)
            if len(over) and value == "train_loss":
                highest = max(highest, float(over.iloc[0]))
    if highest:
        axes.set_ylim(0, min(axes.get_ylim()[1], HIGHEST * highest))
    plots.whole_numbers(axes)


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]
