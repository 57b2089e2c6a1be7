"""The scores of three directions averaged into one class map, slab by slab.

::

    axial scores     classes x slices x rows x columns ---+
    coronal scores   another order of the same voxels  ---+--> sum of bytes --> class, confidence
    sagittal scores  another order again               ---+

Scores are kept as bytes (probability x 255) in one Zarr store per direction; chunks of 64 x 64 let a slab of
axial slices be read out of the other two without reading them whole. So memory holds one slab, and disk the
bytes of all classes three times, until the result is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.finished_rows import FinishedRows, with_masks
from segment_tiles.pipeline.outputs.stores.ledger import Ledger
from segment_tiles.pipeline.outputs.stores.shard_writer import ShardWriter
from segment_tiles.pipeline.outputs.stores.store import array_of, open_store
from segment_tiles.pipeline.outputs.stores.unfinished import unfinished_planes
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.cut import NOT_FINITE_MARK
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.volumes.opening import Direction, VolumeScene
from segment_tiles.workflows.scenes.volumes.stores import direction_paths

SLAB_BYTES = 64 * 2**20
"""Bytes of the sums of one slab, two for each class and voxel."""


@dataclass(frozen=True, slots=True)
class _SlabSum:
    """Some slices of the result, all directions together."""

    total: NDArray[np.uint16]
    """classes x slices x rows x columns: summed bytes."""
    valid: NDArray[np.bool_]
    """slices x rows x columns: voxels that every direction has."""
    not_finite: NDArray[np.bool_]
    """slices x rows x columns: voxels whose scores are NaN in a direction."""


def average_directions(scene: Scene, volume: VolumeScene, directory: OutputDirectory) -> None:
    """Write the slices of the result that the ledger does not have; the scores of the directions stay.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only.
    """
    slices, rows, columns = volume.shape
    table, ledger = scene.manifest.classes, Ledger(directory.ledger)
    whole = Window(0, 0, rows, columns)
    step = max(1, SLAB_BYTES // (2 * table.count * rows * columns))
    group = open_store(directory.store_in_work, "r+")
    written = scene.classes
    for numbers in unfinished_planes(range(slices), whole.shape, ledger):
        with ShardWriter(
            group, whole, 0, ledger, written.nodata, written.count, planes=numbers, codes=written.codes
        ) as writer:
            for first in range(numbers.start, numbers.stop, step):
                stop = min(first + step, numbers.stop)
                slab = _sum_of_slab(volume, directory, table, first, stop)
                for position in range(stop - first):
                    writer.append(_result(scene, _finished(slab, position, len(volume.directions), table)))


def _result(scene: Scene, made: FinishedRows) -> FinishedRows:
    """Return rows with the classes that the run asks for, of those with the classes of the highest scores."""
    if scene.decision is not None and made.scores is not None:
        import torch  # noqa: PLC0415 - a plan does without it

        from segment_tiles.pipeline.inference.decide import decided  # noqa: PLC0415

        has_none = made.classes == scene.manifest.classes.nodata
        codes, confidence = decided(torch.from_numpy(made.scores), scene.decision)
        classes = codes.numpy().astype(scene.decided.dtype)
        classes[has_none] = scene.decided.nodata
        made = with_masks(made, scene.decision)
        made = replace(made, classes=classes, confidence=np.where(has_none, np.uint8(0), confidence.numpy()))
    if scene.reclass is not None:
        made = replace(made, classes=scene.reclass.of_map(made.classes, scene.decided.nodata))
    return made


def _sum_of_slab(
    volume: VolumeScene, directory: OutputDirectory, table: ClassTable, first: int, stop: int
) -> _SlabSum:
    """Add the directions up."""
    result = volume.directions[0]
    shape = (stop - first, *result.shape[1:])
    total = np.zeros((table.count, *shape), np.uint16)
    valid, not_finite = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for direction in volume.directions:
        group = open_store(direction_paths(directory, direction.slicing.name).store)
        selected, turned = _slab_in(direction, result, volume.box, first, stop)
        classes = np.asarray(array_of(group, "classes")[selected])
        has_none = _turned(classes, turned) == table.nodata
        valid &= ~has_none
        marks = _turned(np.asarray(array_of(group, "confidence")[selected]), turned) == NOT_FINITE_MARK
        not_finite |= has_none & marks
        scores = array_of(group, "scores")
        for code in range(table.count):
            total[code] += _turned(np.asarray(scores[code, selected[0], selected[1], selected[2]]), turned)
    return _SlabSum(total, valid, not_finite)


def _slab_in(
    direction: Direction, result: Direction, box: Sequence[int], first: int, stop: int
) -> tuple[tuple[slice, ...], tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Return where a slab of the result lies in the array of a direction, and how that part is turned."""
    mine, other = result.slicing, direction.slicing
    axis = mine.order[0]
    low, high = mine.span(0, first, stop, box[axis])
    selected = [slice(None)] * 3
    where = other.order.index(axis)
    selected[where] = slice(*other.span(where, low, high, box[axis]))
    order = tuple(other.order.index(position) for position in mine.order)
    steps = tuple(
        slice(None, None, -1 if other.flipped[other.order.index(position)] != flipped else 1)
        for position, flipped in zip(mine.order, mine.flipped, strict=True)
    )
    return tuple(selected), (order, steps)


def _turned(
    values: NDArray[np.uint8], turned: tuple[tuple[int, ...], tuple[slice, ...]]
) -> NDArray[np.uint8]:
    order, steps = turned
    return values.transpose(order)[steps]


def _finished(slab: _SlabSum, position: int, directions: int, table: ClassTable) -> FinishedRows:
    """Return one slice: the class of the highest sum, the lowest code where sums tie."""
    total, valid, not_finite = slab.total[:, position], slab.valid[position], slab.not_finite[position]
    classes = np.where(valid, total.argmax(axis=0), table.nodata).astype(table.dtype)
    scores = ((total + directions // 2) // directions).astype(np.uint8)
    scores[:, ~valid] = 0
    lost = not_finite if not_finite.any() else None
    return FinishedRows(0, classes, scores.max(axis=0), scores, not_finite=lost)
