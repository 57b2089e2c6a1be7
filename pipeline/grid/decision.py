"""Decision: which class a pixel gets by its scores, where the highest is not to win everywhere.

In this order:

1. Classes with a threshold of their own whose score reaches it: the highest of them wins, whatever the others have.
2. Else the highest of the classes without one, if it reaches ``unsure``; nothing is asked of it if that is not given.
3. Else the pixel is *not sure*, a class of its own after those of the model.

Of equal scores the lower code wins. Scores are compared as they are kept, as bytes (score x 255, rounded to the nearest
one), and so are thresholds: a run that decides by them, and an export of a run that kept its scores, give the same map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable, MapClass

NOT_SURE: Final = "not sure"
"""Name of the class of pixels that no class wins."""
NONE_OF_THEM: Final = "none"
"""The same of a model whose classes may overlap, and each of which has a threshold."""
USUAL_THRESHOLD: Final = 0.5
"""Of such a model."""
NOT_SURE_COLOR: Final = (128, 128, 128)
HIGHEST_BYTE: Final = 255


@dataclass(frozen=True, slots=True)
class Decision:
    """Thresholds of a map."""

    thresholds: tuple[tuple[int, int], ...] = ()
    """Code of a class and the byte that its score must reach, in the order of codes."""
    unsure: int | None = None
    """The byte that the highest of the other classes must reach; None: any will do."""
    multi_label: bool = False
    """Whether classes may overlap: the map has the highest of a pixel, masks have all."""

    def leaves_some(self, classes: ClassTable) -> bool:
        """Return whether a pixel may be left without a class."""
        return self.unsure is not None or len(self.thresholds) == classes.count

    def table(self, classes: ClassTable) -> ClassTable:
        """Return the classes of the map, from those of the model."""
        if not self.leaves_some(classes):
            return classes
        unsure = MapClass(classes.count, self.rest, NOT_SURE_COLOR)
        return ClassTable((*classes.classes, unsure), classes.objects)

    @property
    def rest(self) -> str:
        """Name of the class of pixels that no class wins."""
        return NONE_OF_THEM if self.multi_label else NOT_SURE

    def masks(self, scores: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return for each class, of scores (classes, ...), 1 where it reaches its threshold and else 0.

        >>> Decision(((0, 128), (1, 102)), multi_label=True).masks(np.array([[127, 128], [102, 0]], np.uint8)).tolist()
        [[0, 1], [1, 0]]
        """
        bytes_to_reach = np.array([byte for _, byte in self.thresholds], dtype=np.uint8)
        return (scores >= bytes_to_reach.reshape(-1, *(1,) * (scores.ndim - 1))).astype(np.uint8)


def byte_of(threshold: float) -> int:
    """Return a threshold as scores are kept; at least 1, for 0 says that there is nothing.

    >>> byte_of(0.4), byte_of(0.5), byte_of(0.0001)
    (102, 128, 1)
    """
    return max(1, int(threshold * HIGHEST_BYTE + 0.5))


def _bytes_of_classes(
    thresholds: Iterable[tuple[str, float]], classes: ClassTable, owner: str
) -> dict[int, int]:
    """Return the byte that each class named must reach, by its code."""
    found: dict[int, int] = {}
    for name, threshold in thresholds:
        codes = [entry.code for entry in classes.classes if entry.name == name]
        if not codes:
            msg = f"--threshold {name}={threshold}: {owner} has no class {name!r}; it has {', '.join(classes.names)}"
            raise UsageError(msg)
        if codes[0] in found:
            msg = f"--threshold names {name} twice; give one threshold for a class"
            raise UsageError(msg)
        found[codes[0]] = byte_of(threshold)
    return found


def decision_of(
    thresholds: Iterable[tuple[str, float]],
    unsure: float | None,
    classes: ClassTable,
    owner: str,
    *,
    multi_label: bool = False,
) -> Decision | None:
    """Return what thresholds mean for classes; None if there are none.

    Parameters
    ----------
    thresholds
        Name of a class, and the score that it must reach, between 0 and 1.
    unsure
        The score that the highest of the other classes must reach.
    classes, owner
        Those that there are, and whose, as a message says it: ``model canopy-rgb``.
    multi_label
        Whether they may overlap: then each has a threshold, 0.5 if none is given.

    Raises
    ------
    UsageError
        If a class is not there or named twice, or one of these is called "not sure" already; or if `unsure` is given
        for classes that may overlap.
    """
    found = _bytes_of_classes(thresholds, classes, owner)
    if multi_label:
        if unsure is not None:
            msg = f"--unsure: the classes of {owner} may overlap, and each has its own threshold; give --threshold"
            raise UsageError(msg)
        found = dict.fromkeys(range(classes.count), byte_of(USUAL_THRESHOLD)) | found
    if not found and unsure is None:
        return None
    least = None if unsure is None else byte_of(unsure)
    decision = Decision(tuple(sorted(found.items())), least, multi_label)
    if decision.leaves_some(classes) and decision.rest in classes.names:
        msg = (
            f"{owner} has a class {decision.rest!r} of its own, the name of what no class of the map wins; "
            "rename it in the model"
        )
        raise UsageError(msg)
    return decision
