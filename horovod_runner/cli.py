"""The command line: verbs and their options, and nothing that computes.

Every verb imports what it needs when it is called, so that `--help` and planning start at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.frameworks import DEFAULT, FRAMEWORKS
from horovod_runner.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, USER_ERRORS, SharedError, UserError
from horovod_runner.machine.terminal import alone, err, out, tell, warn
from horovod_runner.results import OWN

PASSED_OVER = "SUITE_PASSED_OVER"
"""Names the variables that lie about in the shell and that the Makefile has left alone."""

# bench's own options and the settings that they stand for.
_BENCH_SETTINGS = {
    "framework": "framework",
    "workload": "workload",
    "data": "data",
    "epochs": "epochs",
    "steps": "steps",
    "local_batch": "local_batch",
    "global_batch": "global_batch",
    "image_size": "data.image_size",
    "seed": "seed",
    "workers": "workers",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code.

    Without `argv` it is that of the process's own command line, which keeps the terminal for our own words.
    """
    if argv is not None:
        return _run_verb(argv)
    return alone(lambda: _run_verb(sys.argv[1:]))


def _run_verb(argv: Sequence[str]) -> int:
    """Run one verb; return the exit code. A user's mistake is one sentence on standard error, exit code 2."""
    verb = None
    try:
        _require_a_folder()
        arguments = _parser().parse_args(argv)
        verb = arguments.verb
        return int(verb(arguments))
    except USER_ERRORS as error:
        _complain(error)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        again = "goes on from here" if verb in (_bench, _run, _tune) else "starts afresh"
        print(file=err())
        warn(f"interrupted; the same command {again}")
        return EXIT_INTERRUPTED


def _require_a_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder was removed; change to one that is there (cd) and start again") from None


