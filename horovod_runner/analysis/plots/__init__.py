"""Findings and tables as figures, in one look."""
