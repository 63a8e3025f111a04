"""Make the environment `.venv` in the project's root, or return at once when it is there already.

Every make target comes through here first, on every rank, so this file has three duties beside installing: cost nothing
when there is nothing to do, let one process install while the others wait, and recover from a kill at any moment.
It runs before anything is installed, hence with the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
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
sys.path.insert(0, str(PROJECT))  # started by its path, in isolation
from horovod_runner.environment import packages  # noqa: E402

PYTHONS = ((3, 13), (3, 12), (3, 11))  # the newest first
BUILT_HERE = "horovod"  # the one requirement that pip cannot install as it comes
NOTEBOOKS = "notebooks"  # the extra that is installed when it is first asked for
KERNEL = "horovod-runner"  # by this name notebooks and editors find the environment

# Open MPI's wheel does not know where it was unpacked: a process that no launcher started needs to be told. And its
# launcher looks for ssh before it starts anything, on this very host too, where a container may have none: then it is
# given a program that other hosts cannot be reached by, and this one need not be.
OPEN_MPI_HINT = (
    "import os, sys, shutil; os.environ['OPAL_PREFIX'] = sys.prefix;"
    " shutil.which('ssh') or os.environ.setdefault('OMPI_MCA_plm_rsh_agent', '/bin/false')\n"
)


class SetupError(Exception):
    """Something that the user has to change first; the message is one sentence that names the remedy."""


def main(options: Sequence[str] = ()) -> int:
    """Set the project up. Exit code 2 and one sentence when the machine lacks something.

    options: `--chosen` where the user has said which Python, `--wheelhouse` to fill the folder of wheels as well,
    `--notebooks` to install what opens the notebooks.
    """
    try:
        environment = Environment(PROJECT / ".venv")
        house = os.environ.pop(packages.WHEELHOUSE, "wheelhouse") if "--wheelhouse" in options else None
        digest = input_digest(PROJECT)
        set_up(environment, digest, chosen="--chosen" in options)
        if "--notebooks" in options:
            add_notebooks(environment, digest)
        if house is not None:
            fill_wheelhouse(environment, Path(house).expanduser().absolute())
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


def set_up(environment: Environment, digest: str, chosen: bool = False) -> None:
    """Install unless the stamp says that these very inputs are installed; `chosen`: with this Python and no other."""

    def done() -> bool:
        return environment.is_current(digest) and (not chosen or environment.has_python(sys.version_info[:2]))

    if done():
        return
    with alone(environment.path.with_name(".venv.lock")) as lock:
        if not done():  # whoever held the lock may have done it
            use_python(environment, chosen)
            check_machine(packages.wheelhouse(os.environ))
            install(environment, lock)
            environment.stamp(digest)


def add_notebooks(environment: Environment, digest: str) -> None:
    """Install what opens the notebooks, unless its stamp says that it is there; the environment itself is."""
    if environment.is_current(digest, NOTEBOOKS):
        return
    with alone(environment.path.with_name(".venv.lock")) as lock:
        if environment.is_current(digest, NOTEBOOKS):  # whoever held the lock may have done it
            return
        run = Runner(environment, lock)
        house = packages.wheelhouse(os.environ)
        if house is None:
            _require_registry(environment, run)
        with environment.changing():
            wanted = requirements(PROJECT, NOTEBOOKS)
            run("installing JupyterLab, once", [*_pip(environment, house), "-c", HERE / "constraints.txt", *wanted])
        environment.stamp(digest, NOTEBOOKS)
        environment.stamp(digest)


class Environment:
    """The folder of a virtual environment, and the notes that setup leaves in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"
        self.log = path / "setup.log"
        self.wheel = path / "wheel"
        self._unfinished = path / "setup.unfinished"

    def is_current(self, digest: str, what: str = "setup") -> bool:
        """Tell whether the inputs with this digest were installed here, completely; `what`: or an extra of them."""
        try:
            return self._stamp(what).read_text() == digest and self.python.exists()
        except OSError:
            return False

    def _stamp(self, what: str = "setup") -> Path:
        return self.path / f"{what}.stamp"

    def is_usable(self) -> bool:
        """Tell whether it can be built upon: whole, of this Python, where it was made (its scripts name it)."""
        there = self.has_python(sys.version_info[:2]) and f"-m venv {self.path}\n" in self._notes()
        return there and self.python.exists() and not self._unfinished.exists()

    def has_python(self, version: Sequence[int]) -> bool:
        """Tell whether it was made with this version of Python: major, minor."""
        return f"version = {version[0]}.{version[1]}." in self._notes()

    def interpreter(self) -> str | None:
        """Return the Python that it was made with, if that is still there."""
        folders = [line.partition("= ")[2] for line in self._notes().splitlines() if line.startswith("home = ")]
        versions = [version for version in PYTHONS if self.has_python(version)]
        if not folders or not versions:
            return None
        return shutil.which("python{}.{}".format(*versions[0]), path=folders[0])

    def _notes(self) -> str:
        try:
            return (self.path / "pyvenv.cfg").read_text()
        except OSError:
            return ""

    @property
    def packages(self) -> Path:
        """The folder that packages are installed into."""
        [folder] = self.path.glob("lib/python3.*/site-packages")
        return folder

    def clear(self) -> None:
        """Leave an empty folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(exist_ok=True)

    def stamp(self, digest: str, what: str = "setup") -> None:
        """Note, last and atomically, that the inputs with this digest are installed; `what`: or an extra of them."""
        temporary = self._stamp(what).with_suffix(".new")
        temporary.write_text(digest)
        temporary.replace(self._stamp(what))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Mark the environment as unfit while packages are written: a kill in between may leave half of one behind."""
        self._stamp().unlink(missing_ok=True)
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


