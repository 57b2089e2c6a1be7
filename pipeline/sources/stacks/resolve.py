"""From what the user names to the name of a stack: lists, stack files and STAC items become members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.names import is_stack, is_url, shown_name
from segment_tiles.pipeline.sources.rasters.rpcs import heights_of
from segment_tiles.pipeline.sources.stacks.description import Member, StackDescription, Told, stack_named
from segment_tiles.pipeline.sources.stacks.elements import elements_of
from segment_tiles.pipeline.sources.stacks.items import AssetBand, Item, item_of
from segment_tiles.pipeline.sources.stacks.signing import callable_named
from segment_tiles.pipeline.sources.stacks.stack_file import is_stack_file, read_stack_file
from segment_tiles.pipeline.sources.volumes.volume import volume_kind
from segment_tiles.pipeline.wording import counted


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What may be said of a stack beside its files."""

    assets: tuple[str, ...] = ()
    """Names of bands of STAC items, in the order of the model; ``red@2``: of the second item."""
    grid_of: str | None = None
    """Name of the member whose grid the stack has."""
    sign: str | None = None
    """Callable that signs URLs, as ``module.name``."""
    rpc_height: float | None = None
    """Metres at which the RPCs of all members are applied."""
    rpc_dem: str | None = None
    """Raster of the heights at which they are."""

    @property
    def has_heights(self) -> bool:
        """Whether RPCs are to be applied."""
        return heights_of(self.rpc_height, self.rpc_dem) is not None

    def placed(self, stack: StackDescription) -> StackDescription:
        """Return a stack whose members are placed by their RPCs at the heights that are asked for, if any are."""
        if not self.has_heights:
            return stack
        dem = _absolute(self.rpc_dem) if self.rpc_dem else ""
        members = (replace(one, rpc_height=self.rpc_height, rpc_dem=dem) for one in stack.members)
        return replace(stack, members=tuple(members))

    def refuse_assets(self, source: str) -> None:
        """Refuse names of assets for a source that has none.

        Raises
        ------
        UsageError
            Naming the option.
        """
        if self.assets:
            msg = f"--assets is {','.join(self.assets)}, but {shown_name(source)} names its bands itself; leave it out"
            raise UsageError(msg)

    def refuse_any(self, source: str) -> None:
        """Refuse what is said of a source that is no stack.

        Raises
        ------
        UsageError
            Naming the option.
        """
        for option, value in (("--assets", ",".join(self.assets)), ("--grid-of", self.grid_of)):
            if value:
                msg = (
                    f"{option} is {value}, but {shown_name(source)} is one raster: give a STAC item, a stack file, or "
                    "several files by commas"
                )
                raise UsageError(msg)

    def refuse_volume(self, source: str) -> None:
        """Refuse what only rasters have for a volume.

        Raises
        ------
        UsageError
            Naming the option.
        """
        if volume_kind(source) is None:
            return
        height = None if self.rpc_height is None else f"{self.rpc_height:g}"
        dem = None if self.rpc_dem is None else shown_name(self.rpc_dem)
        for option, value in (("--rpc-height", height), ("--rpc-dem", dem), ("--sign", self.sign)):
            if value is not None:
                msg = f"{option} is {value}, but {shown_name(source)} is a volume, not a raster; leave it out"
                raise UsageError(msg)


OF_NO_STACK: Final = StackOptions()
"""Nothing is said."""


def resolved(source: str, options: StackOptions, wanted: Callable[[], Sequence[str]] = tuple) -> str:
    """Return the name under which every process finds a source: of a stack, what it is made of.

    Parameters
    ----------
    source
        As the user names it: one raster, files by commas, a stack file, a STAC item.
    options
        What is said beside it.
    wanted
        Gives the names of the model's bands, which choose assets of items if nothing else does.

    Raises
    ------
    SourceError, UsageError
        If a stack file or an item cannot be read, or a name is none of a band, or of two.
    """
    if options.sign:
        callable_named(options.sign)  # one that is not there is said at once, also if no file needs it
    named = elements_of(source)
    elements = None if named is None else [_looked_at(group) for group in named]
    if elements is None and not is_stack(source) and (item := item_of(source)) is not None:
        elements = [[item]]
    if elements is not None:
        found = StackDescription(tuple(_members(elements, options.assets, wanted)))
    elif is_stack(source):
        found = stack_named(source)
    elif is_stack_file(source):
        options.refuse_assets(source)
        found = read_stack_file(source)
    elif options.sign or options.has_heights:
        options.refuse_any(source)
        options.refuse_volume(source)
        found = StackDescription((Member((_absolute(source),)),))
    else:
        options.refuse_any(source)
        return source
    # the address of a member may hold a secret, which is not what its grid is called
    grid = shown_name(options.grid_of or found.grid_of)
    found = replace(found, grid_of=grid, sign=options.sign or found.sign)
    return options.placed(found).text()


def _absolute(name: str) -> str:
    return name if is_url(name) else str(Path(name).expanduser().absolute())


Group = list[str] | list[Item]
"""What lies on top of each other in the same bands: files, or items."""


