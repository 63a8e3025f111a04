"""Every number that the front page gives of a study, computed anew from the packed runs by NumPy and SciPy alone.

Nothing of the suite is imported: what it concludes from its runs has to be what a stranger would. Each test works one
row out from the Parquet files, prints it as the page does, and finds it there.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
PAGE = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
JOBS = ("resnet50", "unet", "vgg16")
SIGNED = "{:+.3f} [{:+.3f}, {:+.3f}]"
Run = dict[str, Any]


def runs(study: str) -> list[Run]:
    """Return the ended runs of a study, with the last value of the validation metric and the final one.

    Final is the median of the last validations, five or a quarter of the shortest run's; a run that diverged has the
    worst value that was ever validated.
    """
    found = parquet.read_table(ROOT / "results" / study / "runs.parquet").to_pylist()
    validated = {job: [r for r in found if r["workload"] == job and r.get("val_metric.values")] for job in JOBS}
    for job, taken in validated.items():
        few = min((len(run["val_metric.values"]) for run in taken if run["status"] == "completed"), default=4)
        for run in taken:
            values = run["val_metric.values"]
            run["last"], run["final"] = values[-1], float(np.median(values[-max(1, min(5, few // 4)) :]))
            if run["status"] == "diverged":
                run["final"] = min(v for r in validated[job] for v in r["val_metric.values"] if np.isfinite(v))
    return found


def row(study: str) -> str:
    """Return what the front page says of a study."""
    (found,) = (line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| [{study}]"))
    return found


def by_seed(taken: list[Run], value: str = "final") -> dict[int, float]:
    """Return the mean of what runs of a seed have, which are as many of each."""
    seeds = sorted({run["seed"] for run in taken})
    of_each = [[run[value] for run in taken if run["seed"] == seed] for seed in seeds]
    assert len({len(values) for values in of_each}) == 1
    return {seed: float(np.mean(values)) for seed, values in zip(seeds, of_each, strict=True)}


def differences(first: list[Run], second: list[Run]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return first less second, a value a seed."""
    ours, theirs = by_seed(first), by_seed(second)
    assert ours.keys() == theirs.keys() and len(ours) >= 5
    return np.array([ours[seed] - theirs[seed] for seed in ours])


def interval(samples: Any, level: float = 0.95) -> tuple[float, float, float]:
    """Return the mean and Student's interval of it."""
    low, high = stats.t.interval(level, len(samples) - 1, loc=np.mean(samples), scale=stats.sem(samples))
    return float(np.mean(samples)), float(low), float(high)


def of(taken: list[Run], **wanted: Any) -> list[Run]:
    """Return the runs that have these values; a dot in a name is written as two underscores."""
    return [run for run in taken if all(run[key.replace("__", ".")] == value for key, value in wanted.items())]