def requirements(project: Path, *extras: str) -> list[str]:
    """Return what pip has to install: these extras of setup.cfg; without any, all that the suite needs but Horovod."""
    settings = read_settings(project)
    of_extras = settings["options.extras_require"]
    wanted = [of_extras[extra] for extra in extras] or [settings["options"]["install_requires"], of_extras["develop"]]
    found = [line.strip() for lines in wanted for line in lines.splitlines() if line.strip()]
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


def use_python(environment: Environment, chosen: bool) -> None:
    """Go on in a Python that the packages are pinned for, started anew if this is another one.

    Unless one was chosen, an environment keeps the Python that it was made with.
    Raises: SetupError if there is none.
    """
    here = sys.version_info[:2]
    kept = None if chosen else environment.interpreter()
    if kept is not None and not environment.has_python(here):
        os.execv(kept, [kept, "-I", str(HERE / "install.py"), *sys.argv[1:]])
    if here in PYTHONS:
        return
    names = ["python{}.{}".format(*version) for version in PYTHONS]
    for name in [] if chosen else names:
        found = shutil.which(name)
        if found is not None and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            os.execv(found, [found, "-I", str(HERE / "install.py"), *sys.argv[1:]])
    raise SetupError(
        f"needs Python 3.11, 3.12 or 3.13, but {'PYTHON' if chosen else 'python3'} is {here[0]}.{here[1]}"
        + ("; give another one" if chosen else f" and there is no {', '.join(names)} on PATH; install one")
        + ", for example make setup PYTHON=/usr/bin/python3.12"
    )


def base_python() -> str:
    """Return the interpreter itself: this process may run in the very environment that is to be made anew."""
    return getattr(sys, "_base_executable", sys.executable)


def check_machine(house: Path | None) -> None:
    """Raise SetupError naming everything that setting up needs and this machine, or its folder of wheels, lacks.

    house: the folder of wheels, if any. Horovod is in it, so that nothing is built: a compute node has no compilers.
    """
    python = "python{}.{}".format(*sys.version_info[:2])
    needed = {f"Python's venv module (Debian: {python}-venv)": _can_import("ensurepip")}
    if house is None:
        needed |= _to_build_with(f"Python's headers (Debian: {python}-dev)")
    missing = [name for name, found in needed.items() if not found]
    if house is not None:
        _require_wheels(house)
    if missing:
        what = "set up" if house is not None else "set up and build Horovod"
        raise SetupError(f"to {what}, this machine lacks {' and '.join(missing)}: install that first")


def _to_build_with(headers: str) -> dict[str, bool]:
    """Tell of each thing that builds Horovod whether it is there; `headers`: how to name those of Python."""
    compilers = {
        "a C++ compiler (g++, or CXX set to one)": (os.environ.get("CXX", "c++"), "g++"),
        "a C compiler (gcc)": (os.environ.get("CC", "cc"), "gcc"),
        "cmake": ("cmake",),
        "make": ("make",),
    }
    found = {name: any(shutil.which(program) for program in programs) for name, programs in compilers.items()}
    return found | {headers: (Path(sysconfig.get_path("include")) / "Python.h").exists()}


