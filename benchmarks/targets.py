"""What data and objectives agree on about the class numbers of an example."""

from __future__ import annotations

VOID = -1
"""The target of a pixel that has no class: it counts in no loss and in no metric."""
