"""Whether what a run needs is installed, asked without importing it."""

from __future__ import annotations

import importlib.util

from horovod_runner.allreduce.settings import transport
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError


def require_installed(config: RunConfig) -> None:
    """Raise UserError when a run's framework is missing, or Horovod where it is needed; nothing is imported."""
    transported_by = {"horovod": "horovod", "mpi": "mpi4py"}.get(transport(config) or "")
    for package in (FRAMEWORKS[config.framework].package, *([transported_by] if transported_by else [])):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"{config.framework} cannot be used here: {package} is not installed; run `make setup`")
