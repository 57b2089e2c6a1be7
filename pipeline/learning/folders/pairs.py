"""Pictures and masks, in pairs by name."""

from __future__ import annotations

from pathlib import Path

from segment_tiles.pipeline.errors import TrainingError
from segment_tiles.pipeline.wording import counted

BESIDE_PICTURES = frozenset(
    {".aux", ".csv", ".db", ".htm", ".ini", ".jgw", ".json", ".md", ".ovr", ".pgw", ".prj", ".qml", ".tfw",
     ".tsv", ".txt", ".wld", ".xml", ".yaml", ".yml"}
)  # fmt: skip
"""Suffixes of files that lie beside pictures and are none."""
BESIDE_MASKS = BESIDE_PICTURES - {".json"} | {".cpg", ".dbf", ".qix", ".qmd", ".sbn", ".sbx", ".shx"}
"""The same of masks, which may be GeoJSON, or the main file of a Shapefile."""


def paired_files(
    name: str, images: Path, labels: Path, label_ending: str = ""
) -> dict[str, tuple[Path, Path]]:
    """Return picture and mask by the name of the picture, in the order of names.

    Parameters
    ----------
    name
        Of the folder in messages.
    images, labels
        The two folders.
    label_ending
        What the name of a mask has after that of its picture.

    Raises
    ------
    TrainingError
        A folder is missing or has nothing, a picture has no mask, a mask has no picture, or two files have one name.
    """
    pictures = _by_name(name, "images", images, BESIDE_PICTURES)
    masks = _by_name(name, "labels", labels, BESIDE_MASKS)
    if label_ending:
        other = sorted(stem for stem in masks if not stem.endswith(label_ending))
        if other:
            msg = f"pictures {name}: {masks[other[0]]} does not end with label_ending {label_ending!r}{_more(other)}"
            raise TrainingError(msg)
        masks = {stem.removesuffix(label_ending): path for stem, path in masks.items()}
    _refuse_alone(name, "picture", "mask", pictures, masks, labels)
    _refuse_alone(name, "mask", "picture", masks, pictures, images)
    return {stem: (pictures[stem], masks[stem]) for stem in sorted(pictures)}


def _by_name(name: str, what: str, folder: Path, beside: frozenset[str]) -> dict[str, Path]:
    if not folder.is_dir():
        msg = f"pictures {name}: {what} is {folder}, which is no folder; name a folder of pictures"
        raise TrainingError(msg)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() in beside or path.is_dir():
            continue
        if path.stem in found:
            msg = (
                f"pictures {name}: {found[path.stem]} and {path.name} have one name; pairs are made by name, so "
                "take one of them away"
            )
            raise TrainingError(msg)
        found[path.stem] = path
    if not found:
        msg = f"pictures {name}: {folder} has no pictures"
        raise TrainingError(msg)
    return found


def _refuse_alone(
    name: str, one: str, other: str, ours: dict[str, Path], theirs: dict[str, Path], folder: Path
) -> None:
    alone = sorted(ours.keys() - theirs.keys())
    if alone:
        msg = (
            f"pictures {name}: the {one} {ours[alone[0]]} has no {other} of its name in {folder}{_more(alone)}; "
            f"add the {other}, or take the {one} away"
        )
        raise TrainingError(msg)


def _more(names: list[str]) -> str:
    return f" (nor have {counted(len(names) - 1, 'other')})" if len(names) > 1 else ""
