"""How a raster file tells which of its pixels hold data, band by band, as GDAL reads it.

::

    of one band                            of all bands
    nodata value     judged by value       mask file or internal mask   .msk, NODATA_VALUES
    mask of its own  read beside it        alpha band                   if it is not data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp, MaskFlags

from segment_tiles.pipeline.accepted import AlphaUse
from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.sources.validity import nodata_as

MASK_TYPES: Final = ("uint8", "uint16")
"""Types of alpha bands from which GDAL takes a mask."""
WIDE_INTEGERS: Final = ("int64", "uint64")
"""Types whose nodata values rasterio rounds to a float."""


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """How the pixels of chosen bands that hold no data are told."""

    nodata: tuple[float | None, ...]
    """Judged by value: one for each chosen band; empty if none has one."""
    alpha: int | None = None
    """1-based band whose values above 0 are valid in all bands."""
    shared: int | None = None
    """1-based band through which the mask of all bands is read."""
    own: tuple[tuple[int, int], ...] = ()
    """Position among the chosen bands, and 1-based band, of those with a mask of their own."""
    shared_is_apart: bool = False
    """The shared mask is stored, and not computed from values (NODATA_VALUES)."""

    @property
    def can_mark(self) -> bool:
        """Whether it can mark any pixel."""
        return bool(self.nodata or self.own) or self.alpha is not None or self.shared is not None


def alpha_bands(dataset: Any) -> tuple[int, ...]:
    """Return the 1-based bands that the file tags alpha."""
    return tuple(i for i, kind in enumerate(dataset.colorinterp, 1) if kind == ColorInterp.alpha)


def data_bands(dataset: Any, alpha: AlphaUse) -> tuple[int, ...]:
    """Return the 1-based bands that are read unless told: all but those tagged alpha."""
    masks = () if alpha == "band" else alpha_bands(dataset)
    chosen = tuple(i for i in range(1, dataset.count + 1) if i not in masks)
    return chosen or tuple(range(1, dataset.count + 1))


def mask_plan(
    dataset: Any, bands: Sequence[int], nodata: float | None, alpha: AlphaUse, uri: str
) -> MaskPlan:
    """Return how the missing pixels of bands are told.

    A mask that is stored goes before a declared nodata value, as in GDAL; a nodata value of the user goes
    with it. An alpha band goes with either, also if GDAL knows it only from its tag (more than four bands, or
    a nodata value beside it): QGIS and gdalwarp apply it then, and nothing else is known of these pixels.

    Raises
    ------
    UsageError
        If a mask is asked for that the file does not have, or the nodata value is none of its type.
    """
    flags = [set(dataset.mask_flag_enums[band - 1]) for band in bands]
    stored = [band for band, f in zip(bands, flags, strict=True) if MaskFlags.per_dataset in f]
    shared = next((b for b in stored if MaskFlags.alpha not in dataset.mask_flag_enums[b - 1]), None)
    own = tuple((i, band) for i, (band, f) in enumerate(zip(bands, flags, strict=True)) if not f)
    values = [
        None if MaskFlags.nodata not in f or MaskFlags.per_dataset in f else nodata_of_band(dataset, band)
        for band, f in zip(bands, flags, strict=True)
    ]
    if nodata is not None:
        values = [nodata_as(str(np.result_type(*(dataset.dtypes[b - 1] for b in bands))), nodata)] * len(
            bands
        )
    return MaskPlan(
        () if all(value is None for value in values) else tuple(values),
        _alpha_mask(dataset, bands, alpha, uri),
        shared,
        own,
        shared is not None and MaskFlags.nodata not in dataset.mask_flag_enums[shared - 1],
    )


def _alpha_mask(dataset: Any, bands: Sequence[int], alpha: AlphaUse, uri: str) -> int | None:
    tagged = alpha_bands(dataset)
    if alpha == "band":
        return None
    if alpha == "mask":
        if not tagged:
            kinds = ", ".join(kind.name for kind in dataset.colorinterp)
            msg = f"--alpha is mask, but no band of {uri} is tagged alpha ({kinds}); leave it out"
            raise UsageError(msg)
        return tagged[-1]
    usable = [band for band in tagged if band not in bands and dataset.dtypes[band - 1] in MASK_TYPES]
    return usable[-1] if usable else None


def nodata_of_band(dataset: Any, band: int) -> float | None:
    """Return the nodata value that GDAL applies to a band; a whole number of any size stays exact."""
    dtype = dataset.dtypes[band - 1]
    if dtype in WIDE_INTEGERS:
        found = virtual_document(dataset).find(f"VRTRasterBand[@band='{band}']/NoDataValue")
        return None if found is None or found.text is None else int(found.text)
    value = dataset.nodatavals[band - 1]
    if value is None:
        return None
    return float(np.dtype(dtype).type(value)) if np.dtype(dtype).kind == "f" else float(int(value))


def virtual_document(dataset: Any) -> ElementTree.Element:
    """Return what GDAL knows of a dataset as the XML of a VRT: also what rasterio does not hand over."""
    name = f"/vsimem/{uuid4()}.vrt"
    rasterio.shutil.copy(dataset, name, driver="VRT")
    try:
        with rasterio.open(name) as copy:
            return ElementTree.fromstring(copy.tags(ns="xml:VRT")["xml:VRT"])
    finally:
        rasterio.shutil.delete(name, driver="VRT")
