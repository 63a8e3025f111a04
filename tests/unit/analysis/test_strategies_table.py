"""Strategies side by side: what was put into made runs comes out, and nothing is ranked by chance."""

from __future__ import annotations

import html
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from horovod_runner.analysis.load import pack, tables
from horovod_runner.analysis.load.groups import groups
from horovod_runner.analysis.plots import panels
from horovod_runner.analysis.questions.scaling.causes import find_straggler
from horovod_runner.analysis.questions.strategies import Comparison, comparisons, rankings
from horovod_runner.analysis.report import write as report
from horovod_runner.analysis.report.sentences import told
from horovod_runner.results.record import StepBreakdown
from horovod_runner.statistics.interval import Interval
from horovod_runner.statistics.throughput import Straggler
from tests.made_results import add_timed

UNET = {"workload": "unet", "framework": "torch", "workers": 2}
PHASES = {"reducing": 0.03, "copying": 0.02, "negotiating": 0.001, "waiting": 0.01, "queueing": 0.002}
BREAKDOWN = StepBreakdown(steps=40, step_seconds=0.2, seconds=PHASES, summed_seconds=PHASES, last_ready=(3, 17))


def add(root: Path, strategy: str, seconds: float, runs: int = 5, timeline: Any = None, **settings: Any) -> None:
    """Add runs of a strategy whose steps take so long, within a hundredth or so."""
    noise = np.random.default_rng(len(strategy)).normal(scale=0.01, size=runs)
    for repeat, deviation in enumerate(noise - noise.mean()):
        raw = UNET | {"strategy": strategy, "repeat": repeat} | settings
        step = seconds * (1 + deviation)
        add_timed(root, raw, [step, 0.99 * step], **({"timeline": timeline} if timeline else {}))


def only(root: Path) -> Comparison:
    """Return the only comparison of a folder."""
    (comparison,) = comparisons(groups(tables.read(root)))
    return comparison


def test_strategies_share_their_compute_only_workers_and_are_set_side_by_side(tmp_path: Path) -> None:
    """Compute-only 100 ms; fused 125 ms, a fifth of it exposed; blocking 160 ms. In the order of their description."""
    for strategy, seconds in (("none", 0.1), ("fused", 0.125), ("blocking", 0.16)):
        add(tmp_path, strategy, seconds)
    made = only(tmp_path)
    assert made.several and [variant.name for variant in made.variants] == ["blocking", "fused"]
    blocking, fused = made.variants
    assert fused.exposed and fused.exposed.mean == pytest.approx(0.025, rel=1e-3)
    assert fused.exposed.ci95_low and fused.exposed.ci95_high and 0.022 < fused.exposed.ci95_low < 0.025
    assert fused.exposed_share and fused.exposed_share.mean == pytest.approx(0.2, rel=1e-3)
    assert fused.of_compute_only and fused.of_compute_only.mean == pytest.approx(0.8, rel=1e-3)
    assert blocking.exposed_share and blocking.exposed_share.mean == pytest.approx(0.375, rel=1e-3)
    assert fused.overlapped is None and fused.breakdown is None
    table = tables.strategies(tmp_path)
    assert list(table["strategy"]) == ["none", "blocking", "fused"]
    assert table["exposed_seconds"].isna().tolist() == [True, False, False]
    assert table["exposed_seconds"].iloc[2] == pytest.approx(0.025, rel=1e-3)


def test_the_fastest_is_named_only_where_no_interval_reaches_it(tmp_path: Path) -> None:
    for strategy, seconds in (("fused", 0.125), ("blocking", 0.1255), ("grouped", 0.16)):
        add(tmp_path, strategy, seconds)
    (sentence,) = told("questions/strategies", found=rankings(only(tmp_path)))
    assert sentence == "PyTorch on 2 workers: blocking, fused are indistinguishable; slower than fused: grouped."
    add(tmp_path, "multistep", 0.1)
    (sentence,) = told("questions/strategies", found=rankings(only(tmp_path)))
    assert sentence.startswith("PyTorch on 2 workers: multistep is the fastest, 1.25 [1.2")


def test_speeds_are_paired_by_repeat(tmp_path: Path) -> None:
    """A machine that drifts by a half between repeats hides a tenth from unpaired intervals, and not from pairs."""
    for strategy, seconds in (("fused", 0.1), ("blocking", 0.11)):
        for repeat, drift in enumerate((1.0, 1.5, 1.2, 1.4, 1.1)):
            step = seconds * drift * (1 + 0.002 * repeat * (strategy == "fused"))
            add_timed(tmp_path, UNET | {"strategy": strategy, "repeat": repeat}, [step, step])
    (ranking,) = rankings(only(tmp_path))
    assert ranking.verdict == "fastest" and ranking.first.name == "fused"
    gain = ranking.gains["blocking"]
    assert gain.mean == pytest.approx(1.1 / 1.004, rel=1e-3) and gain.ci95_low and gain.ci95_low > 1.08


def test_two_runs_rank_nothing(tmp_path: Path) -> None:
    add(tmp_path, "fused", 0.1, runs=2)
    add(tmp_path, "blocking", 0.3, runs=2)
    (sentence,) = told("questions/strategies", found=rankings(only(tmp_path)))
    assert "fewer than three runs" in sentence and "fastest" not in sentence


