"""What can be set of a run, group by group: names, types, bounds and what each does; and what follows from them.

schema.py makes a `RunConfig` of it: filled in, checked, and with an id.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.data import SOURCES
from benchmarks.layers.batch_norm import Normalisation
from benchmarks.workloads import OPTIONS, WORKLOADS, Workload
from horovod_runner.config.frameworks import FRAMEWORKS
from horovod_runner.config.one_of import OneOf
from horovod_runner.config.strategies import STRATEGIES, USUAL, Strategy

FrameworkName = Annotated[str, OneOf(FRAMEWORKS)]
StrategyName = Annotated[str, OneOf(STRATEGIES)]

EXPERIMENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""An experiment's name is its folder's, and a part of its jobs' names."""

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
    split: Literal["fixed", "per_seed"] = Field(
        "fixed", description="which examples validate: the same in all runs, or a stratified draw for each seed"
    )
    augment: bool = Field(True, description="random crops and flips, for sources that have them")
    void: Annotated[int, Field(ge=0, le=65535)] | None = Field(
        None, description="the value in masks that is no class, often 255: such pixels count in no loss and no metric"
    )
    broken: Literal["stop", "skip"] = Field(
        "stop", description="what an unreadable image does: stop the run, or be left out of its batch and counted"
    )
    digests: bool = Field(True, description="whether steps record a hash of their global batch")
    processes: Annotated[int, Field(ge=0, le=1024)] | None = Field(
        None, description="decoding processes; None: from the cores"
    )


class OptimizerConfig(Settings):
    """How a gradient changes the weights; the rules are written down in horovod_runner/optimizers/rules.py."""

    name: Literal["sgd", "adam", "adamw", "lars", "lamb"] = Field(
        "sgd", description="the rule; without one, the workload's"
    )
    learning_rate: Positive | None = Field(None, description="base rate, before scaling; None: the workload's")
    momentum: Fraction = Field(0.9, description="of sgd and lars")
    nesterov: bool = Field(False, description="of sgd: Nesterov's momentum")
    velocity: Literal["gradient", "absorbed"] = Field(
        "gradient", description="of sgd: in units of the gradient, or with the learning rate absorbed as Keras has it"
    )
    momentum_correction: bool = Field(
        True, description="an absorbed velocity is rescaled when the rate changes (Goyal et al. 2017, remark 2)"
    )
    beta1: Fraction = Field(0.9, description="of adam, adamw and lamb: decay of the gradient's mean")
    beta2: Fraction = Field(0.999, description="of adam, adamw and lamb: decay of the squared gradient's mean")
    epsilon: Positive = Field(1e-8, description="of adam, adamw and lamb: added to the root of the squared mean")
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

    scaling: Literal["none", "linear_workers", "linear_samples", "sqrt_workers", "sqrt_samples"] = Field(
        "none", description="the peak rate is learning_rate times workers, or batch over reference_batch, or its root"
    )
    reference_batch: Count = Field(256, description="the batch that learning_rate was chosen for, for *_samples")
    warmup_epochs: NonNegative = Field(0.0, description="epochs until the peak rate is reached")
    warmup: Literal["gradual", "constant", "from_zero"] = Field(
        "gradual",
        description="a line from the unscaled rate to the peak, the unscaled rate all along, or a line from 0",
    )
    decay: Literal["constant", "step", "polynomial", "cosine"] = Field(
        "constant", description="what the rate does after warmup"
    )
    milestones: tuple[Positive, ...] = Field((30.0, 60.0, 80.0), strict=False, description="epochs of decay: step")
    factor: Positive = Field(0.1, description="of each milestone")
    power: Positive = Field(2.0, description="of decay: polynomial")
    end_factor: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="last rate over peak: polynomial, cosine")


class LossConfig(Settings):
    """The objective beside cross-entropy's definition: see benchmarks/objectives."""

    label_smoothing: Fraction = Field(0.0, description="share of the target that all classes divide among them")
    dice_weight: NonNegative = Field(1.0, description="weight of soft Dice beside cross-entropy, in segmentation")


