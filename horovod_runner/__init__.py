"""How the suite measures: one run, one loop, one record, for every framework."""

import sys

__version__ = "0.1.0"

# A decoding process runs its parent's main module anew, and with it this. What is said on import of its library is
# held back by benchmarks.data, which has to come first.
if "multiprocessing.spawn" in sys.modules:
    import benchmarks.data  # noqa: F401