def _complain(error: Exception) -> None:
    """Say what is wrong, once: all ranks of a launch were given the same words."""
    from horovod_runner.machine.world import World, complain, detect

    try:
        world = detect()
    except UserError:
        world = World()
    complain(SharedError(str(error)), world)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are sentences like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UserError(f"{message}; see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print help where the user sees it."""
        print(message, end="", file=out(), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="horovod-runner",
        description="Trains the same jobs in several frameworks, reduced by one Horovod layer, and compares speed and"
        " learning.",
        epilog="`horovod-runner VERB --help` explains a verb. Begin with `horovod-runner doctor`.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_doctor(verbs)
    _add_bench(verbs)
    _add_matrix(
        verbs,
        "plan",
        "check an experiment file; show its runs and about how long they take",
        "Checks every run of an experiment before any starts. Shows them as a table, and estimates the time.",
        _plan,
    )
    _add_matrix(
        verbs,
        "run",
        "do the runs of an experiment that are not done yet, then report",
        "Does the runs that are not done yet, and writes a report. It can be stopped at any time: the same command"
        " goes on from there.",
        _run,
    )
    _add_report(verbs)
    _add_compare(verbs)
    _add_parity(verbs)
    _add_allreduce(verbs)
    _add_predict(verbs)
    _add_tune(verbs)
    _add_submit(verbs)
    _add_pack(verbs)
    _add_rename(verbs)
    _add_settings(verbs)
    return parser


def _either(names: Iterable[str]) -> str:
    """Return names as a reader chooses between them: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _add_verb(verbs: Any, name: str, short: str, description: str) -> _Parser:
    """Add a verb with its line in the list of verbs, and with what its own help says first."""
    verb: _Parser = verbs.add_parser(name, help=short, description=description)
    return verb


def _add_doctor(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "doctor",
        "check the installation: what is there, what is missing, and what to do about it",
        "Says what is installed and built, what a run here would use, and what to do about whatever is missing."
        " Exit code 1 if a run could not work.",
    )
    verb.set_defaults(verb=_doctor)


def _add_bench(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "bench",
        "do one training run",
        "Does one training run. Alone it starts its workers itself; under a launcher (horovodrun, mpirun, srun) it is"
        " one rank of the run.",
    )
    verb.add_argument("--framework", required=True, help=_either(FRAMEWORKS))
    verb.add_argument("--workload", help=_either(WORKLOADS))
    verb.add_argument("--data", help="a data set's name, or a folder with your own images")
    length = verb.add_mutually_exclusive_group()
    length.add_argument("--epochs", metavar="N", help="passes over the training data")
    length.add_argument("--steps", metavar="N", help="training steps, in place of epochs")
    batch = verb.add_mutually_exclusive_group()
    batch.add_argument("--local-batch", metavar="N", help="images per step of each worker")
    batch.add_argument("--global-batch", metavar="N", help="images per step of all workers together")
    verb.add_argument("--image-size", metavar="PIXELS", help="height and width of the images")
    verb.add_argument("--seed", metavar="N", help="seed of initial weights, order and augmentation")
    verb.add_argument(
        "--workers", metavar="N", help="workers to start (default: 1); a launcher has a number of its own"
    )
    _add_set(verb)
    _add_results(verb)
    _add_machine(verb)
    verb.set_defaults(verb=_bench)


def _add_matrix(
    verbs: Any, name: str, short: str, description: str, function: Callable[[argparse.Namespace], int]
) -> _Parser:
    verb = _add_verb(verbs, name, short, description)
    _add_experiment(verb)
    _add_set(verb)
    _add_results(verb)
    _add_machine(verb)
    verb.set_defaults(verb=function)
    return verb


def _add_tune(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "tune",
        "find the fastest strategy and settings for a job on this machine",
        "Measures short runs of a job with each strategy and its settings, drops what is slower, and writes the fastest"
        " into a machine file, which later runs take with --machine.",
    )
    verb.add_argument("--workload", help=_either(WORKLOADS))
    verb.add_argument("--framework", default=DEFAULT, help=f"{_either(FRAMEWORKS)} (default: {DEFAULT})")
    verb.add_argument("--workers", metavar="N", default="2", help="workers to start (default: 2)")
    verb.add_argument("--minutes", type=float, default=30, help="about how long the search may take (default: 30)")
    verb.add_argument(
        "--candidates", metavar="S,S", help="strategies to try (default: all that compute the same updates)"
    )
    verb.add_argument("--machine", metavar="FILE", type=_path, help="file to write into (default: machine.yaml)")
    _add_set(verb)
    _add_results(verb)
    verb.set_defaults(verb=_tune)


def _add_submit(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "submit",
        "write a job script for a cluster's scheduler",
        "Writes a job script that does an experiment on a cluster. Each job does what is not done yet; the next one is"
        " queued until all is done.",
    )
    _add_experiment(verb)
    verb.add_argument("--scheduler", required=True, help="slurm, lsf or pbs")
    verb.add_argument("--nodes", metavar="N", type=int, required=True, help="nodes of a job")
    verb.add_argument("--workers-per-node", metavar="N", type=int, required=True, help="workers on each node")
    verb.add_argument("--cpus-per-worker", metavar="N", type=int, default=1, help="cores of each worker (default: 1)")
    verb.add_argument("--gpus-per-node", metavar="N", type=int, help="GPUs on each node (default: none)")
    verb.add_argument("--time", required=True, metavar="H:MM:SS", help="time limit of a job")
    verb.add_argument("--queue", help="queue, or Slurm's partition")
    verb.add_argument("--account", help="account to charge, or LSF's project")
    verb.add_argument("--chain", metavar="N", type=int, default=5, help="most jobs one after the other (default: 5)")
    verb.add_argument("--machine", metavar="FILE", type=_path, help="machine file for the runs")
    verb.add_argument("--out", metavar="FILE", type=_path, help="script to write (default: EXPERIMENT.SCHEDULER.sh)")
    _add_set(verb)
    _add_results(verb)
    verb.set_defaults(verb=_submit)


def _add_parity(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "parity",
        "prove that the frameworks do the same arithmetic",
        "Compares the frameworks' models, losses, gradients, optimizers, trajectories and workers, row by row."
        " Exit code 1 if a row fails.",
    )
    verb.add_argument("--workload", help=f"only the rows of this workload: {_either(WORKLOADS)}")
    verb.add_argument("--optimizer", help="only the trajectories with this optimizer")
    verb.add_argument("--quick", action="store_true", help="only the rows about one step, for every day")
    _add_results(verb)
    verb.set_defaults(verb=_parity)


def _add_allreduce(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "allreduce",
        "measure the allreduce alone, without training",
        "Times allreduces of many sizes, and of each model's gradients, by mpi4py and by Horovod over MPI, Gloo and"
        " NCCL, as far as they are built here. Every sum is checked. Exit code 1 if one is wrong or fails.",
    )
    verb.add_argument("--workers", metavar="N", type=int, default=2, help="ranks (default: 2)")
    verb.add_argument(
        "--through",
        nargs="+",
        metavar="NAME",
        help="mpi4py, horovod-mpi, horovod-gloo, horovod-nccl (default: all that are built here)",
    )
    verb.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        metavar="BYTES",
        help="message sizes (default: 4 bytes to 256 MiB, in powers of 4)",
    )
    verb.add_argument(
        "--models", nargs="*", metavar="MODEL", help="models whose gradients are reduced as well (default: all)"
    )
    verb.add_argument("--framework", default=DEFAULT, help=f"whose Horovod is used (default: {DEFAULT})")
    length = verb.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds-per-size", metavar="S", dest="seconds", type=float, help="seconds for each size (default: 1)"
    )
    length.add_argument("--iterations", metavar="N", type=int, help="allreduces of each size, in place of seconds")
    verb.add_argument("--quick", action="store_true", help="few sizes, one model, a tenth of a second each")
    verb.add_argument(
        "--no-yield",
        dest="yields",
        action="store_false",
        help="let Open MPI spin while it waits, as it does by default",
    )
    verb.add_argument(
        "--machine", metavar="FILE", type=_path, help="file about this machine: launcher, hosts, time limits"
    )
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="cluster.NAME=VALUE",
        help="emulated hosts: cluster.hosts, cluster.cores, cluster.rate_mbit; may be given again",
    )
    _add_results(verb)
    verb.set_defaults(verb=_allreduce)


def _add_predict(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "predict",
        "predict the speed on more workers than were measured",
        "Predicts images a second on any number of workers from a few that were measured, with intervals, and says what"
        " bounds them. With --ladder, it is scored on published measurements that it has not seen.",
    )
    verb.add_argument("study", type=_path, nargs="?", help="a study's folder, with compute-only runs of two batches")
    verb.add_argument(
        "--ladder", nargs="+", metavar="FILE", type=_path, help="CSV files of measured ladders to be scored on"
    )
    verb.add_argument(
        "--profile", metavar="FILE", type=_path, help="a job in numbers, in place of a study; needs --network"
    )
    verb.add_argument(
        "--workers",
        metavar="N..M",
        help="numbers of workers (default: from what was measured to 8192, in powers of two)",
    )
    verb.add_argument("--workers-per-host", metavar="N", dest="per_host", type=int, help="workers on one host")
    verb.add_argument("--network", metavar="FILE", type=_path, help="what links workers, as latencies and bandwidths")
    verb.add_argument("--allreduce", metavar="DIR", type=_path, help="the same, as `allreduce` has measured it")
    verb.add_argument(
        "--timeline",
        metavar="DIR",
        type=_path,
        help="a short run with allreduce.timeline=true: when gradients are ready",
    )
    verb.add_argument(
        "--strategy", metavar="S", dest="strategies", nargs="+", help="strategies (default: those of the study)"
    )
    verb.add_argument("--scaling", metavar="WAY", help="weak or strong (default: the study's)")
    verb.add_argument(
        "--out",
        metavar="DIR",
        type=_path,
        default=OWN / "predict",
        help=f"folder to write to (default: {OWN / 'predict'})",
    )
    verb.set_defaults(verb=_predict)


def _add_report(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "report",
        "make tables, plots and an HTML page of results",
        "Prints tables of results, and writes plots (PNG and SVG), tables (CSV) and one HTML page that stands alone.",
    )
    verb.add_argument("folder", type=_path, nargs="?", default=OWN, help=f"results: one study or many (default: {OWN})")
    verb.add_argument("--out", type=_path, metavar="DIR", help="folder to write into (default: the results' own)")
    verb.set_defaults(verb=_report)


def _add_compare(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "compare",
        "compare two sets of results, run by run",
        "Compares throughput, losses and metrics of two sets of results, run by run, with 95 % intervals."
        " Exit code 1 on a regression.",
    )
    verb.add_argument("older", type=_path, metavar="A", help="the baseline: a folder of results, of a study or a run")
    verb.add_argument("newer", type=_path, metavar="B", help="what is compared with it")
    verb.add_argument(
        "--margin", type=float, default=0.05, help="relative difference that does not matter (default: 0.05)"
    )
    verb.add_argument("--across-machines", action="store_true", help="compare runs of different machines as well")
    verb.add_argument(
        "--different-work", action="store_true", help="compare runs of a job whose settings differ, and name these"
    )
    verb.add_argument("--strict", action="store_true", help="exit code 3 if a figure is inconclusive")
    verb.set_defaults(verb=_compare)


def _add_pack(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "pack",
        "pack a finished study into Parquet files",
        "Packs a finished study into one Parquet file of runs, one of steps, and its provenance. All verbs read either"
        " form.",
    )
    verb.add_argument("folder", type=_path, help="folder of the study")
    verb.set_defaults(verb=_pack)


def _add_rename(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "rename",
        "give an experiment another name: its file, its results and their records",
        "Renames an experiment: its file and the folder of its results, or the folder of a study alone. The records"
        " inside follow, so that the same matrix goes on under the new name.",
    )
    verb.add_argument("old", type=_path, metavar="OLD", help="the experiment file, or the folder of a study")
    verb.add_argument("new", metavar="NEW", help="the new name, without a folder")
    _add_results(verb)
    verb.set_defaults(verb=_rename)


def _add_settings(verbs: Any) -> None:
    verb = _add_verb(
        verbs,
        "settings",
        "list the settings of a run: default, allowed values, what each does",
        "Lists every setting of a run with its default, what it may be and what it does; with a word, those that have"
        " to do with it.",
    )
    verb.add_argument("word", nargs="?", metavar="WORD", help="part of a name, or of what a setting does")
    verb.set_defaults(verb=_show_settings)


def _add_experiment(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("file", type=_path, help="experiment file, as benchmarks/experiments/weak.yaml")
    verb.add_argument("--smoke", action="store_true", help="do the small variant of the file, which takes minutes")


def _add_set(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change any setting, for example --set optimizer.momentum=0.8; may be given again",
    )


def _add_results(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--results", metavar="DIR", type=_path, default=OWN, help=f"folder of results (default: {OWN})")


def _add_machine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--machine", metavar="FILE", type=_path, help="file about this machine: launcher, hosts, time limits, settings"
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.doctor import examine

    return examine()


def _bench(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.bench import bench

    _say_what_was_passed_over()
    given = {path: getattr(arguments, option) for option, path in _BENCH_SETTINGS.items()}
    settings = {path: _value(path, text) for path, text in given.items() if text is not None}
    return bench({**settings, **_settings(arguments.set)}, arguments.results, arguments.machine)


def _plan(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.matrix import plan

    settings = _settings(arguments.set)
    return plan(arguments.file, settings, arguments.results, arguments.machine, smoke=arguments.smoke)


def _run(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.matrix import run

    _say_what_was_passed_over()
    settings = _settings(arguments.set)
    return run(arguments.file, settings, arguments.results, arguments.machine, smoke=arguments.smoke)


def _tune(arguments: argparse.Namespace) -> int:
    from horovod_runner.tuning.job import TuningRequest
    from horovod_runner.verbs.tune import tune

    options = {name: value for name, value in vars(arguments).items() if name not in ("verb", "set")}
    return tune(TuningRequest(**{**options, "workers": _value("workers", arguments.workers)}), _settings(arguments.set))


def _submit(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.submit import SubmitRequest, submit

    options = {name: value for name, value in vars(arguments).items() if name != "verb"}
    return submit(SubmitRequest(**options), _settings(arguments.set))


def _parity(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.report.terminal import console
    from horovod_runner.verbs.parity import prove

    return prove(arguments.workload, arguments.optimizer, arguments.results, console(), quick=arguments.quick)


def _allreduce(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.report.terminal import console
    from horovod_runner.collectives.plan import AllreduceRequest, cluster_of
    from horovod_runner.verbs.allreduce import allreduce

    given = {name: value for name, value in vars(arguments).items() if name not in ("verb", "set")}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    cluster = cluster_of(_settings(arguments.set), arguments.workers)
    return allreduce(AllreduceRequest(**{**given, **lists}, cluster=cluster), console())


def _predict(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.report.terminal import console
    from horovod_runner.verbs.predict import PredictRequest, predict

    given = {name: value for name, value in vars(arguments).items() if name != "verb"}
    return predict(PredictRequest(**given), console())


def _report(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.report.write import PAGE, write_report
    from horovod_runner.results.store import Unwritable, full_disk_named

    if arguments.out is not None:
        with full_disk_named(arguments.out):
            arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        tell(write_report(arguments.folder, arguments.out and arguments.out / PAGE))
    except Unwritable as error:
        raise Unwritable(error.path, error.cause, "--out") from None
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.report.compare import compare

    return compare(
        arguments.older,
        arguments.newer,
        arguments.margin,
        across_machines=arguments.across_machines,
        different_work=arguments.different_work,
        strict=arguments.strict,
    )


def _pack(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.load.pack import pack

    for file in pack(arguments.folder):
        tell(file)
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.rename import rename

    return rename(arguments.old, arguments.new, arguments.results)


def _show_settings(arguments: argparse.Namespace) -> int:
    from horovod_runner.verbs.settings import show

    return show(arguments.word)


def _settings(given: Sequence[str]) -> dict[str, Any]:
    from horovod_runner.config.command_line import settings_from

    return settings_from(given)


def _value(path: str, text: str) -> Any:
    from horovod_runner.config.command_line import value_of

    return value_of(path, text)


def _path(text: str) -> Path:
    """Return the path that a text names: --results=~/mine reaches a program with its tilde."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # this user has no home
        return Path(text)


def _say_what_was_passed_over() -> None:
    """Name the variables of the shell that make understands and was not given; one rank is enough to say so."""
    from horovod_runner.machine.world import detect

    names = os.environ.get(PASSED_OVER, "").split()
    if names and detect().rank == 0:
        told = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        verb = "is" if len(names) == 1 else "are"
        warn(
            f"{told} of the shell {verb} passed over; give {'it' if len(names) == 1 else 'them'} to make:"
            f" make bench {names[0]}=..."
        )
