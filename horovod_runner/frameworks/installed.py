"""Whether what a run needs is installed, asked without importing it."""

from __future__ import annotations

import importlib.util

from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.schema import RunConfig
from horovod_runner.config.strategies import TRANSPORTS
from horovod_runner.errors import UserError


def require_installed(config: RunConfig) -> None:
    """Raise UserError when a run's framework is missing, or what its gradients travel by; nothing is imported."""
    packages = [FRAMEWORKS[config.framework].package]
    if config.transport is not None:
        packages.append(TRANSPORTS[config.transport].package)
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{config.framework} cannot be used here: {package} is not installed; run `make setup`")
