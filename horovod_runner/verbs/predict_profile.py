"""`predict --profile`: a job in numbers on a network in numbers, and where a published speedup lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from horovod_runner.errors import UserError
from horovod_runner.prediction.network import read_network
from horovod_runner.prediction.profile import Placed, Profile, forecast_of, placed, read_profile
from horovod_runner.results.store import full_disk_named, write_json

FILE = "profile.json"
INSIDE = 0.025


def predict_profile(
    file: Path, network_file: Path | None, workers: Sequence[int] | None, out: Path, console: Console
) -> int:
    """Predict a profile; print a table for each strategy and batch, and the published figure under each reading."""
    from horovod_runner.analysis.report import terminal, words
    from horovod_runner.prediction.forecast import powers_of_two

    if network_file is None:
        raise UserError("--profile: a job in numbers needs a network in numbers; give --network FILE as well")
    profile, network = read_profile(file), read_network(network_file)
    forecasts = [
        forecast_of(profile, network, name, batch) for name in profile.strategies for batch in profile.global_batch
    ]
    tables = []
    for forecast in forecasts:
        counts = [count for count in workers or powers_of_two(1, forecast.batch) if count <= forecast.batch]
        if not counts:
            raise UserError(
                f"--workers: a worker has an image at least, and global_batch is {forecast.batch}; ask for fewer"
            )
        predictions = forecast.table(counts)
        about = {"strategy": forecast.strategy, "global_batch": forecast.batch}
        console.print(
            f"\n[bold]{escape(profile.name)}[/bold], {forecast.strategy}, {forecast.batch} images in all,"
            f" on {escape(network.name)}",
            soft_wrap=True,
        )
        rows = [
            {
                "workers": str(one.workers),
                "step ms": words.with_bounds(one.step_seconds, words.milliseconds),
                "speedup": words.with_bounds(one.speedup),
                "efficiency": words.with_bounds(one.efficiency),
                "bound by": one.bound_by,
            }
            for one in predictions
        ]
        console.print(terminal.table("", rows, console), no_wrap=True)
        tables += [about | {"workers": one.workers, "speedup": vars(one.speedup)} for one in predictions]
    found = list(placed(profile, forecasts))
    if found:
        _show_published(profile, found, console)
    plain: dict[str, object] = {"schema": 1, "name": profile.name, "network": network.name, "predictions": tables}
    plain["published"] = [_plain(one) for one in found]
    with full_disk_named(out):
        out.mkdir(parents=True, exist_ok=True)
    write_json(out / FILE, plain)
    console.print(str(out / FILE), markup=False, soft_wrap=True)
    return 0


def _show_published(profile: Profile, found: Sequence[Placed], console: Console) -> None:
    from horovod_runner.analysis.report import terminal, words

    assert profile.published is not None
    rows = [
        {
            "strategy": one.strategy,
            "batch": str(one.global_batch),
            "base": one.reading.base,
            "predicted": words.with_bounds(one.predicted),
            "draws below": words.percent(one.below),
            "published lies": _where(one),
        }
        for one in found
    ]
    console.print(
        f"\nPublished: {profile.published.speedup:g} times, on what is taken for {profile.published.workers} workers",
        soft_wrap=True,
    )
    console.print(terminal.table("", rows, console), no_wrap=True)


def _where(one: Placed) -> str:
    if INSIDE <= one.below <= 1 - INSIDE:
        return "inside"
    return "above" if one.below > INSIDE else "below"


def _plain(one: Placed) -> dict[str, object]:
    return {
        "strategy": one.strategy,
        "global_batch": one.global_batch,
        "base": one.reading.base,
        "predicted": vars(one.predicted),
        "published": one.published,
        "share_of_draws_below": one.below,
        "lies": _where(one),
    }
