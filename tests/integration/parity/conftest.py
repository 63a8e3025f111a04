"""These tests, too, have both frameworks in one process."""

from __future__ import annotations

import tests.parity.conftest  # noqa: F401
