"""torchvision's model definitions without the rest of torchvision.

Importing the package loads compiled operators, whose only wheels of this version are CUDA builds that do not fit a CPU
torch, and torch's compiler with them: more than a second of every worker's start. Its models are plain Python files
that need neither.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_PACKAGE = "torchvision"


@functools.cache
def model_file(name: str) -> ModuleType:
    """Return the module `torchvision.models.<name>`, as `resnet` or `vgg`.

    It is imported between stand-ins for the packages around it, which go again: whoever imports torchvision itself
    gets it whole. ModuleNotFoundError when torchvision is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    home = Path(spec.submodule_search_locations[0])
    whole = _taken_out()
    try:
        for package, folder in ((_PACKAGE, home), (f"{_PACKAGE}.models", home / "models")):
            stand_in = ModuleType(package)
            stand_in.__path__ = [str(folder)]
            sys.modules[package] = stand_in
        return importlib.import_module(f"{_PACKAGE}.models.{name}")
    finally:
        _taken_out()
        sys.modules.update(whole)


def _taken_out() -> dict[str, ModuleType]:
    """Remove torchvision's modules from those that are imported, and return them."""
    names = [name for name in sys.modules if name == _PACKAGE or name.startswith(f"{_PACKAGE}.")]
    return {name: sys.modules.pop(name) for name in names}
