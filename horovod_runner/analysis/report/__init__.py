"""Findings in words: in the terminal, on the page and in notebooks, all from the same templates."""
