"""Make the environment `.venv` in the project's root, or return at once when it is there already.

Every make target comes through here first, on every rank, so this file has three duties beside installing: cost nothing
when there is nothing to do, let one process install while the others wait, and recover from a kill at any moment.
It runs before anything is installed, hence with the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
PYTHON = (3, 11)
BUILT_HERE = "horovod"  # the one requirement that pip cannot install as it comes

# Open MPI's wheel does not know where it was unpacked. A process that no launcher started needs to be told.
OPEN_MPI_HINT = "import os, sys; os.environ['OPAL_PREFIX'] = sys.prefix\n"


class SetupError(Exception):
    """Something that the user has to change first; the message is one sentence that names the remedy."""


def main() -> int:
    """Set the project up. Exit code 2 and one sentence when the machine lacks something."""
    try:
        set_up(Environment(PROJECT / ".venv"), input_digest(PROJECT))
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"setup: {error.filename or 'the operating system'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("setup: interrupted; the next call starts where it makes sense", file=sys.stderr)
        return 130
    return 0


def set_up(environment: Environment, digest: str) -> None:
    """Install unless the stamp says that these very inputs are installed."""
    if environment.is_current(digest):
        return
    with alone(environment.path.with_name(".venv.lock")) as lock:
        if not environment.is_current(digest):  # whoever held the lock may have done it
            use_python()
            check_machine()
            install(environment, lock)
            environment.stamp(digest)


class Environment:
    """The folder of a virtual environment, and the two notes that setup leaves in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"
        self.log = path / "setup.log"
        self._stamp = path / "setup.stamp"
        self._unfinished = path / "setup.unfinished"

    def is_current(self, digest: str) -> bool:
        """Tell whether the inputs with this digest were installed here, completely."""
        try:
            return self._stamp.read_text() == digest and self.python.exists()
        except OSError:
            return False

    def is_usable(self) -> bool:
        """Tell whether it can be built upon: whole, of the right Python, where it was made (its scripts name it)."""
        try:
            made = (self.path / "pyvenv.cfg").read_text()
        except OSError:
            return False
        right = f"version = {PYTHON[0]}.{PYTHON[1]}." in made and f"-m venv {self.path}\n" in made
        return right and self.python.exists() and not self._unfinished.exists()

    def clear(self) -> None:
        """Leave an empty folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(exist_ok=True)

    def stamp(self, digest: str) -> None:
        """Note, last and atomically, that the inputs with this digest are installed."""
        temporary = self._stamp.with_suffix(".new")
        temporary.write_text(digest)
        temporary.replace(self._stamp)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Mark the environment as unfit while packages are written: a kill in between may leave half of one behind."""
        self._stamp.unlink(missing_ok=True)
        self._unfinished.touch()
        yield
        self._unfinished.unlink()


def input_digest(project: Path) -> str:
    """Return the SHA-256 of everything that decides what gets installed, the project's own path included."""
    digest = hashlib.sha256(str(project).encode())
    here = project / HERE.relative_to(PROJECT)
    for path in [*sorted(here.glob("*.py")), here / "constraints.txt", *sorted(here.glob("patches/*.patch"))]:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    settings = read_settings(project)
    for section in filter(lambda name: name == "metadata" or name.startswith("options"), settings.sections()):
        digest.update(f"\0{section}\0{sorted(settings[section].items())}".encode())
    return digest.hexdigest()


def read_settings(project: Path) -> ConfigParser:
    """Return setup.cfg, uninterpreted."""
    settings = ConfigParser(interpolation=None)
    settings.read_string((project / "setup.cfg").read_text())
    return settings


def requirements(project: Path) -> list[str]:
    """Return what pip has to install: the requirements in setup.cfg but Horovod."""
    settings = read_settings(project)
    lines = settings["options"]["install_requires"] + "\n" + settings["options.extras_require"]["develop"]
    found = [line.strip() for line in lines.splitlines() if line.strip()]
    return [line for line in found if not line.startswith(BUILT_HERE + "==")]


