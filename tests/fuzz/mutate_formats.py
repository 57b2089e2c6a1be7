"""Wrong values in the fields of formats that are neither text nor trees: headers, tags, elements."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from random import Random

from fuzz.mutate_bytes import mutate_file
from fuzz.mutate_trees import mutate_tree

NIFTI_FIELDS = {
    "sizeof_hdr": (0, "<i"), "dim0": (40, "<h"), "dim1": (42, "<h"), "dim2": (44, "<h"), "dim3": (46, "<h"),
    "dim4": (48, "<h"), "dim5": (50, "<h"), "datatype": (70, "<h"), "bitpix": (72, "<h"), "pixdim0": (76, "<f"),
    "pixdim1": (80, "<f"), "pixdim3": (88, "<f"), "vox_offset": (108, "<f"), "scl_slope": (112, "<f"),
    "scl_inter": (116, "<f"), "xyzt_units": (123, "<b"), "qform_code": (252, "<h"), "sform_code": (254, "<h"),
    "quatern_b": (256, "<f"), "srow_x0": (280, "<f"), "srow_y1": (300, "<f"), "srow_z2": (320, "<f"),
}  # fmt: skip
"""Byte offset and type of fields of a NIfTI-1 header (nifti1.h)."""

NUMBERS = (0, -1, 1, 2, 7, 127, 128, 1536, 2304, 32767, -32768, 1e-30, 1e30, float("inf"), float("nan"))
TEXTS = (
    "", "0", "-1", "1", "3.7", "1e400", "nan", "inf", "99999999999", "word", "ä", "a b c", "1 2", "(1,0)", "raw",
    "int128", "none",
)  # fmt: skip


def mutate_nifti(path: Path, rng: Random) -> str:
    """Set one field of the header."""
    data = bytearray(path.read_bytes())
    name = rng.choice(list(NIFTI_FIELDS))
    offset, kind = NIFTI_FIELDS[name]
    value = rng.choice(NUMBERS)
    if kind != "<f":
        limit = 2 ** (8 * struct.calcsize(kind) - 1)
        value = int(max(-limit, min(limit - 1, value))) if value == value else 0
    data[offset : offset + struct.calcsize(kind)] = struct.pack(
        kind, _as_float32(value) if kind == "<f" else value
    )
    path.write_bytes(data)
    return f"{path.name}: {name} = {value}"


def _as_float32(value: float) -> float:
    return float("inf") if abs(value) > 3.4e38 else value


def mutate_text(path: Path, rng: Random) -> str:
    """Change one value of a text header or XML file: after a colon, an equals sign, or between tags."""
    data = path.read_bytes()
    found = list(re.finditer(rb'(?:"([^"\n]*)"|>([^<\n]+)<|: ([^\n]+)\n|= *([^\n]+)\n)', data[:20_000]))
    if not found:
        return "nothing"
    match = rng.choice(found)
    group = next(i for i in range(1, 5) if match.group(i) is not None)
    value = rng.choice(TEXTS).encode()
    path.write_bytes(data[: match.start(group)] + value + data[match.end(group) :])
    return f"{path.name}: {match.group(group)[:30]!r} -> {value!r}"


def mutate_dicom(path: Path, rng: Random) -> str:
    """Set, empty or remove one element of a DICOM file."""
    import pydicom
    from pydicom import config

    config.settings.writing_validation_mode = config.IGNORE
    config.settings.reading_validation_mode = config.IGNORE
    try:
        dataset = pydicom.dcmread(path)
    except (ValueError, OSError, AttributeError, pydicom.errors.InvalidDicomError):  # damaged before
        return mutate_file(path, rng)
    keys = [element.tag for element in dataset]
    tag = rng.choice(keys)
    element = dataset[tag]
    action = rng.choice(("remove", "empty", "set", "set"))
    if action == "remove":
        del dataset[tag]
    elif action == "empty":
        element.value = b"" if element.VR in {"OB", "OW"} else None
    elif element.VR in {"US", "SS", "UL", "SL"}:
        element.value = rng.choice((0, 1, 2, 3, 7, 8, 16, 32, 255, 65535))
    elif element.VR in {"DS", "IS", "FD"}:
        element.value = rng.choice(
            ([1], [0, 0], [-1, 1], [1e30, 1], [1, 2, 3, 4, 5, 6, 7], 0, [0, 0, 0, 0, 0, 0])
        )
    elif element.VR == "UI":
        element.value = rng.choice(("1.2.840.10008.1.3.10", "1.2.840.10008.5.1.4.1.1.88.11", "1", "1.2.3"))
    elif element.VR in {"OB", "OW"}:
        element.value = element.value[: len(element.value) // 4 * 2]
    elif element.VR != "SQ":
        element.value = rng.choice(("", "X", "MONOCHROME1", "RGB", "A" * 200))
    name = element.keyword
    dataset.save_as(path, enforce_file_format=False)
    return f"{path.name}: {action} {name}"


def mutate_safetensors(path: Path, rng: Random) -> str:
    """Put a wrong value into the header: another shape, type, offset, name or length."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    try:
        header, done = mutate_tree(json.loads(data[8 : 8 + length]), rng)
    except (ValueError, IndexError):  # damaged before
        return mutate_file(path, rng)
    text = json.dumps(header, default=str).encode()
    said = len(text) if rng.random() < 0.8 else rng.choice((0, 1, 2**40, len(text) + 1000))
    path.write_bytes(said.to_bytes(8, "little") + text + data[8 + length :])
    return f"{path.name}: {done}"


TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8}
"""Bytes of a value, by type of a TIFF tag."""


def mutate_tiff(path: Path, rng: Random) -> str:
    """Set type, count or value of one tag of the first directory of a classic little-endian TIFF."""
    data = bytearray(path.read_bytes())
    if data[:4] != b"II*\0":
        return "nothing"
    try:
        (start,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, start)
        entry = start + 2 + 12 * rng.randrange(count)
        tag, _, _, _ = struct.unpack_from("<HHII", data, entry)
    except (struct.error, ValueError):  # damaged before
        return mutate_file(path, rng)
    field, offset, kind = rng.choice(
        (("type", 2, "<H"), ("count", 4, "<I"), ("value", 8, "<I"), ("value", 8, "<I"), ("tag", 0, "<H"))
    )
    value = rng.choice((0, 1, 2, 3, 5, 7, 8, 34, 255, 32773, 65535, 2**31 - 1, 2**32 - 1))
    struct.pack_into(kind, data, entry + offset, value & (2 ** (8 * struct.calcsize(kind)) - 1))
    path.write_bytes(data)
    return f"{path.name}: tag {tag}: {field} = {value}"
