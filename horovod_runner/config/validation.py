"""Which settings cannot stand together: each check returns sentences, which begin with a key and end with a remedy."""

from __future__ import annotations

from functools import lru_cache

from benchmarks.data import SOURCES
from benchmarks.workloads import WORKLOADS
from horovod_runner.config.frameworks import FRAMEWORKS, has_model
from horovod_runner.config.settings import RunSettings
from horovod_runner.config.strategies import COMPUTE_ONLY, TRANSPORTS


def inconsistencies(config: RunSettings) -> list[str]:
    """Return all that is wrong with settings that are right one by one; empty for a run that can be done."""
    return [sentence for check in _CHECKS for sentence in check(config)]


def _check_framework(c: RunSettings) -> list[str]:
    """Refuse a job that the framework has no model of, and a strategy whose transport it lacks."""
    problems, framework = [], FRAMEWORKS[c.framework]
    if not has_model(c.framework, c.workload):
        known = ", ".join(sorted(name for name in WORKLOADS if has_model(c.framework, name)))
        problems.append(f"workload: {c.workload} has no model in {framework.title}; choose one of {known}")
    if c.transport is not None and c.transport not in framework.transports:
        known = " or ".join(name for name in framework.strategies if name != COMPUTE_ONLY)
        problems.append(
            f"strategy: {c.strategy} is carried by {TRANSPORTS[c.transport].title}, which {framework.title} does"
            f" without; choose {known}"
        )
    return problems


def _check_data(c: RunSettings) -> list[str]:
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
    if c.data.split == "per_seed" and not source.draws_split:
        problems.append(f"data.split: {c.data.name} has a validation set of its own, and none is drawn; remove it")
    if c.data.void is not None and c.job.task != "segmentation":
        problems.append(f"data.void: {c.workload} has no masks with pixels of no class; remove it or choose unet")
    return problems


def _check_uneven(c: RunSettings) -> list[str]:
    """Refuse what takes it for granted that batches are equally large, where they may not be."""
    if not c.uneven:
        return []
    key, unequal = (
        ("data.broken", "with skip, batches may lack examples")
        if c.skips
        else ("data.void", "with void pixels, examples weigh unequally")
    )
    reasons = {
        "ghost statistics need groups of ghost_batch; choose batch_norm: local": (c.batch_norm == "ghost" and c.skips),
        "noise_scale compares equal shards; remove noise_scale": c.noise_scale,
        "adasum combines equal workers; choose allreduce.operation: average": (
            c.workers > 1 and c.allreduce.operation == "adasum"
        ),
    }
    return [f"{key}: {unequal}, and {reason}, or remove {key}" for reason, holds in reasons.items() if holds]


def _check_options(c: RunSettings) -> list[str]:
    foreign = [name for name, given in c.options.items() if given is not None and name not in c.job.options]
    owners = {name: " and ".join(sorted(w.name for w in WORKLOADS.values() if name in w.options)) for name in foreign}
    return [f"{name}: only {owners[name]} has this setting, not {c.workload}; remove it" for name in foreign]


def _check_optimizer(c: RunSettings) -> list[str]:
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


def _check_length(c: RunSettings) -> list[str]:
    if c.epochs is not None and c.steps is not None:
        return ["epochs: steps are given as well; keep one of the two"]
    return []


def _check_validation(c: RunSettings) -> list[str]:
    """Refuse two rhythms of validation, and a target that nothing would ever be measured against."""
    if c.validate_steps is not None and c.validate_every != 1:
        return ["validate_steps: validate_every is given as well; keep one of the two"]
    if c.target.metric is None:
        return []
    if c.measure != "training":
        return [f"target.metric: with measure: {c.measure} nothing is trained; remove one of the two"]
    if c.validate_every == 0:
        return [
            "target.metric: with validate_every: 0 nothing is validated; remove validate_every or give validate_steps"
        ]
    return []


def _check_batch(c: RunSettings) -> list[str]:
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


def _check_architecture(c: RunSettings) -> list[str]:
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