class AllreduceConfig(Settings):
    """How the shared layer reduces gradients, beside its strategy; None leaves Horovod's own value.

    Strategies that do without Horovod pass over what is Horovod's.
    """

    controller: Literal["auto", "mpi", "gloo"] = Field(
        "auto", description="who coordinates, where we start the ranks; auto: MPI if there is an mpirun"
    )
    fusion_mb: NonNegative | None = Field(None, description="most that Horovod fuses into one message, MiB")
    cycle_ms: Positive | None = Field(None, description="between two rounds of Horovod's coordination")
    cache: bool = Field(True, description="Horovod remembers what was agreed on, and negotiates in bits")
    hierarchical: bool = Field(False, description="within a host first, then between hosts; NCCL alone can do it")
    compression: Literal["none", "fp16", "bf16"] = Field("none", description="what gradients travel as")
    operation: Literal["average", "sum", "adasum"] = Field(
        "average", description="what becomes of all workers' gradients; adasum: Maleki et al. 2021"
    )
    timeline: bool = Field(False, description="rank 0 writes Horovod's timeline into the run's folder")
    yield_when_idle: bool = Field(
        True, description="Open MPI yields the core it waits on: right wherever cores are shared"
    )


class ClusterConfig(Settings):
    """Emulated hosts on this machine, where any of these is given: see horovod_runner/launch/emulated."""

    hosts: Annotated[int, Field(ge=1, le=200)] | None = Field(None, description="emulated hosts; None: one a worker")
    cores: Annotated[float, Field(ge=0.01, le=4096, allow_inf_nan=False)] | None = Field(
        None, description="of a host, 0.5 is half of one; None: the machine's over hosts"
    )
    rate_mbit: Annotated[float, Field(ge=1, le=3e4, allow_inf_nan=False)] | None = Field(
        None, description="Mbit/s of a host's link in each direction; None: as fast as the machine can"
    )

    @property
    def emulated(self) -> bool:
        """Whether there is a cluster; without one, the machine is as it is."""
        return (self.hosts, self.cores, self.rate_mbit) != (None, None, None)

    def hosts_of(self, workers: int) -> int:
        """Return how many hosts so many workers are placed on."""
        return workers if self.hosts is None else self.hosts


class CheckpointConfig(Settings):
    """When the state is saved, and how much of it is kept."""

    every: Annotated[int, Field(ge=0)] | None = Field(None, description="steps; 0: never; None: once an epoch")
    keep: Count = Field(2, description="the newest so many stay")
    keep_final: bool = Field(True, description="whether they outlive a completed run")
    resume_from: str | None = Field(
        None,
        description="a saved state of another run, of any framework and number of workers: a file of it or its run",
    )


class TargetConfig(Settings):
    """What the run is to reach, and whether it ends there."""

    metric: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="validation metric, a fraction; the first validation that is no less reaches it; None: none"
    )
    stop: bool = Field(True, description="training ends, completed, with the validation that reaches it")