@contextmanager
def alone(lock_file: Path) -> Iterator[int]:
    """Hold the lock, waiting for it if need be.

    The lock is handed on to child processes: when this process is killed, a child left behind still keeps others out.
    """
    with lock_file.open("a") as lock:  # never removed: whoever waits holds this very file
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if is_first_rank():  # one of N that wait is enough to say so
                say("another process is setting up here; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def use_python() -> None:
    """Go on in Python 3.11, started anew if this is another one.

    Raises: SetupError if there is none.
    """
    if sys.version_info[:2] == PYTHON:
        return
    wanted = "python{}.{}".format(*PYTHON)
    found = shutil.which(wanted)
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode != 0:
        have = "{}.{}".format(*sys.version_info[:2])
        raise SetupError(f"needs Python 3.11, but python3 is {have} and there is no {wanted} on PATH: install it")
    os.execv(found, [found, "-I", str(HERE / "install.py")])


def base_python() -> str:
    """Return the interpreter itself: this process may run in the very environment that is to be made anew."""
    return getattr(sys, "_base_executable", sys.executable)


def check_machine() -> None:
    """Raise SetupError naming the first thing that installing and building need and this machine lacks."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    needed = {
        "a C++ compiler (g++, or CXX set to one)": shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++"),
        "a C compiler (gcc)": shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc"),
        "cmake": shutil.which("cmake"),
        "make": shutil.which("make"),
        "Python's headers (Debian: python3.11-dev)": header.exists(),
        "Python's venv module (Debian: python3.11-venv)": _can_import("ensurepip"),
    }
    missing = [name for name, found in needed.items() if not found]
    if missing:
        raise SetupError(
            f"Horovod is built from source and this machine lacks {' and '.join(missing)}: install that first"
        )


def _can_import(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def install(environment: Environment, lock: int) -> None:
    """Bring the environment to what setup.cfg, constraints.txt and the patches ask for."""
    run = Runner(environment, lock)
    pip = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "install"]
    if not environment.is_usable():
        if environment.path.exists():
            say("removing what an interrupted or foreign installation left in .venv")
        environment.clear()
        with environment.changing():
            version = sys.version.split()[0]
            run(f"making .venv with Python {version}", [base_python(), "-m", "venv", environment.path])
    wanted = requirements(PROJECT)
    with environment.changing():
        # Compiling all modules takes longer than installing them, and most are never imported.
        command: list[str | Path] = [*pip, "--no-compile", "-c", HERE / "constraints.txt", *wanted]
        run(f"installing {len(wanted)} packages and what they need", command)
        (environment.path / "lib/python3.11/site-packages/open_mpi_prefix.pth").write_text(OPEN_MPI_HINT)
    run("getting Horovod", [environment.python, HERE / "horovod_wheel.py", environment.path / "wheel"], show=True)
    with environment.changing():
        [wheel] = (environment.path / "wheel").glob("*.whl")
        run("installing Horovod", [*pip, "--no-deps", "--force-reinstall", wheel])
        run("installing this project", [*pip, "--no-deps", "--no-build-isolation", "-e", PROJECT])
    # What is imported here stays compiled, so that no rank has to do it: seconds of each start.
    run("loading Horovod in both frameworks", [environment.python, "-c", "import horovod.torch, horovod.tensorflow"])
    say(f"{environment.path.name} is ready ({time.monotonic() - run.started:.0f} s)")


class Runner:
    """Runs the steps of an installation: one line each for people, everything else into a log."""

    def __init__(self, environment: Environment, lock: int) -> None:
        self.started = time.monotonic()
        self._environment = environment
        self._lock = lock

    def __call__(self, what: str, command: Sequence[str | Path], show: bool = False) -> None:
        """Say what, and run the command; `show` leaves its standard output to people.

        Raises: SetupError with the end of the log.
        """
        say(f"{what} ({time.monotonic() - self.started:.0f} s)")
        log = self._environment.log
        with log.open("a") as sink:
            print(f"\n# {what}", file=sink, flush=True)
            output = None if show else sink
            done = subprocess.run(command, stdout=output, stderr=output, pass_fds=[self._lock], env=_environment())
        if done.returncode != 0:
            where = ", as said above" if show else f"; the log is {log} and ends\n{last_lines(log)}"
            raise SetupError(f"{what} failed{where}")


def _environment() -> dict[str, str]:
    """Return this process's variables, but for the one that would have every rank compile its libraries afresh."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def last_lines(log: Path, count: int = 15) -> str:
    """Return the last lines of a log, indented."""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-count:])


def is_first_rank() -> bool:
    """Tell whether this process is rank 0 of its launcher, or under none."""
    names = ("OMPI_COMM_WORLD_RANK", "HOROVOD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in names)


def say(text: str) -> None:
    """Print one line of the live account."""
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
