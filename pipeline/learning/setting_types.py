"""Types of values that the settings of a training run are made of."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


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


Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PositiveCount = Annotated[int, Field(gt=0, le=2**31 - 1)]
"""Torch and GDAL count in a C int."""
MOST_THREADS = 1024
"""Of one process, and most processes that read beside it: more than any machine has a use for."""


class Settings(BaseModel):
    """Base: a key that is not named here is refused, and nothing changes after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True)
