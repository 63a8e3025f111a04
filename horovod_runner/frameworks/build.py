"""Which backend a run has: its framework's, or the one that takes batches and computes nothing."""

from __future__ import annotations

from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.errors import UserError
from horovod_runner.frameworks import loading
from horovod_runner.frameworks.base import Backend, Job
from horovod_runner.frameworks.imports import import_framework


def load_backend(job: Job) -> Backend:
    """Import a framework and build its backend; UserError when the framework is not installed."""
    name = job.config.framework
    if job.config.measure == "loading":
        return loading.create(job)
    try:
        module = import_framework(FRAMEWORKS[name], "backend")
    except ModuleNotFoundError as error:
        raise UserError(f"{name} cannot be used here: {error.name} is not installed; run `make setup`") from None
    backend: Backend = module.create(job)
    return backend
