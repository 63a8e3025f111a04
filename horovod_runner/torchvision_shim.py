"""Import torchvision where its binary part does not fit the torch beside it.

torchvision's only wheels of this version are CUDA builds. Beside a CPU torch their compiled operators cannot be loaded,
and the import stops at the first Python line that attaches something to one of them. Models, data sets and v2
transforms are pure Python and need none of them, so declaring the two names that are looked up at import time is
enough. Calling them still fails, with torch's own words for an operator that has no implementation.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept: list[object] = []  # a torch Library withdraws its declarations when it is collected


@functools.cache
def import_torchvision() -> ModuleType:
    """Return the torchvision package; declare its missing operators only when the plain import fails for want of them.

    Raises ImportError when torchvision is not installed, and torchvision's own RuntimeError for any other mismatch.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    _declare_operators()
    return importlib.import_module("torchvision")


def _declare_operators() -> None:
    torch = importlib.import_module("torch")
    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        library.define(operator)
    _kept.append(library)
