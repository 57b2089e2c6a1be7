"""Which files and URLs are read when a source is: itself, its sidecars, members of VRTs and mosaics at any depth."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import rasterio

from segment_tiles.pipeline.names import is_url
from segment_tiles.pipeline.sources.areas.vector_file import BESIDE_SHAPEFILE
from segment_tiles.pipeline.sources.damage import GDAL_ERRORS
from segment_tiles.pipeline.sources.kinds import ZARR_FILES
from segment_tiles.pipeline.sources.patience import http_settings
from segment_tiles.pipeline.sources.rasters.members import scenes_of
from segment_tiles.pipeline.sources.rasters.sidecars import is_remote, listing_setting
from segment_tiles.pipeline.sources.versions.folder_listing import FolderListing, listing_of
from segment_tiles.pipeline.sources.volumes.dicom_folder import dicom_files

_OVERVIEWS: Final = re.compile(r"(?:\.msk)?(?:\.ovr)+(?:\.aux\.xml)?")
"""What follows the name of a raster in that of its overviews, which lie in a file of their own."""
_VIRTUAL: Final = re.compile(r"^(?:/vsi[a-z0-9]+/\{?|(?:zip|tar|gzip|file|GTI):(?://)?)", re.IGNORECASE)
"""Beginnings that GDAL and rasterio put before a local name: an archive, a tile index."""
_DATA_FILE: Final = re.compile(rb"^data ?file: *(.+?) *\r?$", re.MULTILINE)
"""Of an NRRD header, which names the file of its values."""
_SELF_CONTAINED: Final = (
    b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG", b"\xff\xd8\xff", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51",
)  # fmt: skip
"""First bytes of TIFF, BigTIFF, PNG, JPEG and JPEG 2000: of these GDAL reads the file and sidecars of known names."""
_AFTER_NAME: Final = (
    ".aux.xml",
    ".ovr",
    ".ovr.aux.xml",
    ".ovr.ovr",
    ".msk",
    ".msk.aux.xml",
    ".msk.ovr",
    ".aux",
)
"""Endings of sidecars after the whole name."""
_AFTER_STEM: Final = (".aux", ".rrd", ".wld", ".tab")
"""Endings of sidecars in place of that of the raster; world files come on top."""


def read_files(uri: str, *, overviews: bool = True) -> list[Path | str]:
    """Return each local file and each URL that is read when this source is, once.

    Parameters
    ----------
    uri
        Of the source.
    overviews
        Whether overviews in a file beside the source count. Beside members of a VRT or a mosaic they always do:
        GDAL reads a member from them where the VRT has larger pixels.
    """
    found = list(Walk().of(uri))
    if overviews:
        return found
    own = str(Path(uri).absolute()).lower()
    return [
        name
        for name in found
        if isinstance(name, str)
        or not (str(name).lower().startswith(own) and _OVERVIEWS.fullmatch(str(name).lower()[len(own) :]))
    ]


@dataclass(slots=True)
class Walk:
    """From a source to everything that it names; every folder is listed once."""

    _seen: set[str] = field(default_factory=set)
    _folders: dict[Path, FolderListing] = field(default_factory=dict)

    def of(self, uri: str, *, is_member: bool = False) -> Iterator[Path | str]:
        """Yield what is read with a source, of a member only what may change a pixel, a mask or its position."""
        self._seen = set()
        waiting = [uri]
        while waiting:
            name = waiting.pop()
            if is_remote(name):
                if name not in self._seen:
                    yield name
                self._seen.add(name)
                continue
            path = _local(name)
            if path is None or not self._is_new(path):
                continue
            if path.is_dir():
                yield from _files_of(path)
                continue
            yield path
            # thousands of members: GDAL would open each
            may_be_alone = is_member or name != uri or self._is_alone(path)
            if may_be_alone and _is_self_contained(path):
                yield from filter(self._is_new, self._beside(path))
            else:
                waiting += _named_by(name, path)

    def _is_new(self, path: Path) -> bool:
        if str(path) in self._seen:
            return False
        self._seen.add(str(path))
        return True

    def _is_alone(self, path: Path) -> bool:
        """Return whether nothing in the folder can belong to a raster: no name begins as its, no file is metadata."""
        there, own, stem = self._listing(path.parent), path.name.lower(), path.stem.lower()
        if len(there.names.get(own, ())) > 1 or any(name != own for name in there.beginning_with(stem)):
            return False
        return there.may_be_metadata <= {own}

    def _beside(self, path: Path) -> Iterator[Path]:
        """Yield the sidecars of a member that are there."""
        names, stem = self._listing(path.parent).names, path.stem.lower()
        suffix = path.suffix.lower()
        worlds = (f"{suffix[:2]}{suffix[-1]}w", f"{suffix}w") if len(suffix) > 2 else ()
        wanted = [f"{path.name.lower()}{ending}" for ending in _AFTER_NAME]
        wanted += [f"{stem}{ending}" for ending in (*_AFTER_STEM, *worlds)]
        for name in wanted:
            yield from (path.parent / there for there in names.get(name, ()))

    def _listing(self, folder: Path) -> FolderListing:
        if folder not in self._folders:  # one that has just changed is remembered by nobody else
            self._folders[folder] = listing_of(folder)
        return self._folders[folder]


def _is_self_contained(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(_SELF_CONTAINED)
    except OSError:
        return False


def _local(name: str) -> Path | None:
    """Return the file or folder that holds what a name means: an archive, the file of a subdataset."""
    bare = name.removeprefix("vrt://").partition("?")[0] if name.startswith("vrt://") else name
    while _VIRTUAL.match(bare):
        bare = _VIRTUAL.sub("", bare)
    for one in (bare, bare.partition("!")[0].partition("}")[0]):
        path = Path(one)
        for candidate in (path, *path.parents) if is_url(name) or one != name else (path,):
            if candidate.is_file() or (candidate == path and path.is_dir()):
                return candidate.absolute()
    inside = [Path(part.strip('"')) for part in re.findall(r'"[^"]*"|[^:]+', bare)]  # NETCDF:"a.nc":band
    return next((part.absolute() for part in inside if part.is_file()), None)


def _files_of(folder: Path) -> Iterator[Path]:
    """Yield all files of a Zarr or a format of several files; of a DICOM folder what is DICOM.

    Labels of an OME-Zarr image are left out: a run may write its own there.
    """
    if not any((folder / name).is_file() for name in ZARR_FILES) and (found := _dicom_files(folder)):
        yield from found
        return
    for root, folders, files in os.walk(folder):
        if Path(root) == folder:
            folders[:] = [name for name in folders if name != "labels"]
        yield from (Path(root, name) for name in files)


def _dicom_files(folder: Path) -> list[Path]:
    try:
        return dicom_files(folder)
    except OSError:
        return []  # what may not be read is said by whoever opens the source


def _named_by(name: str, path: Path) -> list[str]:
    """Return what a file names besides itself: sidecars, rasters of a VRT, scenes of an index, values of a header."""
    if path.suffix.lower() == ".nhdr":
        return [
            str(path.parent / os.fsdecode(found)) for found in _DATA_FILE.findall(path.read_bytes()[:100_000])
        ]
    if path.suffix.lower() == ".shp":
        return [str(path.with_suffix(ending)) for ending in BESIDE_SHAPEFILE]
    if path.suffix.lower() == ".mrxs":
        return [str(path.with_suffix(""))]
    scenes = scenes_of(path) if ".gti." in path.name.lower() else []
    try:
        with rasterio.Env(**http_settings(), **listing_setting(name)), rasterio.open(name) as dataset:
            return [*scenes, *dataset.files]
    except GDAL_ERRORS:
        return scenes  # a slide or a volume, which have readers of their own
