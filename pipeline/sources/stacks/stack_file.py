"""The YAML file of a stack: its members one by one.

::

    grid_of: red                  # default: the finest
    members:
      - {file: B04.tif, name: red}
      - {file: B11.tif, name: swir16, resampling: bilinear}
      - {file: SCL.tif, name: scl, resampling: nearest, nodata: 0}
      - {file: stack.tif, band: 3, name: blue}
      - {item: scene.json, asset: nir}
      - {file: pan.tif, rpc_dem: heights.tif}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from segment_tiles.pipeline.errors import SourceError, UsageError
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.rasters.rpcs import heights_of
from segment_tiles.pipeline.sources.stacks.description import RESAMPLINGS, Member, StackDescription
from segment_tiles.pipeline.sources.stacks.documents import beside, text_of
from segment_tiles.pipeline.sources.stacks.items import read_item

SUFFIXES: Final = (".yaml", ".yml")
_KEYS: Final = {"members", "grid_of", "sign"}
_OF_MEMBER: Final = {
    "file", "item", "asset", "band", "name", "resampling", "nodata", "scale", "offset", "rpc_height", "rpc_dem",
}  # fmt: skip
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "band": (int,), "nodata": (int, float), "scale": (int, float), "offset": (int, float),
    "rpc_height": (int, float),
}  # fmt: skip


def is_stack_file(source: str) -> bool:
    """Return whether a source is named as a stack file is."""
    return source.partition("?")[0].lower().endswith(SUFFIXES)


def read_stack_file(path: str) -> StackDescription:
    """Return what a stack file says; paths in it are relative to it.

    Raises
    ------
    SourceError, UsageError
        If it cannot be read, or says what cannot be accepted; the text names the key.
    """
    name = shown_name(path)
    try:
        document = yaml.safe_load(text_of(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        msg = f"{name}{line}: is not YAML: {getattr(error, 'problem', None) or error}"
        raise SourceError(msg) from error
    if (
        not isinstance(document, dict)
        or not isinstance(document.get("members"), list)
        or not document["members"]
    ):
        msg = f"{name}: is no stack: it needs a list `members`, each with a file and, if it has one, a name"
        raise SourceError(msg)
    document = {str(key).replace("-", "_"): value for key, value in document.items()}
    _refuse_keys(name, document, _KEYS)
    members = tuple(
        member
        for number, entry in enumerate(document["members"], 1)
        for member in _members(path, f"{name}, member {number}", entry)
    )
    _refuse_one_name_twice(name, members)
    return StackDescription(members, str(document.get("grid_of") or ""), str(document.get("sign") or ""))


def _members(path: str, name: str, entry: Any) -> Iterator[Member]:
    if isinstance(entry, str):
        entry = {"file": entry}
    if not isinstance(entry, dict):
        msg = f"{name}: is {entry!r}; give file, band, name, resampling, nodata"
        raise UsageError(msg)
    _refuse_keys(name, entry, _OF_MEMBER)
    if ("file" in entry) == ("item" in entry) or ("asset" in entry) != ("item" in entry):
        msg = f"{name}: has {', '.join(map(str, entry)) or 'nothing'}; give a file, or an item and its asset"
        raise UsageError(msg)
    for key, value in entry.items():
        wanted = _TYPES.get(key, (str,))
        if not isinstance(value, wanted) or isinstance(value, bool):
            msg = f"{name}: {key} is {value!r}; give {'a number' if int in wanted else 'text'}"
            raise UsageError(msg)
    if entry.get("band", 1) < 1:
        msg = f"{name}: band is {entry['band']}; bands are counted from 1"
        raise UsageError(msg)
    resampling = entry.get("resampling", "bilinear")
    if resampling not in RESAMPLINGS:
        msg = f"{name}: resampling is {resampling!r}; it must be one of {', '.join(RESAMPLINGS)}"
        raise UsageError(msg)
    dem = beside(path, entry["rpc_dem"]) if "rpc_dem" in entry else ""
    height = entry.get("rpc_height")
    heights_of(height, dem)  # refuses what cannot be
    if "file" in entry:
        file = beside(path, entry["file"])
        nodata, scale, offset = (entry.get(key) for key in ("nodata", "scale", "offset"))
        yield Member(
            (file,), entry.get("band"), entry.get("name", ""), resampling, nodata, scale, offset,
            rpc_height=height, rpc_dem=dem,
        )  # fmt: skip
        return
    for band in read_item(beside(path, entry["item"])).band(entry["asset"]):
        named = entry.get("name") or (band.names[0] if band.names and not band.is_alone else entry["asset"])
        told = {"nodata": band.nodata, "scale": band.scale, "offset": band.offset}
        nodata, scale, offset = (entry.get(key, value) for key, value in told.items())
        yield Member(
            (band.href,), band.band, named, resampling, nodata, scale, offset, rpc_height=height, rpc_dem=dem
        )


def _refuse_keys(name: str, found: Mapping[Any, Any], known: set[str]) -> None:
    for key in found:
        if key not in known:
            msg = f"{name}: the key {key} is not known; known are {', '.join(sorted(known))}"
            raise UsageError(msg)


def _refuse_one_name_twice(name: str, members: tuple[Member, ...]) -> None:
    first: dict[str, int] = {}
    for number, member in enumerate(members, 1):
        if member.name and first.setdefault(member.name.lower(), number) != number:
            msg = (
                f"{name}: members {first[member.name.lower()]} and {number} have one name, {member.name!r}; "
                "each band has its own"
            )
            raise UsageError(msg)
