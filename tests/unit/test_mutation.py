"""The mutants of the proof: every kind of change is made, where code runs and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.mutation.__main__ import PROJECT, ROOMS, chosen
from tests.mutation.mutate import mutants

SOURCE = '''"""A docstring with 1 number."""
from __future__ import annotations

Pair = tuple[int, int]


def mean(values: tuple[float, ...], axis: int = 0) -> float:
    """Return 2."""
    if not values:
        raise ValueError("at least 1")
    return combine(sum(values), len(values), scale=1.5) - 1
'''


def test_each_mutant_changes_one_thing_that_runs(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SOURCE)
    found = mutants(tmp_path, "a.py")
    assert {(mutant.line, mutant.before, mutant.after) for mutant in found} == {
        (7, "0", "1"),
        (9, "if not values: raise ValueError('at least 1')", "if not not values: raise ValueError('at least 1')"),
        (9, "not values", "not not values"),
        (
            11,
            "combine(sum(values), len(values), scale=1.5) - 1",
            "combine(sum(values), len(values), scale=1.5) + 1",
        ),
        (11, "combine(sum(values), len(values), scale=1.5)", "combine(len(values), sum(values), scale=1.5)"),
        (11, "combine(sum(values), len(values), scale=1.5)", "combine(sum(values), len(values))"),
        (11, "1.5", "2.25"),
        (11, "1", "2"),
    }
    assert all(ast.unparse(ast.parse(mutant.source)) == mutant.source for mutant in found)
    assert len({mutant.source for mutant in found}) >= len(found) - 1  # two ways of writing `not not`


def test_every_room_is_broken_and_every_file_of_a_room_is_there() -> None:
    for patterns in ROOMS.values():
        assert all(list(PROJECT.glob(pattern)) for pattern in patterns)
    found = chosen(40, seed=1)
    assert len(found) == 40 and {room for room, _ in found} == set(ROOMS)
    assert [str(mutant) for _, mutant in chosen(40, seed=1)] == [str(mutant) for _, mutant in found]
