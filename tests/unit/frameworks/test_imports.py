"""A framework starts without the packages that it takes along, which are there afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from horovod_runner.frameworks.imports import import_quietly
from tests.conftest import plain_environment

HIDDEN = ("IPython", "matplotlib", "pandas", "sklearn")
STARTED = """
import importlib, os, sys
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.frameworks.imports import import_framework
row = FRAMEWORKS["tensorflow"]
backend = import_framework(row, "backend")
importlib.import_module("horovod.tensorflow")
print(sorted(set(sys.argv[1:]) & sys.modules.keys()), os.environ["TF_CPP_MIN_LOG_LEVEL"])
assert import_framework(row, "backend") is backend
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_tensorflow_takes_nothing_along() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTED, *HIDDEN], capture_output=True, text=True, timeout=120, env=plain_environment()
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.strip() == "[] 3"


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that greets, and cannot do without a package that frameworks take along."""
    for name in HIDDEN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "greeting_framework.py").write_text('import os\nos.write(2, b"I greet you")\nimport pandas\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield "greeting_framework"
    sys.modules.pop("greeting_framework", None)


def test_an_import_that_fails_shows_what_was_printed_and_hides_nothing_afterwards(
    framework: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModuleNotFoundError, match="pandas"):
        import_quietly(framework, HIDDEN)
    assert "I greet you" in capfd.readouterr().err
    assert not set(HIDDEN) & sys.modules.keys()


def test_an_import_is_quiet(framework: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "pandas", ModuleType("pandas"))  # what is there already is left alone
    assert import_quietly(framework, HIDDEN).pandas is sys.modules["pandas"]
    assert capfd.readouterr().err == ""
