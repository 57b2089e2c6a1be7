"""Models by name: the ones that come with the program, and folders anywhere."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.packages.manifest_file import MANIFEST_FILE

_BUNDLED = Path(__file__).parent / "bundled"


def bundled_models() -> list[str]:
    """Return the names of the models that come with the program, sorted."""
    return sorted(path.parent.name for path in _BUNDLED.glob(f"*/{MANIFEST_FILE}"))


def find_model(name_or_path: str) -> Path:
    """Return the folder of a model package, given its path or the name of a bundled model.

    Raises
    ------
    ModelError
        Neither; the text lists the bundled names.
    """
    folder = Path(name_or_path)
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if name_or_path in bundled_models():
        return _BUNDLED / name_or_path
    known = ", ".join(bundled_models()) or "none"
    if folder.is_file():
        msg = (
            f"model {name_or_path!r} is a file; make a package of it with: "
            f"segment-tiles model import {name_or_path} --out DIR --classes NAMES"
        )
    elif (folder / "configs" / "metadata.json").is_file():
        msg = (
            f"model {name_or_path!r} is a MONAI bundle; make a package of it with: "
            f"segment-tiles model import {name_or_path} --out DIR"
        )
    elif folder.is_dir():
        msg = f"model folder {name_or_path!r} holds no {MANIFEST_FILE}; a model package is needed"
    else:
        msg = f"model {name_or_path!r} is neither a folder nor a bundled model (bundled: {known})"
    raise ModelError(msg)


def portable_name(folder: Path) -> str:
    """Return what `find_model` takes on any machine: the name of a bundled model, else an absolute path."""
    return folder.name if is_bundled(folder) else str(folder.absolute())


def is_bundled(folder: Path) -> bool:
    """Return whether a package came with the program: its folder is not the user's to write into."""
    return folder.parent == _BUNDLED
