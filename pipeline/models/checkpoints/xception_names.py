"""Names in the Xceptions of jfzhang95 and VainF, whose blocks are both written block1.rep.0 and so on."""

from __future__ import annotations

from segment_tiles.pipeline.models.checkpoints.translation import Rule

_UNITS = 3
"""Separable convolutions of the longest block."""


def stem_rules() -> list[Rule]:
    """Name conv1, bn1, conv2 and bn2."""
    return [("conv1", "stem.0"), ("bn1", "stem.1"), ("conv2", "stem.3"), ("bn2", "stem.4")]


def block_rules(numbers: str, *, after_relu: bool) -> list[Rule]:
    """Name the parts of the blocks whose numbers match a pattern.

    ``rep`` is a chain of separable convolution, batch norm and ReLU, numbered from 0; with
    `after_relu` it begins with a ReLU, so that all numbers are one higher. Which of the two a block is
    changes the function, so that the numbers are matched exactly.
    """
    rules: list[Rule] = [
        (rf"block({numbers})\.skip", r"blocks.\1.shortcut.0"),
        (rf"block({numbers})\.skipbn", r"blocks.\1.shortcut.1"),
    ]
    for unit in range(_UNITS):
        number = 3 * unit + after_relu
        ours = rf"blocks.\1.units.{unit}"
        rules += separable_rules(rf"block({numbers})\.rep\.{number}", ours)
        rules.append((rf"block({numbers})\.rep\.{number + 1}", f"{ours}.norm"))
    return rules


def separable_rules(theirs: str, ours: str) -> list[Rule]:
    """Name the parts of one separable convolution; VainF's has no batch norm inside."""
    return [
        (rf"{theirs}\.conv1", f"{ours}.depthwise"),
        (rf"{theirs}\.bn", f"{ours}.depthwise_norm"),
        (rf"{theirs}\.pointwise", f"{ours}.conv"),
    ]
