"""A source and a model brought together: checked against each other before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.grid.georef import GeoRef
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.reclass import Reclass
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.agreement import check_members
from segment_tiles.pipeline.models.packages.item_fields import LARGEST_SIDE
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.packages.manifest_file import load_manifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.names import is_stack
from segment_tiles.pipeline.sources.areas.tissue import TissueMask
from segment_tiles.pipeline.sources.view import WHOLE, View
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.output_folder.directory import OutputDirectory
from segment_tiles.workflows.scenes.cut import Cut
from segment_tiles.workflows.scenes.mask_area import MaskedClasses
from segment_tiles.workflows.scenes.model_scaling import scaling_notes, with_asked_scaling

Member = tuple[Path, ModelManifest]
"""A model package: its folder, and what it says of itself."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run reads and with which model, resolved."""

    uri: str = field(repr=False)  # may hold secrets
    """Path or URL."""
    kind: str
    """Name of its Kind."""
    cuts: tuple[Cut, ...]
    """What is segmented. The result has the planes and the shape of the first; of several the scores are composed."""
    bands: tuple[int, ...]
    """1-based bands of the file, in the order of the model."""
    manifest: ModelManifest
    """Of the model."""
    model_folder: Path
    """Folder of its package."""
    warnings: tuple[str, ...] = ()
    """What the user should know before trusting the map."""
    level: int = 0
    """Level of the source that is read."""
    view: View = WHOLE
    """Micrometres or metres per pixel at which it is read, plane and time point."""
    tissue: TissueMask | Path | None = None
    """What limits a run on a slide to tissue."""
    details: object = None
    """What only its Kind needs and understands; plain data, travels to workers."""
    companions: tuple[Member, ...] = ()
    """Packages of further models that make one ensemble with it."""
    decision: Decision | None = None
    """Thresholds by which classes are given; None: the highest score wins."""
    reclass: Reclass | None = None
    """What becomes of the classes that are given; None: they stay."""
    mask: SceneMask | None = None
    """The run of another model whose classes limit this one."""

    @property
    def decided(self) -> ClassTable:
        """Classes that pixels are given, before a reclass: those of the model, and perhaps one for "not sure"."""
        classes = self.manifest.classes
        return classes if self.decision is None else self.decision.table(classes)

    @property
    def has_masks(self) -> bool:
        """Whether the result has a mask for each class of the model, since they may overlap."""
        return self.decision is not None and self.decision.multi_label

    @property
    def mask_codes(self) -> tuple[int, ...]:
        """Code in the map of each class of the model that has a mask, last of pixels without any; () if none has."""
        before = self.decided.codes if self.has_masks else ()
        return before if self.reclass is None else tuple(dict(self.reclass.codes)[code] for code in before)

    @property
    def classes(self) -> ClassTable:
        """Classes of the result."""
        table = self.decided if self.reclass is None else self.reclass.table_after(self.decided)
        if not table.objects:
            return table
        # a rule of the model counts its pixels, which the result may have made finer or coarser
        factor = math.sqrt(self.spec.georef.pixel_area / self.grid_spec.georef.pixel_area)
        return replace(table, objects=tuple(rule.scaled(factor) for rule in table.objects))

    @property
    def result(self) -> Cut:
        """The Cut whose planes the result has."""
        return self.cuts[0]

    @property
    def is_composed(self) -> bool:
        """Whether scores of several Cuts become one result."""
        return len(self.cuts) > 1

    @property
    def spec(self) -> RasterSpec:
        """Of a plane as it is read, with the bands that are read."""
        return self.result.spec

    @property
    def grid_spec(self) -> RasterSpec:
        """Of a whole plane on the grid of the result."""
        return self.result.grid_spec

    @property
    def area_spec(self) -> RasterSpec:
        """Of a whole plane on the grid on which AOI and tissue are drawn."""
        return self.result.area_spec

    @property
    def roi(self) -> Window:
        """What is asked for of a plane, in pixels of the grid of the result; a plane of the result has its shape."""
        return self.result.roi

    @property
    def lattice(self) -> Lattice:
        """Over a whole plane, as it is read."""
        return self.result.lattice

    @property
    def georef(self) -> GeoRef:
        """Georeference of a plane of the result."""
        return self.result.georef

    @property
    def tile_count(self) -> int:
        """Tiles of all Cuts, counted on the whole result at once."""
        return sum(cut.tile_count for cut in self.cuts)

    @property
    def scalings(self) -> tuple[Scaling | None, ...]:
        """How each of `members` scales in this run; None: as its package says."""
        return tuple(manifest.run_scaling for _, manifest in self.members)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the files of all models."""
        return sum(
            file.stat().st_size for folder, _ in self.members for file in folder.iterdir() if file.is_file()
        )

    @property
    def members(self) -> tuple[Member, ...]:
        """All models of the ensemble; mostly one."""
        return (self.model_folder, self.manifest), *self.companions


@dataclass(frozen=True, slots=True)
class SceneMask:
    """The run of a model whose classes limit another run: its map lies on the same pixels as the other's."""

    config: RunConfig
    """What is asked for, into a folder of the other's output directory."""
    scene: Scene
    """The same source with that model."""
    names: tuple[str, ...]
    """Of the classes that are left out, or kept."""
    keeps: bool
    """Whether the other map has these alone; else it has all but these."""

    def said(self, text: str) -> str:
        """Return what the user should know of this run, as the other one says it."""
        return f"mask model {self.scene.manifest.name}: {text}"

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes of these classes in the map of the mask."""
        return tuple(entry.code for entry in self.scene.classes.classes if entry.name in self.names)

    @property
    def area(self) -> MaskedClasses:
        """What workers need to know of it."""
        return MaskedClasses(
            OutputDirectory(self.config.out).store.absolute(),
            self.codes,
            self.keeps,
            self.scene.roi,
            self.scene.has_masks,
        )


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run, which agree with each other."""

    folder: Path
    """Package of the first."""
    manifest: ModelManifest
    """Of the first."""
    companions: tuple[Member, ...]
    """The others."""
    tile: int
    """Side of a tile in pixels."""
    overlap: int
    """Of tiles, in pixels."""
    notes: tuple[str, ...] = ()
    """What the user should know of how they are used."""

    def lattice(self, spec: RasterSpec) -> Lattice:
        """Return the tiles of a raster or plane."""
        return Lattice(spec.height, spec.width, self.tile, self.overlap, self.manifest.output.margin)