def test_settings_of_the_layer_are_variants_too(tmp_path: Path) -> None:
    """But not other settings: a single variant with them, and without compute-only workers, has nothing beside it."""
    for cycle in (None, 1.0, 20.0):
        add(tmp_path, "fused", 0.1, allreduce={"cycle_ms": cycle})
    add(tmp_path, "fused", 0.2, batch_norm="ghost", ghost_batch=2)
    made = only(tmp_path)
    assert {variant.name for variant in made.variants} == {
        "fused, cycle_ms default",
        "fused, cycle_ms 1",
        "fused, cycle_ms 20",
    }


def test_a_timeline_adds_its_breakdown_and_no_speed(tmp_path: Path) -> None:
    """Exposed 25 ms, busy 50 ms without the timeline's own cost: half is overlapped."""
    add(tmp_path, "none", 0.1)
    add(tmp_path, "fused", 0.125)
    add(tmp_path, "fused", 0.2, timeline=BREAKDOWN, allreduce={"timeline": True})
    (fused,) = only(tmp_path).variants
    assert fused.name == "fused" and not fused.traced and fused.step_seconds == pytest.approx(0.125)
    assert (
        fused.breakdown and fused.breakdown.last_ready == (15, 85) and fused.breakdown.seconds == pytest.approx(PHASES)
    )
    assert fused.overlapped and fused.overlapped.mean == pytest.approx(0.5, rel=1e-3)
    assert fused.overlapped.ci95_low and 0.4 < fused.overlapped.ci95_low < 0.5


def test_more_exposed_than_reduced_is_shown_as_it_is(tmp_path: Path) -> None:
    add(tmp_path, "none", 0.1)
    add(tmp_path, "fused", 0.2, timeline=BREAKDOWN, allreduce={"timeline": True})
    (fused,) = only(tmp_path).variants
    assert fused.traced and fused.overlapped and fused.overlapped.mean == pytest.approx(-1, rel=1e-3)


def test_the_report_shows_both_and_packing_keeps_them(tmp_path: Path) -> None:
    for framework in ("torch", "tensorflow"):
        for strategy, seconds in (("none", 0.1), ("fused", 0.125), ("blocking", 0.16)):
            add(tmp_path, strategy, seconds, framework=framework)
        add(tmp_path, "fused", 0.2, timeline=BREAKDOWN, allreduce={"timeline": True}, framework=framework)
    said = io.StringIO()
    page = report.write_report(tmp_path, console=Console(file=said, width=132)).read_text()
    for text in ("blocking", "none, compute-only", "exposed", "Horovod's timeline", "1: 85 of 100"):
        assert text in said.getvalue() and text in html.unescape(page), text
    (study,) = [folder for folder in tmp_path.iterdir() if folder.is_dir()]
    assert (study / "tables" / "strategies.csv").exists() and list((study / "figures").glob("*-strategies.png"))
    assert len(panels.of_strategies(only(tmp_path))) == 2
    before = tables.strategies(tmp_path)
    pack.pack(study)
    for file in study.glob("*/result.json"):
        file.unlink()
    after = tables.strategies(tmp_path)
    assert before.equals(after) and after["busy_seconds"].notna().sum() == 2


def later(ratio: float, low: float) -> Straggler:
    return Straggler(rank=1, later=Interval(mean=ratio, ci95_low=low, ci95_high=2 * ratio - low))


@pytest.mark.parametrize("runs", [1, 5])
@pytest.mark.parametrize("slower, named", [(1.4, True), (1.02, False)])
def test_the_straggler_is_named_by_when_it_comes_to_its_first_reduction(
    runs: int, slower: float, named: bool, tmp_path: Path
) -> None:
    """All four workers' steps take equally long, for they wait for each other; rank 1 is slower before that."""
    generator = np.random.default_rng(1)
    for repeat in range(runs):
        ready = 0.05 * np.array([1, slower, 1, 1]) * (1 + 0.01 * generator.normal(size=4))
        late = later(slower - 1, slower - 1.02)
        figures: dict[str, Any] = {"ready_seconds": tuple(ready.tolist()), "last_to_reduce": late}
        config = UNET | {"workers": 4, "repeat": repeat}
        add_timed(tmp_path, config, [0.1] * 4, **figures)
    (group,) = groups(tables.read(tmp_path))
    found = find_straggler(group.cells[0])
    assert (found is not None) == named
    if found:
        assert (found.framework, found.workers, found.rank) == ("torch", 4, 1)
        assert found.later.mean == pytest.approx(slower - 1, abs=0.03)
        (sentence,) = told("questions/straggler", stragglers=[found])
        assert sentence.startswith("torch on 4 workers has a straggler: rank 1 reaches its first reduction ")
        assert sentence.endswith("later than the median of the others.")


def test_runs_that_disagree_name_nobody(tmp_path: Path) -> None:
    """Each run has a late rank, and it is another one each time."""
    for repeat in range(4):
        ready = [0.05] * 4
        ready[repeat] = 0.07
        add_timed(tmp_path, UNET | {"workers": 4, "repeat": repeat}, [0.1] * 4, ready_seconds=tuple(ready))
    (group,) = groups(tables.read(tmp_path))
    assert find_straggler(group.cells[0]) is None
