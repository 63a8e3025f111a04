"""Many file names in little memory: one block of bytes, which a decoding process is handed in a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Names(Sequence[str]):
    """File names, of any bytes, by number: about their own length in memory, where a list of strings takes four times
    that.
    """

    def __init__(self, block: np.ndarray, ends: np.ndarray) -> None:
        """Take all names one after another, uint8 (bytes,), and where each of them ends, int64 (names,)."""
        self.block, self.ends = block, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Pack names."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    @classmethod
    def joined(cls, parts: Sequence[Names]) -> Names:
        """Return the names of all parts, one part after another."""
        if not parts:
            return cls.of(())
        starts = np.cumsum([0, *(len(part.block) for part in parts[:-1])])
        ends = [part.ends + start for part, start in zip(parts, starts, strict=True)]
        return cls(np.concatenate([part.block for part in parts]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        first = int(self.ends[number - 1]) if number else 0
        return self.block[first : int(self.ends[number])].tobytes().decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
