"""Tissue mask: which part of a stained slide is not bare glass; it limits what is computed and written.

Stain has colour, glass has none: the saturation of a thumbnail is divided in two by Otsu's threshold
(N. Otsu, 1979), specks are dropped, pale tissue beside stained tissue is taken in as far as it stands
out from glass, small holes are filled, and a margin is added. As with an AOI, the network
still sees every pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import MissingExtraError
from segment_tiles.pipeline.grid.window import Window

LEAST_SATURATION: Final = 0.05
"""Threshold below which a colour is no stain but the noise of the camera."""
NOISE_WIDTHS: Final = 6.0
"""Median deviations of the saturation of glass beyond which a pixel is not glass."""
GLASS_SATURATION: Final = 0.15
GLASS_VALUE: Final = 170
"""Glass is pale and bright: where the unsaturated part is not, the picture has no glass and all of it is kept."""
SPECK: Final = 16
"""Pixels of the thumbnail: a smaller spot is dust."""
HOLE: Final = 256
"""Pixels of the thumbnail: a smaller hole is a lumen, and part of the tissue."""
MARGIN: Final = 2
"""Pixels of the thumbnail by which tissue is widened."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """A mask over a whole slide, coarse; plain data that travels to workers."""

    rows: int
    """Rows of the mask."""
    columns: int
    """Columns of the mask."""
    packed: bytes
    """Its pixels row by row, eight to a byte."""
    threshold: float | None
    """Saturation above which a pixel counts as stained; None if no glass was found, so all is kept."""

    @property
    def share(self) -> float:
        """Part of the slide that is tissue, 0 to 1."""
        return float(self.pixels().mean())

    @property
    def checksum(self) -> str:
        """sha256 of the mask, for the fingerprint of a run."""
        return sha256(f"{self.rows} {self.columns} ".encode() + self.packed).hexdigest()

    def pixels(self) -> NDArray[np.bool_]:
        """Return the mask: rows x columns."""
        bits = np.unpackbits(np.frombuffer(self.packed, dtype=np.uint8), count=self.rows * self.columns)
        return bits.reshape(self.rows, self.columns).astype(bool)


class TissueArea:
    """A tissue mask laid over a raster of the slide: asked window by window, as an AOI is.

    A pixel is tissue where the pixel of the mask is in which its centre lies.
    """

    def __init__(self, mask: TissueMask, height: int, width: int) -> None:
        self._pixels = mask.pixels()
        self._rows = _positions(height, mask.rows)
        self._columns = _positions(width, mask.columns)

    def meets(self, window: Window) -> bool:
        """Return whether a window has any pixel of tissue."""
        rows, columns = (
            self._rows[window.row : window.row_stop],
            self._columns[window.column : window.column_stop],
        )
        if rows.size == 0 or columns.size == 0:
            return False
        return bool(self._pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any())

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are tissue: rows x columns."""
        rows, columns = window.slices()
        return self._pixels[np.ix_(self._rows[rows], self._columns[columns])]


def _positions(side: int, count: int) -> NDArray[np.intp]:
    return np.minimum(((np.arange(side) + 0.5) * count / side).astype(np.intp), count - 1)


def tissue_of(thumbnail: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> TissueMask:
    """Return the tissue of a slide.

    Parameters
    ----------
    thumbnail
        Red, green, blue x rows x columns, of the whole slide.
    valid
        Which pixels hold data, rows x columns; None if all do.

    Raises
    ------
    MissingExtraError
        If scikit-image is not installed.
    """
    from scipy import ndimage  # noqa: PLC0415 - as long to import as the rest of a Plan, and only slides need it

    held = np.ones(thumbnail.shape[1:], dtype=bool) if valid is None else valid
    threshold = _threshold(thumbnail, held)
    if threshold is None:
        return _packed(held, None)
    saturation = _saturation(thumbnail)
    smooth = ndimage.gaussian_filter(saturation, 1.0)
    stained = _without_small((smooth > threshold) & held, SPECK)
    pale = smooth > _unlike_glass(saturation[held & (saturation <= threshold)], threshold)
    tissue = ndimage.binary_propagation(stained, mask=pale & held)
    tissue = ~_without_small(~tissue, HOLE)
    tissue = ndimage.binary_dilation(tissue, iterations=MARGIN) & held
    return _packed(tissue, threshold)


def _threshold(thumbnail: NDArray[np.uint8], held: NDArray[np.bool_]) -> float | None:
    """Return Otsu's threshold of the saturation; None if what lies below it is not glass."""
    try:
        from skimage.filters import threshold_otsu  # noqa: PLC0415 - of an extra

        cut: Callable[[NDArray[Any]], float] = threshold_otsu
    except ImportError as error:
        msg = "a tissue mask needs scikit-image; pip install 'segment-tiles[slides]', or give --tissue off"
        raise MissingExtraError(msg) from error
    saturation = _saturation(thumbnail)[held]
    if saturation.size == 0:
        return None
    flat = saturation.min() == saturation.max()  # Otsu needs two values
    threshold = max(float(saturation[0] if flat else cut(saturation)), LEAST_SATURATION)
    pale = saturation <= threshold
    if not pale.any():
        return None
    value = thumbnail.max(axis=0)[held]
    is_glass = np.median(saturation[pale]) <= GLASS_SATURATION and np.median(value[pale]) >= GLASS_VALUE
    return threshold if is_glass else None


def _unlike_glass(unstained: NDArray[np.float32], threshold: float) -> float:
    """Return the saturation above which a pixel beside stained tissue belongs to it: beyond the noise of glass."""
    glass = float(np.median(unstained))
    noise = float(np.median(np.abs(unstained - glass)))
    return min(max(glass + NOISE_WIDTHS * noise, LEAST_SATURATION), threshold)


def _saturation(thumbnail: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the saturation of HSV, 0 to 1."""
    high = thumbnail.max(axis=0).astype(np.float32)
    low = thumbnail.min(axis=0).astype(np.float32)
    result: NDArray[np.float32] = (high - low) / np.maximum(high, 1)
    return result


def _without_small(mask: NDArray[np.bool_], smallest: int) -> NDArray[np.bool_]:
    """Return a mask without its connected parts of fewer pixels."""
    from scipy import ndimage  # noqa: PLC0415 - as above

    labels: Any
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = sizes[labels] >= smallest
    return kept


def _packed(mask: NDArray[np.bool_], threshold: float | None) -> TissueMask:
    rows, columns = mask.shape
    return TissueMask(rows, columns, np.packbits(mask).tobytes(), threshold)
