"""Where a raster lies, if the file says so in another way than by a transform: GCPs, RPCs, arrays, a turned scan."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.rasters.rpcs import GROUND, RpcHeights
from segment_tiles.pipeline.sources.rasters.stored_bytes import stored_bytes

GCPS_AT_LEAST: Final = 3
"""Ground control points that a polynomial of the first order needs."""
UPRIGHT: Final = 1
"""TIFF and Exif: the first row is the top, the first column the left."""
ORIENTATION_TAG: Final = 274
_BIG_TIFF: Final = 43
UNUSABLE: Final[tuple[type[Exception], ...]] = (*GDAL_ERRORS, ValueError)


@dataclass(frozen=True, slots=True)
class Placed:
    """A raster on a grid of the world, as far as GDAL can place it."""

    dataset: Any
    """What is read: the file itself, or GDAL's warped view of it."""
    file: Any
    """The file itself."""
    by: str = ""
    """What placed it, if it is read through a view."""
    rpc: RpcHeights | None = None
    """Heights at which its RPCs placed it."""

    @property
    def is_warped(self) -> bool:
        """Whether it is read through a warped view, whose last band is alpha."""
        return self.dataset is not self.file

    def close(self) -> None:
        """Release both."""
        if self.is_warped:
            self.dataset.close()
        self.file.close()


def placed(file: Any, uri: str, *, is_overview: bool = False, rpc: RpcHeights | None = None) -> Placed:
    """Return a raster as GDAL places it: through the warped view by its RPCs if heights are told, or by GCPs alone.

    The view has the nearest pixel of the file everywhere, computed without approximation, so that a value does not
    depend on the window that is read; what lies outside the file is transparent.

    Parameters
    ----------
    file, uri
        The open file, which is closed if it is refused, and its name for messages.
    is_overview
        Whether it is one of the overviews of the file.
    rpc
        Heights at which its RPCs are applied, whatever else places it; None: they are not.

    Raises
    ------
    SourceError
        If points or RPCs cannot be used, or the file is an overview: of them GDAL makes another grid.
    """
    points, crs = file.gcps
    # GDAL gives overviews of a raster without transform no size of pixels
    has_transform = not file.transform.is_identity and not (is_overview and file.transform.determinant == 0)
    if rpc is None and (has_transform or len(points) < GCPS_AT_LEAST or crs is None):
        return Placed(file, file)
    by = f"{len(points)} ground control points" if rpc is None else f"RPCs {rpc}"
    try:
        if rpc is not None and not file.tags(ns="RPC"):
            msg = f"{uri}: has no RPCs that --rpc-height or --rpc-dem could apply; leave these out"
            raise SourceError(msg)
        if is_overview:
            msg = (
                f"{uri}: is placed by its {by}, which overviews do not have: leave --level out, or apply the "
                f"{'points' if rpc is None else 'RPCs'} first: gdalwarp"
            )
            raise SourceError(msg)
        return Placed(_view(file, rpc), file, by, rpc)
    except UNUSABLE as error:
        file.close()
        msg = f"{uri}: GDAL cannot use its {by} ({one_line(error)}); apply or remove them first"
        raise SourceError(msg) from error
    except SourceError:
        file.close()
        raise


def _view(file: Any, rpc: RpcHeights | None) -> WarpedVRT:
    """Return GDAL's warped view of a file."""
    has_alpha = any(kind.name == "alpha" for kind in file.colorinterp)
    options: dict[str, Any] = {} if has_alpha else {"add_alpha": True}
    if rpc is not None:
        # every pixel of a part says which of the file it needs: relief moves those inside further than its edges
        exact = {"SAMPLE_GRID": "YES", "SAMPLE_STEPS": "ALL"}
        options |= {"src_crs": GROUND, "crs": GROUND, "METHOD": "RPC", **exact, **rpc.options()}
    view = WarpedVRT(
        file, src_nodata=None, nodata=None, resampling=Resampling.nearest, tolerance=0, **options
    )
    if rpc is not None:
        rpc.refuse_elsewhere(view.bounds)
    return view


def placement_notes(raster: Placed, uri: str) -> list[str]:
    """Return what the user should know of how a raster was placed, and what of the file was not applied."""
    file, name = raster.file, Path(uri.split("?", maxsplit=1)[0]).name
    points, crs = file.gcps
    if raster.is_warped:
        view = raster.dataset
        notes = [
            f"placed by its {raster.by}, through GDAL's warped view of it: "
            f"{view.height} x {view.width} px in {view.crs.to_string()}, nearest neighbour"
        ]
        if raster.rpc is not None and (share := raster.rpc.share_of(file)) < 1:
            notes.append(
                f"the DEM {Path(shown_name(raster.rpc.dem)).name} has heights for {min(share, 0.999):.1%} of its "
                "pixels alone; what lies outside has no position, and the map has no data there"
            )
        return notes
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
                "it has RPCs and no other georeference; they are not applied and the map is in pixels: --rpc-dem FILE "
                "applies them on the heights of a DEM, --rpc-height METRES at one height, 0 as gdalwarp -rpc has it"
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
