"""One run, fully described: decoded and validated once, frozen, and hashed into a run id.

Nothing else in the suite reads options, variables of the environment or defaults: whoever holds a `RunConfig` knows
all that can change its result. `decode` turns plain data (a YAML mapping, the command line) into one and reports
every mistake at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmarks.data import SOURCES
from benchmarks.workloads import OPTIONS, WORKLOADS, Workload
from horovod_runner.sentences import Inconsistent, WrongSettings, unknown_key, wrong_value

FRAMEWORKS = ("tensorflow", "torch")
STRATEGIES = ("none", "fused")

Count = Annotated[int, Field(ge=1, le=10_000_000)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Settings(BaseModel):
    """The base of every group of settings: frozen, strict about types, and without room for unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)


class DataConfig(Settings):
    """Where the examples come from."""

    name: str | None = Field(
        None, description="a source of benchmarks/data; None: the workload's, or a folder if path is set"
    )
    path: str | None = Field(None, description="the user's folder, for image_folder and mask_folder")
    image_size: Annotated[int, Field(ge=1, le=8192)] | None = Field(
        None, description="pixels a side; None: the source's"
    )
    channels: Literal[1, 3] | None = Field(None, description="1 (grey) or 3 (RGB); None: the workload's")
    examples: Count | None = Field(None, description="training examples of a generated source; None: the source's")
    augment: bool = Field(True, description="random crops and flips, for sources that have them")
    broken: Literal["stop", "skip"] = Field(
        "stop", description="what an unreadable image does: stop the run, or be counted"
    )
    digests: bool = Field(True, description="whether steps record a hash of their global batch")
    processes: Annotated[int, Field(ge=0, le=1024)] | None = Field(
        None, description="decoding processes; None: from the cores"
    )


class OptimizerConfig(Settings):
    """How a gradient changes the weights; the rules are written down in horovod_runner/optimizers/rules.py."""

    name: Literal["sgd", "adam", "adamw", "lars", "lamb"] = Field("sgd", description="None given: the workload's")
    learning_rate: Positive | None = Field(None, description="base rate, before scaling; None: the workload's")
    momentum: Fraction = 0.9
    nesterov: bool = False
    velocity: Literal["gradient", "absorbed"] = Field(
        "gradient", description="of sgd: in units of the gradient, or with the learning rate absorbed as Keras has it"
    )
    momentum_correction: bool = Field(
        True, description="an absorbed velocity is rescaled when the rate changes (Goyal et al. 2017, remark 2)"
    )
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = Field(
        0.0,
        description="of kernels: added to the gradient as weight_decay * w (L2); adamw, lars and lamb: see rules.py",
    )
    decay_norm: bool = Field(
        False, description="whether decay, and the ratios of lars and lamb, also apply to biases and normalisation"
    )
    trust_coefficient: Positive = Field(0.001, description="of lars: eta of You et al. 2017, eq. 6")
    clip_norm: Positive | None = Field(
        None, description="largest L2 norm of the whole reduced gradient; a longer one is scaled down to it"
    )


class ScheduleConfig(Settings):
    """The learning rate as a function of the step; schedule.py computes it for both frameworks."""

    scaling: Literal["none", "linear_workers", "linear_samples", "sqrt_workers", "sqrt_samples"] = "none"
    reference_batch: Count = Field(256, description="the batch that learning_rate was chosen for, for *_samples")
    warmup_epochs: NonNegative = 0.0
    warmup: Literal["gradual", "constant", "from_zero"] = "gradual"
    decay: Literal["constant", "step", "polynomial", "cosine"] = "constant"
    milestones: tuple[Positive, ...] = Field((30.0, 60.0, 80.0), strict=False, description="epochs of decay: step")
    factor: Positive = Field(0.1, description="of each milestone")
    power: Positive = Field(2.0, description="of decay: polynomial")
    end_factor: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="last rate over peak: polynomial, cosine")


