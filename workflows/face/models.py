"""`list_models` and `load_model`: what models there are, and what one of them is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import bundled_models, find_model, portable_name


@dataclass(frozen=True, slots=True)
class Model:
    """A model package, checked; give it as ``model=`` to whatever takes one."""

    name: str
    """Lower case with hyphens."""
    folder: Path
    """Where the package lies."""
    description: str
    """One paragraph: what it is for."""
    bands: tuple[str, ...]
    """Names of the input bands, in order."""
    dtype: str
    """Type of the values that it was trained on, such as uint8."""
    classes: tuple[str, ...]
    """Names of the classes in the order of their codes."""
    tile: int
    """Side of a tile in pixels."""
    overlap: float
    """Overlap of tiles as a fraction of the side."""
    pixel_size: float | None
    """Side of a pixel that it was trained at, in ``pixel_unit``; None: it does not say."""
    pixel_unit: str
    """m, micrometer or millimeter."""

    def __str__(self) -> str:
        """Return what the options take: the name of a bundled model, else the folder."""
        return portable_name(self.folder)


def list_models(*folders: str | Path) -> tuple[Model, ...]:
    """Return the bundled models, and the model packages in further folders.

    Parameters
    ----------
    *folders
        Model packages, such as `train` makes.

    Raises
    ------
    ModelError
        If a folder is not a model package, or one is damaged.

    Examples
    --------
    >>> import segment_tiles as st
    >>> [model.name for model in st.list_models()]
    ['axon-myelin', 'brain-tissue', 'canopy-rgb', 'landcover-rgb', 'nuclei']
    """
    return tuple(load_model(name) for name in [*bundled_models(), *folders])


def load_model(name: str | Path) -> Model:
    """Return what a model is; its weights are loaded when they compute.

    Parameters
    ----------
    name
        Name of a bundled model, or folder or URL of a model package.

    Raises
    ------
    ModelError
        If there is no such model, or its package is damaged.

    Examples
    --------
    >>> import segment_tiles as st
    >>> model = st.load_model("canopy-rgb")
    >>> model.bands, model.classes
    (('red', 'green', 'blue'), ('other', 'tree canopy'))
    >>> st.plan("scene.tif", model=model).document["model"]
    'canopy-rgb'
    """
    folder = find_model(str(name))
    manifest = load_manifest(folder)
    return Model(
        manifest.name,
        folder,
        manifest.description,
        manifest.bands,
        manifest.dtype,
        manifest.classes.names,
        manifest.tile,
        manifest.overlap,
        manifest.pixel_size,
        manifest.pixel_unit,
    )
