"""The proof that two frameworks do the same job: comparisons, their tolerances, and the traps that must be caught.

Every comparison goes through the backends, the very code that trains, and becomes a `Row` of one table.
"""
