"""A forecast as readers see it: its table, its sentences, and rows for JSON and CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from horovod_runner.analysis.load.groups import bounds
from horovod_runner.analysis.questions.prediction import StudyForecast
from horovod_runner.analysis.report import words
from horovod_runner.analysis.report.sentences import phrase
from horovod_runner.prediction.forecast import BOUNDS, THRESHOLDS, Predicted, Rule, powers_of_two
from horovod_runner.statistics.interval import Interval

SHOWN = {"communication": "exposed %"}
MOST_HELPS = 5
REPORTED = 512
"""Workers up to which the report predicts; the verb goes as far as it is asked to."""


@dataclass(frozen=True)
class Told:
    """All that is said of a forecast: predictions, the knee by threshold, what would help at the last N, the rule."""

    of: StudyForecast
    predictions: tuple[Predicted, ...]
    knees: Mapping[float, Interval]
    helps: tuple[tuple[str, Interval], ...]
    rule: Rule

    @property
    def last(self) -> int:
        """The largest number of workers."""
        return self.predictions[-1].workers

    @property
    def title(self) -> str:
        """The job, framework and strategy."""
        return phrase("predict", "title", self.of)

    @property
    def short(self) -> str:
        """The title without the study."""
        return self.title.split(": ", 1)[1]

    @property
    def how(self) -> str:
        """The way of scaling in words."""
        forecast = self.of.forecast
        of = "a worker" if forecast.scaling == "weak" else "in all"
        return f"{forecast.scaling} scaling, {forecast.batch} images {of}"

    @property
    def text_rows(self) -> list[dict[str, str]]:
        """The table."""
        return [self._text_row(one) for one in self.predictions]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table for JSON and CSV, flat."""
        return [self._row(one) for one in self.predictions]

    @property
    def sentences(self) -> list[str]:
        """What the table says, what would help, and the rule of thumb."""
        said = [phrase("predict", "knee", threshold, at, self.last) for threshold, at in self.knees.items()]
        if self.helps:
            helps = ", ".join(phrase("predict", "help", name, gain) for name, gain in self.helps[:MOST_HELPS])
            said.append(phrase("predict", "helps", self.last, helps))
        return [*said, phrase("predict", "rule", self.rule), phrase("predict", "formula", self.rule)]

    @property
    def notes(self) -> list[str]:
        """What all of it rests on; forecasts of one study share most of it."""
        said = [phrase("predict", "beyond", self.of.forecast.calibrated)]
        if self.of.linked_alike:
            said.append(phrase("predict", "alike"))
        if self.of.hosts_unlinked:
            said.append(phrase("predict", "unlinked"))
        if not self.of.ready_measured:
            said.append(phrase("predict", "readiness", self.of))
        return said

    @property
    def plain(self) -> dict[str, Any]:
        """Everything as plain data."""
        forecast = self.of.forecast
        about = {name: getattr(self.of, name) for name in ("experiment", "workload", "framework")}
        about |= {"strategy": forecast.strategy, "scaling": forecast.scaling, "batch": forecast.batch}
        about |= {"workers_per_host": forecast.setup.per_host, "draws": len(forecast.draws)}
        about |= {"largest_measured": forecast.calibrated.largest, "discrepancy": forecast.calibrated.discrepancy}
        about |= {"readiness_measured": self.of.ready_measured, "linked_alike": self.of.linked_alike}
        rule: dict[str, Any] = {name: getattr(self.rule, name) for name in ("workers", "by_formula", "bytes")}
        rule |= {name: getattr(self.rule, name) for name in ("bandwidth", "start", "seconds_per_image", "overlap")}
        rule |= bounds("batch", self.rule.batch) | bounds("halving", self.rule.halving)
        knees = [{"efficiency": threshold, **bounds("workers", at)} for threshold, at in self.knees.items()]
        helps = [{"change": name, "workers": self.last, **bounds("factor", gain)} for name, gain in self.helps]
        return about | {"rule": rule, "knees": knees, "helps": helps, "predictions": self.rows}

    def _text_row(self, one: Predicted) -> dict[str, str]:
        measured = self.of.measured.get(one.workers)
        row = {"workers": str(one.workers), "batch": f"{one.local_batch:g}"}
        row |= {"images/s": words.with_bounds(one.images_per_second)}
        row |= {"measured": words.with_bounds(measured) if measured else "–"}
        row |= {"speedup": words.with_bounds(one.speedup), "efficiency": words.with_bounds(one.efficiency)}
        row |= {head: words.percent(one.shares[name]) for name, head in SHOWN.items()}
        return row | {"bound by": one.bound_by}

    def _row(self, one: Predicted) -> dict[str, Any]:
        row: dict[str, Any] = {"workload": self.of.workload, "framework": self.of.framework}
        row |= {"strategy": self.of.forecast.strategy, "scaling": self.of.forecast.scaling}
        row |= {"workers": one.workers, "local_batch": one.local_batch}
        for name in ("images_per_second", "step_seconds", "speedup", "efficiency"):
            row |= bounds(name, getattr(one, name))
        row |= {f"{name}_share": one.shares[name] for name in BOUNDS}
        row["bound_by"] = one.bound_by
        return row | bounds("measured", self.of.measured.get(one.workers))


def told(of: StudyForecast, workers: Sequence[int] | None = None) -> Told:
    """Return what is said of a forecast on these numbers of workers; without them, on powers of two to some hundreds.

    Under strong scaling a worker has an image at least.
    """
    forecast = of.forecast
    most = forecast.batch if forecast.scaling == "strong" else max(REPORTED, *(workers or (1,)))
    chosen = [count for count in workers or powers_of_two(1, min(most, REPORTED)) if count <= most]
    chosen = chosen or [most]
    return Told(
        of,
        tuple(forecast.table(chosen, list(of.measured))),
        {threshold: forecast.knee(threshold, chosen) for threshold in THRESHOLDS},
        tuple(forecast.helps(chosen[-1], forecast.others)) if chosen[-1] > 1 else (),
        forecast.rule(max(2, chosen[-1])),
    )
