"""Outlines of labelled pixels, by GDAL's polygonizer."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import one_line
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.library_messages import ignored_warnings
from segment_tiles.pipeline.outputs.finished_file import write_failed

PIPELINE_NEEDS_GDAL = (3, 12)
"""First GDAL whose ``gdal pipeline`` may end in ``polygonize`` (GDALG driver documentation)."""

FEW_EDGES = 40_000
"""Sides of pixels on an outline up to which the dictionaries of rasterio are taken.

They cost about 1.7 microseconds for each, a GDAL pipeline 0.5 and a round trip through a file; and the first one of a
process imports pyogrio, which brings pandas: as long as all the rest of a picture of 400 pixels takes.
"""


def has_gdal_pipeline() -> bool:
    """Return True if GDAL hands polygons to Arrow."""
    import pyogrio  # noqa: PLC0415 - brings pandas: only processes that trace pay for it

    return bool(pyogrio.__gdal_version__ >= PIPELINE_NEEDS_GDAL and "GDALG" in pyogrio.list_drivers())


def trace_outlines(
    labels: NDArray[np.int32], *, with_unlabelled: bool
) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    """Trace the 4-connected areas of equal label along pixel edges.

    GDAL's polygonizer hands its polygons to Arrow through the GDALG driver, several times faster than
    the dictionaries of ``rasterio.features.shapes``, which replaces it if GDAL is older than 3.12.

    Parameters
    ----------
    labels : array rows x columns of int32
        Labels; 0 is not labelled.
    with_unlabelled : bool
        Trace the areas of label 0 as well.

    Returns
    -------
    labels : array of int32
        Label of each polygon; a label of several 4-connected areas comes several times.
    polygons : array of shapely Polygons
        In pixels: x is the column and y the row, of pixel corners.
    """
    if not with_unlabelled:
        if not labels.any():
            return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.object_)
        with_unlabelled = bool(labels.all())  # GDAL is faster if it need not look for nodata
    if edges_of(labels) > FEW_EDGES and has_gdal_pipeline():
        return _trace_by_pipeline(labels, with_unlabelled=with_unlabelled)
    return _trace_by_rasterio(labels, with_unlabelled=with_unlabelled)


def edges_of(labels: NDArray[np.int32]) -> int:
    """Return how many sides of pixels lie between two labels: what outlines are made of."""
    across = np.count_nonzero(labels[:, 1:] != labels[:, :-1])
    return int(across + np.count_nonzero(labels[1:] != labels[:-1]))


def _trace_by_pipeline(
    labels: NDArray[np.int32], *, with_unlabelled: bool
) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    import pyogrio  # noqa: PLC0415 - as above

    algorithm = {"type": "gdal_streamed_alg", "command_line": "gdal pipeline read labels.vrt ! polygonize"}
    with tempfile.TemporaryDirectory(prefix="segment-tiles-") as name:
        folder = Path(name)
        try:
            (folder / "labels.raw").write_bytes(np.ascontiguousarray(labels, dtype=np.int32).data)
            (folder / "labels.vrt").write_text(_raw_raster_xml(labels.shape, with_unlabelled=with_unlabelled))
            (folder / "outlines.gdalg.json").write_text(json_text(algorithm, indent=None))
        except OSError as error:
            raise write_failed(folder, error) from error
        # GDAL keeps polygons on their way in a file, by default in the folder that the user works in; the option is
        # one for all threads, so it names the folder that they share
        pyogrio.set_gdal_config_options({"CPL_TMPDIR": tempfile.gettempdir()})
        try:
            meta, table = pyogrio.read_arrow(folder / "outlines.gdalg.json")
        except RuntimeError as error:  # all of pyogrio's are; what may fail here is that file of GDAL's
            raise write_failed(folder, OSError(one_line(error))) from error
    wkb = table[meta["geometry_name"] or "wkb_geometry"].to_numpy(zero_copy_only=False)
    return table["DN"].to_numpy().astype(np.int32), shapely.from_wkb(wkb)


def _raw_raster_xml(shape: tuple[int, ...], *, with_unlabelled: bool) -> str:
    """Describe labels.raw to GDAL (VRTRawRasterBand): no copy, no compression, no transform."""
    order = "LSB" if sys.byteorder == "little" else "MSB"
    nodata = "" if with_unlabelled else "<NoDataValue>0</NoDataValue>"
    return (
        f'<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}">'
        f'<VRTRasterBand dataType="Int32" band="1" subClass="VRTRawRasterBand">{nodata}'
        f'<SourceFilename relativeToVRT="1">labels.raw</SourceFilename><ByteOrder>{order}</ByteOrder>'
        "</VRTRasterBand></VRTDataset>"
    )


def _trace_by_rasterio(
    labels: NDArray[np.int32], *, with_unlabelled: bool
) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    from rasterio.features import shapes  # noqa: PLC0415 - not needed if GDAL is new enough

    mask = None if with_unlabelled else labels != 0
    with ignored_warnings():  # it changes filters itself, which would be those of all threads
        pairs = list(shapes(labels, mask=mask, connectivity=4))
    polygons = np.array([shapely.geometry.shape(outline) for outline, _ in pairs], dtype=np.object_)
    return np.array([label for _, label in pairs], dtype=np.int32), polygons
