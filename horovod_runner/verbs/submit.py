"""Writes the job script with which a cluster does an experiment, in as many jobs as it takes. It submits nothing.

The script is templates/job.sh.j2; schedulers.py has the words that differ between schedulers.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from horovod_runner.config.schema import RunConfig
from horovod_runner.errors import UserError
from horovod_runner.launch.schedulers import SCHEDULERS, Resources, Scheduler
from horovod_runner.machine.terminal import tell

# The warning comes a minute before the end, up to a minute early with Slurm; what is left must be worth starting.
SHORTEST_SECONDS = 300
_SEAL = "# Written by horovod-runner submit ({}); the same command writes it anew, unless somebody has edited it."


@dataclass(frozen=True)
class SubmitRequest:
    """The options of `submit`, as they were typed. `set` has the settings as path=value."""

    file: Path
    scheduler: str
    nodes: int
    workers_per_node: int
    cpus_per_worker: int
    gpus_per_node: int | None
    time: str
    queue: str | None
    account: str | None
    chain: int
    machine: Path | None
    results: Path
    smoke: bool
    set: Sequence[str]
    out: Path | None


def submit(request: SubmitRequest, settings: Mapping[str, Any]) -> int:
    """Write the job script of an experiment and print the command that submits it, last; UserError if it cannot be."""
    from horovod_runner.verbs.matrix import read

    resources = _resources(request)
    _, configs = read(request.file, settings, smoke=request.smoke)
    _refuse_too_large(configs, request)
    if request.machine is not None and not request.machine.is_file():
        raise UserError(f"--machine {request.machine}: there is no such file; name the machine's description")
    out = request.out or Path(f"{request.file.stem}.{request.scheduler}.sh")
    _write(out, script(request, resources, configs, out))
    tell(f"{out}: {_summary(request, configs)} Read it, then submit it from this folder:")
    tell(SCHEDULERS[request.scheduler].submit.format(_word(out)))
    return 0


def script(request: SubmitRequest, resources: Resources, configs: Sequence[RunConfig], out: Path) -> str:
    """Return the text of the job script, which knows itself as `out`."""
    import jinja2

    scheduler: Scheduler = SCHEDULERS[request.scheduler]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("horovod_runner.launch"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    body = environment.get_template("job.sh.j2").render(
        directives=scheduler.directives(resources),
        summary=_summary(request, configs),
        chain=request.chain,
        stop_all=scheduler.stop_all.format(resources.name),
        folder=scheduler.folder,
        file=_word(request.file),
        queue_next=scheduler.queue_next.format(_word(out)),
        withdraw=scheduler.withdraw,
        command=" ".join(_run_words(request)),
    )
    return seal(body)


def seal(text: str) -> str:
    """Return a script with a second line that says who wrote it, and by whose digits an edit is noticed."""
    first, _, rest = text.partition("\n")
    return "\n".join([first, _SEAL.format(_digest(text)), rest])


def is_sealed(text: str) -> bool:
    """Whether a script is as `seal` has left it."""
    first, _, rest = text.partition("\n")
    _, _, rest = rest.partition("\n")
    return text == seal(f"{first}\n{rest}")


def parse_time(text: str) -> int:
    """Return the seconds of a time written as H:MM:SS; the schedulers read anything shorter differently."""
    found = re.fullmatch(r"(\d{1,4}):([0-5]\d):([0-5]\d)", text, re.ASCII)
    if found is None:
        raise UserError(f"--time {text}: write it as hours:minutes:seconds, for example 2:00:00")
    hours, minutes, seconds = map(int, found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total < SHORTEST_SECONDS:
        raise UserError(
            f"--time {text}: a job is warned a minute or two before its end, and starting takes time; give it at least"
            f" {SHORTEST_SECONDS // 60} minutes"
        )
    return total


def _resources(request: SubmitRequest) -> Resources:
    """Return what a job asks for; UserError names the option that asks for something impossible."""
    if request.scheduler not in SCHEDULERS:
        raise UserError(f"--scheduler {request.scheduler}: known are {', '.join(SCHEDULERS)}")
    for option in ("nodes", "workers_per_node", "cpus_per_worker", "gpus_per_node", "chain"):
        count = getattr(request, option)
        if count is not None and count < 1:
            raise UserError(f"--{option.replace('_', '-')} {count}: give at least 1")
    for option in ("queue", "account"):
        word = getattr(request, option)
        if word is not None and not re.fullmatch(r"[\w.,:@+=/-]+", word, re.ASCII):
            raise UserError(f"--{option} {word!r}: a name has letters, digits and .,:@+=/_- only")
    return Resources(
        name=SCHEDULERS[request.scheduler].job_name(request.file.stem),
        nodes=request.nodes,
        workers_per_node=request.workers_per_node,
        cpus_per_worker=request.cpus_per_worker,
        seconds=parse_time(request.time),
        queue=request.queue,
        account=request.account,
        gpus_per_node=request.gpus_per_node,
    )


def _refuse_too_large(configs: Sequence[RunConfig], request: SubmitRequest) -> None:
    largest, offered = max(config.workers for config in configs), request.nodes * request.workers_per_node
    if largest > offered:
        raise UserError(
            f"{request.file}: workers: a run needs {largest}, and --nodes {request.nodes} with --workers-per-node"
            f" {request.workers_per_node} offer {offered}; raise one of them, or choose fewer with --set workers=N"
        )


def _summary(request: SubmitRequest, configs: Sequence[RunConfig]) -> str:
    runs = "1 run" if len(configs) == 1 else f"{len(configs)} runs"
    workers = max(config.workers for config in configs)
    return f"{_inside(request.file)}, {runs} of at most {workers} worker{'s' * (workers > 1)}."


def _run_words(request: SubmitRequest) -> list[str]:
    """Return the command that the job runs, its words quoted for the shell."""
    words = [_program(), "run", _inside(request.file), "--results", _inside(request.results)]
    if request.machine is not None:
        words += ["--machine", _inside(request.machine)]
    if request.smoke:
        words.append("--smoke")
    for setting in request.set:
        words += ["--set", setting]
    return [shlex.quote(word) for word in words]


def _program() -> str:
    """Return this program as the job finds it: below the folder that it was called in, or else on the PATH."""
    program = _inside(Path(sys.prefix) / "bin" / "horovod-runner")
    return "horovod-runner" if os.path.isabs(program) else program


def _word(path: Path) -> str:
    return shlex.quote(_inside(path))


def _inside(path: Path) -> str:
    """Return a path as it looks from the current folder, or as it was given if it is not below that."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _write(out: Path, text: str) -> None:
    """Write a script unless that would destroy what somebody else has written."""
    try:
        if out.exists() and not is_sealed(out.read_text(errors="replace")):
            raise UserError(f"{out} is there already, and is not as submit wrote it; move it, or choose another --out")
        out.write_text(text)
        out.chmod(0o755)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); choose another file with --out") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
