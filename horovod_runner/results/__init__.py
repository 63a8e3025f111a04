"""What a run leaves behind: records, their folder, where they come from, summaries, saved states."""
