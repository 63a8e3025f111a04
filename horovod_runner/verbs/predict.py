"""The verb: predictions beyond what was measured, and how far off they are on ladders that others published."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from horovod_runner.errors import UserError
from horovod_runner.results.store import full_disk_named, write_json, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from horovod_runner.analysis.report.prediction import Told
    from horovod_runner.prediction.ladder import Ladder
    from horovod_runner.prediction.network import Network


FILE = "prediction"
LAST, MOST = 8192, 1_000_000
DRAWN = 12


@dataclass(frozen=True)
class PredictRequest:
    """What a user asks for. One of `study`, `ladder` and `profile` is given."""

    out: Path
    study: Path | None = None
    ladder: Sequence[Path] | None = None
    profile: Path | None = None
    network: Path | None = None
    allreduce: Path | None = None
    timeline: Path | None = None
    workers: str | None = None
    per_host: int | None = None
    strategies: Sequence[str] | None = None
    scaling: str | None = None


def predict(request: PredictRequest, console: Console) -> int:
    """Do what is asked; UserError names the option and the remedy."""
    given = [name for name in ("study", "ladder", "profile") if getattr(request, name)]
    if len(given) != 1:
        raise UserError("give one of a study's folder, --ladder and --profile; see horovod-runner predict --help")
    if request.network and request.allreduce:
        raise UserError("--allreduce: --network says already what links workers; give one of the two")
    if request.per_host is not None and request.per_host < 1:
        raise UserError(f"--workers-per-host: {request.per_host} is not above 0; give how many workers a host has")
    if request.ladder:
        return score_ladders(request.ladder, request.out, console)
    workers = None if request.workers is None else workers_of(request.workers)
    if request.profile:
        from horovod_runner.verbs.predict_profile import predict_profile

        return predict_profile(request.profile, request.network, workers, request.out, console)
    assert request.study is not None
    return predict_study(request.study, request, workers, console)


def workers_of(text: str) -> list[int]:
    """Return the numbers of workers that a text names: `2,6,24`, or `1..8192`, the ends and powers of two between."""
    from horovod_runner.prediction.forecast import powers_of_two

    ends = re.fullmatch(r"([0-9]+)\.\.([0-9]+)", text)
    counts = powers_of_two(int(ends[1]), int(ends[2])) if ends and 0 < int(ends[1]) <= int(ends[2]) else None
    if counts is None and re.fullmatch(r"[0-9]+(,[0-9]+)*", text):
        counts = sorted({int(word) for word in text.split(",")})
    if not counts or not 0 < counts[0] <= counts[-1] <= MOST:
        raise UserError(f"--workers: {text} names no numbers of workers up to {MOST}; write 1..8192, or 2,6,24")
    return counts


def predict_study(study: Path, request: PredictRequest, workers: Sequence[int] | None, console: Console) -> int:
    """Predict every job of a study; print tables and what they say, and write JSON, CSV and a figure."""
    from horovod_runner.analysis.load import tables
    from horovod_runner.analysis.questions.prediction import Asked, forecasts, profiles
    from horovod_runner.analysis.report import terminal
    from horovod_runner.analysis.report.prediction import told

    scaling = request.scaling
    if scaling not in (None, "weak", "strong"):
        raise UserError(f"--scaling: {scaling} is neither weak nor strong; write one of them")
    runs = tables.read(study)
    experiments = sorted({run.experiment for run in runs})
    if len(experiments) > 1:
        raise UserError(f"{study} holds {len(experiments)} studies; give one of them, as {study / experiments[0]}")
    ready = profiles(request.timeline) if request.timeline else {}
    network = _network(request)
    fewest = min(run.result.workers for run in runs)
    workers = workers or workers_of(f"{fewest}..{max(LAST, fewest)}")
    if workers[0] < fewest:
        raise UserError(
            f"--workers: {workers[0]} is below the {fewest} that {study} measured; begin with {fewest}, or run the"
            f" study on {workers[0]}"
        )
    made = forecasts(runs, Asked(network, request.per_host, tuple(request.strategies or ()), scaling, ready))
    everything = [told(one, workers) for one in made]
    for one in everything:
        console.print(f"\n[bold]{escape(one.title)}[/bold], {one.how}", soft_wrap=True)
        console.print(terminal.table("", one.text_rows, console), no_wrap=True)
        terminal.say(one.sentences, console)
    console.print()
    terminal.say(dict.fromkeys(note for one in everything for note in one.notes), console, "")
    paths = [_write(everything, request.out)]
    paths[:0] = [_draw_studies(everything, request.out)]
    for path in paths:
        console.print(str(path), markup=False, soft_wrap=True)
    return 0


def _network(request: PredictRequest) -> Network | None:
    from horovod_runner.prediction.network import of_allreduce, read_network

    if request.network:
        return read_network(request.network)
    return of_allreduce(request.allreduce) if request.allreduce else None


def _write(everything: Sequence[Told], out: Path) -> Path:
    """Write JSON and CSV; return the JSON file."""
    import pandas

    with full_disk_named(out):
        out.mkdir(parents=True, exist_ok=True)
    write_text(
        out / f"{FILE}.csv", pandas.DataFrame([row for one in everything for row in one.rows]).to_csv(index=False)
    )
    write_json(out / f"{FILE}.json", finite({"schema": 1, "forecasts": [one.plain for one in everything]}))
    return out / f"{FILE}.json"


def finite(plain: Any) -> Any:
    """Return plain data in which what is infinite is null, as JSON has it."""
    if isinstance(plain, dict):
        return {key: finite(value) for key, value in plain.items()}
    if isinstance(plain, list):
        return [finite(value) for value in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _draw_studies(everything: Sequence[Told], out: Path) -> Path:
    from horovod_runner.analysis.plots.drawing import own_settings

    with own_settings():
        from horovod_runner.analysis.plots import prediction

        return write_figure(prediction.of_studies(everything[:DRAWN]), out, FILE)


def score_ladders(files: Sequence[Path], out: Path, console: Console) -> int:
    """Fit and judge published ladders; print every cell, and write the score sheet and its figure."""
    from horovod_runner.prediction import sheet
    from horovod_runner.prediction.ladder import score
    from horovod_runner.prediction.nulls import TITLES

    ladders = [ladder for file in files for ladder in score(file)]
    for ladder in ladders:
        _show_ladder(ladder, console)
    judged = [one for ladder in ladders for one in ladder.scored]
    if judged:
        held, count = sheet.covered(judged)
        own, *others = (
            f"{TITLES.get(name, name)} {'–' if size is None else f'{100 * size:.1f} %'}"
            for name, size in sheet.medians(judged).items()
        )
        console.print(
            f"\nMedian size of the errors of the step time over {count} judged cells: {own} ({', '.join(others)});"
            f" {held} of {count} intervals hold what was measured.",
            soft_wrap=True,
        )
    written = sheet.write(ladders, out)
    figure = _draw_ladders(ladders, out)
    for path in (figure, *written):
        console.print(str(path), markup=False, soft_wrap=True)
    return 0


def _show_ladder(ladder: Ladder, console: Console) -> None:
    from horovod_runner.analysis.report import terminal
    from horovod_runner.prediction.nulls import TITLES
    from horovod_runner.prediction.sheet import percent

    rows = []
    for one in ladder.judged:
        interval = one.images_per_second
        row = {"workers": str(one.rung.workers), "batch": str(one.rung.local_batch), "use": one.rung.use}
        row["images/s"] = f"{one.rung.images_per_second:g}"
        if interval is not None:
            row["predicted"] = f"{interval.mean:.0f} [{interval.ci95_low:.0f}, {interval.ci95_high:.0f}]"
            row["error %"] = percent(one.error)
            row |= {title: percent(one.null_errors[name]) for name, title in TITLES.items()}
        rows.append(row)
    why = f"; not scored: {ladder.reason}" if ladder.reason else ""
    console.print(f"\n[bold]{escape(ladder.file.stem)}: {escape(ladder.model)}[/bold]{why}", soft_wrap=True)
    console.print(terminal.table("", rows, console), no_wrap=True)


def _draw_ladders(ladders: Sequence[Ladder], out: Path) -> Path:
    from horovod_runner.analysis.plots.drawing import own_settings

    with own_settings():
        from horovod_runner.analysis.plots import prediction

        return write_figure(prediction.of_ladders([one for one in ladders if one.scored] or ladders), out, "ladders")


def write_figure(figure: Figure, out: Path, name: str) -> Path:
    """Write a figure as SVG and PNG; return the PNG."""
    from horovod_runner.analysis.plots import files

    with full_disk_named(out):
        out.mkdir(parents=True, exist_ok=True)
    files.write(out, name, [figure])
    return out / f"{name}.png"
