"""Numbers of objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ObjectNumbers:
    """Numbers of objects, 1, 2, 3, ... in the order of the first pixels of their seeds: those of the label image."""

    identities: NDArray[np.int64]
    """Of the objects that no filter left out, ascending."""

    def of(self, identities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each identity; 0 of classes, and of objects that are left out."""
        if not len(self.identities):
            return np.zeros(identities.shape, dtype=np.int64)
        found = np.minimum(np.searchsorted(self.identities, identities), len(self.identities) - 1)
        return np.where(self.identities[found] == identities, found + 1, 0)
