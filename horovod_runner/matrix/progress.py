"""The live picture of a matrix: what is done, what is being done and how far it is, what is left and about how long.

On a terminal it is one table that is redrawn; elsewhere it is a line for each event.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from horovod_runner.config.schema import RunConfig
from horovod_runner.matrix.outlook import Outlook
from horovod_runner.results.record import RunResult
from horovod_runner.results.store import RunFolder, Store

ROOM_FOR_OTHERS = 5  # lines of a terminal that the table of runs leaves to what stands around it

_MARKS = {
    "completed": "[green]done",
    "diverged": "[yellow]diverged",
    "failed": "[red]failed",
    "timeout": "[red]timeout",
}


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it is: not coloured by its words, and not broken where a log has no width."""
    console.print(line, markup=False, highlight=False, soft_wrap=True, style=style)


def name_of(config: RunConfig) -> str:
    """Return what a reader calls a run."""
    workers = f"{config.workers} worker{'s'[: config.workers > 1]}"
    arm = "loading only, " if config.measure == "loading" else ""
    arm += "nothing reduced, " if not config.reduction.reduces and config.workers > 1 and not arm else ""
    return f"{config.workload} in {config.framework}, {arm}{workers}, {config.local_batch} images each"


@dataclass
class Current:
    """A run in flight, as far as its files tell."""

    config: RunConfig
    folder: RunFolder
    began: float = field(default_factory=time.monotonic)

    def progress(self) -> tuple[int, int, str]:
        """Return (steps done, steps planned, last loss as text); zeros while the run starts."""
        try:
            planned = int(json.loads(self.folder.provenance_file.read_text())["planned_steps"])
            last = json.loads(_last_line(self.folder))
        except (OSError, ValueError, KeyError):
            return 0, 0, ""
        return int(last["step"]), planned, f"loss {float(last['train_loss']):.4f}"


def _last_line(folder: RunFolder) -> str:
    with folder.steps_file.open("rb") as file:
        file.seek(max(0, folder.steps_file.stat().st_size - 65536))
        lines = file.read().split(b"\n")
    return lines[-2].decode() if len(lines) > 1 else ""


class Lines:
    """Progress for logs and pipes: one line when a run starts, one when it ends; both are numbered if others may come
    between."""

    def __init__(self, console: Console, configs: Sequence[RunConfig], store: Store, at_once: int = 1) -> None:
        self._console, self._all, self._several = console, len(configs), at_once > 1
        self._outlook = Outlook(configs, store, at_once)
        self._numbers: dict[str, str] = {}

    def started(self, config: RunConfig, folder: RunFolder) -> None:
        """Say which run begins."""
        self._outlook.started(config)
        number = f"[{self._all - self._outlook.left + self._outlook.in_flight}/{self._all}]"
        self._numbers[config.run_id] = number
        say(self._console, f"{number} {name_of(config)} …")

    def ended(self, config: RunConfig, result: RunResult) -> None:
        """Say how the run ended and what is left."""
        self._outlook.ended(config, result)
        rest = f"; {self._outlook.words()}" if self._outlook.left else ""
        number = self._numbers.pop(config.run_id, "")
        say(self._console, f"{number if self._several else '     '} {outcome(result)}{rest}")


class LiveTable:
    """Progress for a terminal: a table of all runs, redrawn while they go."""

    def __init__(self, console: Console, configs: Sequence[RunConfig], store: Store, at_once: int = 1) -> None:
        self._console, self._configs = console, configs
        self._results = {c.run_id: store.folder(c).read_result() for c in configs if store.folder(c).done}
        self._current: dict[str, Current] = {}
        self._outlook = Outlook(configs, store, at_once)

    def started(self, config: RunConfig, folder: RunFolder) -> None:
        """Show the run as one in flight."""
        self._current[config.run_id] = Current(config, folder)
        self._outlook.started(config)

    def ended(self, config: RunConfig, result: RunResult) -> None:
        """Show the run's outcome."""
        self._outlook.ended(config, result)
        self._current.pop(config.run_id, None)
        self._results[config.run_id] = result

    def picture(self) -> Group:
        """Return the table as it is now, and what is left."""
        return Group(self._table(), Text(self._outlook.words(), style="dim"))

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False)
        for title in ("run", "", ""):
            table.add_column(title)
        for config in self._window():
            table.add_row(escape(name_of(config)), *self._cells(config))
        return table

    def _window(self) -> Sequence[RunConfig]:
        """Return as many runs as the terminal has room for: those in flight, the ones before them, a few after.

        What is in flight far from the first that is not done stands at the end.
        """
        room = max(1, self._console.height - ROOM_FOR_OTHERS)
        now = next((i for i, config in enumerate(self._configs) if config.run_id not in self._results), 0)
        last = min(len(self._configs), now + 1 + room // 3)
        near = self._configs[max(0, last - room) : max(last, room)]
        shown = {config.run_id for config in near}
        far = [current.config for run_id, current in self._flying() if run_id not in shown]
        return [*near[: room - len(far)], *far][:room] if far else near

    def _flying(self) -> list[tuple[str, Current]]:
        return list(self._current.items())  # in one go: it is a thread of rich that draws

    def _cells(self, config: RunConfig) -> tuple[str | ProgressBar, str]:
        result = self._results.get(config.run_id)
        if result is not None:
            return _MARKS[result.status], escape(outcome(result))
        current = self._current.get(config.run_id)
        if current is None:
            return "[dim]waits", ""
        done, planned, loss = current.progress()
        if not planned:
            return "[cyan]starts", f"{time.monotonic() - current.began:.0f} s"
        return ProgressBar(total=planned, completed=done, width=24), escape(f"step {done} of {planned}  {loss}")


def outcome(result: RunResult) -> str:
    """Return a finished run in a few words."""
    if result.error:
        return f"{result.status}: {result.error}"
    rate = "not timed" if result.images_per_second is None else f"{result.images_per_second.mean:.1f} images/s"
    loss = f", validation loss {result.val_loss[-1]:.4f}" if result.val_loss else ""
    learned = ", has not learned" if result.learned is False else ""
    return f"{rate}{loss}{learned}, {result.wall_seconds:.0f} s"


@contextlib.contextmanager
def watching(
    configs: Sequence[RunConfig], store: Store, console: Console, at_once: int = 1
) -> Iterator[Lines | LiveTable]:
    """Show a matrix while it is done, so many runs at once, as the terminal allows."""
    if not console.is_terminal:
        yield Lines(console, configs, store, at_once)
        return
    table = LiveTable(console, configs, store, at_once)
    live = Live(
        get_renderable=table.picture,
        console=console,
        refresh_per_second=1,
        redirect_stdout=False,  # what a library prints stays where it is kept from the terminal
        redirect_stderr=False,
    )
    with live:
        yield table