def _normalised_together(c: RunSettings) -> int:
    """Return how many examples share the statistics that normalise them."""
    if c.batch_norm == "synchronised":
        return c.global_batch or 2
    return c.ghost_batch or max(1, (c.local_batch or 2) // c.accumulate)


def _check_examples(c: RunSettings) -> list[str]:
    """Refuse a batch that the data cannot fill even once."""
    examples = c.examples if c.data.name in SOURCES else None
    if examples is None or c.global_batch is None or c.global_batch <= examples:
        return []
    return [
        f"{'global_batch' if c.scaling == 'strong' else 'local_batch'}: the global batch of {c.global_batch} is more"
        f" than the {examples} training examples of {c.data.name}; lower the batch or the workers, or bring more data"
    ]


def _check_micro_batches(c: RunSettings) -> list[str]:
    if c.local_batch is not None and c.local_batch % c.accumulate:
        return [
            f"accumulate: a local batch of {c.local_batch} cannot be divided into {c.accumulate} micro-batches;"
            " choose a divisor of it"
        ]
    return []


def _check_batch_norm(c: RunSettings) -> list[str]:
    if (c.batch_norm == "ghost") != (c.ghost_batch is not None):
        return ["ghost_batch: it belongs together with batch_norm: ghost; give both or neither"]
    micro_batch = (c.local_batch or 0) // c.accumulate
    if c.ghost_batch and micro_batch % c.ghost_batch:
        return [
            f"ghost_batch: {micro_batch} examples cannot be divided into groups of {c.ghost_batch}; choose a divisor"
        ]
    if c.batch_norm != "synchronised":
        return []
    if c.micro_batches > 1:
        return [
            "batch_norm: synchronised needs the whole global batch at once; set virtual_workers and accumulate to 1,"
            " or choose batch_norm: local"
        ]
    if c.workers > 1 and not c.reduction.reduces:
        return ["batch_norm: synchronised cannot do without the reduction; choose strategy: fused or batch_norm: local"]
    return []


def _check_strategy(c: RunSettings) -> list[str]:
    """Refuse what a strategy cannot do; what it merely passes over may stay, for strategies are varied in studies."""
    problems, strategy, how = [], c.reduction, c.allreduce
    if strategy.transport and how.controller != "auto" and not strategy.admits(how.controller):
        carried = TRANSPORTS[strategy.transport]
        problems.append(
            f"allreduce.controller: strategy {strategy.name} is carried by {carried.title} alone; choose"
            f" {carried.controllers[0]}, or strategy grouped for {how.controller}"
        )
    whole = _needs_whole_arrays(c)
    if strategy.sharded and whole:
        problems.append(f"strategy: {strategy.name} updates shards, and {whole} needs whole parameters; choose fused")
    for key, given, admitted in (
        ("compression", how.compression, strategy.compressions),
        ("operation", how.operation, strategy.operations),
    ):
        if admitted is not None and given not in admitted:
            problems.append(
                f"allreduce.{key}: {strategy.name} cannot do {given}; choose strategy fused, or {admitted[0]}"
            )
    if how.operation == "adasum" and how.controller == "gloo":
        problems.append("allreduce.controller: adasum is not done by gloo; choose mpi, or operation average")
    if how.operation == "adasum" and how.compression == "bf16":
        problems.append("allreduce.compression: Horovod cannot combine bf16 by adasum; choose fp16 or none")
    if how.operation == "adasum" and c.workers & (c.workers - 1):
        problems.append(
            f"allreduce.operation: adasum combines workers in pairs of pairs, and {c.workers} is not a power of two;"
            " change workers or choose average"
        )
    if not strategy.fuses and how.fusion_mb:
        problems.append(
            f"allreduce.fusion_mb: {strategy.name} sends each tensor by itself; remove it or choose strategy fused"
        )
    return problems


def _needs_whole_arrays(c: RunSettings) -> str | None:
    if c.optimizer.name in ("lars", "lamb"):
        return f"{c.optimizer.name}'s trust ratio"
    return "optimizer.clip_norm" if c.optimizer.clip_norm is not None else None


def _check_cluster(c: RunSettings) -> list[str]:
    """Refuse emulated hosts that stay empty, and what their launcher cannot do."""
    problems = []
    if c.cluster.hosts is not None and c.cluster.hosts > c.workers:
        problems.append(
            f"cluster.hosts: {c.cluster.hosts} hosts are too many for {c.workers} worker{'s'[: c.workers > 1]}; leave"
            " hosts out for one a worker, or raise workers"
        )
    if c.cluster.emulated and c.allreduce.controller == "gloo":
        problems.append("allreduce.controller: on emulated hosts workers meet by mpi; choose mpi, or remove cluster")
    return problems


def _check_noise_scale(c: RunSettings) -> list[str]:
    """Refuse what leaves nothing to compare: the estimate needs independent shards and their average."""
    if not c.noise_scale:
        return []
    reasons = {
        "measure loading computes no gradient; choose training, or": c.measure == "loading",
        "one gradient a step shows no noise; raise workers or virtual_workers, or": c.workers * c.micro_batches == 1,
        f"strategy {c.strategy} averages over no workers; choose fused or virtual_workers in place of workers, or": (
            c.workers > 1 and not c.reduction.reduces
        ),
        f"strategy {c.strategy} has the average of another step's gradients; choose fused, or": (
            c.workers > 1 and c.reduction.steps_late > 0
        ),
        f"allreduce.operation {c.allreduce.operation} is not an average; choose average, or": (
            c.workers > 1 and c.allreduce.operation != "average"
        ),
        "batch_norm synchronised makes every shard's gradient depend on all others' examples, and the estimate takes"
        " them for independent; choose local, or": c.batch_norm == "synchronised" and c.workers > 1,
    }
    return [f"noise_scale: {reason} remove it" for reason, holds in reasons.items() if holds]


_CHECKS = (
    _check_framework,
    _check_data,
    _check_uneven,
    _check_options,
    _check_optimizer,
    _check_length,
    _check_validation,
    _check_batch,
    _check_examples,
    _check_micro_batches,
    _check_batch_norm,
    _check_strategy,
    _check_cluster,
    _check_noise_scale,
    _check_architecture,
)
