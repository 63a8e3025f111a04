"""How our functions become graphs: as they are traced, without AutoGraph.

AutoGraph rewrites a function's source so that `if` and `while` may depend on tensors. Ours do not, and each rewritten
function is a file in the temporary folder that a rank which is killed, or leaves at once, never removes.
"""

from __future__ import annotations

import logging
from functools import partial

import tensorflow as tf

graph = partial(tf.function, autograph=False)


def _unexpected(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


logging.getLogger("tensorflow").addFilter(_unexpected)
"""A graph is traced for the size of its batch, and once more where examples are missing from one: that is meant."""