def _looked_at(group: Sequence[str]) -> Group:
    """Return the items of a group, or its files.

    Raises
    ------
    UsageError
        If it has both.
    """
    found = [item_of(one) for one in group]
    items = [item for item in found if item is not None]
    if items and len(items) < len(found):
        file = next(one for one, item in zip(group, found, strict=True) if item is None)
        msg = f"{shown_name(file)}: lies in the same bands as STAC items, but is none"
        raise UsageError(msg)
    return items or list(map(_absolute, group))


def _members(
    elements: Sequence[Group], assets: Sequence[str], wanted: Callable[[], Sequence[str]]
) -> Iterator[Member]:
    """Yield a member for every file, and at the first item those of all items."""
    dated = [items for group in elements if (items := [one for one in group if isinstance(one, Item)])]
    if assets and not dated:
        msg = f"--assets is {','.join(assets)}, but none of the files is a STAC item; leave it out"
        raise UsageError(msg)
    are_told = False
    for group in elements:
        files = tuple(one for one in group if isinstance(one, str))
        if files:
            yield Member(files)
        elif not are_told:
            are_told = True
            names = tuple(wanted())
            for name, number in _asked(dated, assets, assets or names):
                yield from _of_items(dated, name, number, names)


Asked = tuple[str, int]
"""Name of a band or an asset, and of which item, from 1."""


def _asked(dated: Sequence[Sequence[Item]], assets: Sequence[str], names: Sequence[str]) -> list[Asked]:
    """Return the bands that are asked for, in the order of the stack: date by date unless the names say otherwise."""
    count = len(dated)
    if not names:
        return [(name, number) for number, items in enumerate(dated, 1) for name in items[0].data]
    are_dated = any(_dated(name) for name in names)
    if count > 1 and not are_dated and not assets:
        msg = (
            f"the source is {count} items, but the names of the model's bands ({', '.join(names)}) say of none which "
            "it is of, as red@1 would; name what is read of each with --assets"
        )
        raise UsageError(msg)
    if not are_dated:
        return [(name, number) for number in range(1, count + 1) for name in names]
    asked = [_dated(name) or (name, 1) for name in names]
    for name, number in asked:
        if not 1 <= number <= count:
            msg = f"band {name}@{number} is asked for, but the source is {counted(count, 'item')}"
            raise UsageError(msg)
    return asked


def _dated(name: str) -> Asked | None:
    """Return what a name such as red@2 says; None of another.

    >>> _dated("red@2"), _dated("red")
    (('red', 2), None)
    """
    base, at, number = name.rpartition("@")
    return (base, int(number)) if at and base and number.isdecimal() else None


def _of_items(
    dated: Sequence[Sequence[Item]], name: str, number: int, wanted: Sequence[str]
) -> Iterator[Member]:
    """Yield the members of a name: mostly one; more if it is an asset of several bands.

    Of the names of such a band it has the one by which the model calls it, else its first.
    """
    of_model = {(_dated(own) or (own, 1))[0].lower() for own in wanted}
    found = [item.band(name) for item in dated[number - 1]]
    if len({len(bands) for bands in found}) > 1:
        ids = " and ".join(item.name for item in dated[number - 1])
        msg = f"asset {name!r} of {ids} has other numbers of bands; choose other assets"
        raise UsageError(msg)
    end = f"@{number}" if len(dated) > 1 else ""
    others = (
        _in_order_of(found[0], bands, name, item)
        for bands, item in zip(found, dated[number - 1], strict=True)
    )
    for layers in zip(*others, strict=True):
        first = layers[0]
        called = [own for own in first.names if own.lower() in of_model] or list(first.names)
        shown = name if first.is_alone or not called or len(found[0]) == 1 else called[0]
        files = tuple(layer.href for layer in layers)
        told = tuple(Told(layer.band, layer.nodata, layer.scale, layer.offset) for layer in layers)
        if len(set(told)) > 1:
            yield Member(files, name=f"{shown}{end}", layers=told)
            continue
        yield Member(
            files, first.band, f"{shown}{end}", nodata=first.nodata, scale=first.scale, offset=first.offset
        )


def _in_order_of(
    first: Sequence[AssetBand], bands: Sequence[AssetBand], name: str, item: Item
) -> Sequence[AssetBand]:
    """Return the bands of an item in the order of those that they lie on, as far as both have names.

    Raises
    ------
    UsageError
        If one of them is not there.
    """
    if len(first) == 1 or not all(band.names for band in (*first, *bands)):
        return bands
    known = {own.lower(): band for band in bands for own in band.names}
    found = [
        next((known[own.lower()] for own in below.names if own.lower() in known), None) for below in first
    ]
    ordered = [band for band in found if band is not None]
    if len({band.band for band in ordered}) < len(first):
        lacking = ", ".join(below.names[0] for below in first)
        msg = (
            f"asset {name!r} of {item.name} lies on one with the bands {lacking}, but has "
            f"{', '.join(band.names[0] for band in bands)}; name its bands with --assets"
        )
        raise UsageError(msg)
    return ordered
