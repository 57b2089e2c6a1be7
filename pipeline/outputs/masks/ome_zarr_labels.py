"""The class map as OME-Zarr 0.5 labels: a label image of its own, or inside the OME-Zarr it was made from.

::

    classes.ome.zarr/       image.ome.zarr/
      0  1  2 ...             0  1  2 ...            the picture
                              labels/                lists its label images
                                NAME/  0  1  2 ...   the class map

Values are the codes of the class map. Specification: https://ngff.openmicroscopy.org/0.5
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import zarr

from segment_tiles.pipeline.errors import UsageError, one_line
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.outputs.finished_file import finished_file, make_output_folder, write_failed
from segment_tiles.pipeline.outputs.masks.label_levels import label_shapes, level_parts
from segment_tiles.pipeline.outputs.stores.store import array_of, create_array, read_class_table, read_georef
from segment_tiles.pipeline.sources.pyramids.ome_zarr import own_georef
from segment_tiles.pipeline.sources.pyramids.pyramid import downsample

VERSION: Final = "0.5"
LABELS: Final = "labels"
TRANSPARENT: Final = [0, 0, 0, 0]
OPAQUE: Final = 255


def write_ome_zarr_labels(
    group: zarr.Group,
    path: Path,
    *,
    source_levels: Sequence[tuple[int, int]] = (),
    pixel_counts: Sequence[int] | None = None,
    name: str = "classes",
    inside: GeoRef | None = None,
) -> None:
    """Write a label image as a Zarr 3 group of its own.

    Parameters
    ----------
    group
        The store of a run, with overviews.
    path
        The folder to write or replace.
    source_levels
        Rows and columns of the levels of the source: the labels have as many.
    pixel_counts
        Pixels of each class, for the properties of the labels.
    name
        Of the image.
    inside
        If it lies in the ``labels`` group of the image it was made from: where that image lies, in its own numbers
        and unit, which the labels repeat.

    Raises
    ------
    WriteFailedError
        If the disk is full or read-only; nothing stands under the final name then.
    """
    table, georef = read_class_table(group), read_georef(group)
    height, width = array_of(group, "classes").shape
    shapes = label_shapes((height, width), source_levels)
    with finished_file(path) as partial:
        labels = zarr.open_group(partial, mode="w", zarr_format=3)
        for level, shape in enumerate(shapes):
            array = create_array(labels, str(level), shape, table.dtype, table.nodata, {})
            for window, codes in level_parts(group, shape):
                array[window.slices()] = codes
        labels.attrs["ome"] = {
            "version": VERSION,
            "multiscales": [multiscale(inside or georef, shapes, name)],
            "image-label": _image_label(table, georef, pixel_counts, inside=inside is not None),
        }


def write_labels_inside(
    group: zarr.Group,
    source: Path,
    name: str,
    *,
    source_levels: Sequence[tuple[int, int]],
    pixel_counts: Sequence[int] | None = None,
) -> Path:
    """Write a label image into an OME-Zarr 0.5 image and return its folder.

    A label image of this name is replaced; others stay.

    Raises
    ------
    UsageError
        If the image is not one of this version on this machine, or not the size of the class map.
    WriteFailedError
        If it cannot be written.
    """
    inside = check_labels_inside(source, tuple(array_of(group, "classes").shape), source_levels)
    target = source / LABELS / name
    make_output_folder(target.parent)  # of a source that has no labels yet
    write_ome_zarr_labels(
        group, target, source_levels=source_levels, pixel_counts=pixel_counts, name=name, inside=inside
    )
    try:
        labels = zarr.open_group(source / LABELS, mode="a", zarr_format=3)
        own: Any = labels.attrs.get("ome", {})
        listed = [*(entry for entry in own.get(LABELS, []) if entry != name), name]
        labels.attrs["ome"] = {"version": VERSION, LABELS: listed}
    except OSError as error:
        raise write_failed(source / LABELS, error) from error
    return target


def check_labels_inside(
    source: Path, shape: tuple[int, ...], source_levels: Sequence[tuple[int, int]]
) -> GeoRef:
    """Refuse a source that cannot hold the labels, and return where it lies, in its own numbers and unit.

    Raises
    ------
    UsageError
        Naming what it is and what is needed.
    """
    try:
        image = zarr.open_group(source, mode="r", zarr_format=3)
        own: Any = image.attrs.get("ome", {})
    except (OSError, ValueError, KeyError) as error:
        msg = f"--labels-inside: {source} is no OME-Zarr {VERSION} image in a folder ({one_line(error)}); leave it out"
        raise UsageError(msg) from error
    if "multiscales" not in own or str(own.get("version")) != VERSION:
        msg = f"--labels-inside: {source} is no OME-Zarr {VERSION} image; leave the option out"
        raise UsageError(msg)
    if not source_levels or tuple(source_levels[0]) != shape:
        size = f"{source_levels[0][0]} x {source_levels[0][1]}" if source_levels else "unknown"
        msg = (
            f"--labels-inside: the class map has {shape[0]} x {shape[1]} pixels, the image {size}; labels inside an "
            "image have its size: leave out --roi, --mpp and --level, or this option"
        )
        raise UsageError(msg)
    return own_georef(own)


WITHOUT_SIZE = ("pixel", "map unit")
"""Units that NGFF does not know."""


def multiscale(
    georef: GeoRef, shapes: Sequence[tuple[int, int]], name: str, kind: str = "mode"
) -> dict[str, Any]:
    """Return what NGFF says of the levels of an image, ``kind`` how coarser ones were made."""
    unit = {} if georef.unit in WITHOUT_SIZE else {"unit": georef.unit}
    return {
        "name": name,
        "type": kind,
        "axes": [{"name": axis, "type": "space", **unit} for axis in ("y", "x")],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _transformations(georef, shapes[0], shape)}
            for level, shape in enumerate(shapes)
        ],
    }


def _transformations(georef: GeoRef, full: tuple[int, int], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Return scale and translation of a level, which place the centre of its first pixel.

    The centre of the first full-resolution pixel of the source is at its own origin, as NGFF has it; larger
    pixels have theirs further in, by half of what they are larger.
    """
    a, _, x, _, e, y = georef.transform
    y = -y if e < 0 else y  # NGFF counts down, as the source does
    full_width, full_height = (a, e) if georef.full_resolution is None else georef.full_resolution[0::4]
    down, across = downsample(full, shape)
    height, width, full_height = abs(e) * down, a * across, abs(full_height)
    return [
        {"type": "scale", "scale": [height, width]},
        {
            "type": "translation",
            "translation": [y + (height - full_height) / 2, x + (width - full_width) / 2],
        },
    ]


def _image_label(
    table: ClassTable, georef: GeoRef, pixel_counts: Sequence[int] | None, *, inside: bool
) -> dict[str, Any]:
    counts = dict(enumerate(pixel_counts or ()))
    properties: list[dict[str, Any]] = []
    for entry in table.classes:
        known: dict[str, Any] = {"label-value": entry.code, "class": entry.name}
        if entry.code in counts:
            known |= {"pixels": counts[entry.code], "area": counts[entry.code] * georef.pixel_area}
            known["area-unit"] = "pixel" if georef.unit in WITHOUT_SIZE else f"square {georef.unit}"
        properties.append(known)
    colors = [{"label-value": entry.code, "rgba": [*entry.color, OPAQUE]} for entry in table.classes]
    return {
        "colors": [*colors, {"label-value": table.nodata, "rgba": TRANSPARENT}],
        "properties": [*properties, {"label-value": table.nodata, "class": "no data"}],
        **({"source": {"image": "../../"}} if inside else {}),
    }
