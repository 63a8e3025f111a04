"""Finished runs as values: read from their folders, or from a packed study, without pandas.

A run's settings and figures are also given as one flat mapping, with keys such as `schedule.warmup_epochs` and
`images_per_second.mean`: the row of every table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from horovod_runner.config.schema import RunConfig
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store, read_json

UNKNOWN_MACHINE = "unknown"


@dataclass(frozen=True)
class Run:
    """One finished run: its description, its result, and where it came from."""

    folder: Path
    config: RunConfig
    result: RunResult
    provenance: Mapping[str, Any]
    packed: bool = False

    @cached_property
    def experiment(self) -> str:
        """The name of its experiment's folder: a copied or renamed study is a study of its own."""
        return self.folder.resolve().parent.name

    @property
    def machine(self) -> str:
        """The machine's id; runs of different ones are never averaged together."""
        return str((self.provenance.get("machine") or {}).get("id") or UNKNOWN_MACHINE)

    @property
    def emulated(self) -> Mapping[str, Any] | None:
        """What its emulated hosts were (hosts, cores, rate_mbit, and `on` which machine); None for real ones."""
        return (self.provenance.get("machine") or {}).get("emulated")

    @property
    def started(self) -> str:
        """When it began, to the minute, in UTC; empty where that is not on record."""
        return str(self.provenance.get("started") or "")[:16].replace("T", " ")

    @property
    def completed(self) -> bool:
        """Whether its figures may be compared and averaged with those of others."""
        return self.result.status == "completed"

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Every setting under its flat name, such as `schedule.warmup_epochs`."""
        return flat(self.config.to_dict())

    @cached_property
    def row(self) -> dict[str, Any]:
        """Return settings, figures, machine and versions under flat names; where two meet, the result's stays."""
        result = self.result.model_dump(mode="python", exclude={"schema_version"})
        place = {
            "experiment": self.experiment,
            "machine": self.machine,
            "emulated": self.emulated is not None,
            "commit": self.provenance.get("commit"),
            "started": self.provenance.get("started"),
            "versions": self.provenance.get("versions") or {},
            "learned": self.result.learned,
            "controller": (self.provenance.get("launcher") or {}).get("controller"),
        }
        return {**self.settings} | flat(result) | flat(place) | _last_figures(self.result)


def read_loose(root: Path) -> list[Run]:
    """Return the finished runs that lie below `root` as folders; UserError names a damaged file."""
    return [_read(folder) for folder in Store(root).finished()]


def unfinished(root: Path) -> int:
    """Count the runs below `root` that were begun and have no result yet."""
    patterns = ("config.json", "*/config.json", "*/*/config.json")
    folders = (RunFolder(file.parent) for pattern in patterns for file in root.glob(pattern))
    return sum(not folder.result_file.exists() for folder in folders)


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots."""
    return dict(_leaves(nested, prefix))


def _leaves(nested: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read(folder: RunFolder) -> Run:
    provenance = read_json(folder.provenance_file) if folder.provenance_file.exists() else {}
    return Run(folder.path, folder.read_config(), folder.read_result(), provenance)


def _last_figures(result: RunResult) -> dict[str, float | None]:
    metric = result.val_metric.values if result.val_metric else ()
    figures = {"train_loss": result.train_loss, "val_loss": result.val_loss, "val_metric": metric}
    return {f"final_{name}": values[-1] if values else None for name, values in figures.items()}
