"""Saved states: safetensors for the arrays, a small JSON for what they belong to; atomic, the newest few kept.

Arrays carry canonical names and layouts, so a state saved by one framework is loaded by another. The JSON is written
last and carries the arrays' digest: a state without it, or one that does not match it, was cut short or altered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load as decode_arrays
from safetensors.numpy import save as encode_arrays

from benchmarks.architecture import Arrays
from horovod_runner.config import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.store import full_disk_named, read_json, write_bytes, write_json

# What must agree for a state to go on as the same run. Where it lies and how often it is saved need not.
_IRRELEVANT = {"checkpoint"}


@dataclass(frozen=True)
class Checkpoints:
    """The saved states of one run."""

    folder: Path
    keep: int

    def save(self, step: int, arrays: Arrays, config: RunConfig) -> None:
        """Save the state after so many steps, and drop the oldest beyond `keep`."""
        with full_disk_named(self.folder):
            self.folder.mkdir(exist_ok=True)
        content = encode_arrays(arrays)
        write_bytes(self._arrays(step), content)
        write_json(self._meta(step), {"step": step, "sha256": _digest(content), "config": config.to_dict()})
        self._drop(self.steps()[: -self.keep])

    def steps(self) -> list[int]:
        """Return the steps of the complete states, oldest first."""
        return sorted(int(file.stem.removeprefix("step-")) for file in self.folder.glob("step-*.json"))

    def load(self, step: int, config: RunConfig) -> Arrays:
        """Read a state; UserError names the file when it was cut short, altered, or belongs to another run."""
        meta = read_json(self._meta(step))
        _refuse_other_run(meta, config, self._meta(step))
        try:
            content = self._arrays(step).read_bytes()
        except FileNotFoundError:
            content = b""
        if _digest(content) != meta.get("sha256"):
            raise UserError(
                f"{self._arrays(step)} was cut short or altered; remove it and {self._meta(step).name},"
                " and the run goes on from the state before it"
            )
        return decode_arrays(content)

    def clear(self) -> None:
        """Remove every saved state."""
        self._drop(self.steps())
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _drop(self, steps: list[int]) -> None:
        for step in steps:
            self._meta(step).unlink(missing_ok=True)
            self._arrays(step).unlink(missing_ok=True)

    def _arrays(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"

    def _meta(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refuse_other_run(meta: object, config: RunConfig, file: Path) -> None:
    saved = meta.get("config") if isinstance(meta, dict) else None
    if not isinstance(saved, dict):
        raise UserError(
            f"{file} is not a checkpoint's description; remove it, and the run goes on from the state before it"
        )
    own = config.to_dict()
    different = [key for key in own if key not in _IRRELEVANT and saved.get(key) != own[key]]
    if different:
        key = different[0]
        raise UserError(
            f"{file} belongs to another run: its {key} is {saved.get(key)}, this run's is {own[key]};"
            " remove the checkpoint, or choose another folder with --results"
        )
