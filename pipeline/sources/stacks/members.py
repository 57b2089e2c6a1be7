"""The bands of a stack: looked up in its files, and opened on one grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.stacks.description import Member, StackDescription
from segment_tiles.pipeline.sources.stacks.grid import Axis, Grid, grid_of_files, is_finer, placement
from segment_tiles.pipeline.sources.stacks.part import Part

Opened = Callable[[str, tuple[int, ...] | None, float | None, int], Source]
"""Opens a file with these of its bands (None: all but an alpha band) and this nodata value (None: the declared), at a
Level."""


@dataclass(frozen=True, slots=True)
class Band:
    """A band of a stack: the files that it is read from."""

    member: Member
    """Where it comes from."""
    number: int
    """1-based band of each file."""
    name: str
    """Of the band; empty if it has none."""
    nodata: float | None
    """What marks a missing value, in its first file."""


Key = tuple[str, int | None, float | None]
"""A file, with the band (None: all) and the nodata value that a member asks for."""
Specs = dict[Key, RasterSpec]
"""What is known of each."""


class Files:
    """The files of a stack: each is opened once to be looked at, and that one is read if it has the bands wanted."""

    def __init__(self, description: StackDescription, opened: Opened, stack: ExitStack) -> None:
        self._opened, self._stack = opened, stack
        self._looked_at: dict[Key, Source] = {}
        self.specs: Specs = {}
        for member in description.members:
            for file in member.files:
                key = (file, member.band, member.nodata)
                if key not in self.specs:
                    source = self._open(key, None if member.band is None else (member.band,), 0)
                    self._looked_at[key] = source
                    self.specs[key] = source.spec

    def read(self, key: Key, bands: tuple[int, ...], level: int) -> Source:
        """Return a file opened with these bands at a Level; no other part reads it."""
        source = self._looked_at.get(key)
        if (
            level == 0
            and source is not None
            and (source.spec.band_numbers or tuple(range(1, source.spec.bands + 1))) == bands
        ):
            return self._looked_at.pop(key)
        return self._open(key, bands, level)

    def grid_at(self, level: int, grid: Grid, key: Key) -> Grid:
        """Return the grid of a Level of the file that it comes from."""
        if level == 0:
            return grid
        source = self._open(key, None if key[1] is None else (key[1],), level)
        source.close()
        return Grid(source.spec.georef, source.spec.window.shape, grid.of)

    def close_others(self) -> None:
        """Close what was only looked at."""
        for source in self._looked_at.values():
            source.close()

    def _open(self, key: Key, bands: tuple[int, ...] | None, level: int) -> Source:
        source = self._opened(key[0], bands, key[2], level)
        self._stack.callback(source.close)
        return source


def bands_of(description: StackDescription, specs: Specs) -> list[Band]:
    """Return the bands of all members in their order; a name that two have says of neither which it is."""
    found = []
    for member in description.members:
        spec = specs[member.files[0], member.band, member.nodata]
        numbers = spec.band_numbers or tuple(range(1, spec.bands + 1))
        for index, number in enumerate(numbers):
            name = member.name if len(numbers) == 1 else f"{member.name}.{index + 1}" * bool(member.name)
            own = spec.band_names[index] if spec.band_names else ""
            stem = PurePath(shown_name(member.files[0])).stem if len(numbers) == 1 else ""
            mark = spec.nodata[index] if spec.nodata else None
            found.append(Band(member, number, name or own or stem, mark))
    names = [band.name for band in found]
    return [replace(band, name="") if names.count(band.name) > 1 else band for band in found]


def chosen_bands(bands: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """Return the 1-based bands that are read.

    Raises
    ------
    UsageError
        If the stack does not have one.
    """
    if bands is None:
        return tuple(range(1, count + 1))
    for band in bands:
        if not 1 <= band <= count:
            msg = f"--bands names band {band}, but the stack has bands 1 to {count}"
            raise UsageError(msg)
    return tuple(bands)


def key_of(member: Member, file: str) -> Key:
    """Return under which key a file of a member is known."""
    return file, member.band, member.nodata


def grid_of(base: Member, specs: Specs) -> Grid:
    """Return the grid of a stack, that of a member over all of its files.

    Raises
    ------
    SourceError
        If its files have other pixels.
    """
    return grid_of_files(base.files[0], [(file, specs[file, base.band, base.nodata]) for file in base.files])


def base_of(description: StackDescription, specs: Specs) -> Member:
    """Return the member whose grid it is.

    Raises
    ------
    UsageError
        If none is called so.
    """
    if description.grid_of:
        for member in description.members:
            file = PurePath(shown_name(member.files[0]))
            if description.grid_of in {member.name, file.name, file.stem, member.files[0]}:
                return member
        known = ", ".join(
            member.name or PurePath(shown_name(member.files[0])).name for member in description.members
        )
        msg = f"--grid-of is {description.grid_of!r}; it must be one of the members: {known}"
        raise UsageError(msg)
    finest = description.members[0]
    for member in description.members[1:]:
        one, other = (specs[each.files[0], each.band, each.nodata] for each in (member, finest))
        if is_finer(one, other):
            finest = member
    return finest


def opened_parts(bands: Sequence[Band], grid: Grid, read: Grid, level: int, files: Files) -> tuple[Part, ...]:
    """Open what is read: a file on the grid once for all of its bands, a resampled one once for each."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for position, band in enumerate(bands):
        member = band.member
        for layer, file in enumerate(member.files):
            at = placement(grid, file, files.specs[file, member.band, member.nodata])
            alone = None if at.is_same else position
            key = (layer, (file, member.band, member.nodata), member.resampling, alone)
            groups.setdefault(key, []).append(position)
    parts = []
    # the first files of all bands before those that lie on top of them
    for (_, key, resampling, _), positions in sorted(groups.items(), key=lambda group: group[0][0]):
        is_same = placement(grid, key[0], files.specs[key]).is_same
        source = files.read(
            key, tuple(bands[position].number for position in positions), level if is_same else 0
        )
        is_layered = any(len(bands[position].member.files) > 1 for position in positions)
        at = placement(read, key[0], source.spec)
        parts.append(Part(source, tuple(positions), at, resampling, key[0], is_layered))
    files.close_others()
    return tuple(parts)


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
        chunk=(min(rows, grid.shape[0]), min(columns, grid.shape[1])),
        decoded_bytes=int(np.ceil(sum(shares))),
    )


def _scale_offsets(bands: Sequence[Band], parts: Sequence[Part]) -> tuple[tuple[float, float], ...]:
    """Return scale and offset of every band; nothing if no file has any, or files of one band have different ones."""
    found: list[set[tuple[float, float]]] = [set() for _ in bands]
    for part in parts:
        pairs = part.source.spec.scale_offsets or ((1.0, 0.0),) * len(part.positions)
        for position, pair in zip(part.positions, pairs, strict=True):
            member = bands[position].member
            told = (member.scale, member.offset)
            is_told = told != (None, None)
            found[position].add((1.0 if told[0] is None else told[0], told[1] or 0.0) if is_told else pair)
    if any(len(pairs) != 1 for pairs in found) or all(pairs == {(1.0, 0.0)} for pairs in found):
        return ()
    return tuple(pair for pairs in found for pair in pairs)


def _on_grid(pixels: int, axis: Axis) -> int:
    """Return how many pixels of the grid so many of a file take."""
    return max(1, math.ceil(pixels / abs(axis.factor)))