class LossConfig(Settings):
    """The objective beside cross-entropy's definition: see benchmarks/objectives."""

    label_smoothing: Fraction = 0.0
    dice_weight: NonNegative = Field(1.0, description="weight of soft Dice beside cross-entropy, in segmentation")


class AllreduceConfig(Settings):
    """How the shared layer reduces gradients, beside its strategy; None leaves Horovod's own value."""

    controller: Literal["auto", "mpi", "gloo"] = Field(
        "auto", description="who coordinates, where we start the ranks; auto: MPI if there is an mpirun"
    )
    fusion_mb: NonNegative | None = None
    cycle_ms: Positive | None = None
    yield_when_idle: bool = Field(
        True, description="Open MPI yields the core it waits on: right wherever cores are shared"
    )


class CheckpointConfig(Settings):
    """When the state is saved, and how much of it is kept."""

    every: Annotated[int, Field(ge=0)] | None = Field(None, description="steps; 0: never; None: once an epoch")
    keep: Count = Field(2, description="the newest so many stay")
    keep_final: bool = Field(True, description="whether they outlive a completed run")
    resume_from: str | None = Field(
        None,
        description="a saved state of another run, of any framework and number of workers: a file of it or its run",
    )


class RunConfig(Settings):
    """One run of one job in one framework on so many workers."""

    framework: Literal["tensorflow", "torch"]
    workload: str = "resnet50"
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] = "bench"
    data: DataConfig = DataConfig()
    width: Annotated[int, Field(ge=1, le=4096)] | None = Field(None, description="channels of the first layer")
    classifier: Literal["full", "small"] | None = Field(
        None, description="of vgg16: 4096-4096 behind 7x7 maps as published, or one for small images; None: by the size"
    )
    zero_init_last_gamma: bool = Field(False, description="each residual block starts as the identity (Goyal et al.)")
    epochs: Count | None = None
    steps: Count | None = None
    workers: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    virtual_workers: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="shards of local_batch that each worker trains on in a step, as if each had a worker of its own"
    )
    accumulate: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        1, description="micro-batches that a local batch is divided into, to save memory; gradients are averaged"
    )
    local_batch: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    global_batch: Annotated[int, Field(ge=1, le=1_073_741_824)] | None = None
    scaling: Literal["weak", "strong"] = "weak"
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    precision: Literal["float32", "float64", "bfloat16"] = "float32"
    batch_norm: Literal["local", "synchronised", "ghost"] = Field(
        "local", description="whose statistics normalise: the local batch's, the global one's, or ghost_batch examples'"
    )
    ghost_batch: Annotated[int, Field(ge=1, le=1_048_576)] | None = Field(
        None, description="examples normalised together with batch_norm: ghost (Hoffer et al. 2017, algorithm 1)"
    )
    strategy: Literal["none", "fused"] = "fused"
    measure: Literal["training", "loading"] = Field(
        "training", description="loading: batches are taken and thrown away, to see what the input alone delivers"
    )
    allreduce: AllreduceConfig = AllreduceConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    repeat: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    threads: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="of a worker; None: its share of the cores"
    )
    discard_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="first steps kept out of the throughput; None: as many as their times show to be warm-up"
    )
    record_every: Count = Field(1, description="one line of steps.jsonl for so many steps")
    validate_every: Annotated[int, Field(ge=0)] = Field(1, description="epochs between validations; 0: never")

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, raw: Any) -> Any:
        """Fill what depends on the workload, so that equal runs have equal descriptions."""
        if not isinstance(raw, Mapping):
            return raw
        return _with_defaults(dict(raw))

    @field_validator("workload")
    @classmethod
    def _known_workload(cls, name: str) -> str:
        if name not in WORKLOADS:
            raise ValueError(f"there is no {name!r}; choose one of {', '.join(sorted(WORKLOADS))}")
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [sentence for check in _CHECKS for sentence in check(self)]
        if problems:
            raise Inconsistent(problems)
        return self

    @property
    def job(self) -> Workload:
        """The entry of the workload table."""
        return WORKLOADS[self.workload]

    @property
    def parts(self) -> int:
        """Forward and backward passes of a worker's step: a micro-batch each."""
        return self.virtual_workers * self.accumulate

    @property
    def examples(self) -> int | None:
        """Training examples, as far as they are known without opening anything: None for a folder."""
        known = SOURCES[str(self.data.name)].examples
        return known and (self.data.examples or known)

    @property
    def options(self) -> dict[str, str | None]:
        """The settings that only some workloads have; None for one that this workload has not."""
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def all_workers(self) -> int:
        """Shards that a global batch is divided into: workers times the virtual workers of each."""
        return self.workers * self.virtual_workers

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, as pydantic does, that works its own run id out."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("run_id", None)
        return copied

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `decode` turns into an equal config."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Return 64 hexadecimal digits that are equal exactly for equal configs."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @cached_property
    def run_id(self) -> str:
        """The name of the run's folder: readable first, then unique."""
        return (
            f"{self.workload}-{self.framework}-n{self.workers}-b{self.local_batch}-s{self.seed}r{self.repeat}"
            f"-{self.digest()[:10]}"
        )


