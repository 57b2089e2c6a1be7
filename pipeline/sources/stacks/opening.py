"""The door to stacks: their members are opened by the door to all sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import SourceError, UsageError, one_line
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.stacks.description import LikeGrid, StackDescription, stack_named
from segment_tiles.pipeline.sources.stacks.grid import Grid, lies_apart
from segment_tiles.pipeline.sources.stacks.members import Files, Key, Opened
from segment_tiles.pipeline.sources.stacks.signing import Address, Signed, is_signed
from segment_tiles.pipeline.sources.stacks.stack import StackSource


def open_stack(
    uri: str,
    opened: Callable[..., Source],
    *,
    bands: Sequence[int] | None,
    nodata: float | None,
    nodata_rule: NodataRule,
    level: int = 0,
) -> StackSource:
    """Open a stack by its name.

    Parameters
    ----------
    uri
        Its name.
    opened
        Opens a file: takes its name, and ``bands``, ``nodata``, ``level``, ``address`` and ``rpc``.
    bands, nodata, nodata_rule, level
        As for every source.

    Raises
    ------
    SourceError, UsageError
        If a file cannot be opened, naming it, or cannot be brought onto the grid.
    """
    description = stack_named(uri)
    member = _opener(description, opened, nodata)
    return StackSource(description, member, bands=bands, nodata_rule=nodata_rule, level=level)


def laid_on(uri: str, like: Callable[[], LikeGrid], opened: Callable[..., Source]) -> str:
    """Return the name of a stack on the grid of a raster, if its members cannot be brought onto that of one of them.

    Parameters
    ----------
    uri
        Its name.
    like
        Gives the grid of the raster; not asked for a stack whose members have one CRS, or that has a grid already.
    opened
        As of `open_stack`.

    Raises
    ------
    SourceError, UsageError
        If a file cannot be opened, naming it.
    """
    description = stack_named(uri)
    if description.grid_of or description.like is not None:
        return uri
    with ExitStack() as stack:
        first, *others = Files(description, _opener(description, opened, None), stack).specs.items()
        grid = Grid(first[1].georef, first[1].window.shape, first[0].file)
        if not any(lies_apart(grid, spec) for _, spec in others):
            return uri
    return replace(description, like=like()).text()


def _opener(description: StackDescription, opened: Callable[..., Source], nodata: float | None) -> Opened:
    """Return what opens the files of a stack; ``opened`` and ``nodata`` as of `open_stack`."""

    def member(key: Key, chosen: tuple[int, ...] | None, level: int) -> Source:
        file = key.file
        address = Address(Signed(file, description.sign)) if is_signed(file, description.sign) else None
        mark = key.nodata if nodata is None else nodata
        try:
            return opened(file, bands=chosen, nodata=mark, level=level, address=address, rpc=key.rpc)
        except UsageError as error:
            if shown_name(file) in str(error):
                raise
            msg = f"{shown_name(file)}: {one_line(error)}"
            raise SourceError(msg) from error

    return member
