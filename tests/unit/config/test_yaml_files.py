"""YAML as people write it: values, how files may look, and a sentence with line and remedy where one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from horovod_runner.cli import main
from horovod_runner.config.yaml_files import Unreadable, load_yaml, read_document, round_trip

EXPERIMENT = "description: a question\naxes:\n  framework: [torch]\n  workers: [1]\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1e-3", 1e-3), ("1E6", 1e6), ("-2.5e-4", -2.5e-4), (".5e1", 5.0), ("12", 12), ("010", 10), ("0.10", 0.1)),
        *(("true", True), ("False", False), ("null", None), ("~", None), ("", None)),
        *((word, word) for word in ("torch", "yes", "no", "on", "off", "2024-01-31", "2001-99-99", "1:30", "n")),
        ("'010'", "010"),
        ("{a: &x [1, 2], b: *x}", {"a": [1, 2], "b": [1, 2]}),
        ("a: &x {c: true}\nb:\n  <<: *x\n  d: 2\n", {"a": {"c": True}, "b": {"c": True, "d": 2}}),
        ("a: &yes true\nb: *yes", {"a": True, "b": True}),
    ],
)
def test_values_are_what_people_mean(text: str, value: object) -> None:
    assert load_yaml(text) == value and type(load_yaml(text)) is type(value)


def test_every_value_has_its_line() -> None:
    document = read_document("a:\n  b: 1\n\n  c: [1,\n    {d: 2}]\n  e: &x\n    f: 3\ng: *x\n")
    assert document.data == {"a": {"b": 1, "c": [1, {"d": 2}], "e": {"f": 3}}, "g": {"f": 3}}
    lines = {".".join(map(str, place)): line for place, line in document.lines.items()}
    assert lines == {"": 1, "a": 1, "a.b": 2, "a.c": 4, "a.c.0": 4, "a.c.1": 5, "a.c.1.d": 5} | {
        "a.e": 6,
        "a.e.f": 7,
        "g": 8,
        "g.f": 7,
    }


@pytest.mark.parametrize(
    "content",
    [
        EXPERIMENT.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + EXPERIMENT.encode(),
        b"\xef\xbb\xbf" + EXPERIMENT.replace("\n", "\r\n").encode(),
        b"%YAML 1.2\n---\n" + EXPERIMENT.encode() + b"...\n",
        b"x: &many [1]\n".replace(
            b"x: &many", b"description: a question\naxes:\n  framework: [torch]\n  workers: &many"
        )
        + b"smoke: {axes: {workers: *many}}\n",
    ],
    ids=["CRLF", "BOM", "CRLF and BOM", "marks of a document", "anchor"],
)
def test_files_of_any_editor_are_read(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "question.yaml"
    file.write_bytes(content)
    assert main(["plan", str(file)]) == 0, capsys.readouterr().err
    assert "question" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (
            EXPERIMENT + "base:\n\tseed: 1\n",
            6,
            "a tab stands where only spaces may; replace it by spaces",
        ),
        (
            EXPERIMENT + "base: {seed: 1}\r\nrepeats: 2\r\nrepeats: 3\r\n",
            7,
            "repeats: is given in line 6 already; remove",
        ),
        (EXPERIMENT + "base: {seed: 1, seed: 1}\n", 5, "base.seed: is given in line 5 already; remove one of the two"),
        (EXPERIMENT + "base:\n  optimizer:\n    momentun: 0.9\n", 7, "optimizer.momentun: is no"),
        (EXPERIMENT + "repeat: 2\n", 5, "repeat: is not a key of an experiment; write repeats"),
        ("\ufeff" + EXPERIMENT + "repeat: 2\n", 5, "repeat: is not a key of an experiment; write repeats"),
        (EXPERIMENT.replace("\n", "\r\n") + "repeat: 2\r\n", 5, "repeat: is not a key of an experiment; write repeats"),
        (EXPERIMENT + "base: *nowhere\n", 5, "it refers to an anchor (&name) that does not stand before it; write the"),
        (EXPERIMENT + "base: &b {data: *b}\n", 5, "the anchor &b holds itself; write the value out"),
        (
            EXPERIMENT + "base: {seed: 1\n",
            6,
            "it is not valid YAML (expected ',' or '}', but got '<stream end>'); fix it",
        ),
        (EXPERIMENT + "base: {epochs: !days 3}\n", 5, "a value of a kind that no setting has; write text, a number"),
        (EXPERIMENT + "---\n" + EXPERIMENT, 5, "it holds a second document (---); put that into a file of its own"),
        (EXPERIMENT + "base: {allreduce: {yield_when_idle: yes}}\n", 5, 'true or false, but it is "yes"'),
        (EXPERIMENT + "base: {seed: 2024-01-31}\n", 5, 'whole number, but it is "2024-01-31"'),
    ],
)
def test_a_mistake_is_one_sentence_with_line_and_remedy(
    content: str, line: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "question.yaml"
    file.write_bytes(content.encode())
    assert main(["plan", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"{file}:{line}: " in error and said in error and error.count("\n") == 1, error


def test_a_key_that_is_given_twice_is_said_with_all_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "question.yaml"
    file.write_text(EXPERIMENT + "base: {seed: 1, seed: x, width: wide}\nrepeat: 2\n")
    assert main(["plan", str(file)]) == 2
    keys = [line.split(": ")[1 if number else 2] for number, line in enumerate(capsys.readouterr().err.splitlines())]
    assert keys == ["base.seed", "width", "repeat"]


def test_a_value_on_the_command_line_is_given_once() -> None:
    with pytest.raises(Unreadable, match="name is given twice"):
        load_yaml("{name: digits, name: synthetic}")


def test_what_is_written_again_keeps_its_remarks_and_its_numbers(tmp_path: Path) -> None:
    text = "# ours\nlauncher: mpirun   # the site's\n\nhosts: {a: 010, b: 2}\nrun_minutes: 1e+2\n"
    yaml, file = round_trip(), tmp_path / "machine.yaml"
    with file.open("w") as opened:
        yaml.dump(yaml.load(text), opened)
    assert file.read_text() == text