def decode(raw: Mapping[str, Any], source: str) -> RunConfig:
    """Validate plain data into a config; WrongSettings names `source` and every key that is wrong, in one sentence."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise WrongSettings(source, _problems(error)) from None


def _problems(error: ValidationError) -> list[tuple[str, str]]:
    return [problem for item in error.errors() for problem in _problems_of(item)]


def _problems_of(item: Any) -> list[tuple[str, str]]:
    """Return (key, sentence) of one complaint; the checks of the whole run have several in one."""
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, Inconsistent):
        return [(sentence.split(":")[0], sentence) for sentence in cause.sentences]
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return [(key, unknown_key(key, _known_keys(item["loc"]), "setting of a run"))]
    return [(key, wrong_value(key, item))]


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    group: Any = RunConfig
    for part in location[:-1]:
        group = group.model_fields[part].annotation
    return sorted(group.model_fields)


def _with_defaults(raw: dict[str, Any]) -> dict[str, Any]:
    if isinstance(raw.get("data"), str):
        raw["data"] = data_from_word(raw["data"])
    name = raw.get("workload", "resnet50")
    job = WORKLOADS.get(name) if isinstance(name, str) else None
    if job is None:
        return raw  # refused by its own field, beside whatever else is wrong
    raw["data"] = _data_defaults(raw.get("data") or {}, job)
    if raw.get("width") is None:
        raw["width"] = job.width
    raw |= _option_defaults(raw, job)
    if raw.get("epochs") is None and raw.get("steps") is None:
        raw["epochs"] = job.epochs
    raw["optimizer"] = _optimizer_defaults(raw.get("optimizer") or {}, job)
    return _batch_defaults(raw, job)


def data_from_word(word: str) -> dict[str, str]:
    """Return the settings that `data` given as one word stands for: a source's name, or else a folder."""
    return {"name": word} if word in SOURCES else {"path": word}


def _optimizer_defaults(optimizer: Any, job: Workload) -> Any:
    """Take the workload's optimizer, and its base rate for the optimizer that is used."""
    if not isinstance(optimizer, Mapping):
        return optimizer
    optimizer = {"name": job.optimizer, **optimizer}
    if optimizer.get("learning_rate") is None and str(optimizer["name"]) in job.learning_rates:
        optimizer["learning_rate"] = job.learning_rates[optimizer["name"]]
    return optimizer


