"""What a user sees while a matrix is done: on a terminal a table that moves, in a log a line for each event."""

from __future__ import annotations

import io
import time
from pathlib import Path

from rich.console import Console

from horovod_runner.config.schema import decode
from horovod_runner.matrix.outlook import Outlook
from horovod_runner.matrix.progress import Lines, LiveTable, watching
from horovod_runner.results.record import StepRecord
from horovod_runner.results.store import Store, write_json
from horovod_runner.results.summary import summarise

FIRST, SECOND = (decode({"framework": f, "steps": 40}, "test") for f in ("torch", "tensorflow"))


def shown(console: Console, table: LiveTable) -> str:
    """Return the picture as it is now."""
    with console.capture() as capture:
        console.print(table.picture())
    return capture.get()


def step(number: int, loss: float) -> StepRecord:
    seconds = {"step_seconds": 0.1, "data_seconds": 0.0, "worker_seconds": (0.1,)}
    return StepRecord(step=number, epoch=1, learning_rate=0.1, train_loss=loss, **seconds)


def test_the_table_follows_the_files_of_the_run_in_flight(tmp_path: Path) -> None:
    store = Store(tmp_path)
    console = Console(width=140, file=io.StringIO(), force_terminal=True, color_system=None)
    table = LiveTable(console, [FIRST, SECOND], store)
    folder = store.open_run(FIRST)
    table.started(FIRST, folder)
    assert "starts" in shown(console, table) and "waits" in shown(console, table)
    write_json(folder.provenance_file, {"planned_steps": 40})
    folder.append_steps([step(10, 2.5), step(20, 1.25)])
    assert "step 20 of 40  loss 1.2500" in shown(console, table) and "2 runs left" in shown(console, table)
    result = summarise(FIRST, "diverged", steps=[step(20, 1.25)], error="the training loss became nan at step 21")
    table.ended(FIRST, result)
    assert "diverged: the training loss became nan" in shown(console, table)
    assert "1 run left" in shown(console, table)


def test_a_terminals_table_is_drawn_again_by_itself_and_at_the_end(tmp_path: Path) -> None:
    store, text = Store(tmp_path), io.StringIO()
    console = Console(width=140, file=text, force_terminal=True, color_system=None)
    with watching([FIRST, SECOND], store, console) as table:
        table.started(FIRST, store.open_run(FIRST))
        until = time.monotonic() + 20
        while "starts" not in text.getvalue() and time.monotonic() < until:
            time.sleep(0.05)
        assert "starts" in text.getvalue()
        table.ended(FIRST, summarise(FIRST, "diverged", steps=[step(20, 1.25)], error="nan at step 21"))
    assert "diverged: nan at step 21" in text.getvalue()


def test_a_matrix_larger_than_the_terminal_shows_where_it_is(tmp_path: Path) -> None:
    configs = [
        decode({"framework": "torch", "steps": 40, "seed": seed, "local_batch": seed + 2}, "test") for seed in range(60)
    ]
    store = Store(tmp_path)
    console = Console(width=140, height=20, file=io.StringIO(), force_terminal=True, color_system=None)
    for config in configs[:30]:
        store.open_run(config).write_result(summarise(config, "completed", steps=[step(40, 1.0)], wall_seconds=4))
    table = LiveTable(console, configs, store)
    table.started(configs[30], store.open_run(configs[30]))
    picture = shown(console, table)
    assert len(picture.splitlines()) <= 20
    assert "32 images each  starts" in picture and " 31 images each" in picture and " 33 images each" in picture
    assert "30 runs left" in picture


def test_the_time_that_is_left_is_that_of_runs_like_those(tmp_path: Path) -> None:
    """Ten runs of one framework took 4 seconds each; 20 of them are left, and 30 of the other, which is unknown."""
    runs = {
        f: [decode({"framework": f, "steps": 40, "seed": s}, "test") for s in range(30)]
        for f in ("torch", "tensorflow")
    }
    store = Store(tmp_path)
    steps = [step(number, 1.0) for number in range(1, 41)]
    for config in runs["torch"][:10]:
        store.open_run(config).write_result(summarise(config, "completed", steps=steps, wall_seconds=4))
    outlook = Outlook([*runs["torch"], *runs["tensorflow"]], store)
    assert outlook.left == 50
    assert outlook.words() == "50 runs left: about 80 s and 30 like none so far"
    outlook.ended(runs["tensorflow"][0], summarise(runs["tensorflow"][0], "completed", steps=steps, wall_seconds=10))
    assert outlook.words() == "49 runs left: about 6 min", "29 of 10 seconds beside 20 of 4"
    assert (
        Outlook(runs["torch"][:10], store).words() == "all runs are done"
        and Outlook(runs["torch"][:10], store).left == 0
    )


def test_several_in_flight_are_all_shown_and_counted(tmp_path: Path) -> None:
    configs = [
        decode({"framework": f, "steps": 40, "seed": seed, "local_batch": seed + 2}, "test")
        for f in ("torch", "tensorflow")
        for seed in range(30)
    ]
    store, near, far = Store(tmp_path), configs[0], configs[30]
    console = Console(width=140, height=20, file=io.StringIO(), force_terminal=True, color_system=None)
    table = LiveTable(console, configs, store, at_once=2)
    for config in (near, far):
        table.started(config, store.open_run(config))
    picture = shown(console, table)
    assert picture.count("starts") == 2 and "in tensorflow, 1 worker, 2 images each" in picture
    assert len(picture.splitlines()) <= 20 and "60 runs left" in picture
    table.ended(far, summarise(far, "completed", steps=[step(40, 1.0)], at_once=2, wall_seconds=4))
    assert shown(console, table).count("starts") == 1 and "59 runs left" in shown(console, table)


def test_lines_of_several_at_once_are_numbered(tmp_path: Path) -> None:
    store, text = Store(tmp_path), io.StringIO()
    lines = Lines(Console(file=text, width=120), [FIRST, SECOND], store, at_once=2)
    for config in (FIRST, SECOND):
        lines.started(config, store.open_run(config))
    lines.ended(SECOND, summarise(SECOND, "failed", at_once=2, error="exit code 9: it was killed"))
    lines.ended(FIRST, summarise(FIRST, "completed", steps=[step(40, 1.0)], at_once=2, wall_seconds=4))
    assert text.getvalue().splitlines() == [
        "[1/2] resnet50 in torch, 1 worker, 16 images each …",
        "[2/2] resnet50 in tensorflow, 1 worker, 16 images each …",
        "[2/2] failed: exit code 9: it was killed; 1 run left",
        "[1/2] not timed, 4 s",
    ]


def test_lines_count_what_was_done_before(tmp_path: Path) -> None:
    store, text = Store(tmp_path), io.StringIO()
    store.open_run(FIRST).write_result(summarise(FIRST, "completed", steps=[step(40, 1.0)], wall_seconds=4))
    lines = Lines(Console(file=text, width=120), [FIRST, SECOND], store)
    lines.started(SECOND, store.open_run(SECOND))
    lines.ended(SECOND, summarise(SECOND, "failed", error="exit code 9: it was killed"))
    assert text.getvalue().splitlines() == [
        "[2/2] resnet50 in tensorflow, 1 worker, 16 images each …",
        "      failed: exit code 9: it was killed",
    ]
