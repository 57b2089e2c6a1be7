"""Identities: one number for each pixel that says to which object it belongs, or else its class.

::

    class code         as it is: any integer that a raster of classes holds
    object             below all of these: FIRST + (first pixel of its seed << 14 | number of its rule)

The first pixel of a seed, in reading order of the whole raster, tells seeds apart and decides between equal distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RULE_BITS: Final = 14
"""Of the number of a rule; the first pixel has 48, since a side has 24 (`LARGEST_SIDE`)."""
MOST_RULES: Final = 1 << RULE_BITS
FIRST: Final = int(np.iinfo(np.int64).min) + 1
"""Identity of an object of the first rule whose seed begins at the first pixel; one below may be nodata."""
_END: Final = FIRST + (1 << 62)


@dataclass(frozen=True, slots=True)
class Identities:
    """What the numbers of objects mean."""

    codes: tuple[int, ...]
    """Class code of the objects of each rule."""
    margins: tuple[int, ...]
    """Pixels from a seam within which an object of each rule may go on beyond it: its reach, 1 at least."""

    min_pixels: tuple[int, ...]
    """Pixels that an object of each rule has at least, or it is left out."""

    def margins_of(self, identities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pixels from a seam within which a feature of each identity may go on beyond it."""
        objects = is_object(identities)
        found = np.ones(identities.shape, dtype=np.int64)
        found[objects] = np.array(self.margins, dtype=np.int64)[
            rules_of_keys(identities[objects] - FIRST + 1)
        ]
        return found

    def classes(self, identities: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class code of each identity."""
        objects = is_object(identities)
        found: NDArray[np.int64] = identities.copy()
        rules = rules_of_keys(identities[objects] - FIRST + 1)
        found[objects] = np.array(self.codes, dtype=np.int64)[rules]
        return found


def is_object(identities: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return True for identities of objects."""
    return np.asarray((identities >= FIRST) & (identities < _END))


def keys_of(first_pixels: NDArray[np.int64], rules: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number from 1 on for each seed: the smaller begins earlier."""
    return np.asarray((first_pixels << RULE_BITS | rules) + 1)


def identities_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the identities of objects from the numbers of their seeds."""
    return np.asarray(keys - 1 + FIRST)


def rules_of_keys(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the rule of each seed; -1 for the key 0."""
    return np.where(keys > 0, (keys - 1) & ((1 << RULE_BITS) - 1), -1)
