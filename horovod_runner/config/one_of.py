"""A setting that is one of a table's names, so that a row added to the table is all that a new name takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import CoreSchema, core_schema


class OneOf:
    """Metadata of an annotated str; a wrong name is told in the words of a Literal's."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Return what pydantic checks by."""
        return core_schema.literal_schema(list(self.names))
