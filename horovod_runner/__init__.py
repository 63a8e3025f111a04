"""How the suite measures: one run, one loop, one record, for every framework."""

import contextlib
import os
import sys
import warnings

__version__ = "0.1.0"


def _is_program() -> bool:
    """Whether this process was started as one of the suite's own programs, and not by somebody who imports it."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    named = module[0].split(".")[0] if module else os.path.basename(words[1]) if len(words) > 1 else ""
    return named in ("horovod_runner", "benchmarks", "horovod-runner")


def _use_own_library() -> None:
    """Start this process again where the shell names the standard library of another Python for it."""
    if os.environ.pop("PYTHONHOME", None):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _import_from_environment() -> None:
    """Find modules where they were installed: not in a PYTHONPATH, whose packages may be another Python's.

    Nor among the scripts of the folder that somebody happens to be in, one of which may be called random.py.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    elsewhere = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    with contextlib.suppress(FileNotFoundError):  # of a folder that was removed nothing can be imported
        elsewhere.append(os.getcwd())
    left_out = {os.path.abspath(place) for place in elsewhere} - {home}
    sys.path[:] = [place for place in sys.path if os.path.abspath(place) not in left_out]


def _only_note_warnings() -> None:
    """Let no library's warning end a process where a shell has Python raise them: they are for the log."""
    if os.environ.pop("PYTHONWARNINGS", None):
        sys.warnoptions.clear()
        warnings.simplefilter("default")


if _is_program():
    _use_own_library()
    _import_from_environment()
    _only_note_warnings()

# A decoding process runs its parent's main module anew, and with it this. What is said on import of its library is
# held back by benchmarks.data, which has to come first.
if "multiprocessing.spawn" in sys.modules:
    import benchmarks.data  # noqa: F401
