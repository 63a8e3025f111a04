"""The proof can fail: without a trap its small table is green, and each known trap turns it red where it should."""

from __future__ import annotations

import pytest

from horovod_runner.parity.rows import Row
from tests.parity.traps import TRAPS, spring

# A row that has to be among the red ones: the words that it is known by.
CAUGHT_BY = {
    "Keras' momentum of batch normalisation (0.99)": "running statistics after a step",
    "Keras' epsilon of batch normalisation (1e-3)": "logits in evaluation",
    "asymmetric padding": "logits in evaluation",
    "stride in the first 1x1 convolution": "logits in evaluation",
    "convolutions with a bias": "a model is built",
    "a velocity that contains the learning rate": "weights, statistics and slots afterwards",
    "weight decay counted twice": "what weight decay adds",
    "weight decay left out": "what weight decay adds",
    "weight decay on batch normalisation": "what weight decay adds",
    "a biased running variance": "running statistics after a step",
    "Keras' epsilon, in float32's kernel": "float32: logits in evaluation",
    "a biased running variance, in float32's kernel": "float32: running statistics after a step",
    "the sum over shards for their mean": "weights, statistics and slots afterwards",
    "a permuted batch": "hashes of",
    "another initialiser": "first values, byte by byte",
}


def _red(rows: list[Row]) -> list[str]:
    return [row.what for row in rows if not row.passed]


def test_without_a_trap_every_row_is_green() -> None:
    rows = spring(None)
    assert _red(rows) == []
    assert {row.claim for row in rows} == {"parameters", "function", "trajectory", "data"}


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_turns_the_table_red(name: str) -> None:
    red = _red(spring(TRAPS[name]))
    assert any(CAUGHT_BY[name] in what for what in red), red


def test_every_trap_is_tried() -> None:
    assert TRAPS.keys() == CAUGHT_BY.keys()
