"""Labels that know their objects: numbers of a label image, or polygons; with borders made between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.learning.data.label_rasters import RasterLabels, ignored_codes
from segment_tiles.pipeline.learning.object_settings import BorderSettings, NeighbourWeightSettings
from segment_tiles.pipeline.learning.objects.borders import border_pixels
from segment_tiles.pipeline.learning.objects.neighbours import neighbour_weights, reach_of
from segment_tiles.pipeline.learning.scene_settings import SceneSettings
from segment_tiles.pipeline.learning.settings import IGNORE_CODE

EXACT_IN_FLOAT32 = 2**24
"""Numbers from here on are not all told apart by float32."""
MOST = 2**53
"""Highest number of an object: higher ones are not told apart where they are counted in float64."""


@runtime_checkable
class ObjectReader(Protocol):
    """Labels that know which pixel is of which object."""

    notes: tuple[str, ...]

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes without borders, rows x columns; ``IGNORE_CODE`` if there is no label."""

    def read_numbers(self, window: Window, code: int) -> NDArray[np.int64]:
        """Return the number of the object of a class that each pixel is of, rows x columns; 0: none."""

    def close(self) -> None:
        """Close the file."""


class InstanceRaster(RasterLabels):
    """A label image: each number but 0 is an object of one class, whatever numbers are left out.

    0 says that there is no object, also if the file declares it as nodata, as label images often do (ours too). Pixels
    that a mask or an alpha band hides, that have another nodata value or an ignored one, are not known.
    """

    _zero_is_known: ClassVar[bool] = True

    def __init__(self, scene: SceneSettings, path: str, spec: RasterSpec, class_names: Sequence[str]) -> None:
        super().__init__(scene, path, spec, class_names)
        assert scene.instances is not None  # asked by who opens labels
        self._of = class_names.index(scene.instances)
        self._rest = IGNORE_CODE if scene.unlabelled is None else class_names.index(scene.unlabelled)
        self._ignored = list(ignored_codes(scene))

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        numbers, known = self._numbers(window)
        codes = np.where(numbers > 0, self._of, self._rest)
        return np.where(known, codes, IGNORE_CODE).astype(np.uint8)

    def read_numbers(self, window: Window, code: int) -> NDArray[np.int64]:
        """Return the number of each pixel's object, rows x columns; 0: none."""
        numbers, known = self._numbers(window)
        return np.where(known, numbers, 0) if code == self._of else np.zeros_like(numbers)

    def read_objects(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the number of each pixel's object, rows x columns, 0: none; and which pixels are no nodata."""
        return self._numbers(window)

    def _numbers(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        values, shown = self._values(window)
        known = np.ones(values.shape, dtype=bool) if shown is None else shown.copy()
        if self._nodata is not None:
            known &= values != self._nodata
        if np.issubdtype(values.dtype, np.floating):
            known &= ~np.isnan(values)
        if self._ignored:
            known &= ~np.isin(values, self._ignored)
        self._refuse_no_numbers(values[known])
        return np.where(known, values, 0).astype(np.int64), known

    def _refuse_no_numbers(self, values: NDArray[Any]) -> None:
        if not values.size:
            return
        most = EXACT_IN_FLOAT32 if values.dtype in (np.float32, np.float16) else MOST
        lowest, highest = values.min(), values.max()
        wrong = None
        if lowest < 0:
            wrong = f"the number {lowest}"
        elif highest >= most:
            wrong = f"the number {highest} as {values.dtype}"
        elif np.issubdtype(values.dtype, np.floating) and (values != np.floor(values)).any():
            wrong = f"the number {values[values != np.floor(values)][0]}"
        if wrong is not None:
            msg = (
                f"labels of scene {self._scene} have {wrong}; instances need whole numbers from 0 to {most - 1}, "
                "best as uint32"
            )
            raise TrainingError(msg)


class BorderedLabels:
    """Labels with a border class between objects, the same for any window."""

    def __init__(
        self,
        reader: ObjectReader,
        whole: Window,
        borders: BorderSettings,
        weight: NeighbourWeightSettings | None,
        class_names: Sequence[str],
    ) -> None:
        self._reader, self._whole, self._borders, self._weight = reader, whole, borders, weight
        self._of, self._border = class_names.index(borders.of), class_names.index(borders.border_class)
        self.notes = reader.notes

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        codes = self._reader.read(window)
        around = window.grow(self._borders.width).intersect(self._whole)
        numbers = self._reader.read_numbers(around, self._of)
        border = border_pixels(numbers, self._borders.width, self._borders.where)
        inside = border[window.relative_to(around).slices()]
        codes[inside & (codes != IGNORE_CODE)] = self._border
        return codes

    def read_weights(self, window: Window) -> NDArray[np.float32]:
        """Return what each pixel counts more than others, rows x columns; pixels inside objects have 0."""
        if self._weight is None:
            return np.zeros(window.shape, dtype=np.float32)
        around = window.grow(reach_of(self._weight.sigma)).intersect(self._whole)
        numbers = self._reader.read_numbers(around, self._of)
        weights = neighbour_weights(numbers, self._weight.w0, self._weight.sigma)
        inside = weights[window.relative_to(around).slices()]
        return np.where(self.read(window) == self._of, np.float32(0), inside)

    def read_numbers(self, window: Window) -> NDArray[np.int64]:
        """Return the number of the object that each pixel is of, rows x columns; 0: none."""
        return self._reader.read_numbers(window, self._of)

    def objects_of(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of all objects in a window, and of those that have a pixel that is no border."""
        numbers = self._reader.read_numbers(window, self._of)
        inner = self.read(window) == self._of
        return np.unique(numbers[numbers > 0]), np.unique(numbers[(numbers > 0) & inner])

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class ResampledLabels:
    """Labels on the finer or coarser pixels of a resampled raster: those of the pixel under its centre."""

    def __init__(self, reader: Any, whole: Window, downsample: tuple[float, float]) -> None:
        self._reader, self._whole, self._steps = reader, whole, downsample
        self.notes: tuple[str, ...] = reader.notes
        self.tells_objects_apart = isinstance(reader, ObjectReader)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Return class codes, rows x columns."""
        box, picked = self._picked(window)
        codes: NDArray[np.uint8] = self._reader.read(box)[picked]
        return codes

    def read_numbers(self, window: Window, code: int) -> NDArray[np.int64]:
        """Return the number of each pixel's object, rows x columns; 0: none."""
        box, picked = self._picked(window)
        numbers: NDArray[np.int64] = self._reader.read_numbers(box, code)[picked]
        return numbers

    def _picked(self, window: Window) -> tuple[Window, tuple[NDArray[np.intp], ...]]:
        rows, columns = (
            np.minimum(((np.arange(start, start + count) + 0.5) * step).astype(np.intp), size - 1)
            for start, count, step, size in zip(
                (window.row, window.column), window.shape, self._steps, self._whole.shape, strict=True
            )
        )
        box = Window.from_edges(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        return box, np.ix_(rows - rows[0], columns - columns[0])

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def with_borders(
    labels: object,
    scene: str,
    whole: Window,
    borders: BorderSettings,
    weight: NeighbourWeightSettings | None,
    class_names: Sequence[str],
) -> BorderedLabels:
    """Return labels with a border class.

    Raises
    ------
    TrainingError
        The labels do not tell objects apart.
    """
    if not isinstance(labels, ObjectReader) or (
        isinstance(labels, ResampledLabels) and not labels.tells_objects_apart
    ):
        msg = (
            f"borders of {borders.of} need objects, but the labels of scene {scene} are classes; give polygons, or a "
            f"label image with a number for each object and say instances: {borders.of}"
        )
        raise TrainingError(msg)
    return BorderedLabels(labels, whole, borders, weight, class_names)
