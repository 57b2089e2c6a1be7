"""How a packaged graph is called: layouts and type of its tensors, its batch, which output, and constant inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segment_tiles.pipeline.accepted import CHANNELS_FIRST, Layout
from segment_tiles.pipeline.errors import ModelError

Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Wiring:
    """How a graph is called; the defaults are those of most graphs."""

    input_layout: str = CHANNELS_FIRST
    """Of its image."""
    output_layout: str = CHANNELS_FIRST
    """Of its scores."""
    input_type: str = "float32"
    """Of its image: float16, float32 or float64."""
    batch: int | None = None
    """Images of every call; None: any number."""
    output: str | None = None
    """Name of the output that holds the scores, or its number from 0; None: the only one, or the first map."""
    constants: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    """Values of its further inputs, by their names."""

    def to_details(self) -> dict[str, Any]:
        """Return what is not as in most graphs, in JSON values."""
        names = ("input_layout", "output_layout", "input_type", "batch", "output")
        found = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(USUAL, name)}
        return {**found, **({"constants": dict(self.constants)} if self.constants else {})}


USUAL: Final = Wiring()
"""An image, channels first, in float32; any batch; one output."""


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    input_layout: Layout = "nchw"
    output_layout: Layout = "nchw"
    input_type: Literal["float16", "float32", "float64"] = "float32"
    batch: Annotated[int, Field(ge=1)] | None = None
    output: str | None = None
    constants: dict[str, Number | tuple[Number, ...]] = Field(default_factory=dict)


def wiring_of(details: Mapping[str, Any]) -> Wiring:
    """Read the wiring of a graph from the details of its architecture.

    Raises
    ------
    ModelError
        Names the first entry that cannot be accepted.
    """
    try:
        fields = _Fields.model_validate(
            {name: details[name] for name in _Fields.model_fields if name in details}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        msg = f"the manifest says of the graph: {name} is {first['input']!r}; {first['msg']}"
        raise ModelError(msg) from error
    return Wiring(**{name: getattr(fields, name) for name in _Fields.model_fields})
