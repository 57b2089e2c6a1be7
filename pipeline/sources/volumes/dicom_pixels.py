"""Whether the pixels of a DICOM file can be read, told by its header and by how many bytes of pixels it has."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any, Final

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.wording import counted

PIXEL_DATA: Final = 0x7FE00010
"""Tag of pixels that are integers."""
PIXELS: Final = {0x7FE00008, 0x7FE00009, PIXEL_DATA}
"""Tags of pixels: float, double, integers."""
BITS: Final = (1, 8, 16, 32, 64)
"""What `BitsAllocated` may be."""
UNDEFINED: Final = 0xFFFFFFFF
"""Length of compressed pixels, which end at a mark of their own."""


def library_errors() -> tuple[type[Exception], ...]:
    """Return what pydicom raises of its own for damaged files."""
    from pydicom.errors import BytesLengthException, InvalidDicomError  # noqa: PLC0415 - an extra

    return InvalidDicomError, BytesLengthException


def check_pixels(file: Path, dataset: Any, stream: IO[bytes]) -> None:
    """Refuse a file whose pixels are missing, too few, in colour, or cannot be decoded.

    Parameters
    ----------
    file
        For messages.
    dataset
        Its header.
    stream
        The file, at the first byte behind what was read of it: the pixels.

    Raises
    ------
    SourceError
        Naming what is wrong.
    """
    rows, columns = _whole(file, dataset, "Rows"), _whole(file, dataset, "Columns")
    samples = _whole(file, dataset, "SamplesPerPixel")
    if samples != 1:
        msg = f"{file}: holds colours ({samples} values per pixel); one number per voxel is needed"
        raise SourceError(msg)
    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        msg = f"{file}: holds indices into a palette of colours; one number per voxel is needed"
        raise SourceError(msg)
    if dataset.get("ModalityLUTSequence"):
        msg = f"{file}: scales its values by a table (Modality LUT), which is not applied; convert it to NIfTI first"
        raise SourceError(msg)
    bits = _whole(file, dataset, "BitsAllocated")
    if bits not in BITS:
        msg = f"{file}: its BitsAllocated is {bits}; {', '.join(map(str, BITS))} can be read: convert it to NIfTI first"
        raise SourceError(msg)
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if stored is not None and not (isinstance(stored, int) and 1 <= stored <= bits):
        msg = f"{file}: its BitsStored is {stored}; it must be 1 to {bits}, its BitsAllocated: copy it again"
        raise SourceError(msg)
    if stored is not None and stored < bits and not isinstance(high, int):
        msg = f"{file}: has BitsStored {stored} and no HighBit; {stored - 1} is usual: copy it again"
        raise SourceError(msg)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        msg = f"{file}: names no transfer syntax, so its pixels cannot be decoded; copy it again"
        raise SourceError(msg)
    if syntax.is_compressed:
        _check_decoder(file, syntax)
    tag = PIXEL_DATA if syntax.is_deflated else _check_size(file, dataset, stream, rows * columns * bits)
    signed = dataset.get("PixelRepresentation")
    if tag == PIXEL_DATA and signed not in {0, 1}:
        msg = f"{file}: its PixelRepresentation is {signed}; 0 (unsigned) or 1 (signed) is needed: copy it again"
        raise SourceError(msg)


def _whole(file: Path, dataset: Any, name: str) -> int:
    """Return a number without which no pixel can be decoded.

    Raises
    ------
    SourceError
        If it is missing, empty, several numbers, or below 1.
    """
    value = dataset.get(name)
    if not isinstance(value, int) or value < 1:
        found = "missing or empty" if value is None else repr(value)
        msg = f"{file}: its {name} is {found}, so it is no slice of a volume; one number from 1 on is needed"
        raise SourceError(msg)
    return value


def _check_decoder(file: Path, syntax: Any) -> None:
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - an extra

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        msg = f"{file}: is compressed as {syntax.name}, for which there is no decoder; decompress it first"
        raise SourceError(msg) from None
    if not decoder.is_available:
        needs = "; or ".join(decoder.missing_dependencies)
        msg = f"{file}: is compressed as {syntax.name}, and no decoder is installed ({needs}); install one with pip"
        raise SourceError(msg)


def _check_size(file: Path, dataset: Any, stream: IO[bytes], bits_of_frame: int) -> int:
    """Refuse pixels that are not there or cut off, and return their tag."""
    syntax = dataset.file_meta.TransferSyntaxUID
    tag, found = _pixel_element(stream, is_little=syntax.is_little_endian, is_implicit=syntax.is_implicit_VR)
    if found == UNDEFINED:
        return tag
    frames = int(dataset.get("NumberOfFrames") or 1)
    needed = 1 if syntax.is_compressed else -(-bits_of_frame * frames // 8)
    found = min(found, file.stat().st_size - stream.tell())
    if found < needed:
        msg = (
            f"{file}: has {counted(max(found, 0), 'byte')} of pixels, and its header needs "
            f"{'some' if syntax.is_compressed else f'{needed:,}'}; copy it again"
        )
        raise SourceError(msg)
    return tag


def _pixel_element(stream: IO[bytes], *, is_little: bool, is_implicit: bool) -> tuple[int, int]:
    """Return tag and length of the pixels, and leave the stream at their first byte; 0 and 0 if there are none."""
    order = "<" if is_little else ">"
    head = stream.read(8)
    if len(head) < 8:
        return 0, 0
    group, element = struct.unpack(f"{order}HH", head[:4])
    tag = group << 16 | element
    if tag not in PIXELS:
        return 0, 0
    if not is_implicit and head[4:6].isalpha() and head[4:6] in {b"OB", b"OW", b"OF", b"OD", b"UN"}:
        head = stream.read(4).ljust(4, b"\0")
    elif not is_implicit:  # two bytes of type, two of length
        return tag, int(struct.unpack(f"{order}H", head[6:])[0])
    return tag, int(struct.unpack(f"{order}I", head[-4:])[0])
