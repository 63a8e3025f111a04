"""What a source needs to know to open its data. A run's settings are one such thing; anything with these names is."""

from __future__ import annotations

from typing import Protocol


class DataSettings(Protocol):
    """Where the examples come from, and how they are made. None: the source's own."""

    @property
    def name(self) -> str | None:
        """A key of SOURCES."""
        ...

    @property
    def path(self) -> str | None:
        """The user's folder, for sources that read one."""
        ...

    @property
    def image_size(self) -> int | None:
        """Pixels a side."""
        ...

    @property
    def channels(self) -> int | None:
        """1 (grey) or 3 (RGB)."""
        ...

    @property
    def examples(self) -> int | None:
        """Training examples of a generated source."""
        ...

    @property
    def split(self) -> str:
        """Which examples validate: the same for all runs ("fixed"), or drawn for each seed ("per_seed")."""
        ...

    @property
    def augment(self) -> bool:
        """Whether training crops and flips at random, in sources that can."""
        ...

    @property
    def void(self) -> int | None:
        """The value in masks that is no class: such pixels count nowhere."""
        ...

    @property
    def broken(self) -> str:
        """What an unreadable example does: "stop" the run, or be counted ("skip")."""
        ...
