"""Try set-up as everybody gets it: `make test-setup [PYTHON=...]`.

A fresh clone of what is committed, an empty home, no cache, pip as it comes; then a run of each framework on two
workers. A machine that has been worked on hides what a stranger's lacks. Standard library only: it runs before set-up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_HIDDEN = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "XDG_CACHE_HOME", "WHEELHOUSE", "VIRTUAL_ENV")
SMALL = ["STEPS=2", "LOCAL_BATCH=4", "IMAGE_SIZE=32", "ARGS=--set width=4 --set threads=1"]


def main(python: str | None) -> int:
    """Return 0 if all of it works, 1 at the first thing that does not."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="test-setup-") as folder:
        clone, home = Path(folder) / "clone", Path(folder) / "home"
        home.mkdir()
        variables = {name: value for name, value in os.environ.items() if name not in _HIDDEN}
        variables = {name: value for name, value in variables.items() if not name.startswith("MAKE")}
        variables |= {"HOME": str(home), "PIP_CONFIG_FILE": os.devnull}
        chosen = [f"PYTHON={python}"] if python else []
        launched = [".venv/bin/horovodrun", "-np", "2", "make"]
        steps: list[tuple[list[str], Path]] = [
            (["git", "clone", "--quiet", str(PROJECT), str(clone)], PROJECT),
            (["make", "setup", *chosen], clone),
            ([*launched, "bench-tf", *SMALL], clone),
            ([*launched, "bench-torch", *SMALL], clone),
            ([".venv/bin/horovod-runner", "doctor"], clone),
        ]
        for command, place in steps:
            print(f"test-setup: {' '.join(command)} ({time.monotonic() - began:.0f} s)", flush=True)
            if subprocess.run(command, cwd=place, env=variables, check=False).returncode != 0:
                return _failed(" ".join(command))
        left = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
        if left.stdout:
            return _failed(f"git status is not clean:\n{left.stdout}")
    print(f"test-setup: all of it works ({time.monotonic() - began:.0f} s)")
    return 0


def _failed(what: str) -> int:
    print(f"test-setup: failed: {what}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else None))
