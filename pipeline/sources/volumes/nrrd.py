"""NRRD volumes: header by pynrrd, values through MONAI's NrrdReader."""

from __future__ import annotations

import bz2
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.volume import Matrix, VolumeSpec, as_matrix
from segment_tiles.pipeline.sources.damage import DAMAGE, damage_refused, said
from segment_tiles.pipeline.sources.volumes.selection import Blocks, Selection, checked_dtype

SUFFIXES = (".nrrd", ".nhdr")
RAS_SIGNS: Final = {
    "left-posterior-superior": (-1.0, -1.0, 1.0), "lps": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0), "las": (-1.0, 1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0), "ras": (1.0, 1.0, 1.0),
}  # fmt: skip
"""What a coordinate is multiplied with to point right, to the front, and upward."""

SPELLINGS: Final = {
    "uint8": {"uchar", "unsigned char", "uint8", "uint8_t"},
    "int8": {"signed char", "int8", "int8_t"},
    "uint16": {"ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"},
    "int16": {"short", "short int", "signed short", "signed short int", "int16", "int16_t"},
    "int32": {"int", "signed int", "int32", "int32_t"},
    "uint32": {"uint", "unsigned int", "uint32", "uint32_t"},
    "int64": {
        "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
    },
    "uint64": {"ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"},
    "float32": {"float"},
    "float64": {"double"},
}  # fmt: skip
"""What the format calls types of numbers."""

WHAT: Final = "a NRRD volume"
STREAMS: Final[dict[str, Any]] = {
    "raw": nullcontext, "gzip": gzip.open, "gz": gzip.open, "bzip2": bz2.open, "bz2": bz2.open,
}  # fmt: skip
"""Encodings that can be read forward, and what gives their bytes."""
MILLIMETERS_PER_UNIT: Final = {
    "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "m": 1000.0, "meter": 1000.0, "meters": 1000.0,
    "um": 0.001, "\u00b5m": 0.001, "\u03bcm": 0.001, "micron": 0.001, "microns": 0.001, "micrometer": 0.001,
    "nm": 1e-6,
}  # fmt: skip
"""What `space units` and `units` call lengths."""
SKIPS: Final = ("lineskip", "line skip", "byteskip", "byte skip")


def read_nrrd_spec(path: Path, selection: Selection) -> VolumeSpec:
    """Return what the header says.

    Raises
    ------
    SourceError
        Where it is no NRRD file, has not three spatial axes, or does not say where it lies.
    """
    header = _header(path)
    with damage_refused(path, WHAT):
        return _spec_of(path, header, selection)


def _spec_of(path: Path, header: dict[str, Any], selection: Selection) -> VolumeSpec:
    kinds = header.get("kinds") or ["domain"] * 3
    if int(header["dimension"]) != 3 or any(kind not in {"domain", "space"} for kind in kinds):
        msg = (
            f"{path}: has {header['dimension']} axes ({', '.join(map(str, kinds))}); "
            "three axes of space and one number per voxel are needed"
        )
        raise SourceError(msg)
    if selection.t:
        msg = f"--t is {selection.t}, but {path} has three dimensions and no time"
        raise SourceError(msg)
    sizes = [int(side) for side in header["sizes"]]
    if len(sizes) != 3 or min(sizes) < 1:
        msg = f"{path}: its `sizes` are {' '.join(map(str, sizes))}; three numbers from 1 on are needed"
        raise SourceError(msg)
    first, second, third = sizes
    affine, notes = _affine(path, header)
    held = _held_type(path, header)
    _check_voxels(path, header, sizes)
    return VolumeSpec((first, second, third), 1, held, affine, notes=notes)


def _check_voxels(path: Path, header: dict[str, Any], sizes: Sequence[int]) -> None:
    """Refuse voxels in several files, in one that is not there, and raw ones that end early."""
    detached = header.get("data file", header.get("datafile"))
    if detached is not None and (
        not isinstance(detached, str) or detached.split()[:1] == ["LIST"] or "%" in detached
    ):
        msg = f"{path}: its voxels are in several files (`data file: {detached}`); write it again as one file"
        raise SourceError(msg)
    voxels = path if detached is None else path.parent / detached
    if not voxels.is_file():
        msg = f"{path}: its voxels are in {voxels}, which is not there; copy that file too"
        raise SourceError(msg)
    if str(header.get("encoding", "")).lower() != "raw" or any(header.get(name) for name in SKIPS):
        return
    needed = math.prod(sizes) * np.dtype(_stored_type(header)).itemsize
    held = voxels.stat().st_size - (_header_bytes(path) if detached is None else 0)
    if held < needed:
        msg = (
            f"{voxels}: ends early or is damaged: it has {held:,} bytes of voxels, {needed:,} are needed; copy the "
            "file again"
        )
        raise SourceError(msg)


def _header_bytes(path: Path) -> int:
    import nrrd  # noqa: PLC0415 - an extra

    with path.open("rb") as stream:
        nrrd.read_header(stream)
        return stream.tell()