def _data_defaults(data: Any, job: Workload) -> Any:
    """Choose the source and what follows from it."""
    if not isinstance(data, Mapping):
        return data
    data = dict(data)
    if data.get("name") is None:
        folder = "mask_folder" if job.task == "segmentation" else "image_folder"
        data["name"] = folder if data.get("path") is not None else job.data
    source = SOURCES.get(str(data["name"]))
    if source is not None and data.get("image_size") is None:
        data["image_size"] = source.image_size
    if data.get("channels") is None:
        data["channels"] = 3 if data.get("path") is not None else job.channels
    return data


def _option_defaults(raw: dict[str, Any], job: Workload) -> dict[str, str]:
    """Choose by the size of the images what is not given of the workload's own settings."""
    image_size = raw["data"].get("image_size") if isinstance(raw["data"], Mapping) else None
    if type(image_size) is not int:
        return {}
    return {name: job.default_option(name, image_size) for name in job.options if raw.get(name) is None}


def _batch_defaults(raw: dict[str, Any], job: Workload) -> dict[str, Any]:
    """Derive the batch that is not given from the one that is; what does not divide is left for the check to name."""
    workers = raw.get("workers", 1)
    virtual = raw.get("virtual_workers", 1)
    shards = workers * virtual if type(workers) is int and type(virtual) is int else 0
    if raw.get("local_batch") is None and raw.get("global_batch") is None:
        raw["local_batch"] = job.local_batch
    local, whole = raw.get("local_batch"), raw.get("global_batch")
    if whole is None and type(local) is int:
        raw["global_batch"] = local * shards if shards > 0 else local
    if local is None and type(whole) is int and shards > 0 and whole % shards == 0:
        raw["local_batch"] = whole // shards
    return raw


def _check_data(c: RunConfig) -> list[str]:
    source = SOURCES.get(str(c.data.name))
    if source is None:
        return [f"data.name: there is no {c.data.name!r}; choose one of {', '.join(sorted(SOURCES))}, or give a folder"]
    problems = []
    if c.job.task not in source.tasks:
        fit = ", ".join(sorted(name for name, s in SOURCES.items() if c.job.task in s.tasks))
        problems.append(f"data.name: {c.data.name} has no {c.job.task} targets for {c.workload}; choose one of {fit}")
    if source.needs_path and not c.data.path:
        problems.append(f"data.path: is missing, and {c.data.name} reads a folder; name it")
    if c.data.path and not source.needs_path:
        problems.append(f"data.path: {c.data.name} reads no folder; remove data.path or data.name")
    return problems


def _check_options(c: RunConfig) -> list[str]:
    foreign = [name for name, given in c.options.items() if given is not None and name not in c.job.options]
    owners = {name: " and ".join(sorted(w.name for w in WORKLOADS.values() if name in w.options)) for name in foreign}
    return [f"{name}: only {owners[name]} has this setting, not {c.workload}; remove it" for name in foreign]


def _check_optimizer(c: RunConfig) -> list[str]:
    """Refuse what the chosen optimizer would pass over, and a run that has no learning rate."""
    optimizer, problems = c.optimizer, []
    for key, chosen in (("nesterov", optimizer.nesterov), ("velocity", optimizer.velocity != "gradient")):
        if chosen and optimizer.name != "sgd":
            problems.append(f"optimizer.{key}: only sgd has it, not {optimizer.name}; remove it or choose sgd")
    if optimizer.learning_rate is None:
        known = ", ".join(sorted(c.job.learning_rates))
        problems.append(
            f"optimizer.learning_rate: is missing, and {c.workload} has one of its own for {known} only; give the one"
            f" to use with {optimizer.name}"
        )
    return problems


def _check_length(c: RunConfig) -> list[str]:
    if c.epochs is not None and c.steps is not None:
        return ["epochs: steps are given as well; keep one of the two"]
    return []


def _check_batch(c: RunConfig) -> list[str]:
    if c.local_batch is None:
        return [
            f"global_batch: {c.global_batch} cannot be divided over {c.all_workers} workers;"
            f" choose a multiple of {c.all_workers}"
        ]
    if c.global_batch != c.local_batch * c.all_workers:
        return [
            f"local_batch: {c.local_batch} on {c.all_workers} workers makes {c.local_batch * c.all_workers},"
            f" but global_batch is {c.global_batch}; give one of the two"
        ]
    return []


