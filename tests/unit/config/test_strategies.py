"""The table of strategies: its rows lead to the code that does them, and whoever asks about a strategy reads them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import horovod_runner
from benchmarks.workloads import WORKLOADS
from horovod_runner.allreduce.settings import library_environment
from horovod_runner.config.frameworks import FRAMEWORKS, Framework
from horovod_runner.config.schema import RunConfig, decode
from horovod_runner.config.settings import AllreduceConfig
from horovod_runner.config.strategies import COMPUTE_ONLY, EQUAL, STRATEGIES, TRANSPORTS, USUAL, Strategy
from horovod_runner.errors import UserError
from horovod_runner.training.state import expected_shapes

ROOT = Path(horovod_runner.__file__).parent
rows = pytest.mark.parametrize("row", STRATEGIES.values(), ids=STRATEGIES)


def run(strategy: str, **settings: Any) -> RunConfig:
    return decode({"framework": "torch", "workload": "unet", "workers": 2, "strategy": strategy, **settings}, "test")


def classes(framework: str, transport: str) -> list[str]:
    """Return the strategies that a module has in its table, which is read and not imported."""
    tree = ast.parse((ROOT / "frameworks" / framework / f"{transport}.py").read_text())
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and ast.unparse(node).startswith("STRATEGIES =")
        ):
            return [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
    raise AssertionError(f"{framework}/{transport}.py has no table of strategies")


@pytest.mark.parametrize("framework", FRAMEWORKS.values(), ids=FRAMEWORKS)
def test_a_framework_has_a_class_for_each_strategy_that_its_transports_carry(framework: Framework) -> None:
    assert framework.transports and set(framework.transports) <= TRANSPORTS.keys()
    for transport in framework.transports:
        carried = [name for name, row in STRATEGIES.items() if row.transport == transport]
        assert classes(framework.name, transport) == carried
        assert set(carried) <= set(framework.strategies)


def test_what_is_equal_may_stand_in_for_the_usual() -> None:
    assert USUAL in EQUAL and run(USUAL) == decode({"framework": "torch", "workload": "unet", "workers": 2}, "test")
    assert {COMPUTE_ONLY, "lag1"} == STRATEGIES.keys() - set(EQUAL)


@rows
def test_admitted_values_are_values_of_the_setting_with_the_usual_first(row: Strategy) -> None:
    for field, admitted in (("operation", row.operations), ("compression", row.compressions)):
        known = get_args(AllreduceConfig.model_fields[field].annotation)
        assert admitted is None or (set(admitted) <= set(known) and admitted[0] == known[0])


@rows
def test_a_run_has_the_transport_of_its_strategy_only_where_gradients_travel(row: Strategy) -> None:
    assert run(row.name).transport == row.transport
    assert run(row.name, workers=1).transport is None
    assert run(row.name, measure="loading").transport is None


@rows
@pytest.mark.parametrize("key, value", [("compression", "fp16"), ("operation", "adasum"), ("controller", "gloo")])
def test_a_run_is_refused_what_its_strategy_does_not_admit(row: Strategy, key: str, value: str) -> None:
    admitted = {"compression": row.compressions, "operation": row.operations}
    fits = row.admits(value) if key == "controller" else admitted[key] is None or value in (admitted[key] or ())
    asked = {"allreduce": {key: value}}
    if fits:
        assert getattr(run(row.name, **asked).allreduce, key) == value
    else:
        with pytest.raises(UserError, match=rf"allreduce\.{key}: .*{row.name}.*; choose"):
            run(row.name, **asked)


@rows
def test_what_updates_shards_cannot_have_what_needs_whole_arrays(row: Strategy) -> None:
    asked = {"optimizer": {"clip_norm": 1.0}}
    if row.sharded:
        with pytest.raises(UserError, match=f"strategy: {row.name} updates shards, and optimizer.clip_norm needs"):
            run(row.name, **asked)
    else:
        assert run(row.name, **asked).optimizer.clip_norm == 1.0


@rows
def test_the_noise_scale_needs_the_mean_of_the_steps_own_gradients(row: Strategy) -> None:
    if row.same_arithmetic:
        assert run(row.name, noise_scale=True).noise_scale
    else:
        with pytest.raises(UserError, match=f"noise_scale: strategy {row.name} "):
            run(row.name, noise_scale=True)


@rows
def test_horovod_fuses_unless_the_strategy_does_not(row: Strategy) -> None:
    assert library_environment(run(row.name)).get("HOROVOD_FUSION_THRESHOLD") == (None if row.fuses else "0")


@rows
def test_a_strategys_slots_are_in_the_state_of_several_workers(row: Strategy) -> None:
    architecture = WORKLOADS["unet"].architecture(width=4, channels=1, classes=2, image_size=32)
    alone, together = (expected_shapes(architecture, run(row.name, workers=workers)) for workers in (1, 2))
    added = {f"{slot}/{array.name}": array.shape for slot in row.slots for array in architecture.trainable}
    assert together == {**alone, **added} and bool(added) == (row.name == "lag1")


def test_the_page_says_of_each_strategy_what_its_row_says() -> None:
    table = re.findall(r"^\| `(\w+)` \| (.*) \|$", (ROOT / "allreduce" / "README.md").read_text(), re.MULTILINE)
    told = [(name, summary) for name, summary in table if name in STRATEGIES]
    assert told == [(name, row.summary) for name, row in STRATEGIES.items()]


def test_no_one_else_asks_for_a_strategy_by_name() -> None:
    """Outside of its row a strategy's name is the key of its class, and nothing is compared with it."""
    files = [*ROOT.rglob("*.py"), *(ROOT.parent / "benchmarks" / "peers").rglob("*.py")]
    found = [f"{file.relative_to(ROOT.parent)}:{line}" for file in files for line in _compared(file)]
    assert len(files) > 100 and not found


def _compared(file: Path) -> Iterator[int]:
    """Yield the lines that compare something with a name that only a strategy has, or `strategy` with any."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)}
            asks = any(isinstance(side, ast.Attribute) and side.attr == "strategy" for side in sides)
            if texts & (STRATEGIES.keys() - {COMPUTE_ONLY}) or (asks and COMPUTE_ONLY in texts):
                yield node.lineno
