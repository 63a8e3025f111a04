"""What the page says: its studies with their findings, failures and provenance, put into the template."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from horovod_runner.analysis.load.groups import Group, all_runs
from horovod_runner.analysis.load.learning import unlearned
from horovod_runner.analysis.load.runs import Run
from horovod_runner.analysis.plots import panels
from horovod_runner.analysis.questions.group import pairs
from horovod_runner.analysis.questions.scaling.causes import stragglers
from horovod_runner.analysis.questions.scaling.study import Scaling, studies
from horovod_runner.analysis.questions.strategies import Comparison, rankings
from horovod_runner.analysis.report import text_tables, words
from horovod_runner.analysis.report.answers import Answer
from horovod_runner.analysis.report.figures import Picture
from horovod_runner.analysis.report.head import Head
from horovod_runner.analysis.report.sentences import environment, phrase, told
from horovod_runner.config.frameworks import FRAMEWORKS

if TYPE_CHECKING:
    from horovod_runner.analysis.report.parity import Proof

MOST_COMMANDS = 16
MOST_SHORT = 3
FEWEST_OF_A_CURVE = 4  # validations
FACTS = {  # headings of the provenance, each a macro of its template, and what of it tells one run from another
    "Machine": ("machine",),
    "Versions": ("versions",),
    "Launcher": ("launcher",),
    "Commit": ("commit", "dirty"),
    "Environment": ("environment",),
}


class Shown(NamedTuple):
    """A group on the page: what its runs say of scaling, and its pictures (None where they were left out)."""

    group: Group
    scalings: Sequence[Scaling]
    pictures: Sequence[Picture] | None

    @property
    def curves(self) -> Picture | None:
        """The loss curves, where runs are long enough to have some."""
        curved = any(len(run.result.val_loss or ()) >= FEWEST_OF_A_CURVE for run in self.group.runs)
        own = (picture for picture in self.pictures or () if panels.OF_SCALING not in picture.file)
        return next(own, None) if curved else None

    @property
    def short(self) -> list[str]:
        """What the group says in a sentence or two."""
        found = unlearned(self.group.completed)
        return told("questions/group-short", found=found, scalings=self.scalings, pairs=list(pairs(self.group)))


class ComparedStrategies(NamedTuple):
    """Strategies side by side on the page, and their pictures (None where they were left out)."""

    comparison: Comparison
    pictures: Sequence[Picture] | None


class Answered(NamedTuple):
    """What an experiment's runs say to a question, and its picture (None where there is nothing to draw)."""

    answer: Answer
    picture: Picture | None


@dataclass(frozen=True)
class Study:
    """An experiment on the page: its groups, its notes, and where its figures and tables lie, seen from the page.

    `whole`: whether each group has a section; or else one table has all of them.
    """

    name: str
    head: Head
    groups: Sequence[Shown]
    notes: Sequence[str]
    figures: str
    tables: Sequence[str]
    compared_strategies: Sequence[ComparedStrategies] = ()
    answers: Sequence[Answered] = ()
    whole: bool = True

    @property
    def runs(self) -> list[Run]:
        """All its runs."""
        return all_runs(shown.group for shown in self.groups)

    @property
    def untimed(self) -> bool:
        """Whether there are runs that were not timed."""
        return any(cell.untimed for shown in self.groups for cell in shown.group.cells)

    @property
    def short(self) -> list[tuple[str, str]]:
        """What was found, a sentence or two under each title: of answers, or else of strategies, or of groups."""
        if self.head.answers:
            return [(answer.title, answer.short) for answer in self.head.answers]
        ranked = [
            (one.comparison.group, told("questions/strategies", found=rankings(one.comparison)))
            for one in self.compared_strategies
        ]
        said = [of for of in ranked if of[1]] or [(shown.group, shown.short) for shown in self.groups]
        return [(f"{words.title(group)}:", " ".join(texts)) for group, texts in said if texts][:MOST_SHORT]

    @property
    def leading(self) -> Picture | None:
        """The figure to look at first: of an answer, or else of strategies side by side, or of the first group."""
        answered = [one.picture for one in self.answers if one.answer is self.head.leading]
        side_by_side = [picture for one in self.compared_strategies for picture in one.pictures or ()]
        of_groups = [picture for shown in self.groups for picture in (shown.curves, *(shown.pictures or ()))]
        return next((picture for picture in (*answered, *side_by_side, *of_groups) if picture), None)

    @property
    def failures(self) -> list[Run]:
        """The runs that did not complete."""
        return [run for run in self.runs if not run.completed]


def render(studies: Sequence[Study], proof: Proof | None = None, together: Sequence[Answered] = ()) -> str:
    """Return the page: one file that needs no other; `together` is what several studies say as one."""
    meanings = told(
        "meanings", strategies=any(s.compared_strategies for s in studies), untimed=any(s.untimed for s in studies)
    )
    return (
        environment(markup=True)
        .get_template("report.html.j2")
        .render(
            studies=studies,
            proof=proof,
            together=together,
            meanings=meanings,
            frameworks=FRAMEWORKS,
            words=words,
            text_tables=text_tables,
            told=told,
            findings=findings,
            rankings=rankings,
            provenance=provenance,
            commands=commands,
            most_commands=MOST_COMMANDS,
        )
    )


def findings(group: Group, scalings: Sequence[Scaling] | None = None) -> list[str]:
    """Return what the group's figures say in sentences, each with its interval, or that they cannot tell.

    `scalings`: what `scaling.studies` says of the group, where that is already known.
    """
    known = studies(group) if scalings is None else scalings
    return told(
        "questions/group",
        found=unlearned(group.completed),
        group=group,
        scalings=known,
        pairs=list(pairs(group)),
        stragglers=stragglers(group.cells),
    )


def provenance(runs: Sequence[Run]) -> dict[str, Mapping[str, int]]:
    """Return what the runs were measured on and with: under each heading the different texts, and of how many runs."""
    return {heading: _facts(runs, heading.lower(), keys) for heading, keys in FACTS.items()}


def _facts(runs: Sequence[Run], macro: str, keys: Sequence[str]) -> Mapping[str, int]:
    different = Counter(json.dumps({key: run.provenance.get(key) for key in keys}) for run in runs)
    texts: Counter[str] = Counter()
    for stated, times in different.items():
        texts[words.without_paths(phrase("provenance", macro, json.loads(stated)))] += times
    return texts


def commands(runs: Sequence[Run]) -> list[str]:
    """Return the different commands behind these runs, paths shortened."""
    texts = dict.fromkeys(" ".join(run.provenance["command"]) for run in runs if run.provenance.get("command"))
    return list(dict.fromkeys(map(words.without_paths, texts)))
