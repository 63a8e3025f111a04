"""Matplotlib as it is installed: what a shell or a user's files say about it reaches neither its import nor a figure.

People have LaTeX fonts in a matplotlibrc, a notebook's backend in the shell, and homes that cannot be written. A report
looks the same everywhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAME = "matplotlib"
_FILE = "matplotlibrc"


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's defaults; its notes about fonts and folders that it cannot write are kept to itself."""
    logger = logging.getLogger(_NAME)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        matplotlib = _imported()
        defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
        with matplotlib.rc_context(defaults):
            yield
    finally:
        logger.setLevel(level)


def _imported() -> Any:
    """Return matplotlib; where this is its first import, it reads the file that it brings along and no other."""
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    found = importlib.util.find_spec(_NAME)
    assert found is not None and found.origin is not None
    data = Path(found.origin).parent / "mpl-data"
    # A matplotlibrc of the current folder would come before the one that the environment names.
    elsewhere = contextlib.chdir(data) if Path(_FILE).exists() else contextlib.nullcontext()
    with elsewhere, _environment(MATPLOTLIBRC=str(data / _FILE), MPLBACKEND="agg"):
        return importlib.import_module(_NAME)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables of this process for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
