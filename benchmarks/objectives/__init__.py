"""The objectives: their one definition (reference.py) and its two implementations."""
