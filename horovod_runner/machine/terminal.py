"""The user's terminal, which shows our own words and nothing else, whatever it can show and whether it is there or not.

Libraries print to a process's standard output and error what nobody asked for, in Python and below it. So the process
that a user starts keeps both for its own words (`speak_alone`), and what libraries say goes to the log of the run that
is being done; without a run it is kept, and shown if the process breaks down. Nothing that is printed ends a run: signs
that a terminal does not have are replaced, and one that is gone, or full, is not written to any more.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import locale
import os
import select
import sys
import traceback
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

LEAST_COLUMNS = 72
"""In so many every table fits."""
PLAIN = "suite.plain"
"""The name under which Python finds what replaces a sign that an encoding lacks."""

_PLAIN = {
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{BULLET}": "*",
    "\N{MICRO SIGN}": "u",
    "\N{MIDDLE DOT}": "*",
}


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for signs that an encoding lacks: like ones, letters without accents, or their numbers."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    like = _PLAIN.get(sign) or unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    if like:
        return like
    number = ord(sign)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a file's name that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error(PLAIN, _replaced)


class _Lenient(io.FileIO):
    """A file that takes all that is written to it: what cannot be written is lost, and nobody is told.

    A reader that has gone, a terminal that was closed, a full disk behind a redirection: none of them is worth a run.
    """

    def write(self, content: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Write all of it, however long that takes, or drop it."""
        left = memoryview(content).cast("B")
        while left:
            try:
                written = super().write(left)
            except OSError:
                break
            if written is None:  # a pipe that others made non-blocking is full
                select.select([], [self.fileno()], [])
            else:
                left = left[written:]
        return len(content)


@dataclass
class _Own:
    """The streams that this process keeps for its own words, and what libraries have said so far."""

    out: TextIO
    err: TextIO
    kept: IO[bytes] | None  # None once all that libraries say goes to a log


_own: _Own | None = None


def in_utf8() -> None:
    """Start this process again, in Python's UTF-8 mode, where the shell would have it read and write otherwise.

    Files' names and contents are UTF-8 everywhere; a locale of another encoding speaks of the terminal alone.
    """
    if sys.flags.utf8_mode or codecs.lookup(locale.getencoding()).name == sys.getfilesystemencoding() == "utf-8":
        return
    os.environ["PYTHONUTF8"] = "1"  # of the processes that are started as well
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def out() -> TextIO:
    """Return the stream for what the user asked for."""
    return sys.stdout if _own is None else _own.out


def err() -> TextIO:
    """Return the stream for what the user has to be told."""
    return sys.stderr if _own is None else _own.err


def tell(line: object) -> None:
    """Print a line for the user."""
    print(line, file=out(), flush=True)


def warn(line: object) -> None:
    """Print a line about what is wrong, or would surprise, to standard error."""
    print(f"horovod-runner: {line}", file=err(), flush=True)


def console(width_elsewhere: int | None = None) -> Console:
    """Return what draws tables on standard output; it is so wide where no terminal says otherwise (default: 80).

    A narrower one, or a shell that says so, wraps the lines of tables instead of having their columns left out.
    """
    from rich.console import Console

    stream = out()
    width, height = _size(stream)
    if width is None and "COLUMNS" not in os.environ:
        width = width_elsewhere
    drawn = Console(file=stream, width=width, height=height, highlight=False)
    drawn.width = max(drawn.width, LEAST_COLUMNS)
    return drawn


def _size(stream: TextIO) -> tuple[int | None, int | None]:
    """Return a terminal's columns and lines; None where the stream is none, or the shell's variables say it."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return None, None
    unsaid = "COLUMNS" not in os.environ and columns > 0
    return (columns, lines or None) if unsaid else (None, None)


def speak_alone() -> None:
    """Keep standard output and error for `out` and `err`, for this process's life.

    All else that is printed from here on, by libraries, by their threads and by processes that they start, is kept in
    memory until `log_libraries` says where it belongs.
    """
    global _own
    _have_all_three()
    kept = os.fdopen(os.memfd_create("said"), "wb+", buffering=0)
    _own = _Own(_kept(sys.stdout, 1), _kept(sys.stderr, 2), kept)
    print_into(kept)
    print_leniently()


def _have_all_three() -> None:
    """Put nothing in the place of a standard input, output or error that was closed: or else the next file is there."""
    while (place := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(place, True)
    os.close(place)


def print_leniently() -> None:
    """Let whatever is printed by this process, which a log takes, be printed: in UTF-8, and where that is full, not."""
    _flush()
    sys.stdout = _stream(_Lenient(1, "wb", closefd=False), "utf-8", "backslashreplace")
    sys.stderr = _stream(_Lenient(2, "wb", closefd=False), "utf-8", "backslashreplace")


def print_into(file: IO[bytes]) -> None:
    """Have all that this process prints, libraries in C included, go to a file that is open for it."""
    _flush()
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)


def log_libraries(log: IO[bytes]) -> None:
    """Have libraries print to the end of this log, which also gets what they have said so far.

    It is for the process that `speak_alone` was called in; another one's standard output is its log already.
    """
    if _own is None or _own.kept is None:
        return
    before = _own.kept
    print_into(log)
    log.write(_content(before))
    log.flush()
    _own.kept = None
    before.close()


def alone(program: Callable[[], int]) -> int:
    """Run a program that has the terminal for its own words; return its exit code.

    A defect of ours is shown with what libraries said before it, where no log has that; so is what argparse prints.
    """
    in_utf8()
    speak_alone()
    try:
        return program()
    except SystemExit as ended:
        _show_libraries(err() if ended.code else out())
        raise
    except Exception:
        _show_libraries(err())
        traceback.print_exc(file=err())
        return 1


def _show_libraries(to: TextIO) -> None:
    if _own is not None and _own.kept is not None:
        _flush()
        print(_content(_own.kept).decode(errors="replace"), end="", file=to, flush=True)


def _kept(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream of our own that goes where this one went; to nowhere if it was closed."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    _flush()
    return _stream(_Lenient(os.dup(descriptor), "wb"), _encoding(stream), PLAIN)


def _stream(file: _Lenient, encoding: str, errors: str) -> TextIO:
    buffer = io.BufferedWriter(cast(io.RawIOBase, file))
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=True)


def _encoding(stream: TextIO) -> str:
    """Return the encoding that the shell says the terminal has, also where Python uses UTF-8 for all else."""
    return stream.encoding if os.environ.get("PYTHONIOENCODING") else locale.getencoding()


def _flush() -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