def _check_architecture(c: RunConfig) -> list[str]:
    """Ask the specification whether it admits this image size, before anything starts."""
    if c.data.image_size is None or c.data.channels is None or c.width is None:
        return []
    values_per_image = _admitted(c.workload, c.width, c.data.channels, c.data.image_size, tuple(c.options.items()))
    if isinstance(values_per_image, str):
        return [f"data.image_size: {values_per_image}"]
    if values_per_image is None:
        return [f"batch_norm: {c.workload} has no batch normalisation; remove it"] if c.batch_norm != "local" else []
    together = _normalised_together(c)
    values = values_per_image * together
    if values < 2:
        return [
            f"local_batch: batch normalisation needs more than one value a channel, and {together} examples normalised"
            f" together at {c.data.image_size} pixels leave {values}; raise local_batch or data.image_size"
        ]
    return []


@lru_cache(maxsize=4096)  # thousands of runs share a few architectures, and each costs half a millisecond
def _admitted(
    workload: str, width: int, channels: int, image_size: int, options: tuple[tuple[str, str | None], ...]
) -> int | str | None:
    """Return the fewest values a channel that one image leaves to normalise, None if nothing is normalised.

    A sentence if the specification does not admit the size.
    """
    try:
        architecture = WORKLOADS[workload].architecture(
            width=width, channels=channels, classes=2, image_size=image_size, **dict(options)
        )
    except ValueError as error:
        return str(error)
    return architecture.minimum_values_per_channel if architecture.normalises else None


def _normalised_together(c: RunConfig) -> int:
    """Return how many examples share the statistics that normalise them."""
    if c.batch_norm == "synchronised":
        return c.global_batch or 2
    return c.ghost_batch or max(1, (c.local_batch or 2) // c.accumulate)


def _check_examples(c: RunConfig) -> list[str]:
    """Refuse a batch that the data cannot fill even once."""
    examples = c.examples if c.data.name in SOURCES else None
    if examples is None or c.global_batch is None or c.global_batch <= examples:
        return []
    return [
        f"{'global_batch' if c.scaling == 'strong' else 'local_batch'}: the global batch of {c.global_batch} is more"
        f" than the {examples} training examples of {c.data.name}; lower the batch or the workers, or bring more data"
    ]


def _check_parts(c: RunConfig) -> list[str]:
    if c.local_batch is not None and c.local_batch % c.accumulate:
        return [
            f"accumulate: a local batch of {c.local_batch} cannot be divided into {c.accumulate} micro-batches;"
            " choose a divisor of it"
        ]
    return []


def _check_batch_norm(c: RunConfig) -> list[str]:
    if (c.batch_norm == "ghost") != (c.ghost_batch is not None):
        return ["ghost_batch: it belongs together with batch_norm: ghost; give both or neither"]
    micro_batch = (c.local_batch or 0) // c.accumulate
    if c.ghost_batch and micro_batch % c.ghost_batch:
        return [
            f"ghost_batch: {micro_batch} examples cannot be divided into groups of {c.ghost_batch}; choose a divisor"
        ]
    if c.batch_norm != "synchronised":
        return []
    if c.parts > 1:
        return [
            "batch_norm: synchronised needs the whole global batch at once; set virtual_workers and accumulate to 1,"
            " or choose batch_norm: local"
        ]
    if c.workers > 1 and c.strategy == "none":
        return ["batch_norm: synchronised cannot do without the reduction; choose strategy: fused or batch_norm: local"]
    return []


_CHECKS = (
    _check_data,
    _check_options,
    _check_optimizer,
    _check_length,
    _check_batch,
    _check_examples,
    _check_parts,
    _check_batch_norm,
    _check_architecture,
)