def between_frameworks(taken: list[Run]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return differences(of(taken, framework="tensorflow"), of(taken, framework="torch"))


def test_the_main_job() -> None:
    unet, resnet = (of(runs("bench"), workload=workload) for workload in ("unet", "resnet50"))
    finals = [run["last"] for run in unet]
    assert f"a mean IoU of {min(finals):.2f} to {max(finals):.2f}" in PAGE
    cells = sorted({(run["framework"], run["workers"]) for run in unet})
    apart = [np.ptp([run["last"] for run in of(unet, framework=f, workers=n)]) for f, n in cells]
    same = [np.ptp([run["last"] for run in of(unet, seed=seed)]) for seed in (0, 1)]
    assert len(cells) == 4 and f"the two seeds lie {min(apart):.2f} to {max(apart):.2f} apart" in PAGE
    assert f"at most {max(same):.2f}." in PAGE
    assert "an accuracy of {:.3f} to {:.3f}".format(*np.quantile([run["last"] for run in resnet], [0, 1])) in PAGE


def test_whether_the_frameworks_end_at_the_same_place() -> None:
    resnet, unet = (between_frameworks(of(runs("equivalence"), workload=job)) for job in ("resnet50", "unet"))
    margin, (mean, low, high) = 0.02, interval(resnet, 0.90)
    assert len(resnet) == len(unet) == 12 and -margin < low and high < margin
    assert f"within the {margin} stated before (difference {abs(mean):.3f})" in row("`equivalence`")
    _, low, high = interval(unet, 0.90)
    assert not (-margin < low and high < margin) and interval(unet)[1] < 0 < interval(unet)[2]


@pytest.mark.parametrize(("study", "margin"), [("warmup", 0.02), ("small-data", 0.05), ("gap", None)])
def test_what_the_framework_changes(study: str, margin: float | None) -> None:
    found = between_frameworks(runs(study))
    assert SIGNED.format(*interval(found)) in row("all of them")
    _, low, high = interval(found, 0.90)
    assert (max(-low, high) < margin) if margin else low < -0.02


BRACKETS = {  # more than, and at most
    "tensorflow": {176: (None, 0), 352: (0, 5), 704: (10, 20)},
    "torch": {176: (None, 0), 352: (None, 10), 704: (10, 20)},
}


@pytest.mark.parametrize("framework", BRACKETS)
def test_how_much_warmup_a_batch_needs(framework: str) -> None:
    """The shortest warmup that costs no more than the margin; over all 3,125 ways to draw five seeds out of five.

    Percentiles are taken as far out as five samples ask for: the expanded interval of Hesterberg (2015), section 4.2.
    """
    tail = stats.norm.cdf(stats.t.ppf(0.025, 4) * np.sqrt(5 / 4))
    scaled = of(runs("warmup"), framework=framework, schedule__scaling="linear_samples")
    warmups, found = (0, 5, 10, 20), {}
    for batch in (176, 352, 704):
        cells = [of(scaled, global_batch=batch, schedule__warmup_epochs=float(warmup)) for warmup in warmups]
        table = [list(by_seed(cell).values()) for cell in cells]
        draws = np.array(list(itertools.product(range(5), repeat=5)))
        means = np.array(table)[:, draws].mean(axis=2)  # warmups, draws
        shortest = np.argmax(means >= means.max(axis=0) - 0.02, axis=0)
        low, high = np.quantile(shortest, [tail, 1 - tail], method="inverted_cdf")
        found[batch] = (warmups[low - 1] if low else None, warmups[high])
    assert found == BRACKETS[framework]
    said = "176 needed no warmup, 352 up to 5 epochs (PyTorch: up to 10), 704 more than 10 (we tried 0, 5, 10, 20)"
    assert said in row("`warmup`")


def test_what_closes_the_gap() -> None:
    taken = runs("gap")
    base = of(taken, arm="large batch")
    gains = {arm: differences(of(taken, arm=arm), base) for arm in {run["arm"] for run in taken} - {"large batch"}}
    longer = "four times the epochs, square root, ghost BN"
    assert SIGNED.format(*interval(gains[longer])) in row("`gap`")
    chances = sorted((float(stats.ttest_1samp(values, 0).pvalue), arm) for arm, values in gains.items())
    rejected = list(itertools.takewhile(lambda i: chances[i][0] <= 0.05 / (len(chances) - i), range(len(chances))))
    better = {chances[i][1] for i in rejected if gains[chances[i][1]].mean() > 0}  # Holm's procedure
    assert len(chances) == 12 and better == {longer}


def test_small_data() -> None:
    four = [
        run
        for run in of(runs("small-data"), framework="tensorflow", virtual_workers=4)
        if run["schedule.warmup_epochs"] > 0 or run["scaling"] == "strong"
    ]
    weak, strong = of(four, scaling="weak"), of(four, scaling="strong")
    mean, low, high = interval(differences(weak, strong))
    assert f"{mean:.4g} [{low:.4g}, {high:.4g}]" in row("`small-data`")
    assert {4 * run["steps"] for run in weak} == {run["steps"] for run in strong}


def test_scaling() -> None:
    def speedup(study: str, workload: str, framework: str) -> str:
        taken = of(runs(study), workload=workload, framework=framework, strategy="fused")
        seconds = {n: np.mean([1 / run["images_per_second.mean"] for run in of(taken, workers=n)]) for n in (1, 2)}
        return f"{seconds[1] / seconds[2]:.1f}"  # images over time, never a mean of rates

    both = ("tensorflow", "torch")
    weak_unet, weak_resnet = ([speedup("weak", job, f) for f in both] for job in ("unet", "resnet50"))
    strong_unet, strong_resnet = ([speedup("strong", job, f) for f in both] for job in ("unet", "resnet50"))
    assert weak_unet[0] == weak_unet[1] and f"U-Net is {weak_unet[0]} times as fast as one" in row("`weak`")
    assert "ResNet-50 {} times in TensorFlow and {} in PyTorch".format(*weak_resnet) in row("`weak`")
    assert "U-Net {} and {} times, ResNet-50 no faster".format(*strong_unet) in row("`weak`")
    assert strong_resnet == ["1.0", "1.0"]


def test_overlap() -> None:
    taken = of(runs("overlap"), workers=2)

    def ratio(job: str, framework: str, strategy: str) -> tuple[float, float, float]:
        """Return its speed over the blocking one's, paired by repeat: the geometric mean and its interval."""
        cell = of(taken, workload=job, framework=framework)
        rate = {s: by_repeat(of(cell, strategy=s)) for s in (strategy, "blocking")}
        return tuple(np.exp(interval([np.log(rate[strategy][k] / rate["blocking"][k]) for k in rate["blocking"]])))

    said = "ResNet-50 in PyTorch is slower by multistep, {:.2f} times as fast, from {:.2f} to {:.2f}"
    assert said.format(*ratio("resnet50", "torch", "multistep")) in row("`overlap`")
    cells = itertools.product(("resnet50", "vgg16"), ("tensorflow", "torch"), ("unfused", "fused", "multistep"))
    assert all(ratio(*cell)[1] <= 1 for cell in cells)  # none that overlaps is faster, even uncorrected


def by_repeat(taken: list[Run]) -> dict[int, float]:
    """Return the images a second by repeat."""
    return {run["repeat"]: run["images_per_second.mean"] for run in taken}


def test_prediction() -> None:
    cells = [cell for cell in read("prediction/ladders.json") if cell["use"] == "judge"]
    measured = np.array([cell["images_per_second"] for cell in cells])

    def off(key: str) -> float:
        """Return the median error of the step time, in percent: time is the inverse of speed."""
        return 100 * float(np.median([abs(m / cell[key] - 1) for m, cell in zip(measured, cells, strict=True)]))

    inside = [c["predicted_ci95_low"] <= m <= c["predicted_ci95_high"] for m, c in zip(measured, cells, strict=True)]
    assert len(cells) == 10 and all(inside)
    best = min(off(null) for null in ("linear", "last_efficiency", "amdahl"))
    assert f"{off('predicted'):.1f} % off in the median (the best null: {best:.1f} %)" in row("`prediction`")


def test_the_proof_and_the_allreduce() -> None:
    rows = read("parity/parity.json")["rows"]
    assert all(line["passed"] for line in rows) and f"all {len(rows)} rows passed" in PAGE
    twenty = [line["difference"] for line in rows if "20 steps" in line["what"] and line["tolerance"] <= 1e-7]
    assert len(twenty) >= 21 and max(twenty) <= 1e-12
    ways = [way for way in read("allreduce/allreduce.json")["ways"] if "horovod" in way["name"] and way["rows"]]
    least = [line["median_seconds"] for way in ways for line in way["rows"] if line["bytes"] == 4]
    assert len(least) >= 2 and all(0.0005 < seconds < 0.0015 for seconds in least)


def read(path: str) -> Any:
    return json.loads((ROOT / "results" / path).read_text())
