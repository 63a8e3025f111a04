"""How a framework is imported: quietly, and without what it takes along where it is installed and no run uses."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from horovod_runner.config.frameworks import Framework


def import_framework(framework: Framework, part: str) -> ModuleType:
    """Import a module of a framework's package; ModuleNotFoundError if the framework is not installed."""
    framework.pin(os.environ)
    return import_quietly(f"{framework.home}.{part}", framework.hides)


def import_quietly(name: str, hides: tuple[str, ...]) -> ModuleType:
    """Import a module to which these packages seem missing, and which shows nothing unless it fails."""
    if name in sys.modules:
        return sys.modules[name]
    with _quietly(), _hidden(hides):
        return importlib.import_module(name)


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let packages that are not imported yet seem missing; afterwards they are there for whoever wants them."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None halts an import
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, importlib) is None:  # still as it was left here
                del sys.modules[name]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what libraries print to standard error while they are imported, and show it only if the import fails.

    A framework may greet every process with lines that its own log level does not hold back.
    """
    sys.stderr.flush()
    with os.fdopen(os.memfd_create("said"), "wb+") as kept:
        own = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(own, 2)
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(own, 2)
            os.close(own)
