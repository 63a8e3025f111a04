"""How the suite measures: one run, one loop, one record, for every framework."""

__version__ = "0.1.0"
