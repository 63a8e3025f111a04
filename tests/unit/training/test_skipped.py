"""Files that are left out: named once, counted once, whichever worker meets them."""

import numpy as np

from horovod_runner.training.skipped import SAID, Skipped, gathered_texts


class Workers:
    """So many workers in one process: each gives what it would send, and is given what all have sent."""

    def __init__(self, *sent: list[str]) -> None:
        self._sent = [("\0".join(own)).encode("utf-8", "surrogateescape") for own in sent]

    def gather(self, own: np.ndarray) -> np.ndarray:
        if len(own) == 1 and own[0] in {len(s) for s in self._sent} | {0}:
            return np.array([[float(len(s))] for s in self._sent])
        rows = np.zeros((len(self._sent), max(map(len, self._sent))))
        for row, sent in zip(rows, self._sent, strict=True):
            row[: len(sent)] = np.frombuffer(sent, np.uint8)
        return rows


def test_texts_of_all_workers_arrive_whatever_they_are_made_of():
    texts = [["a.jpg cannot be read", "ü\udce9.png"], [], ["third"]]
    assert list(gathered_texts(Workers(*texts).gather, texts[0])) == texts


def test_a_file_is_named_once_and_counted_once():
    said, logged = [], []
    problem = "x.jpg cannot be read: it ends early; replace it, or set data.broken to skip"
    skipped = Skipped(True, lambda own: own[None, :], said.append, logged.append)
    for _ in range(2):  # once an epoch
        skipped.note(problem)
        skipped.note(problem)
        skipped.tell()
    assert said == ["left out: x.jpg cannot be read: it ends early"]
    assert skipped.count == 1
    for number in range(SAID + 3):
        skipped.note(f"{number}.jpg cannot be read; replace it")
    skipped.tell()
    assert (len(said), len(logged), skipped.count) == (SAID, 4, SAID + 4)


def test_a_file_that_another_worker_met_is_known_here():
    mine, theirs = "a.jpg cannot be read; replace it", "b.jpg cannot be read; replace it"
    said = []
    skipped = Skipped(True, Workers([mine], [theirs, mine]).gather, said.append, said.append)
    skipped.note(mine)
    skipped.tell()
    assert said == ["left out: a.jpg cannot be read", "left out: b.jpg cannot be read"]


def test_where_nothing_is_skipped_nothing_is_exchanged():
    Skipped(False, lambda own: 1 / 0, print, print).tell()
