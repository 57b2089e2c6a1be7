"""OME-Zarr 0.4 and 0.5, and plain Zarr arrays: a folder, or an object store by URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import zarr

from segment_tiles.pipeline.errors import MissingExtraError, SourceError, one_line
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.sources.damage import DAMAGE, said
from segment_tiles.pipeline.sources.patience import SILENCE_SECONDS
from segment_tiles.pipeline.sources.pyramids.decoded_chunks import read_errors
from segment_tiles.pipeline.sources.pyramids.image_pyramid import ImageDescription, ImagePyramid
from segment_tiles.pipeline.sources.pyramids.physical_size import micrometers
from segment_tiles.pipeline.sources.view import View
from segment_tiles.pipeline.wording import counted

READABLE: Final = ("0.1", "0.2", "0.3", "0.4", "0.5")
"""Versions whose metadata are understood; before 0.4 there is no physical size in them."""
AXES_BY_COUNT: Final = {2: "yx", 3: "cyx", 4: "czyx", 5: "tczyx"}
"""Axes of an array that does not name them."""
COLOUR_SAMPLES: Final = (3, 4)
"""Sizes of a last axis, in an array of three without names, that is taken for the samples of a colour."""


def open_zarr(uri: str, view: View, cache_bytes: int) -> ImagePyramid:
    """Open an OME-Zarr image, or a Zarr array.

    Raises
    ------
    MissingExtraError
        If the library for this kind of URL is not installed.
    SourceError
        If it cannot be read, is no image, or holds several.
    UsageError
        If the plane that was chosen does not exist.
    """
    node = _open(uri)
    if isinstance(node, zarr.Array):
        return ImagePyramid(uri, [node], _plain(node), view, cache_bytes)
    attributes = dict(node.attrs)
    own: Any = attributes.get("ome", attributes)
    if "multiscales" in own:
        arrays, description = _image(uri, node, own)
        return ImagePyramid(uri, arrays, description, view, cache_bytes)
    return open_zarr(_image_inside(uri, node, own), view, cache_bytes)


def _open(uri: str) -> zarr.Array[Any] | zarr.Group:
    try:
        return zarr.open(uri, mode="r", storage_options=_storage_options(uri))
    except ImportError as error:
        msg = f"{uri}: {one_line(error)}; such URLs need more: pip install 'segment-tiles[object-store]'"
        raise MissingExtraError(msg) from error
    except read_errors() as error:
        msg = f"{uri}: cannot be opened as Zarr ({said(error)}); check the path, or the connection"
        raise SourceError(msg) from error


def _storage_options(uri: str) -> dict[str, Any] | None:
    """Return what ends a request that gets no answer; s3fs has such times of its own."""
    if not uri.startswith(("http://", "https://")):
        return None
    from aiohttp import ClientTimeout  # noqa: PLC0415 - an extra

    return {
        "client_kwargs": {"timeout": ClientTimeout(sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)}
    }


def _image_inside(uri: str, group: zarr.Group, own: Mapping[str, Any]) -> str:
    """Return the one image or array in a group that is none itself."""
    if "plate" in own or "well" in own:
        kind = "plate" if "plate" in own else "well"
        msg = f"{uri}: is an OME-Zarr {kind}; give one image of it, such as {uri}/{'A/1/0' if kind == 'plate' else '0'}"
        raise SourceError(msg)
    try:
        names = sorted(name for name, _ in group.members() if name not in {"OME", "labels"})
    except read_errors() as error:
        msg = f"{uri}: is a Zarr group without an image, and its contents cannot be listed ({said(error)})"
        raise SourceError(msg) from error
    if not names:
        msg = f"{uri}: is an empty Zarr group, without an image or an array; check the path"
        raise SourceError(msg)
    if len(names) != 1:
        found = ", ".join(names[:5])
        msg = f"{uri}: is a Zarr group that is no OME-Zarr image; give one of what it holds ({found}) as {uri}/NAME"
        raise SourceError(msg)
    return f"{uri.rstrip('/')}/{names[0]}"


def _image(
    uri: str, group: zarr.Group, own: Mapping[str, Any]
) -> tuple[list[zarr.Array[Any]], ImageDescription]:
    image = _first_image(uri, own)
    version = str(own.get("version") or image.get("version") or "0.4")
    if version not in READABLE:
        msg = f"{uri}: is OME-Zarr {version}; versions 0.4 and 0.5 can be read: convert it"
        raise SourceError(msg)
    try:
        datasets = image["datasets"]
        arrays = [_array(uri, group, str(entry["path"])) for entry in datasets]
        axes = _axes(image.get("axes"), arrays[0].ndim)
        _check_levels(uri, arrays, [name for name, _ in axes])
        mpp, origin = _grid(image, [name for name, _ in axes], [unit for _, unit in axes])
        channels = [str(entry.get("label", "")) for entry in own.get("omero", {}).get("channels", [])]
    except DAMAGE as error:
        msg = f"{uri}: has OME-Zarr metadata that cannot be understood ({said(error)})"
        raise SourceError(msg) from error
    details: dict[str, Any] = {"version": version, "name": image.get("name")}
    left_out = []
    if (others := len(own["multiscales"]) - 1) > 0:
        left_out.append(f"{counted(others, 'further image')} (multiscales); the first one is read")
    alike = [array for array in arrays if array.dtype == arrays[0].dtype]
    if len(alike) < len(arrays):
        other = next(array.dtype for array in arrays if array.dtype != arrays[0].dtype)
        left_out.append(f"levels of {other} values: level 0 has {arrays[0].dtype}")
        arrays = alike
    if left_out:
        details["left_out"] = "; ".join(left_out)
    return arrays, ImageDescription(
        f"OME-Zarr {version}", tuple(name for name, _ in axes), mpp, origin, tuple(channels), details=details
    )


def _first_image(uri: str, own: Mapping[str, Any]) -> Mapping[str, Any]:
    images = own["multiscales"]
    if not isinstance(images, Sequence) or not images or not isinstance(images[0], Mapping):
        msg = f"{uri}: its list of images (multiscales) is empty or no list; export it again as OME-Zarr 0.5"
        raise SourceError(msg)
    first: Mapping[str, Any] = images[0]
    if not first.get("datasets"):
        msg = f"{uri}: its image names no levels (datasets); export it again as OME-Zarr 0.5"
        raise SourceError(msg)
    return first


def _check_levels(uri: str, arrays: Sequence[zarr.Array[Any]], names: Sequence[str]) -> None:
    """Refuse levels that are not the same image in fewer pixels."""
    for number, array in enumerate(arrays):
        if array.ndim != len(names):
            msg = (
                f"{uri}: its level {number} has {array.ndim} dimensions, but its axes are {len(names)} "
                f"({', '.join(names)}); export it again"
            )
            raise SourceError(msg)
        larger = [
            name
            for name, side, full in zip(names, array.shape, arrays[0].shape, strict=True)
            if side > full or (name not in {"y", "x", "z"} and side != full)
        ]
        if larger:
            msg = (
                f"{uri}: its level {number} has {_sides(array.shape)} values and level 0 {_sides(arrays[0].shape)}, so "
                f"axis {larger[0]} does not shrink from level to level; export it again"
            )
            raise SourceError(msg)
    if not {"y", "x"} <= set(names):
        msg = f"{uri}: its axes are {', '.join(names)}; an image has y and x"
        raise SourceError(msg)


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _array(uri: str, group: zarr.Group, path: str) -> zarr.Array[Any]:
    try:
        array = group[path]
    except read_errors() as error:
        msg = f"{uri}: its level {path!r} is missing or damaged ({said(error)}); copy the image again"
        raise SourceError(msg) from error
    if not isinstance(array, zarr.Array):
        msg = f"{uri}: its level {path!r} is no array; copy the image again"
        raise SourceError(msg)
    return array


def _axes(declared: Any, count: int) -> list[tuple[str, str | None]]:
    """Return name and unit of every axis; before 0.4 they are bare names, or not there."""
    if declared is None:
        return [(name, None) for name in AXES_BY_COUNT[5][5 - count :]]
    return [
        (entry, None) if isinstance(entry, str) else (str(entry["name"]).lower(), entry.get("unit"))
        for entry in declared
    ]


def _grid(
    image: Mapping[str, Any], names: Sequence[str], units: Sequence[str | None]
) -> tuple[tuple[float, float] | None, tuple[float, float]]:
    """Return height and width of a full-resolution pixel, and x and y of the corner, in micrometres."""
    scale, offset = _scale_and_offset(image, len(names))
    y, x = names.index("y"), names.index("x")
    height, width = micrometers(scale[y], units[y]), micrometers(scale[x], units[x])
    if height is None or width is None:
        return None, (0.0, 0.0)
    return (height, width), (offset[x] / scale[x] * width, offset[y] / scale[y] * height)


def own_georef(attributes: Mapping[str, Any]) -> GeoRef:
    """Return where the first image of an OME-Zarr lies, in its own numbers and its own unit, if it has one.

    Parameters
    ----------
    attributes
        Of the image: what stands under ``ome``, or at the top before version 0.5.
    """
    image = attributes["multiscales"][0]
    declared = image.get("axes") or []
    names, units = zip(*_axes(image.get("axes"), len(declared) or 5), strict=True)
    scale, offset = _scale_and_offset(image, len(names))
    y, x = names.index("y"), names.index("x")
    transform = (scale[x], 0.0, offset[x], 0.0, scale[y], offset[y])
    return GeoRef(transform, unit=units[y] or "pixel", full_resolution=transform)


def _scale_and_offset(image: Mapping[str, Any], count: int) -> tuple[list[float], list[float]]:
    """Return the scale of full resolution along every axis, and where its first pixel lies."""
    scale, offset = [1.0] * count, [0.0] * count
    first = image["datasets"][0]
    for transformation in [
        *first.get("coordinateTransformations", []),
        *image.get("coordinateTransformations", []),
    ]:
        if transformation["type"] == "scale":
            factors = transformation["scale"]
            scale = [a * b for a, b in zip(scale, factors, strict=True)]
            offset = [a * b for a, b in zip(offset, factors, strict=True)]
        elif transformation["type"] == "translation":
            offset = [a + b for a, b in zip(offset, transformation["translation"], strict=True)]
    return scale, offset


def _plain(array: zarr.Array[Any]) -> ImageDescription:
    """Describe an array by its dimension names, or by how many dimensions it has."""
    named: Any = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if named and all(named):
        axes = tuple({"band": "c", "channel": "c"}.get(name.lower(), name.lower()) for name in named)
    else:
        letters = AXES_BY_COUNT.get(array.ndim, "")
        shape = array.shape
        if array.ndim == 3 and shape[-1] in COLOUR_SAMPLES and shape[0] not in COLOUR_SAMPLES:
            letters = "yxs"
        axes = tuple(letters)
    return ImageDescription(kind=f"Zarr array, format {array.metadata.zarr_format}", axes=axes)
