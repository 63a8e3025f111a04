"""The command line: verbs and their options, and nothing that computes.

Every verb imports what it needs when it is called, so that `--help` and planning start at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.workloads import WORKLOADS
from horovod_runner.config.frameworks import DEFAULT, FRAMEWORKS
from horovod_runner.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, MISTAKES, SharedError, UserError
from horovod_runner.machine.terminal import err, in_utf8, out, show_libraries, speak_alone, tell, warn
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

    Without `argv` it is that of the process's own command line, which keeps the terminal for our own words; a defect of
    ours is shown with what libraries said before it, where no log has that.
    """
    if argv is not None:
        return _run_verb(argv)
    in_utf8()
    speak_alone()
    try:
        return _run_verb(sys.argv[1:])
    except Exception:
        show_libraries()
        traceback.print_exc(file=err())
        return 1


def _run_verb(argv: Sequence[str]) -> int:
    """Run one verb; return the exit code. A user's mistake is one sentence on standard error, exit code 2."""
    verb = None
    try:
        arguments = _parser().parse_args(argv)
        verb = arguments.verb
        return int(verb(arguments))
    except MISTAKES as error:
        _complain(error)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        again = "goes on from here" if verb in (_bench, _run, _tune) else "starts afresh"
        print(file=err())
        warn(f"interrupted; the same command {again}")
        return EXIT_INTERRUPTED


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
        description="Compare distributed training across frameworks: the same jobs, reduced by one Horovod layer.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_doctor(verbs)
    _add_bench(verbs)
    _add_matrix(verbs, "plan", "validate an experiment file and show its runs", _plan)
    _add_matrix(verbs, "run", "do what is missing of an experiment, then report", _run)
    _add_tune(verbs)
    _add_submit(verbs)
    _add_parity(verbs)
    _add_allreduce(verbs)
    _add_report(verbs)
    _add_compare(verbs)
    _add_pack(verbs)
    return parser


