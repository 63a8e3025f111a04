"""The one interval: what may be claimed of it, what becomes of it, and that a run's record keeps it as it is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from horovod_runner.errors import UserError
from horovod_runner.results.record import result_from_json
from horovod_runner.statistics.interval import Interval, ratio, times
from tests.made_results import add_run


def test_ratio_interval() -> None:
    """Equal relative widths combine to sqrt(2) times one of them; a part without bounds leaves none."""
    wide = Interval(100.0, 100 / 1.1, 110.0)
    result = ratio(wide, Interval(50.0, 50 / 1.1, 55.0))
    assert result.mean == 2.0
    assert result.ci95_high == pytest.approx(2 * 1.1 ** math.sqrt(2))
    assert result.ci95_low == pytest.approx(2 / 1.1 ** math.sqrt(2))
    assert ratio(wide, Interval(50.0, None, None)) == Interval(2.0, None, None)


def test_times_scales_all() -> None:
    assert times(Interval(2.0, 1.0, None), 0.5) == Interval(1.0, 0.5, None)


@pytest.mark.parametrize(
    ("interval", "left_out", "above"),
    [
        (Interval(2.0, 1.5, 2.5), True, True),
        (Interval(0.5, 0.2, 0.8), True, False),
        (Interval(1.1, 0.9, 1.3), False, False),
        (Interval(1.1, 1.0, 1.2), False, False),
        (Interval(2.0, None, None), False, False),
        (Interval(2.0, 1.5, math.inf), True, True),
    ],
)
def test_what_may_be_claimed_of_one(interval: Interval, left_out: bool, above: bool) -> None:
    """Of the value 1: a bound that is 1 holds it, and without bounds nothing is claimed."""
    assert (interval.leaves_out(1), interval.lies_above(1)) == (left_out, above)
    assert interval.without_bounds() == Interval(interval.mean, None, None)


def test_the_record_of_a_run_keeps_it_as_it_is(tmp_path: Path) -> None:
    """Infinite bounds are text in JSON; a key that no interval has is refused by its name."""
    job, wide = {"framework": "torch", "workload": "resnet50", "local_batch": 8}, Interval(4.0, None, math.inf)
    text = add_run(tmp_path, job, images_per_second=wide).result_file.read_text()
    plain = json.loads(text)
    assert plain["images_per_second"] == {"mean": 4.0, "ci95_low": None, "ci95_high": "Infinity"}
    read = result_from_json(text, "result.json")
    assert read.images_per_second == wide and read.to_json() == text
    plain["images_per_second"]["median"] = 4.0
    with pytest.raises(UserError, match=r"^result.json: images_per_second.median: "):
        result_from_json(json.dumps(plain), "result.json")
