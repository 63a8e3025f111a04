"""Trials of what a study survives, with counts: too long for tests, and run for real."""