def _either(names: Iterable[str]) -> str:
    """Return names as a reader chooses between them: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _add_doctor(verbs: Any) -> None:
    verb = verbs.add_parser("doctor", help="say what is installed, what a run here would use, and what is missing")
    verb.set_defaults(verb=_doctor)


def _add_bench(verbs: Any) -> None:
    verb = verbs.add_parser("bench", help="do one run; under a launcher, be one rank of it")
    verb.add_argument("--framework", required=True, help=_either(FRAMEWORKS))
    verb.add_argument("--workload", help=_either(WORKLOADS))
    verb.add_argument("--data", help="a data set's name, or a folder of your own")
    length = verb.add_mutually_exclusive_group()
    length.add_argument("--epochs")
    length.add_argument("--steps")
    batch = verb.add_mutually_exclusive_group()
    batch.add_argument("--local-batch", help="images per worker and step")
    batch.add_argument("--global-batch", help="images per step, over all workers")
    verb.add_argument("--image-size", help="pixels a side")
    verb.add_argument("--seed")
    verb.add_argument("--workers", help="start so many workers here; under a launcher, its size is used")
    _add_set(verb)
    _add_results(verb)
    _add_machine(verb)
    verb.set_defaults(verb=_bench)


def _add_matrix(verbs: Any, name: str, what: str, function: Callable[[argparse.Namespace], int]) -> _Parser:
    verb: _Parser = verbs.add_parser(name, help=what)
    verb.add_argument("file", type=_path)
    verb.add_argument("--smoke", action="store_true", help="the minutes-long variant")
    _add_set(verb)
    _add_results(verb)
    _add_machine(verb)
    verb.set_defaults(verb=function)
    return verb


def _add_tune(verbs: Any) -> None:
    verb = verbs.add_parser("tune", help="find this machine's fastest way to reduce a job's gradients, by measuring")
    verb.add_argument("--workload", help=_either(WORKLOADS))
    verb.add_argument("--framework", default=DEFAULT, help=f"{_either(FRAMEWORKS)} (default: {DEFAULT})")
    verb.add_argument("--workers", default="2", help="start so many workers here (default: 2)")
    verb.add_argument("--minutes", type=float, default=30, help="about so long in all (default: 30)")
    verb.add_argument("--candidates", metavar="S,S", help="only these strategies (default: all of equal arithmetic)")
    verb.add_argument("--machine", type=_path, help="the file that gets the settings (default: machine.yaml)")
    _add_set(verb)
    _add_results(verb)
    verb.set_defaults(verb=_tune)


def _add_submit(verbs: Any) -> None:
    verb = verbs.add_parser("submit", help="write the job script with which a cluster does an experiment")
    verb.add_argument("file", type=_path)
    verb.add_argument("--scheduler", required=True, help="slurm, lsf or pbs")
    verb.add_argument("--nodes", type=int, required=True)
    verb.add_argument("--workers-per-node", type=int, required=True)
    verb.add_argument("--cpus-per-worker", type=int, default=1, help="processor cores of a worker (default: 1)")
    verb.add_argument("--gpus-per-node", type=int)
    verb.add_argument("--time", required=True, metavar="H:MM:SS", help="of one job")
    verb.add_argument("--queue", help="the queue, or Slurm's partition")
    verb.add_argument("--account", help="who pays: the account, or LSF's project")
    verb.add_argument("--chain", type=int, default=5, help="jobs that may follow one another (default: 5)")
    verb.add_argument("--machine", type=_path, help="the machine's file, for run")
    verb.add_argument("--out", type=_path, help="the script (default: EXPERIMENT.SCHEDULER.sh)")
    verb.add_argument("--smoke", action="store_true", help="the minutes-long variant")
    _add_set(verb)
    _add_results(verb)
    verb.set_defaults(verb=_submit)


def _add_parity(verbs: Any) -> None:
    verb = verbs.add_parser("parity", help="prove that the frameworks do the same job; exit 1 if a row fails")
    verb.add_argument("--workload", help=f"only the rows about it: {_either(WORKLOADS)}")
    verb.add_argument("--optimizer", help="only the trajectories under it")
    _add_results(verb)
    verb.set_defaults(verb=_parity)


def _add_allreduce(verbs: Any) -> None:
    verb = verbs.add_parser("allreduce", help="measure the collective alone, by every way there is here")
    verb.add_argument("--workers", type=int, default=2, help="ranks that reduce (default: 2)")
    verb.add_argument("--through", nargs="+", metavar="WAY", help="mpi4py, horovod-mpi, horovod-gloo, horovod-nccl")
    verb.add_argument("--sizes", nargs="+", type=int, metavar="BYTES", help="default: 4 to 256 MiB, in powers of 4")
    verb.add_argument("--models", nargs="*", metavar="MODEL", help="whose gradients are reduced as well (default: all)")
    verb.add_argument("--framework", default=DEFAULT, help=f"whose Horovod binding (default: {DEFAULT})")
    length = verb.add_mutually_exclusive_group()
    length.add_argument("--seconds-per-size", dest="seconds", type=float, help="default: 1")
    length.add_argument("--iterations", type=int, help="of each size, in place of a time")
    verb.add_argument("--quick", action="store_true", help="few sizes, one model, a tenth of a second each")
    verb.add_argument("--no-yield", dest="yields", action="store_false", help="let Open MPI spin while it waits")
    verb.add_argument("--machine", type=_path, help="a file about this machine: launcher, hosts, time limits")
    _add_results(verb)
    verb.set_defaults(verb=_allreduce)


def _add_report(verbs: Any) -> None:
    verb = verbs.add_parser("report", help="tables, plots and one page from results")
    verb.add_argument("folder", type=_path, nargs="?", default=OWN, help=f"results to report (default: {OWN})")
    verb.add_argument("--out", type=_path, metavar="DIR", help="folder for page, figures and tables (default: FOLDER)")
    verb.set_defaults(verb=_report)


def _add_compare(verbs: Any) -> None:
    verb = verbs.add_parser("compare", help="compare two sets of results run by run; exit 1 on a regression")
    verb.add_argument("older", type=_path, metavar="A", help="the baseline: a folder of results, of a study or a run")
    verb.add_argument("newer", type=_path, metavar="B", help="what is compared with it")
    verb.add_argument("--margin", type=float, default=0.05, help="a fraction: what is no difference (default: 0.05)")
    verb.add_argument("--across-machines", action="store_true", help="compare runs of different machines as well")
    verb.add_argument("--different-work", action="store_true", help="pair by job where settings differ, and name them")
    verb.set_defaults(verb=_compare)


def _add_pack(verbs: Any) -> None:
    verb = verbs.add_parser("pack", help="turn a finished study into two Parquet files and its provenance")
    verb.add_argument("folder", type=_path)
    verb.set_defaults(verb=_pack)


def _add_set(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="any setting, by its path")


def _add_results(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--results", type=_path, default=OWN, help=f"folder of results (default: {OWN})")


def _add_machine(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--machine", type=_path, help="a file about this machine: launcher, hosts, time limits, settings")


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

    return prove(arguments.workload, arguments.optimizer, arguments.results, console())


def _allreduce(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.report.terminal import console
    from horovod_runner.collectives.plan import AllreduceRequest
    from horovod_runner.verbs.allreduce import allreduce

    given = {name: value for name, value in vars(arguments).items() if name != "verb"}
    lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return allreduce(AllreduceRequest(**{**given, **lists}), console())


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
    )


def _pack(arguments: argparse.Namespace) -> int:
    from horovod_runner.analysis.load.pack import pack

    for file in pack(arguments.folder):
        tell(file)
    return 0


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
