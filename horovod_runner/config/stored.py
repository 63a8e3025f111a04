"""Descriptions of runs as they are written down, and decoded again, by this version or a later one.

Whatever reads results gets a `RunConfig` from here, and nobody else asks which keys an older version wrote. Beside the
settings stands `schema`, the number of the defaults at that time (identity.py); the first versions wrote none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from horovod_runner.config.identity import SCHEMA
from horovod_runner.config.schema import RunConfig, problems
from horovod_runner.errors import UserError


def encode_stored(config: RunConfig) -> dict[str, Any]:
    """Return a run's whole description as plain data, with the number of today's defaults."""
    return {"schema": SCHEMA, **config.to_dict()}


def decode_stored(plain: Mapping[str, Any], source: str) -> RunConfig:
    """Return the description of a run that was planned once; settings that came later have their default.

    Whether its settings go together was checked then, and is not checked again: rules may have become stricter since.
    UserError names `source` and every key that this version does not know.
    """
    settings = {key: value for key, value in plain.items() if key != "schema"}
    try:
        return RunConfig.model_validate(settings, context="stored")
    except ValidationError as error:
        sentences = "; ".join(sentence for _, sentence in problems(error))
        raise UserError(
            f"{source}: {sentences}; it is damaged or of another version: read it with the one that wrote it, or remove"
            " the run's folder"
        ) from None
