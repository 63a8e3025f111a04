"""The jobs as the hand-written scripts see them: the suite's numbers of a model, and how large its gradients are."""

from __future__ import annotations

from benchmarks.architecture import Architecture
from benchmarks.data.synthetic import CLASSES
from benchmarks.workloads import WORKLOADS

FLOAT_BYTES = 4


def architecture(workload: str, image_size: int) -> Architecture:
    """Return the model that the suite trains on synthetic images of this size."""
    job = WORKLOADS[workload]
    options = {name: job.default_option(name, image_size) for name in job.options}
    classes = CLASSES[job.task]
    return job.architecture(width=job.width, channels=job.channels, classes=classes, image_size=image_size, **options)


def gradient_bytes(workload: str, image_size: int) -> int:
    """Return the bytes that a worker's gradients take in float32."""
    return FLOAT_BYTES * architecture(workload, image_size).parameter_count()
