"""Whether several models can be one ensemble, by what their manifests say."""

from __future__ import annotations

from collections.abc import Sequence

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.packages.manifest import ModelManifest


def check_members(manifests: Sequence[ModelManifest]) -> None:
    """Refuse models that do not look at the same pixels for the same classes.

    Raises
    ------
    ModelError
        Naming the two models and what differs.
    """
    first = manifests[0]
    for other in manifests[1:]:
        for what, ours, theirs in (
            ("classes", _classes(first), _classes(other)),
            ("bands", first.bands, other.bands),
            ("values", first.dtype, other.dtype),
            ("pixel size", _pixel_size(first), _pixel_size(other)),
            ("classes that", _overlap(first), _overlap(other)),
            ("margin", f"{first.output.margin} px", f"{other.output.margin} px"),
        ):
            if ours != theirs:
                msg = (
                    f"models {first.name} and {other.name} cannot be one ensemble: {what} {_words(ours)} and "
                    f"{_words(theirs)}; give models that agree"
                )
                raise ModelError(msg)


def _classes(manifest: ModelManifest) -> tuple[str, ...]:
    return tuple(entry.name for entry in manifest.classes.classes)


def _overlap(manifest: ModelManifest) -> str:
    return "may overlap" if manifest.output.multi_label else "exclude each other"


def _pixel_size(manifest: ModelManifest) -> str:
    return "any" if manifest.pixel_size is None else f"{manifest.pixel_size:g} {manifest.pixel_unit}"


def _words(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
