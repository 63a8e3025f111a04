"""The jobs by name: which data and which objective belong to a specification, and how it is usually trained.

Planning and reporting read this table, so it imports no framework: builders are named by convention, by
`Workload.builder`, and imported by the backend that needs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benchmarks.architecture import Architecture  # and with it NumPy, which the command line does without

Task = Literal["classification", "segmentation"]


@dataclass(frozen=True)
class Workload:
    """One job, which lives in a folder of its name.

    Its spec.py holds the numbers (the function `architecture` makes an `Architecture` of them), and the module that
    `builder` names reads them in a framework. The rest are the defaults of a run.
    """

    name: str
    task: Task
    data: str
    channels: int
    width: int
    local_batch: int
    epochs: int
    optimizer: str
    learning_rates: Mapping[str, float]  # base rate of each optimizer, at the workload's local batch
    options: tuple[str, ...] = ()  # settings of a run that only such a specification has, keywords of its function

    def architecture(
        self, *, width: int, channels: int, classes: int, image_size: int, **options: str | None
    ) -> Architecture:
        """Return the layers' numbers for this size of input and output; ValueError says which size is not admitted.

        Of `options`, which may be all that a run has, those are handed on that this workload declares.
        """
        module = importlib.import_module(f"{self._folder}.spec")
        declared = {name: options.get(name) for name in self.options}
        return module.architecture(width=width, channels=channels, classes=classes, image_size=image_size, **declared)

    def builder(self, framework: str) -> str:
        """Return the name of the module whose `build(architecture, ...)` makes the model in a framework."""
        return f"{self._folder}.{framework}_model"

    @property
    def _folder(self) -> str:
        return f"benchmarks.{self.name}"

    def default_option(self, name: str, image_size: int) -> str:
        """Return what the specification chooses for this option at this size, by its function `default_<name>`."""
        module = importlib.import_module(f"{self._folder}.spec")
        return getattr(module, f"default_{name}")(image_size)


WORKLOADS: dict[str, Workload] = {
    "resnet50": Workload(
        name="resnet50",
        task="classification",
        data="digits",
        channels=3,
        width=64,
        local_batch=16,
        epochs=3,
        optimizer="sgd",
        learning_rates={"sgd": 0.0125, "adam": 0.001, "adamw": 0.001, "lars": 0.4, "lamb": 0.002},
    ),
    "unet": Workload(
        name="unet",
        task="segmentation",
        data="digit_scenes",
        channels=1,
        width=32,
        local_batch=8,
        epochs=4,
        optimizer="adam",
        learning_rates={"sgd": 0.1, "adam": 0.002, "adamw": 0.002, "lars": 0.5, "lamb": 0.005},
    ),
    "vgg16": Workload(
        name="vgg16",
        task="classification",
        data="digits",
        channels=3,
        width=64,
        local_batch=16,
        epochs=3,
        optimizer="adam",
        learning_rates={"sgd": 0.01, "adam": 0.0003, "adamw": 0.0003, "lars": 0.2, "lamb": 0.002},
        options=("classifier",),
    ),
}

OPTIONS = tuple(sorted({option for workload in WORKLOADS.values() for option in workload.options}))
