"""What a file that is no checkpoint is, told by its first bytes."""

from __future__ import annotations

import string
import zipfile
from pathlib import Path
from typing import Final

from segment_tiles.pipeline.errors import ModelError

_HEAD_BYTES: Final = 4096
_TAR_OFFSET: Final = 257
_AS_ONNX: Final = "export the network as ONNX with the library that trained it, and import that file"
_UNPACK: Final = "unpack it, and import the file that is in it"
_SIGNATURES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", _AS_ONNX),
    (b"version https://git-lfs.github.com/", "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself", "fetch it: git annex get"),
    (b"\x93NUMPY", "a NumPy array", _AS_ONNX),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
)  # fmt: skip
_GRAPH_OPERATIONS: Final = (b"Placeholder", b"Const", b"NoOp", b"VarHandleOp")
_PICKLE: Final = b"\x80"
"""First byte of a pickle of protocol 2 or later, which torch has always written."""
_ZIP: Final = b"PK\x03\x04"


def refuse_foreign_file(path: Path) -> None:
    """Refuse a file that is known to be neither a checkpoint nor a graph, and say what it is.

    Raises
    ------
    ModelError
        It is empty, a pointer, a web page, an archive, or another library's; the text says what to do.
    """
    head = _head(path)
    found = _known(head, path)
    if found is not None:
        what, remedy = found
        msg = f"{path} is {what}; {remedy}"
        raise ModelError(msg)


def refuse_no_pickle(path: Path) -> None:
    """Refuse a file that does not begin as a checkpoint of PyTorch does.

    Raises
    ------
    ModelError
        Says how it begins.
    """
    refuse_foreign_file(path)
    head = _head(path)
    if head.startswith((_PICKLE, _ZIP)):
        return
    printable = set(string.printable.encode())
    if set(head) <= printable:
        begins = f"a text file that begins with {head[:30].decode('ascii').strip()!r}"
    else:
        begins = f"no checkpoint of PyTorch: it begins with the bytes {head[:8].hex(' ')}"
    msg = f"{path} is {begins}; a state dict saved by torch.save or safetensors is needed"
    raise ModelError(msg)


def is_safetensors(path: Path) -> bool:
    """Say whether a file is safetensors, whatever its name: a length in 8 bytes, then a JSON object."""
    head = _head(path)
    return len(head) > 9 and head[8:9] == b"{" and not head.startswith((_PICKLE + b"\x02", _ZIP))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise ModelError(msg) from error


def _known(head: bytes, path: Path) -> tuple[str, str] | None:
    if head.startswith(_ZIP):
        return _known_archive(path)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    page = text.startswith((b"<!doctype html", b"<html", b"<head"))
    graph = head.startswith(b"\x0a") and any(name in head for name in _GRAPH_OPERATIONS)
    saved = head.startswith(b"\x08\x01\x12") and path.suffix == ".pb"
    kinds = [
        (not head, "empty (0 bytes)", "copy or download it again"),
        *((head.startswith(signature), what, remedy) for signature, what, remedy in _SIGNATURES),
        (
            page,
            "an HTML page, not a model",
            "the server wanted a login or a confirmation: download it by hand",
        ),
        (text.startswith(b"<?xml"), "an XML file, as OpenVINO writes beside its weights", _AS_ONNX),
        (head[4:8] == b"TFL3", "a TensorFlow Lite model", _AS_ONNX),
        (head[_TAR_OFFSET:].startswith(b"ustar"), "a tar archive", _UNPACK),
        (graph, "a frozen graph of TensorFlow", _AS_ONNX),
        (saved, "a SavedModel of TensorFlow", _AS_ONNX),
    ]
    return next(((what, remedy) for matches, what, remedy in kinds if matches), None)


def _known_archive(path: Path) -> tuple[str, str] | None:
    """Tell ZIP archives apart: those of torch hold data.pkl, code/, models/ or archive_format."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None  # cut off: said by the reader, which knows what it lacks
    if any(name.endswith(".h5") for name in names):
        return "a Keras model", _AS_ONNX
    if names and all(name.endswith(".npy") for name in names):
        return "a file of NumPy arrays (.npz)", _AS_ONNX
    parts = {part for name in names for part in name.split("/")[:2]}
    if parts & {"data.pkl", "code", "models", "archive_format"}:
        return None
    return f"a ZIP archive that holds {', '.join(names[:3]) or 'nothing'}", _UNPACK
