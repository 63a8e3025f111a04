"""Settings of runs that were written down, by this version or an older one, decoded again.

Whatever reads results gets a `RunConfig` from here, and nobody else asks which keys an older version wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from horovod_runner.config.schema import RunConfig, problems
from horovod_runner.errors import UserError


def decode_stored(plain: Mapping[str, Any], source: str) -> RunConfig:
    """Return the description of a run that was planned once; settings that came later have their default.

    Whether its settings go together was checked then, and is not checked again: rules may have become stricter since.
    UserError names `source` and every key that this version does not know.
    """
    try:
        return RunConfig.model_validate(plain, context="stored")
    except ValidationError as error:
        sentences = "; ".join(sentence for _, sentence in problems(error))
        raise UserError(
            f"{source}: {sentences}; it is damaged or of another version: read it with the one that wrote it, or remove"
            " the run's folder"
        ) from None
