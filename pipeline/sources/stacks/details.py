"""What a stack says of itself, for `info` and for notes: every member, and how it was brought onto the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segment_tiles.pipeline.grid.raster import RasterSpec, json_number
from segment_tiles.pipeline.names import shown_name, title_of
from segment_tiles.pipeline.sources.stacks.part import Part


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
                    "pixel": [abs(own.georef.transform[0]), abs(own.georef.transform[4])],
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
        f"{title_of(part.file)} ({_pixel(part.source.spec)}, {part.resampling})"
        for part in parts
        if not part.at.is_same
    ]
    if resampled:
        notes.append(f"brought onto {onto}: {', '.join(dict.fromkeys(resampled))}")
    for part in parts:
        covered = part.covered(spec.window)
        if covered != spec.window and not part.is_layered:
            share = covered.area / spec.window.area
            notes.append(f"{title_of(part.file)} covers {share:.1%} of {onto}; outside it has no data")
    return notes


def _pixel(spec: RasterSpec) -> str:
    """Return the width of pixels, and their height if it is another."""
    width, height = abs(spec.georef.transform[0]), abs(spec.georef.transform[4])
    return f"{width:g}" if width == height else f"{width:g} x {height:g}"
