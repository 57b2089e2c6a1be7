"""What a stack is made of, as plain data and as one text: the name under which every process finds the same stack.

::

    stack:{"members":[{"files":["/data/B04.tif"],"name":"red"},{"files":["/data/B11.tif"],"name":"swir16"}],"grid_of":"red"}

All that changes a pixel stands in it: files, bands, their names, resampling, nodata values and the grid. So the
record of a run and its workers need no more than this name, as for a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, Final, Literal, get_args

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.json_text import json_text
from segment_tiles.pipeline.names import STACK, is_stack, shown_name
from segment_tiles.pipeline.sources.rasters.rpcs import RpcHeights, heights_of

MemberResampling = Literal["nearest", "bilinear"]
RESAMPLINGS: Final[tuple[str, ...]] = get_args(MemberResampling)
"""How a member of another pixel size may be brought onto the grid."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of one file of a member."""

    band: int | None = None
    """1-based; None: all but an alpha band."""
    nodata: float | None = None
    """As scale and offset in place of what the file says; None: as it says."""
    scale: float | None = None
    offset: float | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """Bands of a file, or of files of one grid of which later ones lie on top."""

    files: tuple[str, ...]
    """Absolute paths or URLs, one or more."""
    band: int | None = None
    """1-based band of each file; None: all but an alpha band."""
    name: str = ""
    """Of the band; empty: as the file says, else the name of the file without its ending."""
    resampling: MemberResampling = "bilinear"
    """How it is brought onto the grid; bilinear is antialiased where pixels become larger."""
    nodata: float | None = None
    """Value of missing pixels, in place of the declared one."""
    scale: float | None = None
    """What stored values are multiplied by to become physical ones, in place of what the file says."""
    offset: float | None = None
    """What is then added."""
    layers: tuple[Told, ...] = ()
    """What is said of each file, if it is not the same of all; those above then do not count."""
    rpc_height: float | None = None
    """Metres at which its RPCs are applied; None: not at one height."""
    rpc_dem: str = ""
    """Raster of the heights at which they are; empty: none."""

    @property
    def rpc(self) -> RpcHeights | None:
        """Heights at which its RPCs are applied, if they are."""
        return heights_of(self.rpc_height, self.rpc_dem)

    def told(self, layer: int) -> Told:
        """Return what is said of a file, by its position among ``files``."""
        return self.layers[layer] if self.layers else Told(self.band, self.nodata, self.scale, self.offset)


@dataclass(frozen=True, slots=True)
class LikeGrid:
    """The grid of a raster that is no member."""

    crs: str
    """WKT."""
    transform: tuple[float, ...]
    """Six numbers of the affine."""
    shape: tuple[int, int]
    """Rows and columns."""
    of: str
    """Name of the raster."""


@dataclass(frozen=True, slots=True)
class StackDescription:
    """Members in the order of their bands, and the grid that they are brought onto."""

    members: tuple[Member, ...]
    """One or more."""
    grid_of: str = ""
    """Name, file or name of the file of the member whose grid it is; empty: the finest, of several the first."""
    sign: str = ""
    """Callable that signs URLs, as ``module.name``; empty: none."""
    like: LikeGrid | None = None
    """Grid onto which all members are brought, in place of that of one of them."""

    @property
    def files(self) -> tuple[str, ...]:
        """Return each file once, in the order of the bands."""
        return tuple(dict.fromkeys(file for member in self.members for file in member.files))

    @property
    def heights(self) -> tuple[str, ...]:
        """Return each DEM once by which members are placed."""
        return tuple(dict.fromkeys(member.rpc_dem for member in self.members if member.rpc_dem))

    def text(self) -> str:
        """Return the name of the stack."""
        whole = _short(asdict(self), StackDescription)
        whole["members"] = [_short(entry, Member) for entry in whole["members"]]
        for entry in whole["members"]:
            if "layers" in entry:
                entry["layers"] = [_short(layer, Told) for layer in entry["layers"]]
        return STACK + json_text(whole, indent=None)

    def with_files(self, changed: Callable[[str], str]) -> StackDescription:
        """Return the same stack of files under other names."""
        members = (
            replace(one, files=tuple(map(changed, one.files)), rpc_dem=one.rpc_dem and changed(one.rpc_dem))
            for one in self.members
        )
        return replace(self, members=tuple(members))


def _short(values: Mapping[str, Any], of: type) -> dict[str, Any]:
    """Return the values that are not their defaults."""
    defaults = {field.name: field.default for field in fields(of)}
    return {name: value for name, value in values.items() if value != defaults[name]}


@lru_cache(maxsize=64)
def stack_named(uri: str) -> StackDescription:
    """Return what the name of a stack says.

    Raises
    ------
    SourceError
        If it is no such name.
    """
    try:
        found = json.loads(uri.removeprefix(STACK))
        members = tuple(map(_member_of, found.pop("members")))
        if not members or not all(member.files for member in members):
            raise ValueError("it has no members")
        if not all(len(member.layers) in {0, len(member.files)} for member in members):
            raise ValueError("layers are as many as files")
        if not all(member.resampling in RESAMPLINGS for member in members):
            raise ValueError(f"resampling is one of {', '.join(RESAMPLINGS)}")
        if found.get("like") is not None:
            found["like"] = _like_of(**found["like"])
        return StackDescription(members, **found)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{uri[:80]}: is not the name of a stack ({error}); give its files by commas, or a stack file"
        raise SourceError(msg) from error


def _member_of(entry: Mapping[str, Any]) -> Member:
    layers = tuple(Told(**layer) for layer in entry.get("layers", ()))
    return Member(**{**entry, "files": tuple(map(str, entry["files"])), "layers": layers})


def _like_of(crs: str, transform: list[float], shape: list[int], of: str) -> LikeGrid:
    height, width = shape
    return LikeGrid(crs, tuple(transform), (height, width), of)


def identity_of(uri: str) -> str:
    """Return what identifies a stack: its name without the secrets in those of its files."""
    found = stack_named(uri).with_files(shown_name)
    return replace(found, grid_of=shown_name(found.grid_of)).text()


def heights_of_members(uri: str) -> tuple[str, ...]:
    """Return the DEMs by which files of a source are placed; none if it is no stack."""
    return stack_named(uri).heights if is_stack(uri) else ()


def files_of(uri: str) -> tuple[str, ...]:
    """Return the files that a source is made of: of a stack those of its members, else itself.

    >>> files_of("a.tif"), files_of('stack:{"members":[{"files":["a.tif"]},{"files":["b.tif"]}]}')
    (('a.tif',), ('a.tif', 'b.tif'))
    """
    return stack_named(uri).files if is_stack(uri) else (uri,)
