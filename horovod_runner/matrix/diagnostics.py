"""Where the settings of an experiment were written, and the list of all that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from horovod_runner.config.yaml_files import Place
from horovod_runner.errors import UserError

MOST = 20

Origins = Mapping[Place, int | str]
"""The line of each place of a file, or the option that was put in its stead."""


class Diagnostics:
    """What is wrong with one file, each said once, in the order of its lines."""

    def __init__(self, file: Path, origins: Origins) -> None:
        self._file, self._origins = file, origins
        self._said: dict[str, float] = {}

    def add(self, place: Place, sentence: str) -> None:
        """Keep a diagnostic: the key first, what is wrong, then the remedy. An unknown place is its surroundings'."""
        while place and place not in self._origins:
            place = place[:-1]
        self.add_at(self._origins.get(place), sentence)

    def add_at(self, origin: int | str | None, sentence: str) -> None:
        """Keep a diagnostic of this line or option; None: of the whole file."""
        where = f"{self._file}:{origin}" if isinstance(origin, int) else str(self._file)
        option = f"{origin}: " if isinstance(origin, str) else ""
        self._said.setdefault(_printable(f"{where}: {option}{sentence}"), origin if isinstance(origin, int) else 0)

    def __bool__(self) -> bool:
        return bool(self._said)

    def stop(self) -> None:
        """Raise UserError with all of them, one a line, if there are any; far too many are only counted."""
        if not self._said:
            return
        lines = sorted(self._said, key=lambda sentence: self._said[sentence])
        more = [f"… and {len(lines) - MOST} more"] if len(lines) > MOST else []
        raise UserError("\n".join(lines[:MOST] + more))


def _printable(sentence: str) -> str:
    """Return a sentence that any terminal can show on one line, whatever was found in the file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in sentence)
