"""A graph is run on noise: which sizes it takes, and how its output lies on its input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from segment_tiles.pipeline.accepted import CHANNELS_FIRST, CHANNELS_LAST
from segment_tiles.pipeline.errors import ModelError, UsageError, one_line
from segment_tiles.pipeline.models.graphs.packaged import PackagedGraph
from segment_tiles.pipeline.models.graphs.wiring import Wiring
from segment_tiles.pipeline.models.packages.geometry import OutputGeometry

_STRONG = 16.0
"""Standard deviation of noise on which logits leave 0 to 1, if they are not bounded."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user says of the output of a graph; None: it is to be found out."""

    margin: int | None = None
    """Pixels on each side of a tile without output."""
    coarser: int | None = None
    """Pixels of a tile along a side of one of the output."""
    align_corners: bool = False
    """Of the bilinear that makes a coarser output as fine as the tile."""
    multi_label: bool = False
    """Whether classes may overlap."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What came of the runs."""

    outputs: tuple[Tensor, ...]
    """(batch, channels, h, w) float32, of noise of two strengths."""
    sides: tuple[int, ...]
    """Of what each was made of, in pixels."""
    wiring: Wiring
    """How the graph is called."""
    is_fixed: bool
    """Whether it takes images of one size alone."""
    notes: tuple[str, ...] = ()
    """What was concluded."""


def probe(graph: PackagedGraph, path: Path, bands: int, tile: int, *, is_fixed: bool) -> Probed:
    """Run a graph on a tile; then on two tiles of half the side, unless it is fixed to a size or a batch.

    Raises
    ------
    ModelError
        It does not run on one tile, or answers it with something else than finite scores.
    """
    batch = graph.wiring.batch or 1
    first = _run(graph, path, batch, bands, tile, 1.0)
    wiring = _with_output_layout(graph.wiring, first, path)
    graph.wiring, notes = wiring, []
    if wiring.output_layout == CHANNELS_LAST:
        first = first.movedim(-1, 1).contiguous()
    side = tile if is_fixed or tile < 2 else tile // 2
    second = _tried(graph, path, 2 if wiring.batch is None else batch, bands, side)
    if isinstance(second, str):
        several = wiring.batch is not None or not isinstance(_tried(graph, path, 2, bands, tile), str)
        smaller = not is_fixed and not isinstance(_tried(graph, path, batch, bands, side), str)
        if several and smaller:
            raise ModelError(second)
        if not several:
            graph.wiring = wiring = replace(wiring, batch=1)
            notes.append("it takes one image at a time")
        is_fixed, side = not smaller, side if smaller else tile
        second = _run(graph, path, batch, bands, side, _STRONG)
    if is_fixed:
        notes.append(f"it takes tiles of {tile} px alone")
    return Probed((first, second), (tile, side), wiring, is_fixed, tuple(notes))


def _tried(graph: PackagedGraph, path: Path, batch: int, bands: int, side: int) -> Tensor | str:
    """Return what a graph answers, or why it does not."""
    try:
        return _run(graph, path, batch, bands, side, _STRONG)
    except ModelError as error:
        return str(error)


@torch.inference_mode()
def _run(graph: PackagedGraph, path: Path, batch: int, bands: int, side: int, strength: float) -> Tensor:
    image = strength * torch.randn(batch, bands, side, side, generator=torch.Generator().manual_seed(0))
    try:
        output = graph.answer(image)
    except ModelError as error:
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    except Exception as error:
        msg = f"{path} does not run on {batch} x {bands} x {side} x {side}: {one_line(error)[:300]}"
        raise ModelError(msg) from error
    if output.shape[0] != batch:
        msg = (
            f"{path} answers {tuple(image.shape)} by {tuple(output.shape)}; there must be one for each image"
        )
        raise ModelError(msg)
    if not output.isfinite().all():
        msg = f"{path} answers noise with NaN or infinity; its weights are damaged, or it needs other values"
        raise ModelError(msg)
    return output


def _with_output_layout(wiring: Wiring, output: Tensor, path: Path) -> Wiring:
    """Return the wiring with the order of the axes of the output: rows and columns are as many, channels are not."""
    _, *sides = output.shape
    if wiring.output_layout == CHANNELS_LAST:
        return wiring  # asked for, and put in order already
    first, last = sides[1] == sides[2], sides[0] == sides[1]
    if not first and not last:
        msg = f"{path} answers a square by {tuple(output.shape)}, which is none"
        raise ModelError(msg)
    if first and last:
        return replace(wiring, output_layout=wiring.input_layout)
    return replace(wiring, output_layout=CHANNELS_FIRST if first else CHANNELS_LAST)


def geometry_of(probed: Probed, asked: Asked, path: Path) -> OutputGeometry:
    """Return how the output lies on the tile, found out from its sides and what the user says.

    Raises
    ------
    ModelError
        It cannot lie so.
    UsageError
        It may be cropped or coarser, and only the user knows.
    """
    tile, side = probed.sides
    size, other = (output.shape[-1] for output in probed.outputs)
    margin, coarser = asked.margin, asked.coarser
    if margin is None and coarser is None and tile != side and size != other:
        coarser = max(1, round((tile - side) / (size - other)))
    if margin is None and coarser is None:
        margin, coarser = _of_one_size(tile, size, path)
    if coarser is None:
        assert margin is not None
        coarser = max(1, round((tile - 2 * margin) / size))
    if margin is None:
        margin = (tile - coarser * size) // 2
    found = OutputGeometry(margin, coarser, asked.align_corners, probed.is_fixed, asked.multi_label)
    for pixels, got in ((tile, size), (side, other)):
        if margin < 0 or found.scored(pixels) != coarser * got:
            msg = (
                f"{path} answers {pixels} px by {got} px; cropped by {margin} px on each side and coarser by {coarser} "
                f"would be {found.scored(pixels) / coarser:g} px: --margin and --coarser say how it lies"
            )
            raise ModelError(msg)
    return found


def _of_one_size(tile: int, size: int, path: Path) -> tuple[int, int]:
    """Return margin and factor of a graph that takes one size alone."""
    is_coarser, is_cropped = tile % size == 0, size < tile and (tile - size) % 2 == 0
    if size == tile or not (is_coarser or is_cropped):
        return 0, 1  # what does not fit is refused
    if is_coarser and is_cropped:
        msg = (
            f"{path} answers {tile} px by {size} px: say --margin {(tile - size) // 2} if it crops its input, or "
            f"--coarser {tile // size} if each of its pixels stands for {tile // size} x {tile // size} of the input"
        )
        raise UsageError(msg)
    return (0, tile // size) if is_coarser else ((tile - size) // 2, 1)
