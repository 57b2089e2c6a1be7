"""What a stack says of itself: its spec, and for `info` and notes every member and how it came onto the grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from segment_tiles.pipeline.grid.raster import RasterSpec, json_number
from segment_tiles.pipeline.names import shown_name, title_of
from segment_tiles.pipeline.sources.stacks.grid import Axis, Grid
from segment_tiles.pipeline.sources.stacks.members import Band
from segment_tiles.pipeline.sources.stacks.part import Part

POSITIONS_ALONG: Final = 101
"""Of a side of the grid, by which is told how much of it a part covers that lies across it."""
OTHER_UNITS: Final = "has another scale or offset than"
"""In the line about files of one band that do not have the same."""


def stack_details(parts: Sequence[Part], spec: RasterSpec, grid_of: str) -> dict[str, Any]:
    """Return the members of a stack: plain JSON values."""
    members: list[dict[str, Any]] = []
    for part in parts:
        own = part.source.spec
        for index, position in enumerate(part.positions):
            members.append(
                {
                    "band": position + 1,
                    "name": spec.band_names[position] if spec.band_names else None,
                    "file": shown_name(part.file),
                    "file_band": own.band_numbers[index] if own.band_numbers else index + 1,
                    "height": own.height,
                    "width": own.width,
                    "pixel": list(_sides(own)),
                    "dtype": own.dtype,
                    "nodata": json_number(own.nodata[index]) if own.nodata else None,
                    "resampling": None if part.at.is_same else part.resampling,
                }
            )
    members.sort(key=lambda entry: entry["band"])
    return {"kind": "stack", "grid_of": shown_name(grid_of), "members": members}


def part_notes(parts: Sequence[Part], spec: RasterSpec, grid_of: str) -> list[str]:
    """Return a line for parts that are resampled, and one for each that does not cover the grid."""
    notes = []
    onto = f"the grid of {title_of(grid_of)} ({_pixel(spec)})"
    resampled = [
        f"{title_of(part.file)} ({_pixel(part.source.spec)}{_crossed(part)}, {part.resampling})"
        for part in parts
        if not part.at.is_same
    ]
    if resampled:
        notes.append(f"brought onto {onto}: {', '.join(dict.fromkeys(resampled))}")
    for part in parts:
        share = _share(part, spec)
        if share < 1 and not part.is_layered:
            notes.append(
                f"{title_of(part.file)} covers {min(share, 0.999):.1%} of {onto}; outside it has no data"
            )
    return notes


def _share(part: Part, spec: RasterSpec) -> float:
    """Return which share of the grid a part covers; of one that lies across it, of positions all over it."""
    if part.at.crossing is None:
        return part.covered(spec.window).area / spec.window.area
    rows, columns = (np.linspace(0.5, side - 0.5, min(side, POSITIONS_ALONG)) for side in spec.window.shape)
    down, across = part.at.crossing.positions(*np.meshgrid(rows, columns, indexing="ij"))
    height, width = part.at.crossing.size
    with np.errstate(invalid="ignore"):
        inside = (down >= 0) & (down < height) & (across >= 0) & (across < width)
    return float(inside.mean())


def unhidden_note(parts: Sequence[Part], spec: RasterSpec) -> list[str]:
    """Return a line if files have missing pixels, but by rule ``all`` none is: a band has a value everywhere."""
    masked = [part.file for part in parts if _can_miss(part.source.spec)]
    whole = [part.file for part in parts if part.source.spec.has_no_holes and _share(part, spec) == 1]
    if not masked or not whole:
        return []
    names = ", ".join(dict.fromkeys(map(title_of, masked)))
    return [
        f"what {names} marks as missing is not hidden: by --nodata-rule all a pixel is missing if all bands are, and "
        f"{title_of(whole[0])} has none that is; --nodata-rule any hides it"
    ]


def _can_miss(spec: RasterSpec) -> bool:
    # any float may be missing: only of integers this says that there is a mask
    return bool(spec.nodata) or not (spec.has_no_holes or spec.dtype.startswith("float"))


def _pixel(spec: RasterSpec) -> str:
    """Return the width of pixels, and their height if it is another."""
    width, height = (f"{side:g}" for side in _sides(spec))
    return width if width == height else f"{width} x {height}"


def _sides(spec: RasterSpec) -> tuple[float, float]:
    """Return width and height of a pixel, however it is turned, in units of the coordinates."""
    a, b, _, d, e, _ = spec.georef.transform
    return math.hypot(a, d), math.hypot(b, e)


def spec_of(bands: Sequence[Band], numbers: tuple[int, ...], grid: Grid, parts: Sequence[Part]) -> RasterSpec:
    """Return what is known of the stack; its chunk and its cache are those of all parts together."""
    names = tuple(band.name for band in bands)
    marks = tuple(band.nodata for band in bands)
    base = next((part for part in parts if part.at.is_same), parts[0])
    rows, columns = base.source.spec.chunk
    rows, columns = _on_grid(rows, base.at.rows), _on_grid(columns, base.at.columns)
    # what the cache holds for a row of chunks of each file, for each pixel of one of the base
    shares = (
        part.source.spec.cached_bytes
        * abs(part.at.rows.factor * part.at.columns.factor)
        * max(1.0, _on_grid(part.source.spec.chunk[0], part.at.rows) / rows)
        for part in parts
    )
    return RasterSpec(
        bands=len(bands),
        height=grid.shape[0],
        width=grid.shape[1],
        dtype=np.result_type(*(part.source.spec.dtype for part in parts)).name,
        georef=grid.georef,
        nodata=marks if any(mark is not None for mark in marks) else (),
        band_names=names if any(names) else (),
        band_numbers=numbers,
        scale_offsets=_scale_offsets(bands, parts),
        color_tables=_color_tables(numbers, parts),
        chunk=(min(rows, grid.shape[0]), min(columns, grid.shape[1])),
        decoded_bytes=int(np.ceil(sum(shares))),
        work_bytes=max(part.work_bytes for part in parts) + sum(part.kept_bytes for part in parts),
    )


def _color_tables(numbers: tuple[int, ...], parts: Sequence[Part]) -> tuple[int, ...]:
    found = (
        numbers[position]
        for part in parts
        for position, own in zip(part.positions, part.source.spec.band_numbers, strict=False)
        if own in part.source.spec.color_tables
    )
    return tuple(sorted(set(found)))


def _scale_offsets(bands: Sequence[Band], parts: Sequence[Part]) -> tuple[tuple[float, float], ...]:
    """Return scale and offset of every band; nothing if no file has any, or files of one band have different ones."""
    found = _units(bands, parts)
    if any(len(pairs) != 1 for pairs in found) or all(set(pairs) == {(1.0, 0.0)} for pairs in found):
        return ()
    return tuple(pair for pairs in found for pair in pairs)


def other_units(bands: Sequence[Band], parts: Sequence[Part]) -> tuple[str, ...]:
    """Return a line for each two files of one band that have other scales or offsets."""
    lines = []
    for pairs in _units(bands, parts):
        if len(pairs) > 1:
            (first, file), (second, other) = list(pairs.items())[:2]
            lines.append(
                f"{shown_name(other)}: {OTHER_UNITS} {shown_name(file)}, on which it lies: {second[0]:g} and "
                f"{second[1]:g}, not {first[0]:g} and {first[1]:g}"
            )
    return tuple(dict.fromkeys(lines))


def _units(bands: Sequence[Band], parts: Sequence[Part]) -> list[dict[tuple[float, float], str]]:
    """Return the pairs of scale and offset of every band, each with the first file that has it."""
    found: list[dict[tuple[float, float], str]] = [{} for _ in bands]
    for part in parts:
        pairs = part.source.spec.scale_offsets or ((1.0, 0.0),) * len(part.positions)
        for position, own in zip(part.positions, pairs, strict=True):
            told = bands[position].member.told(part.layer)
            scale, offset = (
                of_file if one is None else float(one)
                for one, of_file in zip((told.scale, told.offset), own, strict=True)
            )
            found[position].setdefault((scale, offset), part.file)
    return found


def _crossed(part: Part) -> str:
    """Return the CRS of a part that has another one than the grid."""
    crossing = part.at.crossing
    crs = None if crossing is None else crossing.member.crs
    return "" if crs is None else f" in {crs.to_string() if crs.to_epsg() else crs.name}"


def _on_grid(pixels: int, axis: Axis) -> int:
    """Return how many pixels of the grid so many of a file take."""
    return max(1, math.ceil(pixels / abs(axis.factor)))