class RunSettings(Settings):
    """One run of one job in one framework on so many workers."""

    framework: FrameworkName = Field(description="the framework that trains")
    workload: str = Field("resnet50", description="the job: a row of benchmarks/workloads.py")
    experiment: Annotated[str, Field(pattern=EXPERIMENT_NAME)] = Field(
        "bench", description="the experiment's name, and its folder's; an experiment file's is the file's own"
    )
    arm: Annotated[str, Field(min_length=1, max_length=60)] | None = Field(
        None, description="the name of the run's arm, where an experiment has named arms"
    )
    data: DataConfig = DataConfig()
    width: Annotated[int, Field(ge=1, le=4096)] | None = Field(None, description="channels of the first layer")
    classifier: Literal["full", "small"] | None = Field(
        None, description="of vgg16: 4096-4096 behind 7x7 maps as published, or one for small images; None: by the size"
    )
    zero_init_last_gamma: bool = Field(False, description="each residual block starts as the identity (Goyal et al.)")
    epochs: Count | None = Field(None, description="passes over the training data; None: the workload's, or steps")
    steps: Count | None = Field(None, description="training steps, in place of epochs")
    workers: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1, description="ranks that share each global batch")
    virtual_workers: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="shards of local_batch that each worker trains on in a step, as if each had a worker of its own"
    )
    accumulate: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        1, description="micro-batches that a local batch is divided into, to save memory; gradients are averaged"
    )
    local_batch: Annotated[int, Field(ge=1, le=1_048_576)] | None = Field(
        None, description="examples of each worker's step; None: the workload's, or global_batch over the workers"
    )
    global_batch: Annotated[int, Field(ge=1, le=1_073_741_824)] | None = Field(
        None, description="examples of a step of all workers; None: local_batch times the workers"
    )
    scaling: Literal["weak", "strong"] = Field(
        "weak", description="which batch stays as workers are added: weak, the local one; strong, the global one"
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    precision: Literal["float32", "float64", "bfloat16"] = Field(
        "float32", description="of the arithmetic; bfloat16: of layers, over weights in float32"
    )
    batch_norm: Literal["local", "synchronised", "ghost"] = Field(
        "local", description="whose statistics normalise: the local batch's, the global one's, or ghost_batch examples'"
    )
    ghost_batch: Annotated[int, Field(ge=1, le=1_048_576)] | None = Field(
        None, description="examples normalised together with batch_norm: ghost (Hoffer et al. 2017, algorithm 1)"
    )
    strategy: StrategyName = Field(
        USUAL, description="how gradients are reduced: config/strategies.py has a sentence on each"
    )
    measure: Literal["training", "loading"] = Field(
        "training", description="loading: batches are taken and thrown away, to see what the input alone delivers"
    )
    allreduce: AllreduceConfig = AllreduceConfig()
    cluster: ClusterConfig = ClusterConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        0, description="of the first weights, the examples' order and augmentation"
    )
    repeat: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="tells runs apart that are otherwise equal"
    )
    threads: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="of a worker; None: its share of the cores"
    )
    discard_steps: Annotated[int, Field(ge=0)] | None = Field(
        None, description="first steps kept out of the throughput; None: as many as their times show to be warm-up"
    )
    record_every: Count = Field(1, description="one line of steps.jsonl for so many steps")
    validate_every: Annotated[int, Field(ge=0)] = Field(1, description="epochs between validations; 0: never")
    validate_steps: Count | None = Field(
        None, description="steps between validations, in place of validate_every; the last step is validated as well"
    )
    validation_statistics: Literal["running", "precise"] = Field(
        "running",
        description="of batch normalisation, in validation: the running ones, which lag behind by some 20 steps, or"
        " means taken anew from training examples; states are saved with the running ones",
    )
    precise_examples: Count = Field(
        512, description="of the epoch's first training batches, not augmented, for precise statistics; whole batches"
    )
    target: TargetConfig = TargetConfig()
    noise_scale: bool = Field(
        False,
        description="measure the gradient noise scale from the gradients of shards, or micro-batches, and their mean",
    )

    @property
    def job(self) -> Workload:
        """The entry of the workload table."""
        return WORKLOADS[self.workload]

    @property
    def reduction(self) -> Strategy:
        """The entry of the strategy table."""
        return STRATEGIES[self.strategy]

    @property
    def transport(self) -> str | None:
        """What carries gradients between this run's workers, a key of TRANSPORTS; None for nothing.

        One worker has nobody to reduce with. Horovod's coordination thread costs a core's time even when it is idle, so
        a baseline is honest only without it.
        """
        return self.reduction.transport if self.workers > 1 and self.measure == "training" else None

    @property
    def micro_batches(self) -> int:
        """Forward and backward passes of a worker's step: a micro-batch each."""
        return self.virtual_workers * self.accumulate

    @property
    def uneven(self) -> bool:
        """Whether batches may weigh differently: examples that cannot be read are missing, or pixels that are void."""
        return self.skips or self.data.void is not None

    @property
    def skips(self) -> bool:
        """Whether examples may be left out because their files cannot be read."""
        return self.data.broken == "skip" and self.data.path is not None

    @property
    def normalisation(self) -> Normalisation:
        """Whose statistics normalise during training."""
        return Normalisation(
            self.micro_batches, self.ghost_batch, self.batch_norm == "synchronised", self.workers, self.uneven
        )

    @property
    def examples(self) -> int | None:
        """Training examples, as far as they are known without opening anything: None for a folder."""
        known = SOURCES[str(self.data.name)].examples
        return known and (self.data.examples or known)

    @property
    def shard_batch(self) -> int:
        """Examples of one forward and backward pass: those of a shard, or of each of its micro-batches."""
        return (self.local_batch or 0) // self.accumulate

    @property
    def options(self) -> dict[str, str | None]:
        """The settings that only some workloads have; None for one that this workload has not."""
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def all_workers(self) -> int:
        """Shards that a global batch is divided into: workers times the virtual workers of each."""
        return self.workers * self.virtual_workers
