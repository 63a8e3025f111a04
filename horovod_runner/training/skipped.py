"""The files that a run leaves out because they cannot be read: each is named once and counted once, by all workers.

An example comes to another worker in every epoch, so workers tell each other what they have met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

Gather = Callable[[np.ndarray], np.ndarray]
Say = Callable[[str], None]
SAID = 5
"""Files that are named on the terminal; all of them are named in the log."""


@dataclass
class Skipped:
    """What all workers have left out so far; `exchanges` is False where nothing can be.

    `gather` collects the workers' vectors, `say` speaks to the user and the log, `log` to the log alone.
    """

    exchanges: bool
    gather: Gather
    say: Say
    log: Say
    _known: dict[str, None] = field(default_factory=dict)
    _met: dict[str, None] = field(default_factory=dict)

    def note(self, sentence: str) -> None:
        """Note what this worker could not read: a sentence that begins with the file and ends with the remedy."""
        if sentence not in self._known:
            self._met[sentence] = None

    def tell(self) -> None:
        """Name what is new; all workers call it together."""
        if not self.exchanges:
            return
        for sentence in sorted(set().union(*gathered_texts(self.gather, list(self._met))) - self._known.keys()):
            speak = self.say if len(self._known) < SAID else self.log
            speak(f"left out: {sentence.rpartition('; ')[0] or sentence}")
            self._known[sentence] = None
        self._met.clear()

    @property
    def count(self) -> int:
        """How many files have been left out, in training and in validation."""
        return len(self._known)


def gathered_texts(gather: Gather, own: Sequence[str]) -> Iterable[list[str]]:
    """Return the texts of each worker; vectors of numbers are what workers can exchange, so a text travels as bytes."""
    encoded = "\0".join(own).encode("utf-8", "surrogateescape")
    sizes = gather(np.array([len(encoded)], dtype=np.float64))[:, 0].astype(int)
    if not sizes.any():
        return [[] for _ in sizes]
    padded = np.zeros(sizes.max())
    padded[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    rows = gather(padded).astype(np.uint8)
    texts = (row[:size].tobytes().decode("utf-8", "surrogateescape") for row, size in zip(rows, sizes, strict=True))
    return [text.split("\0") if text else [] for text in texts]
