"""Failure diagnosis: why a run failed, as its log tells. Either a worker refused to go on, or a rank failed first.

Launchers tag every line with its rank when they are asked to; lines without a tag are the launcher's own, or those of a
run that needs no launcher.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from itertools import dropwhile, takewhile
from pathlib import Path

from horovod_runner.errors import EXIT_USER_ERROR

TAIL_LINES = 12
LONGEST_REASON = 300

_TAG = re.compile(r"^\[(?:\d+,)?(?P<a>\d+)\]<std(?:out|err)>:\s?|^ *(?P<b>\d+): ")
_OURS = "horovod-runner: "
_TELLING = re.compile(r"\b\w*(?:Error|Exception)\b|" + _OURS)
_ENDED = re.compile(r"process rank (\d+) .*exited on signal")  # mpirun's page about a rank that was killed
_LOST = "HorovodInternalError"  # what a rank says whose connection to another one broke
_LEFT = re.compile(r"^Process (\d+) exit with status code (\d+)\.")  # horovodrun's line as each rank ends
_MEMORY = re.compile(
    r"out of memory|bad_alloc|MemoryError|OOM when allocating|can(?:'t|not) allocate memory", re.IGNORECASE
)
_GONE = re.compile(r"^ *Remote daemon: \S+ on node (\S+)")  # mpirun's page about a host whose daemon it lost
_WITHOUT_SSH = ("OMPI_MCA_plm_rsh_agent", "/bin/false")  # as the environment sets it where there is no ssh
_FRAME = "-----"  # above and below a page of mpirun's
_REACHING = ("OMPI_MCA_", "PMIX_MCA_", "PRTE_MCA_", "OPAL_MCA_", "UCX_", "LD_PRELOAD")

LogLine = tuple[int | None, str]


def said(log: Path, since: int) -> list[LogLine]:
    """Return (rank or None, text) of the lines that were written to the log from this place on, blank ones left out."""
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().decode(errors="replace").splitlines()
    return [_untagged(line) for line in lines if line.strip()]


def refused(code: int, lines: Sequence[LogLine]) -> bool:
    """Whether a worker refused to run; horovodrun ends with a code of its own, and says what each rank's was."""
    left = (page for rank, text in lines if rank is None and (page := _LEFT.search(text)))
    return code == EXIT_USER_ERROR or any(int(page[2]) == EXIT_USER_ERROR for page in left)


def complaint(lines: Sequence[LogLine]) -> str | None:
    """Return the sentence with which a worker refused to go on, if one did."""
    return next((text.split(_OURS, 1)[1] for _, text in lines if _OURS in text), None)


def reason(code: int, lines: Sequence[LogLine], oom_kills: int = 0) -> str:
    """Return in one line why a run failed; `oom_kills` are the processes that the kernel ended meanwhile for memory."""
    telling = [text.strip() for _, text in lines if _MEMORY.search(text)]
    if telling:
        return f"out of memory: {telling[0][:LONGEST_REASON]}"
    if oom_kills:
        ended = f"the kernel ended {oom_kills} process{'es'[: 2 * (oom_kills > 1)]} for lack of memory while it ran"
        return f"out of memory: {ended}; lower local_batch, or raise accumulate"
    gone = next((page[1] for who, text in lines if who is None and (page := _GONE.search(text))), None)
    if gone is not None:
        return f"host {gone} cannot be reached any more: mpirun lost its daemon there"
    rank, killed = failing_rank(lines), _killed(lines)
    own = [line for line in lines if line[0] == rank]
    telling = [text.strip() for _, text in own if _TELLING.search(text)]
    last = telling[-1] if telling else _last(lines if rank is None else own or lines)
    who = "" if rank is None else f"rank {rank}, "
    return f"{who}{_code(killed[1] if killed else code)}: {last.removeprefix(_OURS)[:LONGEST_REASON]}"


def tail(lines: Sequence[LogLine]) -> list[str]:
    """Return the last lines of the rank that failed, or of all where none can be told."""
    rank = failing_rank(lines)
    own = [text for who, text in lines if who == rank]
    return (own or [text for _, text in _of_ranks(lines)])[-TAIL_LINES:]


def suspects(environment: Mapping[str, str]) -> str:
    """Return which of the shell's variables may be why ranks did not find one another, as the end of a sentence."""
    names = sorted(item[0] for item in environment.items() if item[0].startswith(_REACHING) and item != _WITHOUT_SSH)
    if not names:
        return ""
    them = "it" if len(names) == 1 else "them"
    told = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f" (the shell sets {told}, which MPI obeys; unset {them} if nobody meant {them} for this one)"


def failing_rank(lines: Sequence[LogLine]) -> int | None:
    """Return the rank that first spoke of an error, or the one that the launcher says was killed.

    Where horovodrun says that a rank was killed, it is that one: others speak of the connection they lost.
    """
    first = _killed(lines)
    if first is not None:
        return first[0]
    spoke = (rank for rank, text in lines if rank is not None and _TELLING.search(text))
    killed = (int(page[1]) for rank, text in lines if rank is None and (page := _ENDED.search(text)))
    return next(spoke, next(killed, None))


def _killed(lines: Sequence[LogLine]) -> tuple[int, int] | None:
    """Return (rank, exit code) of the rank that a signal ended, where horovodrun says so.

    It is the first to leave, unless a survivor was faster. After an error of a rank's own, signals are horovodrun's:
    it sends SIGTERM, and SIGKILL to those that stay.
    """
    pages = [page for rank, text in lines if rank is None and (page := _LEFT.search(text))]
    left = [(int(page[1]), int(page[2])) for page in pages]
    if left and left[0][1] > 128:
        return left[0]
    last = {rank: text for rank, text in lines if rank is not None and _TELLING.search(text)}
    if any(_LOST not in text for text in last.values()):
        return None
    return next((one for one in left if one[1] > 128 and one[1] != 128 + signal.SIGTERM), None)


def _last(lines: Sequence[LogLine]) -> str:
    """Return the ranks' last line; where no rank came to speak, the first of what the launcher says of itself."""
    if not lines:
        return "nothing was said"
    ranks, pages = _of_ranks(lines), any(text.startswith(_FRAME) for _, text in lines)
    if pages and ranks is lines:
        unframed = dropwhile(lambda text: text.startswith(_FRAME), (text for _, text in lines))
        return " ".join(text.strip() for text in takewhile(lambda text: not text.startswith(_FRAME), unframed))
    return ranks[-1][1].strip()


def _of_ranks(lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """Return the lines with a tag; without any, all of them."""
    return [line for line in lines if line[0] is not None] or lines


def _untagged(line: str) -> LogLine:
    tag = _TAG.match(line)
    if tag is None:
        return None, line.rstrip()
    return int(tag["a"] or tag["b"]), line[tag.end() :].rstrip()


def _code(code: int) -> str:
    """Say what a launcher's exit code means: a signal's number is negative, or added to 128 as shells do."""
    number = -code if code < 0 else code - 128
    names = {s.value: s.name for s in signal.Signals}
    return f"ended by {names[number]}" if number in names else f"exit code {code}"


def oom_kills() -> int:
    """Return how many processes this kernel has ended for lack of memory since it started (Linux); 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
