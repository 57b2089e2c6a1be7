"""Where a raster lies, if the file says so in another way than by a transform: GCPs, RPCs, arrays, a turned scan."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.rasters.stored_bytes import stored_bytes

GCPS_AT_LEAST: Final = 3
"""Ground control points that a polynomial of the first order needs."""
UPRIGHT: Final = 1
"""TIFF and Exif: the first row is the top, the first column the left."""
ORIENTATION_TAG: Final = 274
_BIG_TIFF: Final = 43
UNUSABLE_POINTS: Final[tuple[type[Exception], ...]] = (*GDAL_ERRORS, ValueError)


@dataclass(frozen=True, slots=True)
class Placed:
    """A raster on a grid of the world, as far as GDAL can place it."""

    dataset: Any
    """What is read: the file itself, or GDAL's warped view of it."""
    file: Any
    """The file itself."""

    @property
    def is_warped(self) -> bool:
        """Whether it is read through a warped view, whose last band is alpha."""
        return self.dataset is not self.file

    def close(self) -> None:
        """Release both."""
        if self.is_warped:
            self.dataset.close()
        self.file.close()


def placed(file: Any, uri: str, *, is_overview: bool = False) -> Placed:
    """Return a raster as GDAL places it: one with ground control points alone through the warped view.

    The view has the nearest pixel of the file everywhere, computed without approximation, so that a value does not
    depend on the window that is read; what lies outside the file is transparent.

    Raises
    ------
    SourceError
        If the points cannot be used, or the file is an overview: of its points GDAL makes another grid.
    """
    points, crs = file.gcps
    # GDAL gives overviews of a raster without transform no size of pixels
    has_transform = not file.transform.is_identity and not (is_overview and file.transform.determinant == 0)
    if has_transform or len(points) < GCPS_AT_LEAST or crs is None:
        return Placed(file, file)
    if is_overview:
        file.close()
        msg = (
            f"{uri}: is placed by its {len(points)} ground control points, which overviews do not have: leave --level "
            "out, or apply the points first: gdalwarp"
        )
        raise SourceError(msg)
    has_alpha = any(kind.name == "alpha" for kind in file.colorinterp)
    try:
        view = WarpedVRT(
            file, src_nodata=None, nodata=None, resampling=Resampling.nearest, tolerance=0,
            **({} if has_alpha else {"add_alpha": True}),
        )  # fmt: skip
    except UNUSABLE_POINTS as error:
        raise SourceError(_points_unusable(uri, len(points), error)) from error
    return Placed(view, file)


def _points_unusable(uri: str, count: int, error: Exception) -> str:
    why = one_line(error)
    return f"{uri}: GDAL cannot use its {count} ground control points ({why}); apply or remove them first"


def placement_notes(raster: Placed, uri: str) -> list[str]:
    """Return what the user should know of how a raster was placed, and what of the file was not applied."""
    file, name = raster.file, Path(uri.split("?", maxsplit=1)[0]).name
    points, crs = file.gcps
    if raster.is_warped:
        view = raster.dataset
        return [
            f"placed by its {len(points)} ground control points, through GDAL's warped view of it: "
            f"{view.height} x {view.width} px in {view.crs.to_string()}, nearest neighbour"
        ]
    notes = []
    if file.transform.is_identity:
        if points:
            why = "have no CRS" if crs is None else f"are fewer than {GCPS_AT_LEAST}"
            notes.append(
                f"its {len(points)} ground control points {why} and are not applied: the map is in pixels; "
                f"gdal_translate -a_srs EPSG:CODE and gdalwarp {name} placed.tif apply them"
            )
        elif file.tags(ns="RPC"):
            notes.append(
                "it has RPCs and no other georeference; they are not applied and the map is in pixels: "
                f"gdalwarp -rpc {name} placed.tif applies them"
            )
        elif file.tags(ns="GEOLOCATION"):
            notes.append(
                "it has geolocation arrays and no other georeference; they are not applied and the map is in "
                f"pixels: gdalwarp -geoloc {name} placed.tif applies them"
            )
    turned = orientation_of(file)
    if turned != UPRIGHT:
        notes.append(
            f"its Orientation tag is {turned} (1 is upright), which GDAL and this program do not apply: "
            f"magick {name} -auto-orient upright{Path(name).suffix} applies it"
        )
    return notes


def orientation_of(dataset: Any) -> int:
    """Return the Orientation tag of a TIFF or of Exif, 1 to 8; 1 if there is none."""
    exif = str(dataset.tags().get("EXIF_Orientation", ""))
    if exif.isdigit():
        return int(exif)
    if dataset.driver not in {"GTiff", "COG"}:
        return UPRIGHT
    try:
        return _orientation_tag(dataset)
    except GDAL_ERRORS:
        return UPRIGHT  # the directory is cut off, which GDAL says if it matters


def _orientation_tag(dataset: Any) -> int:
    """Return the tag from the first directory of a TIFF or BigTIFF, which GDAL does not hand over."""
    start = stored_bytes(dataset, 0, 16)
    order = "<" if start[:2] == b"II" else ">"
    is_big = struct.unpack(f"{order}H", start[2:4])[0] == _BIG_TIFF
    size, head, value = (20, f"{order}Q", 12) if is_big else (12, f"{order}H", 8)
    (offset,) = struct.unpack(f"{order}Q" if is_big else f"{order}I", start[8:] if is_big else start[4:8])
    (count,) = struct.unpack(head, stored_bytes(dataset, offset, struct.calcsize(head)))
    entries = stored_bytes(dataset, offset + struct.calcsize(head), count * size)
    for at in range(0, len(entries), size):
        if struct.unpack_from(f"{order}H", entries, at)[0] == ORIENTATION_TAG:
            return int(struct.unpack_from(f"{order}H", entries, at + value)[0])
    return UPRIGHT
