"""What is told in words: templates in, sentences out, for terminal, page and notebooks alike.

A template is Markdown: an item for every sentence or two, which may go over several lines; that of a question has a
heading first, and then the answer in a sentence, as a quotation. Or it holds macros, each a phrase.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from horovod_runner.analysis.report import words

if TYPE_CHECKING:
    from jinja2 import Environment

SHORT = "> "
MARKS = ("# ", "- ", SHORT)
TEMPLATES = Path(__file__).parent / "templates"


def told(template: str, **values: Any) -> list[str]:
    """Return the heading and the items of a template, each on one line."""
    return [text for mark, text in marked(template, **values) if mark != SHORT]


def marked(template: str, **values: Any) -> list[tuple[str, str]]:
    """Return the heading, the short answer and the items of a template, each on one line, with the mark before it."""
    parts: list[tuple[str, list[str]]] = []
    for line in environment().get_template(f"{template}.j2").render(values).splitlines():
        if line[:2] in MARKS:
            parts.append((line[:2], []))
            line = line[2:]
        if line.strip():
            parts[-1][1].append(line)
    return [(mark, _on_one_line(" ".join(part))) for mark, part in parts]


def phrase(template: str, macro: str, *values: Any, **named: Any) -> str:
    """Return what one macro of a template says, on one line."""
    return _on_one_line(getattr(environment().get_template(f"{template}.j2").module, macro)(*values, **named))


@cache
def environment(markup: bool = False) -> Environment:
    """Return the environment of the templates of plain text, or of those whose values are escaped for a page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=markup,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=not markup,
    )
    made.filters |= words.FILTERS
    made.tests |= words.TESTS
    made.globals |= {"marks": words}
    return made


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
