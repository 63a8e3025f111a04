"""A terminal shows our own words and no library's, whatever it can show, and whether it is there or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, plain_environment

CHATTER = """
import os, sys, warnings
from horovod_runner.machine import terminal
terminal.speak_alone()
print("chatter of a library")
print("chatter of another", file=sys.stderr)
os.write(2, b"chatter in C\\n")
os.system("echo chatter of a child")
warnings.warn("chatter of Python")
"""
SIGNS = "3 … → – ± µ ² é \udce9 中 [/dim] [red]"


def said(script: str, *redirection: str, **variables: str) -> tuple[str, str]:
    """Return what a script printed to standard output and error, run by a shell."""
    words = f'"$0" -c "$1" {" ".join(redirection)}'
    environment = {k: v for k, v in plain_environment().items() if not k.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run(
        ["bash", "-c", words, sys.executable, script],
        capture_output=True,
        cwd=ROOT,
        env={**environment, "LANG": "C.UTF-8", **variables},
        check=True,
        timeout=60,
    )
    return done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def test_libraries_their_c_code_and_their_children_are_not_heard() -> None:
    assert said(CHATTER + "terminal.tell('ours'); terminal.warn('ours too')") == (
        "ours\n",
        "horovod-runner: ours too\n",
    )


def test_what_they_said_before_and_after_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("of the start before\n")
    into = f"with open({str(log)!r}, 'ab') as log: terminal.log_libraries(log)\nos.system('echo later')\nprint('last')"
    assert said(CHATTER + into) == ("", "")
    lines = log.read_text().splitlines()
    assert lines[0] == "of the start before" and lines[-2:] == ["later", "last"]
    for words in ("of a library", "of another", "in C", "of a child", "of Python"):
        assert sum(words in line for line in lines) == 1


def test_a_process_that_breaks_down_shows_what_they_said() -> None:
    script = CHATTER.replace("terminal.speak_alone()", "def program():").replace("\n", "\n    ")
    start = script.index("def program")
    script = script[:start].replace("\n    ", "\n") + script[start:] + "raise KeyError('a defect')\n"
    out, err = said(script + "assert terminal.alone(program) == 1")
    assert out == "" and "chatter of a library\n" in err and "chatter in C\n" in err and "KeyError: 'a defect'" in err


def test_a_folder_that_was_removed_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = f'cd "{gone}" && rmdir "{gone}" && "$0" -m horovod_runner settings seed'
    environment = plain_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(["bash", "-c", words, sys.executable], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("horovod-runner: the current folder was removed; ") and done.stderr.count("\n") == 1


def test_another_pythons_library_is_not_used(tmp_path: Path) -> None:
    """One of the same version and with another build's modules in C, of which here there is none."""
    own = Path(os.__file__).parent
    home = tmp_path / "lib" / own.name
    home.mkdir(parents=True)
    for part in own.iterdir():
        if part.name != "lib-dynload":
            (home / part.name).symlink_to(part)
    (home / "lib-dynload").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "horovod_runner", "settings", "seed"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=plain_environment(PYTHONHOME=str(tmp_path)),
    )
    assert done.returncode == 0 and "seed" in done.stdout, done.stderr


def test_what_argparse_prints_is_seen() -> None:
    script = "import argparse, sys\nfrom horovod_runner.machine import terminal\nsys.argv = ['program', {!r}]\n"
    script += "try: terminal.alone(argparse.ArgumentParser('program').parse_args)\nexcept SystemExit: pass"
    assert said(script.format("--help"))[0].startswith("usage: program [-h]")
    assert "unrecognized arguments: --no" in said(script.format("--no"))[1]


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "3 ... -> - +- u 2 e \\xe9 \\u4e2d [/dim] [red]"),
        ({"PYTHONIOENCODING": "latin-1"}, "3 ... -> - \xb1 \xb5 \xb2 \xe9 \\xe9 \\u4e2d [/dim] [red]"),
        ({"LC_ALL": "C"}, "3 ... -> - +- u 2 e \\xe9 \\u4e2d [/dim] [red]"),
        ({}, "3 … → – ± µ ² é \\xe9 中 [/dim] [red]".encode().decode("latin-1")),
    ],
)
def test_signs_that_a_terminal_lacks_are_replaced(variables: dict[str, str], shown: str) -> None:
    script = f"from horovod_runner.machine import terminal\nterminal.speak_alone()\nterminal.tell({SIGNS!r})"
    assert said(script, **variables)[0] == shown + "\n"


def test_tables_are_drawn_with_the_signs_there_are() -> None:
    script = """
from rich.table import Table
from horovod_runner.machine import terminal
terminal.speak_alone()
table = Table("of 3 …")
table.add_row("→ µs")
terminal.console().print(table)
"""
    out, err = said(script, PYTHONIOENCODING="ascii")
    assert out.isascii() and "of 3 ..." in out and "-> us" in out and err == ""


@pytest.mark.parametrize("columns", ["0", "1", "20", "x", "-5"])
def test_no_column_of_a_table_is_left_out_where_a_shell_says_it_is_narrow(columns: str) -> None:
    script = """
from rich.table import Table
from horovod_runner.machine import terminal
terminal.speak_alone()
table = Table("setting", "default", "what it does")
table.add_row("optimizer.momentum", "0.123456789", "word " * 20, "last")
terminal.console().print(table)
"""
    out, err = said(script, COLUMNS=columns, PYTHONIOENCODING="ascii")
    assert err == "" and out.count("word") == 20
    assert all(text in out for text in ("optimizer.momentum", "0.123456789", "last"))


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full", "| :", ">&- 2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_no_place_of_output_ends_a_process(redirection: str, tmp_path: Path) -> None:
    """Closed, full, or a pipe whose reader has gone: the last statement is reached, and Python ends with 0."""
    reached = tmp_path / "reached"
    script = CHATTER + "for _ in range(3): terminal.tell('x' * 70000); terminal.warn('ours')\n"
    script += f"terminal.console().print('y' * 70000)\nlog = open({str(tmp_path / 'log')!r}, 'ab')\n"
    script += f"terminal.log_libraries(log)\nos.system('echo later')\nopen({str(reached)!r}, 'w').close()"
    said(f"import time; time.sleep(0.2){script}", redirection)
    assert reached.exists()
    assert "chatter in C" in (tmp_path / "log").read_text() and "later" in (tmp_path / "log").read_text()


def test_a_pipe_that_somebody_made_non_blocking_gets_all_of_it() -> None:
    script = "from horovod_runner.machine import terminal\nterminal.speak_alone()\nterminal.tell('x' * 300000)"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert len(pipe.read()) == 300001
    assert process.wait(30) == 0


@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}])
def test_files_and_their_names_are_utf_8_in_any_locale(variables: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "Grüße – 1" / "bench.yaml"
    file.parent.mkdir()
    text = (ROOT / "benchmarks/experiments/bench.yaml").read_text(encoding="utf-8")
    asked = "Do the two frameworks learn alike"
    file.write_text("# ü\n" + text.replace(asked, "Was [/b] macht … das"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "horovod_runner", "plan", file],
        capture_output=True,
        cwd=ROOT,
        env={**plain_environment(), **variables},
        check=False,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    said = "Was [/b] macht ... das" if variables else "Was [/b] macht … das"
    assert said in done.stdout.decode()
