"""The bands of a stack: looked up in its files, and opened on one grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import NamedTuple

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.names import is_url, shown_name
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.rasters.rpcs import RpcHeights
from segment_tiles.pipeline.sources.stacks.description import Member, MemberResampling, StackDescription
from segment_tiles.pipeline.sources.stacks.grid import Grid, grid_of_files, is_finer, placement
from segment_tiles.pipeline.sources.stacks.part import Part
from segment_tiles.pipeline.sources.stacks.warped_part import WarpedPart
from segment_tiles.pipeline.wording import counted


@dataclass(frozen=True, slots=True)
class Band:
    """A band of a stack: the files that it is read from."""

    member: Member
    """Where it comes from."""
    numbers: tuple[int, ...]
    """1-based band of each file of the member."""
    name: str
    """Of the band; empty if it has none."""
    nodata: float | None
    """What marks a missing value, in its first file."""


class Key(NamedTuple):
    """A file, and how a member reads it."""

    file: str
    """Its name."""
    band: int | None
    """1-based; None: all but an alpha band."""
    nodata: float | None
    """Value of missing pixels; None: the declared one."""
    rpc: RpcHeights | None
    """Heights at which its RPCs are applied."""


Opened = Callable[[Key, tuple[int, ...] | None, int], Source]
"""Opens a file with these of its bands (None: all but an alpha band), at a Level."""
Specs = dict[Key, RasterSpec]
"""What is known of each."""


class Files:
    """The files of a stack: each is opened once to be looked at, and that one is read if it has the bands wanted."""

    def __init__(self, description: StackDescription, opened: Opened, stack: ExitStack) -> None:
        self._opened, self._stack = opened, stack
        self._looked_at: dict[Key, Source] = {}
        self.specs: Specs = {}
        for member in description.members:
            for layer in range(len(member.files)):
                key = key_of(member, layer)
                if key not in self.specs:
                    source = self._open(key, None if key.band is None else (key.band,), 0)
                    self._looked_at[key] = source
                    self.specs[key] = source.spec

    def read(self, key: Key, bands: tuple[int, ...], level: int) -> Source:
        """Return a file opened with these bands at a Level; no other part reads it."""
        source = self._looked_at.get(key)
        if level == 0 and source is not None and _numbers(source.spec) == bands:
            return self._looked_at.pop(key)
        return self._open(key, bands, level)

    def grid_at(self, level: int, grid: Grid, key: Key) -> Grid:
        """Return the grid of a Level of the file that it comes from."""
        if level == 0:
            return grid
        source = self._open(key, None if key.band is None else (key.band,), level)
        source.close()
        return replace(grid, georef=source.spec.georef, shape=source.spec.window.shape)

    def close_others(self) -> None:
        """Close what was only looked at."""
        for source in self._looked_at.values():
            source.close()

    def _open(self, key: Key, bands: tuple[int, ...] | None, level: int) -> Source:
        source = self._opened(key, bands, level)
        self._stack.callback(source.close)
        return source


def bands_of(description: StackDescription, specs: Specs) -> list[Band]:
    """Return the bands of all members in their order.

    Raises
    ------
    SourceError
        If files of one member have other numbers of bands.
    """
    found = []
    for member in description.members:
        spec, of_layers = specs[key_of(member, 0)], _numbers_of_layers(member, specs)
        count = len(of_layers[0])
        for index, numbers in enumerate(zip(*of_layers, strict=True)):
            name = member.name if count == 1 else f"{member.name}.{index + 1}" * bool(member.name)
            own = spec.band_names[index] if spec.band_names else ""
            stem = PurePath(shown_name(member.files[0])).stem if count == 1 else ""
            mark = spec.nodata[index] if spec.nodata else None
            found.append(Band(member, numbers, name or own or stem, mark))
    return found


def _numbers(spec: RasterSpec) -> tuple[int, ...]:
    return spec.band_numbers or tuple(range(1, spec.bands + 1))


def _numbers_of_layers(member: Member, specs: Specs) -> list[tuple[int, ...]]:
    """Return the bands of each file of a member: of all those of the first, unless more is said of each."""
    first = _numbers(specs[key_of(member, 0)])
    if not member.layers:
        return [first] * len(member.files)
    found = [_numbers(specs[key_of(member, layer)]) for layer in range(len(member.files))]
    for file, own in zip(member.files, found, strict=True):
        if len(own) != len(first):
            msg = (
                f"{shown_name(file)}: has {counted(len(own), 'band')}, but {shown_name(member.files[0])}, on which it "
                f"lies, has {len(first)}; choose other assets"
            )
            raise SourceError(msg)
    return found


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


def key_of(member: Member, layer: int) -> Key:
    """Return under which key a file of a member is known, by its position among them."""
    told = member.told(layer)
    return Key(member.files[layer], told.band, told.nodata, member.rpc)


def grid_of(description: StackDescription, files: Files, level: int) -> tuple[Grid, Grid]:
    """Return the grid of a stack, and that of a Level: a raster's that is no member, or a member's over all its files.

    Raises
    ------
    SourceError
        If files of the member have other pixels.
    UsageError
        If no member is called so, or a Level is asked for of a grid that has none.
    """
    like = description.like
    if like is not None:
        if level:
            msg = f"--level is {level}, but the stack has the grid of {shown_name(like.of)}; leave it out"
            raise UsageError(msg)
        a, b, c, d, e, f = like.transform
        found = Grid(GeoRef((a, b, c, d, e, f), like.crs), like.shape, like.of, takes_all=True)
        return found, found
    base = base_of(description, files.specs)
    named = [(file, files.specs[key_of(base, layer)]) for layer, file in enumerate(base.files)]
    grid = replace(grid_of_files(base.files[0], named), takes_all=bool(description.grid_of))
    return grid, files.grid_at(level, grid, key_of(base, 0))


def _names_of(member: Member) -> set[str]:
    """Return what a member may be called; its address without secrets, which is no part of what is kept of a run."""
    shown = shown_name(member.files[0])
    return {member.name, PurePath(shown).name, PurePath(shown).stem, member.files[0], shown}


def base_of(description: StackDescription, specs: Specs) -> Member:
    """Return the member whose grid it is.

    Raises
    ------
    UsageError
        If none is called so.
    """
    if description.grid_of:
        named = [member for member in description.members if description.grid_of in _names_of(member)]
        if len({member.files[0] for member in named}) > 1 and is_url(description.grid_of):
            msg = (
                f"--grid-of is {description.grid_of}, as {len(named)} members are called; give them names in a "
                "stack file"
            )
            raise UsageError(msg)
        if named:
            return named[0]
        known = ", ".join(
            member.name or PurePath(shown_name(member.files[0])).name for member in description.members
        )
        msg = f"--grid-of is {shown_name(description.grid_of)!r}; it must be one of the members: {known}"
        raise UsageError(msg)
    finest = description.members[0]
    for member in description.members[1:]:
        one, other = (specs[key_of(each, 0)] for each in (member, finest))
        if is_finer(one, other):
            finest = member
    return finest


Group = tuple[int, Key, MemberResampling, int | None]
"""What is read of one open file: of which layer, with which resampling, and for which position alone; None: for all."""


def opened_parts(bands: Sequence[Band], grid: Grid, read: Grid, level: int, files: Files) -> tuple[Part, ...]:
    """Open what is read: a file on the grid once for all of its bands, a resampled or layered one once for each.

    Several bands of a file have one mask: it does not say of which of them the value below is seen. Without holes it
    hides nothing.
    """
    groups: dict[Group, list[int]] = {}
    for position, band in enumerate(bands):
        member = band.member
        for layer, file in enumerate(member.files):
            key = key_of(member, layer)
            is_whole = len(member.files) == 1 or files.specs[key].has_no_holes
            is_shared = is_whole and placement(grid, file, files.specs[key]).is_same
            group = (layer, key, member.resampling, None if is_shared else position)
            groups.setdefault(group, []).append(position)
    parts: list[Part] = []
    # the first files of all bands before those that lie on top of them
    for group, positions in sorted(groups.items(), key=lambda entry: entry[0][0]):
        is_same = placement(grid, group[1].file, files.specs[group[1]]).is_same
        parts += _opened_of(group, positions, bands, read, level if is_same else 0, files)
    files.close_others()
    return tuple(parts)


def _opened_of(
    group: Group, positions: Sequence[int], bands: Sequence[Band], read: Grid, level: int, files: Files
) -> list[Part]:
    layer, key, resampling, _ = group
    source = files.read(key, tuple(bands[position].numbers[layer] for position in positions), level)
    at = placement(read, key.file, source.spec)
    if len(positions) > 1 and not at.is_same:  # its overview has other pixels than that of the grid
        source.close()
        return [part for one in positions for part in _opened_of(group, [one], bands, read, level, files)]
    is_layered = len(bands[positions[0]].member.files) > 1
    # of positions in a colour table no means can be made
    how: MemberResampling = "nearest" if source.spec.color_tables else resampling
    kind = Part if at.crossing is None else WarpedPart
    return [kind(source, tuple(positions), at, how, key.file, is_layered, layer)]