def read_nrrd_blocks(path: Path, dtype: str, blocks: Blocks) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Yield channel 0, the first k, and i x j x k of each block, read one after the other.

    What pynrrd can only read whole (text, skipped lines or bytes) is read whole, through MONAI's reader.

    Raises
    ------
    SourceError
        If the file ends early or is damaged.
    """
    streamed = is_streamed(path)
    try:
        if streamed:
            yield from _streamed(path, dtype, blocks)
            return
        from monai.data.image_reader import NrrdReader  # noqa: PLC0415 - slow to import

        image: Any = NrrdReader(dtype=np.dtype(dtype)).read(path)
        for first, stop in blocks:
            yield 0, first, np.asarray(image.array)[:, :, first:stop].astype(dtype, copy=False)
    except (*DAMAGE, _nrrd_error()) as error:
        msg = f"{path}: ends early or is damaged ({said(error)}); copy the file again"
        raise SourceError(msg) from error


def is_streamed(path: Path) -> bool:
    """Return whether a file is read block by block; if not, it is in memory whole while it is read."""
    header = _header(path)
    skips = any(header.get(name) for name in SKIPS)
    return str(header.get("encoding", "")).lower() in STREAMS and not skips


def _streamed(path: Path, dtype: str, blocks: Blocks) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Read forward: pynrrd turns the bytes of a block into values as it would those of a whole file."""
    import nrrd  # noqa: PLC0415 - an extra

    with ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(path.open("rb"))
        header = dict(nrrd.read_header(stream))
        columns, rows, depth = (int(side) for side in header["sizes"])
        detached = header.get("data file", header.get("datafile"))
        if detached is not None:
            stream = stack.enter_context((path.parent / detached).open("rb"))
        stream = stack.enter_context(STREAMS[str(header["encoding"]).lower()](stream))
        of_block = {**header, "encoding": "raw"} | dict.fromkeys(("data file", "datafile"))
        empty = nrrd.read_data({**of_block, "sizes": np.array([0, 0, 0])}, io.BytesIO(b""))
        layer, position = columns * rows * empty.dtype.itemsize, 0
        for first, stop in blocks:
            stream.seek((first - position) * layer, io.SEEK_CUR)
            content = io.BytesIO(stream.read((stop - first) * layer))
            position, sizes = stop, np.array([columns, rows, stop - first])
            yield 0, first, nrrd.read_data({**of_block, "sizes": sizes}, content).astype(dtype, copy=False)
        if position == depth and stream.read(1):
            msg = f"it goes on after the {columns} x {rows} x {depth} voxels that its header names"
            raise EOFError(msg)


def _nrrd_error() -> type[Exception]:
    import nrrd  # noqa: PLC0415 - an extra

    error: type[Exception] = nrrd.NRRDError
    return error


def _header(path: Path) -> dict[str, Any]:
    import nrrd  # noqa: PLC0415 - an extra

    try:
        header = dict(nrrd.read_header(str(path)))
    except (*DAMAGE, StopIteration, nrrd.NRRDError) as error:  # an empty file has no first line
        what = said(error) if path.exists() else "no such file"
        msg = f"{path}: is not {WHAT} that can be read ({what})"
        raise SourceError(msg) from error
    missing = [name for name in ("dimension", "type", "sizes") if name not in header]
    if missing:
        msg = f"{path}: is not {WHAT} that can be read (its header has no {missing[0]})"
        raise SourceError(msg)
    return header


def _held_type(path: Path, header: dict[str, Any]) -> str:
    spelling = str(header["type"]).lower()
    if spelling == "block":
        msg = f"{path}: holds values of type block; one number per voxel is needed"
        raise SourceError(msg)
    found = _stored_type(header)
    if found is None:
        msg = f"{path}: its `type` is {spelling!r}; known are {', '.join(SPELLINGS)}"
        raise SourceError(msg)
    return checked_dtype(np.dtype(found))


def _stored_type(header: dict[str, Any]) -> str | None:
    """Return NumPy's name of the type of the stored values; None if the format does not know it."""
    spelling = str(header["type"]).lower()
    return next((name for name, spellings in SPELLINGS.items() if spelling in spellings), None)


def _unit(path: Path, header: dict[str, Any]) -> tuple[float, tuple[str, ...]]:
    """Return millimetres in the unit of the header, and a note if it names one that is not known.

    A header without a unit is read as millimetres, as 3D Slicer and ITK write and read it.
    """
    said = header.get("space units") or header.get("units") or []
    units = {str(unit).strip().strip('"') for unit in said} - {""}
    if len(units) > 1:
        msg = (
            f"{path}: has axes in different units ({', '.join(sorted(units))}); one is needed: write it again"
        )
        raise SourceError(msg)
    unit = units.pop() if units else "mm"
    if unit.lower() in MILLIMETERS_PER_UNIT:
        return MILLIMETERS_PER_UNIT[unit.lower()], ()
    return 1.0, (f"{path}: says no known unit of length ({unit}); millimetres are assumed",)


def _affine(path: Path, header: dict[str, Any]) -> tuple[Matrix, tuple[str, ...]]:
    """Return the affine in RAS+ and millimetres, and notes: column n is the step along axis n."""
    space = str(header.get("space", "left-posterior-superior")).lower()
    directions, origin = header.get("space directions"), header.get("space origin")
    if directions is None or space not in RAS_SIGNS:
        lacks = f"space {space!r}" if directions is not None else "no `space directions`"
        msg = f"{path}: has {lacks}; where it lies must be said in {', '.join(list(RAS_SIGNS)[::2])}"
        raise SourceError(msg)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, dtype=float).T
    affine[:3, 3] = 0.0 if origin is None else np.asarray(origin, dtype=float)
    factor, notes = _unit(path, header)
    if "space" not in header:
        notes = (
            *notes,
            f"{path}: does not say in which space it lies; left-posterior-superior is assumed, as ITK does",
        )
    affine[:3] *= np.asarray(RAS_SIGNS[space])[:, None]
    sides = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    if not sides.all() or abs(float(np.linalg.det(affine[:3, :3] / sides))) < 1e-6:
        msg = f"{path}: its `space directions` span no volume ({np.asarray(directions).tolist()})"
        raise SourceError(msg)
    affine[:3] *= factor
    return as_matrix(affine), notes
