"""The frameworks: a row each, with whatever anyone outside of a framework's own package needs of its name.

It stands here, and not in frameworks/, because settings are checked against it, and config imports nothing from above:
whoever plans, runs, proves or reports reads the same row, and no framework is imported by that. By convention of the
name, horovod_runner/frameworks/<name>/backend.py trains, about.py beside it tells the doctor what is installed,
<transport>.py holds the reductions, and benchmarks/<job>/<name>_model.py builds a job's model.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.strategies import STRATEGIES, TRANSPORTS


@dataclass(frozen=True)
class Framework:
    """One framework.

    `name` is what settings, results and folders call it; `title` is how people write it; `package` is what it is
    imported as. `distributions` maps each package whose version is recorded to what may install it, the likeliest
    first. Colour and marker are those of its curves; `dark` is the colour on a dark page. `transports` are what its
    gradients can travel by, keys of TRANSPORTS. `quiet` are variables that keep it from talking, set where nobody has;
    `hides` are packages that it imports where they are installed, and that no run uses; `variables` are beginnings of
    names of variables that change what it does, and are recorded. `ignored` are beginnings of names of those that would
    make it compute something else than what is proven: they are taken away, and `pinned` are set whatever the shell
    says.
    """

    name: str
    title: str
    package: str
    distributions: Mapping[str, tuple[str, ...]]
    colour: str
    dark: str
    marker: str
    transports: tuple[str, ...] = tuple(TRANSPORTS)
    quiet: Mapping[str, str] = field(default_factory=dict)
    hides: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)

    def pin(self, environment: MutableMapping[str, str]) -> None:
        """Change variables so that it computes what is proven, and quietly, whatever the shell says of it."""
        for name in [name for name in environment if name.startswith(self.ignored)]:
            del environment[name]
        environment.update({**self.quiet, **environment, **self.pinned})

    @property
    def home(self) -> str:
        """The package that holds all its code, by its full name."""
        return f"horovod_runner.frameworks.{self.name}"

    @property
    def horovod(self) -> str:
        """The module by which Horovod reduces its tensors, if it does."""
        return f"horovod.{self.name}"

    @property
    def strategies(self) -> tuple[str, ...]:
        """The names of the strategies that it can have."""
        return tuple(name for name, row in STRATEGIES.items() if row.transport in (None, *self.transports))


# By these, libraries below both frameworks take fewer bits than a run's precision asks for.
_PRECISION = ("DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "NVIDIA_TF32_OVERRIDE")

_ROWS = (
    Framework(
        name="tensorflow",
        title="TensorFlow",
        package="tensorflow",
        distributions={"tensorflow": ("tensorflow-cpu", "tensorflow")},
        colour="#d55e00",
        dark="#ff8f3f",
        marker="s",
        quiet={"TF_CPP_MIN_LOG_LEVEL": "3"},
        # Keras has wrappers and plots for these, does without them where they are missing, and imports them at its own
        # start: nearly 40 % of the time that TensorFlow takes to start, in every worker.
        hides=("IPython", "matplotlib", "pandas", "sklearn"),
        variables=("TF_NUM", "TF_ENABLE", "XLA_FLAGS"),
        # A user's Keras may have another backend, layout, precision or epsilon, by variables and by a file in its home.
        # Where it has to be deterministic it refuses the clock by which a step's graph tells when gradients are ready.
        ignored=(
            "KERAS_",
            "TF_USE_LEGACY_KERAS",
            "TF_CONFIG",
            "TF_XLA_FLAGS",
            "TF_ENABLE_AUTO_MIXED",
            "TF_DETERMINISTIC_OPS",
            *_PRECISION,
        ),
        pinned={"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull},
    ),
    Framework(
        name="torch",
        title="PyTorch",
        package="torch",
        distributions={"torch": ("torch",), "torchvision": ("torchvision",)},
        colour="#0072b2",
        dark="#55b3ee",
        marker="o",
        variables=("ATEN_", "PYTORCH_", "TORCH_"),
        # An import ends with what PyTorch does not know in TORCH_LOGS; a list may be meant for another version.
        ignored=("TORCH_ALLOW_TF32", "TORCH_LOGS", *_PRECISION),
    ),
)

FRAMEWORKS: dict[str, Framework] = {row.name: row for row in _ROWS}
DEFAULT = "torch"
"""The framework of a verb that needs one and is given none."""
BOUND = tuple(row.name for row in _ROWS if "horovod" in row.transports)
"""Those whose tensors Horovod reduces."""
PAIR = ("tensorflow", "torch")
"""The two that the proof and the differences of the report set side by side, first less second."""


@lru_cache(maxsize=256)
def has_model(framework: str, workload: str) -> bool:
    """Whether there is a model of a job in a framework: a file, which is not imported."""
    return importlib.util.find_spec(WORKLOADS[workload].builder(framework)) is not None


def one_with(workload: str) -> str:
    """Return a framework that has a model of a job: the default one, if it does."""
    return next(name for name in (DEFAULT, *FRAMEWORKS) if has_model(name, workload))


def title(name: str) -> str:
    """Return a framework's name as people write it; what is no framework stays as it is."""
    return FRAMEWORKS[name].title if name in FRAMEWORKS else name
