"""Planning and reporting start in a moment: no module of the statistics brings a heavy library with it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import horovod_runner.statistics as room

for module in pkgutil.iter_modules(room.__path__):
    importlib.import_module(f"{room.__name__}.{module.name}")
heavy = {"scipy", "pandas", "matplotlib", "pydantic"}
print("horovod_runner.statistics.interval" in sys.modules, heavy & set(sys.modules))
"""


def test_importing_it_brings_no_heavy_library() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout == "True set()\n"
