"""The score sheet: every judged cell of every ladder, the bad ones first, and the ladders' scores beside the nulls'."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from horovod_runner.prediction.ladder import Judged, Ladder
from horovod_runner.prediction.nulls import TITLES
from horovod_runner.results.store import full_disk_named, write_text

FILE = "ladders"
UNKNOWN = "–"


def cells(ladders: Sequence[Ladder]) -> list[tuple[Ladder, Judged]]:
    """Return the judged cells with their ladders, the worst first."""
    judged = [(ladder, one) for ladder in ladders for one in ladder.scored]
    return sorted(judged, key=lambda cell: -abs(cell[1].error or 0))


def medians(judged: Sequence[Judged]) -> dict[str, float | None]:
    """Return the median size of the errors, of the prediction and of each null; None where one has not all cells."""
    errors: dict[str, list[float | None]] = {"predicted": [one.error for one in judged]}
    errors |= {name: [one.null_errors.get(name) for one in judged] for name in TITLES}
    return {name: _median(values) for name, values in errors.items()}


def covered(judged: Sequence[Judged]) -> tuple[int, int]:
    """Return how many intervals hold what was measured, and how many there are."""
    return sum(bool(one.covered) for one in judged), len(judged)


def rows(ladders: Sequence[Ladder]) -> list[dict[str, Any]]:
    """Return one flat row a rung, judged cells first and the worst of them first."""
    judged = cells(ladders)
    rest = [(ladder, one) for ladder in ladders for one in ladder.judged if one.rung.use != "judge"]
    return [_row(ladder, one) for ladder, one in [*judged, *rest]]


def write(ladders: Sequence[Ladder], folder: Path) -> list[Path]:
    """Write the sheet as CSV, JSON and Markdown into the folder; return the files."""
    with full_disk_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    made = rows(ladders)
    texts = {"csv": _csv(made), "json": json.dumps(made, indent=1) + "\n", "md": markdown(ladders)}
    for kind, text in texts.items():
        write_text(folder / f"{FILE}.{kind}", text)
    return [folder / f"{FILE}.{kind}" for kind in texts]


def markdown(ladders: Sequence[Ladder]) -> str:
    """Return the sheet as it is read: cells, then ladders, then what was shown and not scored."""
    lines = ["# Published ladders: fitted on the small end, judged on the large one", ""]
    lines += ["Errors of the step time, predicted over measured less 1, in percent; the worst cell first.", ""]
    names = list(TITLES.values())
    lines += _table(["ladder", "model", "workers", "images/s", "predicted [95 %]", "error", "held", *names])
    for ladder, one in cells(ladders):
        interval = one.images_per_second
        assert interval is not None
        bounds = f"{interval.mean:.0f} [{interval.ci95_low:.0f}, {interval.ci95_high:.0f}]"
        texts = [ladder.file.stem, ladder.model, str(one.rung.workers), f"{one.rung.images_per_second:g}", bounds]
        texts += [percent(one.error), "yes" if one.covered else "no", *map(percent, one.null_errors.values())]
        lines += [_line(texts)]
    lines += ["", "Median sizes of the errors, a ladder each, and of all cells:", ""]
    lines += _table(["ladder", "model", "cells", "predicted", *names])
    scored = [ladder for ladder in ladders if ladder.scored]
    for ladder in scored:
        lines += [_line([ladder.file.stem, ladder.model, str(len(ladder.scored)), *_sizes(ladder.scored)])]
    everything = [one for ladder in scored for one in ladder.scored]
    if everything:
        lines += [_line(["all", "", str(len(everything)), *_sizes(everything)])]
        held, count = covered(everything)
        lines += ["", f"{held} of {count} intervals hold what was measured."]
    shown = [ladder for ladder in ladders if not ladder.scored]
    if shown:
        lines += ["", "Shown and not scored, for they have one size beside one worker:", ""]
        lines += _table(["ladder", "model", "workers: images/s"])
        for ladder in shown:
            points = ", ".join(f"{rung.workers}: {rung.images_per_second:g}" for rung in ladder.rungs)
            lines += [_line([ladder.file.stem, ladder.model, points])]
    return "\n".join(lines) + "\n"


def percent(error: float | None) -> str:
    """Return an error in percent with its sign."""
    return UNKNOWN if error is None else f"{100 * error:+.1f}"


def _sizes(judged: Sequence[Judged]) -> list[str]:
    return [UNKNOWN if size is None else f"{100 * size:.1f}" for size in medians(judged).values()]


def _row(ladder: Ladder, one: Judged) -> dict[str, Any]:
    rung, interval = one.rung, one.images_per_second
    row: dict[str, Any] = {"ladder": ladder.file.stem, "model": ladder.model, "workers": rung.workers}
    row |= {"workers_per_host": rung.workers_per_host, "local_batch": rung.local_batch, "use": rung.use}
    row |= {"images_per_second": rung.images_per_second}
    for name, value in zip(("", "_ci95_low", "_ci95_high"), ("mean", "ci95_low", "ci95_high"), strict=True):
        row[f"predicted{name}"] = None if interval is None else _short(getattr(interval, value))
    row |= {"error": _short(one.error), "held": one.covered}
    nulls, errors = one.nulls or {}, one.null_errors
    for name in TITLES:
        row |= {
            name.replace(" ", "_"): _short(nulls.get(name)),
            f"{name}_error".replace(" ", "_"): _short(errors.get(name)),
        }
    return row


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _csv(made: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(made[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made)
    return text.getvalue()


def _median(values: Sequence[float | None]) -> float | None:
    known = [abs(value) for value in values if value is not None]
    return float(np.median(known)) if known and len(known) == len(values) else None


def _table(heads: Sequence[str]) -> list[str]:
    return [_line(heads), _line(["---"] * len(heads))]


def _line(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"
