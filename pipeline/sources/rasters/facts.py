"""What a raster file says of itself, for `info` and for notes: every band, and what lies beside the values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as RasterioWindow

from segment_tiles.pipeline.accepted import AlphaUse
from segment_tiles.pipeline.grid.raster import json_number
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.rasters.masks import MASK_TYPES, MaskPlan, alpha_bands, nodata_of_band
from segment_tiles.pipeline.sources.rasters.placement import Placed, orientation_of, placement_notes
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote, sidecars_of
from segment_tiles.pipeline.sources.rasters.signalled_errors import signalled_errors_raised
from segment_tiles.pipeline.wording import counted

SAMPLE_SIDE: Final = 1024
"""Pixels along a side of the decimated alpha band that is looked at."""
DECODED_AT_MOST: Final = 4096 * 4096
"""Pixels that are decoded for it, if the file has no overviews."""
PIECE_SIDE: Final = 512
"""Pixels along a side of each of nine pieces that are looked at instead."""
MANY_VALUES: Final = 16
"""A mask with soft edges has few values beside 0 and 255; a band of data has more than this."""
NOT_APPLIED: Final = "which are not applied"
"""In the note on scale and offset, which counts where a model wants stored values."""
NAMES_OF_MASKS: Final = ("alpha", "mask", "transparency", "opacity", "validity")
"""Names that an alpha band may have without being taken for data."""


def band_facts(dataset: Any, read: Sequence[int]) -> list[dict[str, Any]]:
    """Return, for every band of a file, what it says of it: plain JSON values."""
    return [
        {
            "band": band,
            "read": band in read,
            "name": dataset.descriptions[band - 1],
            "color": dataset.colorinterp[band - 1].name,
            "dtype": dataset.dtypes[band - 1],
            "mask": mask_kind(dataset.mask_flag_enums[band - 1]),
            "nodata": json_number(nodata_of_band(dataset, band)),
            "scale": dataset.scales[band - 1],
            "offset": dataset.offsets[band - 1],
            "unit": dataset.units[band - 1],
        }
        for band in range(1, dataset.count + 1)
    ]


def mask_kind(flags: Sequence[MaskFlags]) -> str:
    """Return one word for GDAL's mask flags of a band: none, nodata, alpha, dataset or band."""
    found = set(flags)
    if MaskFlags.all_valid in found:
        return "none"
    if MaskFlags.alpha in found:
        return "alpha"
    if MaskFlags.per_dataset in found:
        return "dataset"
    return "nodata" if MaskFlags.nodata in found else "band"


def file_facts(raster: Placed, uri: str, read: Sequence[int]) -> dict[str, Any]:
    """Return what `info` tells of a raster file beyond its grid: plain JSON values."""
    file = raster.file
    return {
        "driver": file.driver,
        "band_details": band_facts(file, read),
        "gcps": len(file.gcps[0]),
        "rpcs": bool(file.tags(ns="RPC")),
        "orientation": orientation_of(file),
        "sidecars": "not looked for: the name is remote"
        if is_remote(uri)
        else [shown_name(name) for name in sidecars_of(file, uri)],
        "subdatasets": [shown_name(name) for name in file.subdatasets],
        "overviews": [list(shape) for shape in _overviews(raster.dataset)],
    }


def file_notes(raster: Placed, uri: str, bands: Sequence[int], plan: MaskPlan, alpha: AlphaUse) -> list[str]:
    """Return what the user should know before trusting a map: one line for each thing that is not as it may seem."""
    file = raster.file
    notes = placement_notes(raster, uri)
    if file.subdatasets:
        count = len(file.subdatasets)
        others = counted(count, "subdataset or page is", "subdatasets or pages are")
        notes.append(f"{others} in the file; the first image alone is read")
    notes += _scaling_notes(file, bands)
    palettes = [band for band in bands if file.colorinterp[band - 1] == ColorInterp.palette]
    if palettes:
        name = Path(uri.split("?", maxsplit=1)[0]).name
        notes.append(
            f"band {palettes[0]} holds positions in a colour table, not colours; the network sees the positions: "
            f"gdal_translate -expand rgb {name} colours.tif makes colours of them"
        )
    return notes + _alpha_notes(file, bands, plan, alpha)


def _scaling_notes(file: Any, bands: Sequence[int]) -> list[str]:
    scaled = [band for band in bands if (file.scales[band - 1], file.offsets[band - 1]) != (1.0, 0.0)]
    if not scaled:
        return []
    first = scaled[0] - 1
    which = f"band {scaled[0]} has" if len(scaled) == 1 else f"bands {', '.join(map(str, scaled))} have"
    return [
        f"{which} a scale of {file.scales[first]:g} and an offset of {file.offsets[first]:g}, {NOT_APPLIED}: the "
        "network sees stored values; gdal_translate -unscale -ot Float32 applies them, and so does a --scaling of "
        "physical values"
    ]


def _alpha_notes(file: Any, bands: Sequence[int], plan: MaskPlan, alpha: AlphaUse) -> list[str]:
    """Say where an alpha band is left unused, or hides pixels though it looks like data."""
    notes = [
        f"band {band} is tagged alpha but is {file.dtypes[band - 1]}, from which GDAL makes no mask: it is neither "
        "applied nor read; --alpha mask applies it, --alpha band reads it"
        for band in alpha_bands(file)
        if alpha == "auto" and band not in bands and file.dtypes[band - 1] not in MASK_TYPES
    ]
    if alpha != "auto" or plan.alpha is None or plan.alpha > file.count:
        return notes
    name = file.descriptions[plan.alpha - 1] or ""
    with signalled_errors_raised():
        sample = _sample(file, plan.alpha)
    hidden = float((sample == 0).mean())
    is_named = bool(name) and not any(word in name.lower() for word in NAMES_OF_MASKS)
    if hidden > 0 and (is_named or len(np.unique(sample)) > MANY_VALUES):
        why = f"is named {name!r}" if is_named else "holds many values, as data does"
        notes.append(
            f"band {plan.alpha} is tagged alpha and hides {hidden:.2%} of the pixels, but {why}: --alpha band reads "
            "it as data, --alpha mask says that it is a mask"
        )
    return notes


def _sample(file: Any, band: int) -> np.ndarray[Any, Any]:
    """Return values of a band: all of it decimated, or nine pieces if that would decode a large file."""
    height, width = file.shape
    if file.overviews(band) or height * width <= DECODED_AT_MOST:
        shape = min(height, SAMPLE_SIDE), min(width, SAMPLE_SIDE)
        return np.asarray(file.read(band, out_shape=shape)).ravel()
    corners = [(height * i // 4, width * j // 4) for i in (1, 2, 3) for j in (1, 2, 3)]
    pieces = [RasterioWindow(column, row, PIECE_SIDE, PIECE_SIDE) for row, column in corners]
    return np.concatenate([np.asarray(file.read(band, window=piece)).ravel() for piece in pieces])


def _overviews(dataset: Any) -> list[tuple[int, int]]:
    return [
        (math.ceil(dataset.height / factor), math.ceil(dataset.width / factor))
        for factor in dataset.overviews(1)
    ]
