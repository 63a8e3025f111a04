"""Experiment files as they look after a slip of the hand, two thousand times: a sentence each, never a traceback."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from horovod_runner.cli import main
from horovod_runner.errors import UserError
from horovod_runner.matrix.experiment import load_experiment, runs
from tests.conftest import ROOT

FILES = sorted((ROOT / "benchmarks" / "experiments").glob("*.yaml"))
MUTANTS = 2000
VALUES = [
    *("", "null", "true", "-1", "0", "1", "3", "2.5", "1e400", ".nan", "-.inf", "1" * 50, "9" * 5000, "0x1F", "1:30"),
    *(
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "[[]]",
        "~",
        "'",
        '"',
        "torch",
        "unet",
        "digits",
        "/no/such/folder",
        "2001-99-99",
    ),
    *(
        "2001-01-01",
        "!!binary aGk=",
        "!!int x",
        "!!bool maybe",
        "&a [*a]",
        "*nothing",
        "<<",
        "? x",
        "|",
        "%",
        "\t",
        "@",
    ),
    *('"\\ud800"', "\u202e\u00e9\u4e2d", "\x07", "\x00", "[torch, torch]", "[[torch], {}]", "{1: 2}", "{[a]: b}"),
    *("99999999", "-99999999999999999999", "!!set {a, b}", "!!python/name:os.system"),
]
KEYS = ["", "framework", "wrokers", "scaling", "repeat", "experiment", "data", "data.path", "1", "null", "<<", "a.b..c"]


def mutant(text: str, rng: random.Random) -> str:
    """Return the text after one to three slips."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        text = rng.choice(SLIPS)(text, rng)
    return text


def _lines(text: str, rng: random.Random) -> tuple[list[str], int]:
    lines = text.split("\n")
    return lines, rng.randrange(len(lines))


def _deleted(text: str, rng: random.Random) -> str:
    lines, at = _lines(text, rng)
    return "\n".join(lines[:at] + lines[at + 1 :])


def _doubled(text: str, rng: random.Random) -> str:
    lines, at = _lines(text, rng)
    return "\n".join([*lines[: at + 1], *lines[at:]])


def _swapped(text: str, rng: random.Random) -> str:
    lines, at = _lines(text, rng)
    other = rng.randrange(len(lines))
    lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines)


def _indented(text: str, rng: random.Random) -> str:
    lines, at = _lines(text, rng)
    lines[at] = rng.choice([" ", "   ", "\t", "- "]) + lines[at] if rng.random() < 0.6 else lines[at].lstrip()
    return "\n".join(lines)


def _replaced(pattern: str, words: list[str]):  # type: ignore[no-untyped-def]
    def slip(text: str, rng: random.Random) -> str:
        found = [match for match in re.finditer(pattern, text, re.MULTILINE) if not _in_comment(text, match.start())]
        if not found:
            return text
        match = rng.choice(found)
        return text[: match.start(1)] + rng.choice(words) + text[match.end(1) :]

    return slip


def _in_comment(text: str, at: int) -> bool:
    return text[text.rfind("\n", 0, at) + 1 : at + 1].lstrip().startswith("#")


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _stained(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(list(":{}[]&*!|>'\"%@`,-?#\t\u00a0\ufeff\u2028\x85\ud7ff\u4e2d")) + text[at:]


SLIPS = [
    *(_deleted, _doubled, _swapped, _indented, _cut, _stained),
    *[_replaced(r"[:\[,] *([\w.+-]+) *[,\]}\n]", VALUES)] * 3,
    *[_replaced(r"^ *[\w.]+: ?(\S.*)?$", VALUES)] * 2,
    _replaced(r"(\b[a-z_]+):", KEYS),
    _replaced(r"(\d+)", ["-1", "0", "1" * 30, "1e9", "3.5", "999999"]),
]


def verdict(file: Path) -> str:
    """Return what is wrong with a file, nothing if it is valid; whatever else is raised is a defect of ours."""
    try:
        experiment = load_experiment(file)
        for variant in (experiment, experiment.smoked()):
            runs(variant, file)
    except UserError as error:
        return str(error)
    return ""


def test_two_thousand_mutants_are_valid_or_refused_in_sentences_that_name_the_file(tmp_path: Path) -> None:
    rng = random.Random(20151118)
    texts = [file.read_text() for file in FILES]
    refused, with_line = 0, 0
    for number in range(MUTANTS):
        file = tmp_path / "mutant.yaml"
        text = mutant(rng.choice(texts), rng)
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        said = verdict(file)
        if not said:
            continue
        refused += 1
        with_line += f"{file}:" in said and re.search(r"mutant\.yaml:\d+: ", said) is not None
        lines = said.splitlines()
        assert len(lines) <= 21 and all(line.startswith((str(file), "…")) for line in lines), (
            f"{number}: {said}\n{text}"
        )
        assert all(line.isprintable() and len(line) < 1000 for line in lines), f"{number}: {said!r}"
        said.encode()
    assert MUTANTS * 0.4 < refused < MUTANTS * 0.95, f"{refused} refused: the slips are too mild, or too wild"
    assert with_line > 0.95 * refused, f"only {with_line} of {refused} refusals name a line"


@pytest.mark.parametrize("text", ["axes: {framework: [jax]}\ndescription: x\n", "a: [1", "\x00", "[]", "a: *b"])
@pytest.mark.parametrize("verb", ["plan", "run"])
def test_the_command_refuses_with_code_2_and_nothing_else(
    verb: str, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "question.yaml"
    file.write_text(text)
    code = main([verb, str(file), "--results", str(tmp_path / "results")])
    told = capfd.readouterr()
    assert code == 2 and told.out == "", "no table for a file with a mistake"
    assert told.err.startswith(f"horovod-runner: {file}") and len(told.err.splitlines()) == 1, told.err
    assert "Traceback" not in told.err and not (tmp_path / "results").exists()
