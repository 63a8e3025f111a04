"""The table of frameworks: its rows lead to what is there, and nobody else spells a framework's name."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

import horovod_runner
from benchmarks.workloads import WORKLOADS
from horovod_runner.config.frameworks import DEFAULT, FRAMEWORKS, PAIR, Framework, has_model, one_with, title
from horovod_runner.config.schema import decode
from horovod_runner.errors import UserError
from horovod_runner.parity.settings import WORKLOADS as proven
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
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


def test_a_job_has_a_model_somewhere_and_one_that_is_proven_has_two() -> None:
    for workload in WORKLOADS:
        assert has_model(one_with(workload), workload)
        assert has_model(PAIR[0], workload) == has_model(PAIR[1], workload)
    assert all(any(has_model(name, workload) for workload in WORKLOADS) for name in FRAMEWORKS)
    assert all(has_model(name, workload) for name in PAIR for workload in proven)


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


@rows
def test_a_framework_knows_nothing_of_the_others(row: Framework) -> None:
    """Its package, and its files among the definitions, import no other one; a new row is held to it as well."""
    definitions = ROOT.parent / "benchmarks"
    files = [*ROOT.joinpath(*row.home.split(".")[1:]).rglob("*.py"), *definitions.glob(f"*/{row.name}_model.py")]
    files += [*definitions.glob(f"layers/{row.name}/*.py"), *definitions.glob(f"objectives/{row.name}.py")]
    others = {name for other in FRAMEWORKS.values() if other is not row for name in (other.home, *other.distributions)}
    others -= {"numpy"}  # everybody's
    named = [(file.name, name) for file in files for name in _imported(file)]
    found = [(file, name) for file, name in named for other in others if f"{name}.".startswith(f"{other}.")]
    assert len(files) >= 5 and not found


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
