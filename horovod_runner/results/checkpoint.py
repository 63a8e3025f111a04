"""Saved states: safetensors for the arrays, a small JSON for what they belong to; atomic, the newest few kept.

Arrays carry canonical names and layouts, so a state saved by one framework is loaded by another, and on any number of
workers. The JSON is written last and carries the arrays' digest: a state without it, or one that does not match it, was
cut short or altered. Everything is checked before anything is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load as decode_arrays
from safetensors.numpy import save as encode_arrays

from benchmarks.architecture import Arrays
from horovod_runner.config.names import paths
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.stored import decode_stored, encode_stored
from horovod_runner.errors import SharedError
from horovod_runner.results.store import full_disk_named, read_json, write_bytes, write_json

Shapes = Mapping[str, tuple[int, ...]]

# What may differ between a run and the saved state that it goes on from as the same run.
_ANYTHING_ELSE = {"checkpoint"}
# What a state of another run has to share with the run that takes it over: that its numbers mean the same.
_MEANING = (
    "workload",
    "width",
    "classifier",
    "precision",
    "optimizer.name",
    "optimizer.nesterov",
    "optimizer.velocity",
)

_OTHER_STATE = "choose another state for checkpoint.resume_from"


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
        write_bytes(_arrays(self.folder, step), content)
        description = {"step": step, "sha256": _digest(content), "config": encode_stored(config)}
        write_json(_description(self.folder, step), description)
        self._drop(self.steps()[: -self.keep])

    def steps(self) -> list[int]:
        """Return the steps of the complete states, oldest first."""
        return _steps(self.folder)

    def load(self, step: int, config: RunConfig, shapes: Shapes) -> Arrays:
        """Read a state of this very run; SharedError names a file that was cut short, altered, or is another run's."""
        keys = [key for key in config.to_dict() if key not in _ANYTHING_ELSE]
        elsewhere = "remove the checkpoint, or choose another folder with --results"
        state = SavedState(self.folder, step, "remove it and {json}, and the run goes on from the state before it")
        state.require_same(config, keys, elsewhere)
        return state.arrays(shapes)

    def clear(self) -> None:
        """Remove every saved state."""
        self._drop(self.steps())
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _drop(self, steps: list[int]) -> None:
        for step in steps:
            _description(self.folder, step).unlink(missing_ok=True)
            _arrays(self.folder, step).unlink(missing_ok=True)


@dataclass(frozen=True)
class TakenOver:
    """A state of another run: its steps and arrays, and the settings in which that run differs from this one."""

    step: int
    arrays: Arrays
    differences: tuple[str, ...]


def take_over(path: str, config: RunConfig, shapes: Shapes, total_steps: int) -> TakenOver:
    """Return the state of another run, in whichever framework it was made.

    `path` is one of the state's two files, a folder of states, or a run's folder: then the newest state. UserError
    names what does not fit.
    """
    state = _find(Path(path).expanduser())
    state.require_same(config, _MEANING, state.remedy)
    if state.step >= total_steps:
        raise SharedError(
            f"checkpoint.resume_from: {path} has {state.step} steps behind it, and this run is to have {total_steps};"
            " give more steps or epochs"
        )
    return TakenOver(state.step, state.arrays(shapes), state.differences(config))


@dataclass(frozen=True)
class SavedState:
    """One state on the disk."""

    folder: Path
    step: int
    remedy: str

    def require_same(self, config: RunConfig, keys: Iterable[str], remedy: str) -> None:
        """Compare settings; SharedError names the first that this state's run has otherwise."""
        saved, own = self._settings(), config.to_dict()
        for key in keys:
            theirs, ours = _at(saved, key), _at(own, key)
            if theirs != ours:
                raise SharedError(
                    f"{_description(self.folder, self.step)} belongs to another run: its {key} is {theirs}, this"
                    f" run's is {ours}; {remedy}"
                )

    def differences(self, config: RunConfig) -> tuple[str, ...]:
        """Return the settings that this state's run has otherwise, as `key: theirs, not ours`."""
        saved, own = self._settings(), config.to_dict()
        different = (path for path in paths() if path.split(".")[0] not in _ANYTHING_ELSE)
        pairs = ((path, _at(saved, path), _at(own, path)) for path in different)
        return tuple(f"{path}: {theirs}, not {ours}" for path, theirs, ours in pairs if theirs != ours)

    def arrays(self, shapes: Shapes) -> Arrays:
        """Return all arrays; SharedError if they are not whole, or not those named with their shapes."""
        file = _arrays(self.folder, self.step)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            content = b""
        remedy = self.remedy.format(json=_description(self.folder, self.step).name)
        if _digest(content) != self._read().get("sha256"):
            raise SharedError(f"{file} was cut short or altered; {remedy}")
        arrays: Arrays = decode_arrays(content)
        _require_shapes(file, arrays, shapes, remedy)
        return arrays

    def _settings(self) -> dict[str, Any]:
        """Return the settings of the run that saved it; those that came later have their default."""
        return decode_stored(self._read()["config"], str(_description(self.folder, self.step))).to_dict()

    def _read(self) -> dict[str, Any]:
        file = _description(self.folder, self.step)
        description = read_json(file)
        if not isinstance(description, dict) or not isinstance(description.get("config"), dict):
            raise SharedError(f"{file} is not a checkpoint's description; {self.remedy.format(json=file.name)}")
        return description


def _find(path: Path) -> SavedState:
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if folder.is_dir() and _steps(folder):
        return SavedState(folder, _steps(folder)[-1], _OTHER_STATE)
    digits = path.stem.removeprefix("step-")
    if path.is_file() and digits.isdigit() and _description(path.parent, int(digits)).exists():
        return SavedState(path.parent, int(digits), _OTHER_STATE)
    raise SharedError(
        f"checkpoint.resume_from: {path} holds no saved state; name a run's folder or a file"
        " step-….safetensors with its step-….json beside it"
    )


def _require_shapes(file: Path, arrays: Arrays, shapes: Shapes, remedy: str) -> None:
    missing, extra = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"holds {extra[0]}, which this run does not have"
        rest = len(missing) + len(extra) - 1
        more = f" ({rest} more arrays differ)" if rest else ""
        raise SharedError(f"{file} {what}{more}; {remedy}")
    for name, shape in shapes.items():
        if arrays[name].shape != tuple(shape):
            raise SharedError(f"{file}: {name} has shape {arrays[name].shape}, and this run's {tuple(shape)}; {remedy}")


def _steps(folder: Path) -> list[int]:
    return sorted(int(file.stem.removeprefix("step-")) for file in folder.glob("step-*.json"))


def _arrays(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"


def _description(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _at(plain: Any, path: str) -> Any:
    """Return the value at a dotted path, None where there is none."""
    for part in path.split("."):
        plain = plain.get(part) if isinstance(plain, dict) else None
    return plain
