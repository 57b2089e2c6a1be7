"""Volumes and discs in formats that are not read: named as what they are, with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import SourceError

NAMES: Final = {
    ".mgz": "a FreeSurfer volume", ".mgh": "a FreeSurfer volume", ".mnc": "a MINC volume",
    ".mha": "a MetaImage volume", ".mhd": "a MetaImage volume", ".nii.zst": "NIfTI compressed by Zstandard",
    ".par": "a Philips PAR/REC volume", ".v": "an ECAT volume",
}  # fmt: skip
"""Endings of volumes in formats that other programs convert."""
REMEDY: Final = "convert it to NIfTI (.nii.gz), for example with"
CONVERTERS: Final = {".mha": "SimpleITK", ".mhd": "SimpleITK", ".nii.zst": "zstd -d"}
ANALYZE_HEADER: Final = {(348).to_bytes(4, "little"), (348).to_bytes(4, "big")}
"""First four bytes of a header of Analyze 7.5 or of a NIfTI-1 pair."""
MAGIC: Final = slice(344, 348)
"""Where a NIfTI-1 pair says what it is."""
PAR_START: Final = b"# "


def refuse_foreign(path: Path) -> None:
    """Refuse a file that is a volume or a disc in a format that is not read; others pass.

    Raises
    ------
    SourceError
        Naming the format, and what to convert it with.
    """
    name = path.name.lower()
    ending = next((ending for ending in NAMES if name.endswith(ending)), None)
    if ending is not None and _is_really(path, ending):
        msg = f"{path}: is {NAMES[ending]}, which is not read; {REMEDY} {CONVERTERS.get(ending, 'nibabel')}"
        raise SourceError(msg)
    if name.endswith((".hdr", ".img")):
        _refuse_pair(path)
    if path.name == "DICOMDIR":
        msg = f"{path}: is the directory of a DICOM disc; give the folder of one series on it"
        raise SourceError(msg)


def refuse_disc(folder: Path) -> None:
    """Refuse a folder without DICOM files that is the top of a DICOM disc.

    Raises
    ------
    SourceError
        Naming a folder on it that may hold a series.
    """
    if (folder / "DICOMDIR").is_file():
        inside = next((str(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()), "a folder inside")
        msg = f"{folder}: is the top of a DICOM disc; give the folder of one series on it, below {inside}"
        raise SourceError(msg)


def _is_really(path: Path, ending: str) -> bool:
    """Return whether an ending that other formats have as well is that of the volume."""
    if ending not in {".par", ".v"}:
        return True
    with path.open("rb") as stream:
        start = stream.read(6)
    return start.startswith(PAR_START) if ending == ".par" else start == b"MATRIX"


def _refuse_pair(path: Path) -> None:
    """Refuse a pair of header and image of a volume; ENVI's header is text, and its image is a raster."""
    header = path.with_suffix(".hdr" if path.suffix.islower() else ".HDR")
    if not header.is_file():
        return
    with header.open("rb") as stream:
        start = stream.read(MAGIC.stop)
    if start[:4] not in ANALYZE_HEADER:
        return
    what = "a NIfTI pair" if start[MAGIC].startswith(b"ni1") else "an Analyze 7.5 pair"
    msg = f"{path}: is {what} (.hdr and .img), which is not read; {REMEDY} nibabel"
    raise SourceError(msg)
