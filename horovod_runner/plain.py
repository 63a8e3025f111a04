"""Plain data from text: YAML as people write it, with 1e-3 a number."""

from __future__ import annotations

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3 for a word unless it is written 1.0e-3; YAML 1.2 and everybody else take it for a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def load_yaml(text: str) -> Any:
    """Return the data that a YAML text stands for; yaml.YAMLError when it stands for none."""
    return yaml.load(text, _Loader)
