"""A row of the table: what was compared, how far apart it was, how far it may be, and why."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from horovod_runner.errors import UserError
from horovod_runner.results.store import write_text

Claim = Literal[
    "parameters",
    "function",
    "trajectory",
    "shared",
    "data",
    "workers",
    "virtual workers",
    "crossing over",
    "float32",
    "finished",
]
TABLE = "parity.json"
CLAIMS: dict[Claim, str] = {
    "parameters": "the same parameters",
    "function": "the same function, in every precision",
    "trajectory": "the same trajectory, float64, with a rate that changes at every step",
    "shared": "what both frameworks share is right, by plain NumPy",
    "data": "the same data",
    "workers": "the same at any number of workers",
    "virtual workers": "virtual workers are exact",
    "crossing over": "a run crosses over",
    "float32": "float32 parts by rounding",
    "finished": "every comparison could be made",
}


class Row(BaseModel):
    """One comparison.

    It passes when `difference` is at most `tolerance`; with `differs`, when it is more: what must not agree. `where`
    names the array or the step of the largest difference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    claim: Claim
    what: str
    difference: float
    tolerance: float
    why: str
    where: str = ""
    differs: bool = False

    @property
    def passed(self) -> bool:
        """Whether this row is green."""
        if math.isnan(self.difference):
            return False
        return self.difference > self.tolerance if self.differs else self.difference <= self.tolerance


class Table(BaseModel):
    """All rows of a proof, the command that made them, and its commit, machine and versions (`origin`).

    `curves` holds the numbers behind the figures about float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    seconds: float
    origin: Mapping[str, Any]
    rows: tuple[Row, ...]
    curves: Mapping[str, Mapping[str, Sequence[float]]] = {}

    @property
    def passed(self) -> bool:
        """Whether every row is green."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    @property
    def verdict(self) -> str:
        """How many rows pass."""
        red = sum(not row.passed for row in self.rows)
        return f"{red} of {len(self.rows)} rows fail" if red else f"all {len(self.rows)} rows pass"

    def write(self, folder: Path) -> Path:
        """Write the table as JSON, each row with its verdict; return the file."""
        plain = self.model_dump(mode="json")
        plain["rows"] = [{**given, "passed": row.passed} for given, row in zip(plain["rows"], self.rows, strict=True)]
        file = folder / TABLE
        write_text(file, json.dumps(plain, indent=1) + "\n")
        return file


def read_table(folder: Path) -> Table:
    """Return the table of a folder; UserError when it is missing or damaged."""
    file = folder / TABLE
    try:
        plain = json.loads(file.read_text())
        for row in plain["rows"]:
            row.pop("passed", None)
        return Table.model_validate(plain)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(
            f"{file} cannot be read ({type(error).__name__}); make it again with `horovod-runner parity`"
        ) from None


def find_table(root: Path) -> Path | None:
    """Return the folder of the proof in a folder of results, which may be that folder itself; None without one."""
    return next((folder for folder in (root / "parity", root) if (folder / TABLE).exists()), None)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference over the largest value, infinite where something is not a number.

    Over the largest of the whole array, since entries that cancel to nearly zero have no relative error. Arrays of
    different shapes are infinitely far apart.
    """
    if a.shape != b.shape:
        return math.inf
    if not a.size:
        return 0.0
    largest = max(float(np.abs(a).max()), float(np.abs(b).max()))
    difference = float(np.abs(a - b).max())
    if not math.isfinite(difference):
        return math.inf
    return difference / largest if largest else 0.0


def worst(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """Return the largest relative difference between two sets of arrays, and the name of the array it is in."""
    strangers = a.keys() ^ b.keys()
    if strangers:
        return math.inf, sorted(strangers)[0]
    return max(((relative(a[name], b[name]), name) for name in a), default=(0.0, ""))


def worst_step(a: Iterable[float], b: Iterable[float]) -> tuple[float, str]:
    """Return the largest relative difference between two sequences of numbers, and the step it is at (from 1)."""
    pairs = enumerate(zip(a, b, strict=True), 1)
    return max(((relative(np.array(x), np.array(y)), f"step {number}") for number, (x, y) in pairs), default=(0.0, ""))
