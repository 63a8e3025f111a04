"""The options that the hand-written scripts have in common, and the file that they write."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path


def options() -> argparse.Namespace:
    """Read the command line, and place the threads before a framework is imported."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    os.environ.update({"OMP_NUM_THREADS": str(given.threads), "TF_CPP_MIN_LOG_LEVEL": "3"})
    return given


def write(out: Path, seconds: Sequence[float]) -> None:
    """Write every step's seconds."""
    out.write_text(json.dumps(list(seconds)))
