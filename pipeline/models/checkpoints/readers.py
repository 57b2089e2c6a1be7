"""Who reads whose checkpoints: one reader for each project, ours and those of installed distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from segment_tiles.pipeline.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from segment_tiles.pipeline.models.checkpoints.translation import ImportedWeights, ImportOptions


@runtime_checkable
class CheckpointReader(Protocol):
    """Knows the names that one project gives the tensors of its networks; a module or any other object.

    Third parties add one by an entry point of the group ``segment_tiles.checkpoints``.
    """

    SOURCE: str
    """Name of the project."""

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether tensors by these names are the project's; no other reader may say so of them."""
        ...

    def translate(self, state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights:
        """Return them under the names of our networks, with the architecture.

        Raises
        ------
        ModelError
            If they are of a network that we do not have.
        """
        ...


READERS: Final = Registry("segment_tiles.checkpoints", "checkpoint reader", CheckpointReader)  # type: ignore[type-abstract]
