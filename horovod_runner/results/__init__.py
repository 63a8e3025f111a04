"""What a run leaves behind: records, their folder, where they come from, summaries, saved states."""

from pathlib import Path

OWN = Path("results", "local")
"""Where a user's own runs go unless told otherwise. git ignores it; the committed studies lie beside it."""