def _can_import(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def install(environment: Environment, lock: int) -> None:
    """Bring the environment to what setup.cfg, constraints.txt and the patches ask for."""
    run = Runner(environment, lock)
    if not environment.is_usable():
        if environment.path.exists():
            say("removing what an interrupted or foreign installation left in .venv")
        environment.clear()
        with environment.changing():
            version = sys.version.split()[0]
            run(f"making .venv with Python {version}", [base_python(), "-I", "-m", "venv", environment.path])
    house = packages.wheelhouse(os.environ)
    if house is None:
        _require_registry(environment, run)
    pip = _pip(environment, house)
    wanted = requirements(PROJECT)
    with environment.changing():
        # Compiling all modules takes longer than installing them, and most are never imported.
        command: list[str | Path] = [*pip, "--no-compile", "-c", HERE / "constraints.txt", *wanted]
        run(f"installing {len(wanted)} packages and what they need", command)
        (environment.packages / "open_mpi_prefix.pth").write_text(OPEN_MPI_HINT)
        write_kernel(environment)
    run("getting Horovod", [environment.python, HERE / "horovod_wheel.py", environment.wheel], show=True)
    with environment.changing():
        [wheel] = environment.wheel.glob("*.whl")
        run("installing Horovod", [*pip, "--no-deps", "--force-reinstall", wheel])
        run("installing this project", [*pip, "--no-deps", "--no-build-isolation", "-e", PROJECT])
    # What is imported here stays compiled, so that no rank has to do it: seconds of each start.
    run("loading Horovod in both frameworks", [environment.python, "-c", "import horovod.torch, horovod.tensorflow"])
    say(f"{environment.path.name} is ready ({time.monotonic() - run.started:.0f} s)")


def _pip(environment: Environment, house: Path | None) -> list[str]:
    """Return the command that packages are installed by, from the registry or from a folder of wheels."""
    pip = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "install"]
    return [*pip, *packages.options(house)]


def write_kernel(environment: Environment) -> None:
    """Describe the environment to Jupyter and to editors, under the suite's name."""
    folder = environment.path / "share" / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True, exist_ok=True)
    start = [str(environment.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    metadata = {"debugger": True, "supported_encryption": ["curve"]}  # without keys it warns in every run
    kernel = {"argv": start, "display_name": KERNEL, "language": "python", "metadata": metadata}
    (folder / "kernel.json").write_text(json.dumps(kernel, indent=1))


def _require_registry(environment: Environment, run: Runner) -> None:
    """Raise SetupError, at once, where the registry is out of reach."""
    if not packages.is_reachable(environment.python, run.variables):
        raise SetupError(
            "the package registry cannot be reached from here; where it can, fill a folder of wheels with"
            f" make wheelhouse, and bring it here: make setup {packages.WHEELHOUSE}=FOLDER"
        )


def _require_wheels(house: Path) -> None:
    """Raise SetupError unless the folder was filled for this Python: Horovod's wheel, put there last, tells."""
    if packages.of_horovod(house) is not None:
        return
    if not list(house.glob("*.whl")):
        raise SetupError(f"{packages.WHEELHOUSE}: {house} holds no wheels; fill it with make wheelhouse")
    here = "{}.{}".format(*sys.version_info[:2])
    others = packages.pythons_of(house)
    why = "; fill it with make wheelhouse"
    if others:
        why = f", only for {' and '.join(others)}; give PYTHON=python{others[-1]}"
    raise SetupError(f"{packages.WHEELHOUSE}: {house} holds no wheel of Horovod for Python {here}{why}")


def fill_wheelhouse(environment: Environment, house: Path) -> None:
    """Put every wheel that set-up needs into this folder, Horovod's as built here included."""
    house.mkdir(parents=True, exist_ok=True)
    variables = packages.environment(environment.python, os.environ)
    download: list[str | Path] = [environment.python, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    say(f"downloading wheels into {house}")
    command: list[str | Path] = [*download, "-d", house, "-c", HERE / "constraints.txt"]
    command += [*requirements(PROJECT), *requirements(PROJECT, NOTEBOOKS)]
    done = subprocess.run(command, env=variables)
    if done.returncode != 0:
        raise SetupError(f"the wheels could not all be downloaded into {house}, as said above")
    for wheel in environment.wheel.glob("*.whl"):
        shutil.copy(wheel, house)
    say(f"{len(list(house.glob('*.whl')))} wheels lie in {house}; use them with make setup WHEELHOUSE={house}")


class Runner:
    """Runs the steps of an installation: one line each for people, everything else into a log."""

    def __init__(self, environment: Environment, lock: int) -> None:
        self.started = time.monotonic()
        self._environment = environment
        self._lock = lock

    @property
    def variables(self) -> dict[str, str]:
        """What the steps find in their environment."""
        if self._environment.python.exists():
            return packages.environment(self._environment.python, os.environ)
        return packages.native(os.environ)

    def __call__(self, what: str, command: Sequence[str | Path], show: bool = False) -> None:
        """Say what, and run the command; `show` leaves its standard output to people.

        Raises: SetupError with the end of the log.
        """
        say(f"{what} ({time.monotonic() - self.started:.0f} s)")
        log = self._environment.log
        with log.open("a") as sink:
            print(f"\n# {what}", file=sink, flush=True)
            output = None if show else sink
            done = subprocess.run(command, stdout=output, stderr=output, pass_fds=[self._lock], env=self.variables)
        if done.returncode != 0:
            where = ", as said above" if show else f"; the log is {log} and ends\n{last_lines(log)}"
            raise SetupError(f"{what} failed{where}")


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
    sys.exit(main(sys.argv[1:]))
