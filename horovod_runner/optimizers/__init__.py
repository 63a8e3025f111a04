"""Optimizers: their one definition (rules.py) and its two implementations, which keep state under the same names."""