def open_models(config: RunConfig) -> Models:
    """Return the models that are asked for, verified, without loading a weight.

    Raises
    ------
    ModelError, UsageError
        If one is missing or damaged, does not agree with the others, or cannot have such tiles.
    """
    folder = find_model(config.model)
    folders = [find_model(name) for name in config.companions]
    manifest, *manifests = [
        with_asked_scaling(load_manifest(one).with_head(config.head), config.scaling)
        for one in (folder, *folders)
    ]
    check_members([manifest, *manifests])
    for other in manifests:
        tiling(config if config.tile else replace(config, tile=manifest.tile), other)
    companions = tuple(zip(folders, manifests, strict=True))
    notes = (*_head_notes(config, manifest), *scaling_notes([manifest, *manifests]))
    return Models(folder, manifest, companions, *tiling(config, manifest), notes)


def _head_notes(config: RunConfig, manifest: ModelManifest) -> tuple[str, ...]:
    """Say which of several heads is computed if none is asked for."""
    if config.head is not None or not manifest.heads:
        return ()
    first, *others = (head.name for head in manifest.heads)
    return (
        f"model {manifest.name} has several heads: {first} is computed; --head gives {', '.join(others)}",
    )


def tiling(config: RunConfig, manifest: ModelManifest) -> tuple[int, int]:
    """Return tile side and overlap in pixels.

    Raises
    ------
    UsageError
        If they do not fit the model.
    """
    tile = manifest.tile if config.tile is None else config.tile
    if not 1 <= tile <= LARGEST_SIDE:
        msg = f"--tile is {str(tile)[:20]}; give the side of a tile in pixels, such as {manifest.tile}"
        raise UsageError(msg)
    if tile % manifest.architecture.output_stride:
        msg = (
            f"--tile is {tile}; it must be a multiple of {manifest.architecture.output_stride}, "
            f"the output stride of model {manifest.name}"
        )
        raise UsageError(msg)
    if manifest.output.fixed_side and tile != manifest.tile:
        msg = f"--tile is {tile}; model {manifest.name} takes tiles of {manifest.tile} px alone: leave --tile out"
        raise UsageError(msg)
    scored = manifest.output.scored(tile)
    if scored < 1 or scored % manifest.output.coarser:
        msg = (
            f"--tile is {tile}; without the {manifest.output.margin} px on each side for which model {manifest.name} "
            f"gives no scores, a multiple of {manifest.output.coarser} px must be left"
        )
        raise UsageError(msg)
    return tile, manifest.overlap_of(tile, config.overlap)


def type_warnings(spec: RasterSpec, manifest: ModelManifest) -> list[str]:
    """Say if values are of another type than those the model was trained on."""
    scaling = manifest.scaling_used
    is_made_physical = scaling.values == "physical" and bool(spec.scale_offsets)
    if spec.dtype == manifest.dtype or is_made_physical or scaling.is_relative or manifest.run_scaling:
        return []
    what = (
        "its mean and standard deviation are" if scaling.is_fixed_z_score else f"its scaling, {scaling}, is"
    )
    return [
        f"the raster is {spec.dtype}, but model {manifest.name} was trained on {manifest.dtype} values: "
        f"{what} applied as {'they are' if scaling.is_fixed_z_score else 'it is'}, so the map may be poor"
    ]


def absolute_uri(uri: str) -> str:
    """Return the name under which every process finds a source: workers may work in another folder."""
    return uri if is_stack(uri) or not Path(uri).exists() else str(Path(uri).absolute())
