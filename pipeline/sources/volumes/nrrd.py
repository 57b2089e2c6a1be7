"""NRRD volumes: header by pynrrd, values through MONAI's NrrdReader."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError, one_line
from segment_tiles.pipeline.grid.volume import VolumeSpec, as_matrix
from segment_tiles.pipeline.sources.volumes.selection import Selection

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
}
"""What the format calls the types that are held as they are; all others become float32."""


def read_nrrd_spec(path: Path, selection: Selection) -> VolumeSpec:
    """Return what the header says.

    Raises
    ------
    SourceError
        Where it is no NRRD file, has not three spatial axes, or does not say where it lies.
    """
    header = _header(path)
    kinds = header.get("kinds") or ["domain"] * int(header["dimension"])
    if int(header["dimension"]) != 3 or any(kind not in {"domain", "space"} for kind in kinds):
        msg = (
            f"{path}: has {header['dimension']} axes ({', '.join(map(str, kinds))}); "
            "three axes of space and one number per voxel are needed"
        )
        raise SourceError(msg)
    if selection.t:
        msg = f"--t is {selection.t}, but {path} has three dimensions and no time"
        raise SourceError(msg)
    first, second, third = (int(side) for side in header["sizes"])
    return VolumeSpec((first, second, third), 1, _held_type(path, header), _affine(path, header))


def read_nrrd_values(path: Path, dtype: str) -> NDArray[Any]:
    """Return 1 x i x j x k.

    Raises
    ------
    SourceError
        Where the file ends early or is damaged.
    """
    import nrrd  # noqa: PLC0415 - an extra
    from monai.data.image_reader import NrrdReader  # noqa: PLC0415 - slow to import

    try:
        image: Any = NrrdReader(dtype=np.dtype(dtype)).read(path)
    except (OSError, EOFError, ValueError, zlib.error, nrrd.NRRDError) as error:
        msg = f"{path}: ends early or is damaged ({one_line(error)}); copy the file again"
        raise SourceError(msg) from error
    values: NDArray[Any] = np.asarray(image.array)[np.newaxis].astype(dtype, copy=False)
    return values


def _header(path: Path) -> dict[str, Any]:
    import nrrd  # noqa: PLC0415 - an extra

    try:
        header = dict(nrrd.read_header(str(path)))
    except (OSError, ValueError, KeyError, nrrd.NRRDError) as error:
        what = one_line(error) if path.exists() else "no such file"
        msg = f"{path}: is not a NRRD volume that can be read ({what})"
        raise SourceError(msg) from error
    missing = [name for name in ("dimension", "type", "sizes") if name not in header]
    if missing:
        msg = f"{path}: is not a NRRD volume that can be read (its header has no {missing[0]})"
        raise SourceError(msg)
    return header


def _held_type(path: Path, header: dict[str, Any]) -> str:
    words = str(header["type"]).lower()
    if words == "block":
        msg = f"{path}: holds values of type block; one number per voxel is needed"
        raise SourceError(msg)
    held = (name for name, spellings in SPELLINGS.items() if words in spellings)
    return next(held, "float32")


def _affine(path: Path, header: dict[str, Any]) -> Any:
    """Return the affine in RAS+: column n is the step along axis n."""
    space = str(header.get("space", "left-posterior-superior")).lower()
    directions, origin = header.get("space directions"), header.get("space origin")
    if directions is None or space not in RAS_SIGNS:
        lacks = f"space {space!r}" if directions is not None else "no `space directions`"
        msg = f"{path}: has {lacks}; where it lies must be said in {', '.join(list(RAS_SIGNS)[::2])}"
        raise SourceError(msg)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, dtype=float).T
    affine[:3, 3] = 0.0 if origin is None else np.asarray(origin, dtype=float)
    affine[:3] *= np.asarray(RAS_SIGNS[space])[:, None]
    if not np.isfinite(affine).all() or abs(float(np.linalg.det(affine[:3, :3]))) < 1e-9:
        msg = f"{path}: its `space directions` span no volume ({np.asarray(directions).tolist()})"
        raise SourceError(msg)
    return as_matrix(affine)
