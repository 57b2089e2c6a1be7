"""The door to stacks: their members are opened by the door to all sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segment_tiles.pipeline.accepted import NodataRule
from segment_tiles.pipeline.errors import SourceError, UsageError, one_line
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.stacks.description import StackDescription, stack_named
from segment_tiles.pipeline.sources.stacks.members import Key, Opened
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
