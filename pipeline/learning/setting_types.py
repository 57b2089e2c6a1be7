"""Types of values that the settings of a training run are made of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.models.scaling.text import parse_scaling


def package_name(name: str) -> str:
    """Return the name of a model package if it is one.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{2,}", name):
        msg = "a model has a name of three or more lower-case letters, digits and hyphens, from a letter on"
        raise ValueError(msg)
    return name


def first_scaling(text: str) -> Scaling:
    """Return the scaling that comes before the z-score of a trained model.

    Raises
    ------
    ValueError
        It cannot be understood, has numbers of each tile, or needs physical values.
    """
    try:
        scaling = parse_scaling(text)
    except UsageError as error:
        raise ValueError(one_line(error).removeprefix("--")) from error
    if scaling.values != "stored" or len(scaling.chains) != 1:
        msg = "a training scales stored values, and all bands by the same operations"
        raise ValueError(msg)
    if any(operation.statistics == "tile" for operation in scaling.chains[0]):
        msg = "training windows are no tiles, so numbers of each tile cannot be learnt by; take those of each scene"
        raise ValueError(msg)
    return scaling


def _as_text(value: object) -> object:
    """Return a number as the text that a table holds: YAML reads ``fold: 0`` as a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


TableValue = Annotated[str, BeforeValidator(_as_text)]
"""A value of a table or of labels, as text."""
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveCount = Annotated[int, Field(gt=0, le=2**31 - 1)]
"""Torch and GDAL count in a C int."""
MOST_THREADS = 1024
"""Of one process, and most processes that read beside it: more than any machine has a use for."""


class Settings(BaseModel):
    """Base: a key that is not named here is refused, and nothing changes after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
