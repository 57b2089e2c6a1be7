"""Models by name: the ones that come with the program, and folders anywhere."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.packages.fetched import address_of, fetched_package
from segment_tiles.pipeline.models.packages.manifest_file import MANIFEST_FILE
from segment_tiles.pipeline.places.address import is_address, unflattened

_BUNDLED = Path(__file__).parent / "bundled"


def bundled_models() -> list[str]:
    """Return the names of the models that come with the program, sorted."""
    return sorted(path.parent.name for path in _BUNDLED.glob(f"*/{MANIFEST_FILE}"))


def find_model(name_or_path: str | Path) -> Path:
    """Return the folder of a model package, given its path, its URL or the name of a bundled model.

    A package at a URL is read into the cache folder, whose copy is returned.

    Raises
    ------
    ModelError
        None of them; the text lists the bundled names. The package at the URL cannot be read, or is damaged.
    MissingExtraError
        The URL needs the extra ``object-store``, which is not installed.
    """
    name = unflattened(str(name_or_path))
    if is_address(name):
        return fetched_package(name)
    folder = Path(name)
    if (folder / MANIFEST_FILE).is_file():
        return folder
    if name in bundled_models():
        return _BUNDLED / name
    known = ", ".join(bundled_models()) or "none"
    if folder.is_file():
        msg = (
            f"model {name!r} is a file; make a package of it with: "
            f"segment-tiles model import {name} --out DIR --classes NAMES"
        )
    elif (folder / "configs" / "metadata.json").is_file():
        msg = (
            f"model {name!r} is a MONAI bundle; make a package of it with: "
            f"segment-tiles model import {name} --out DIR"
        )
    elif folder.is_dir():
        msg = f"model folder {name!r} holds no {MANIFEST_FILE}; a model package is needed"
    else:
        msg = f"model {name!r} is neither a folder nor a bundled model (bundled: {known})"
    raise ModelError(msg)


def portable_name(folder: Path) -> str:
    """Return what `find_model` takes on any machine: the name of a bundled model, a URL, or an absolute path."""
    if is_bundled(folder):
        return folder.name
    return address_of(folder) or str(folder.absolute())


def is_bundled(folder: Path) -> bool:
    """Return whether a package came with the program: its folder is not the user's to write into."""
    return folder.parent == _BUNDLED
