"""The table of frameworks: its rows lead to what is there, and nobody else spells a framework's name."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

import horovod_runner
from benchmarks.workloads import WORKLOADS
from horovod_runner.config.frameworks import DEFAULT, FRAMEWORKS, PAIR, Framework, title
from horovod_runner.config.schema import decode
from horovod_runner.errors import UserError
from horovod_runner.results import provenance

ROOT = Path(horovod_runner.__file__).parent
rows = pytest.mark.parametrize("row", FRAMEWORKS.values(), ids=FRAMEWORKS)
# Horovod's build names what it is built against; torchrun is PyTorch's.
MAY_SPELL = ("config/frameworks.py", "environment/horovod_wheel.py", "machine/world.py")


@rows
def test_a_row_leads_to_all_that_the_convention_says(row: Framework) -> None:
    modules = [row.package, *(f"{row.home}.{part}" for part in ("about", "backend", *row.transports))]
    if "horovod" in row.transports:
        modules += [row.horovod, f"{row.home}.collectives"]
    if row.name in PAIR:
        modules += [workload.builder(row.name) for workload in WORKLOADS.values()]
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


@rows
def test_the_versions_of_a_framework_are_recorded(row: Framework) -> None:
    versions = provenance.versions()
    assert row.distributions and all(versions[name] for name in row.distributions)


def test_curves_are_told_apart() -> None:
    for of in ("title", "colour", "dark", "marker"):
        assert len({getattr(row, of) for row in FRAMEWORKS.values()}) == len(FRAMEWORKS)


def test_what_is_named_apart_is_in_the_table() -> None:
    assert {DEFAULT, *PAIR} <= FRAMEWORKS.keys() and len(set(PAIR)) == 2
    assert title("torch") == "PyTorch" and title("jax") == "jax"


def test_a_stranger_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match=r"framework: should be .*'tensorflow' or 'torch', but it is .jax."):
        decode({"framework": "jax"}, "test")


def test_no_one_else_spells_a_framework() -> None:
    own = [ROOT.joinpath(*row.home.split(".")[1:]) for row in FRAMEWORKS.values()]
    files = [file for file in ROOT.rglob("*.py") if not any(file.is_relative_to(folder) for folder in own)]
    files = [file for file in files if file.relative_to(ROOT).as_posix() not in MAY_SPELL]
    assert len(files) > 100
    found = [
        f"{file.relative_to(ROOT)}:{line} {text!r}" for file in files for line, text in _texts(file) if _spells(text)
    ]
    assert not found


def _spells(text: str) -> bool:
    return text in FRAMEWORKS or any(row.title in text for row in FRAMEWORKS.values())


def _texts(file: Path) -> Iterator[tuple[int, str]]:
    """Yield a module's texts with their lines, without those that stand by themselves and describe something."""
    tree = ast.parse(file.read_text())
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described:
            yield node.lineno, node.value
