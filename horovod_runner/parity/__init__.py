"""The proof that two frameworks do the same job: comparisons and their tolerances.

Every comparison goes through the backends, the very code that trains, and becomes a `Row` of one table.
"""
