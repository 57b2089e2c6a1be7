"""How an array is segmented: everything that decides it as plain values, and one Region of it done."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SegmentTilesWarning, SourceError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.decision import Decision
from segment_tiles.pipeline.grid.grid_map import GridMap
from segment_tiles.pipeline.grid.lattice import Lattice
from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.inference.finished_rows import FinishedRows
from segment_tiles.pipeline.inference.result_rows import ResultPixels, result_rows
from segment_tiles.pipeline.inference.stream import RegionStream
from segment_tiles.pipeline.models.backends.torch_threads import torch_threads
from segment_tiles.pipeline.models.registry import portable_name
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.resampling.looked_at import Pixels, pixels_of
from segment_tiles.pipeline.sources.resampling.resampled_source import ResampledSource
from segment_tiles.pipeline.sources.validity import for_bands, nodata_as, valid_pixels
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.plans.compute.model_probe import compute_options, measure
from segment_tiles.workflows.plans.compute.sample_tiles import Positions, sample_tiles
from segment_tiles.workflows.plans.compute.tuned_run import with_tuning
from segment_tiles.workflows.regions.loaded_model import ModelRequest, load_scorer
from segment_tiles.workflows.results.report import not_finite_warning
from segment_tiles.workflows.scenes.arrays import scene_of_array
from segment_tiles.workflows.scenes.decided import decided_scene
from segment_tiles.workflows.scenes.scene import Scene
from segment_tiles.workflows.scenes.scene_statistics import scaled_scene
from segment_tiles.workflows.sizes_check import check_batch

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.precision import Sample

MASKED_OUT: Final = np.uint8(255)
"""In masks: of pixels without data."""
ONE_REGION_AT_ONCE: Final = Lock()
"""The network takes all cores of a process, or its GPU: Dask's threads take turns."""


@dataclass(frozen=True, slots=True)
class ArrayRun:
    """What a worker needs to know to segment a part of an array."""

    spec: RasterSpec
    """Of the bands that are read, in the order of the model; on the array's own pixels."""
    request: ModelRequest
    """The model, and how it computes."""
    table: ClassTable
    """Classes of the map."""
    model_classes: ClassTable
    """Classes of the model."""
    decision: Decision | None
    """Thresholds by which classes are given."""
    lattice: Lattice
    """Over the whole array, as it is read."""
    grid: GridMap
    """From the array's own pixels, on which the result lies, to those that are read."""
    metres: float | None
    """Metres per pixel at which it is read; None: as it is."""
    config: RunConfig
    """As asked for, with what `tune` kept."""

    @property
    def has_masks(self) -> bool:
        """Whether classes may overlap: the result has a mask for each."""
        return self.decision is not None and self.decision.multi_label

    @property
    def dtype(self) -> str:
        """Of the result."""
        return "uint8" if self.has_masks else self.table.dtype

    def shape_of(self, region: Window) -> tuple[int, ...]:
        """Return rows x columns of the result, of masks classes x rows x columns."""
        return (self.model_classes.count, *region.shape) if self.has_masks else region.shape


Crop = Callable[[RasterSpec, int | None], NDArray[Any]]
"""Gives values, bands x rows x columns, of the bands of a spec: all, or, of a lazy array, some tiles of a side about
the middle, or (None) every so manieth row and column."""


def prepared_run(config: RunConfig, spec: RasterSpec, sample: Crop) -> ArrayRun:
    """Check an array against a model, and choose how to compute, as a run does.

    Parameters
    ----------
    config
        What is asked for; its source is a name for messages.
    spec
        Of all bands of the array.
    sample
        Gives pixels on which the choice is made; not asked if an earlier choice is kept.

    Raises
    ------
    SegmentTilesError
        If model, options and array do not fit each other.
    """
    _check_spec(spec)
    scene = _scene(config, spec)
    tuned = with_tuning(config, scene, None)
    if tuned.tuned:
        config, scene = tuned, _scene(tuned, spec)
    check_batch(config.batch or 1, scene.lattice.tile, scene.spec.bands, is_elsewhere=False)
    scene = scaled_scene(scene, None, lambda: _looked_at(sample(scene.spec, None), scene, config))
    for text in scene.warnings:
        warnings.warn(text, SegmentTilesWarning, stacklevel=4)
    probe = _choice(config, scene, sample)
    request = ModelRequest(
        tuple((portable_name(folder), manifest.map_checksum) for folder, manifest in scene.members),
        probe.device,
        probe.precision,
        probe.backend,
        probe.batch,
        scene.lattice.tile,
        config.augmentation,
        config.trust,
        probe.calibrations,
        scene.scalings,
    )
    cut = scene.result
    metres = None if cut.result_grid is None else scene.view.metres
    return ArrayRun(
        scene.grid_spec, request, scene.decided, scene.manifest.classes, scene.decision, cut.lattice, cut.map, metres,
        config,
    )  # fmt: skip


def _looked_at(values: NDArray[Any], scene: Scene, config: RunConfig) -> Pixels:
    """Return pixels by which statistics of the scene are measured."""
    spec = scene.grid_spec
    height, width = values.shape[1:]
    source = array_source(values, replace(spec, height=height, width=width), config)
    is_whole = (height, width) == spec.window.shape
    (found,) = pixels_of(_read_as(source, scene.view.metres if is_whole else None, config))
    return found


def _read_as(source: ArraySource, metres: float | None, config: RunConfig) -> Source:
    """Return an array on its own pixels, or on pixels of so many metres."""
    return source if metres is None else ResampledSource(config.source, lambda level: source, 0, metres)


def _check_spec(spec: RasterSpec) -> None:
    if np.dtype(spec.dtype).kind not in "uif":
        msg = f"the array holds {spec.dtype} values; only integers and floats can be segmented"
        raise SourceError(msg)
    if not spec.bands or spec.window.is_empty:
        msg = f"the array has {spec.bands} bands x {spec.height} rows x {spec.width} columns; it must have pixels"
        raise SourceError(msg)


def _scene(config: RunConfig, spec: RasterSpec) -> Scene:
    """Return array and model, checked against each other."""

    def opened(of: RunConfig) -> tuple[RasterSpec, tuple[str, ...]]:
        return of_bands(spec, of), ()

    return decided_scene(config, scene_of_array(config, opened))


def of_bands(spec: RasterSpec, config: RunConfig) -> RasterSpec:
    """Return the spec of the bands and the nodata value that a configuration names.

    Raises
    ------
    SourceError, UsageError
        If the array has no such band, or cannot hold such a value.
    """
    numbers = config.bands or tuple(range(1, spec.bands + 1))
    if max(numbers) > spec.bands:
        msg = f"{config.source} has {spec.bands} bands, but --bands asks for band {max(numbers)}"
        raise SourceError(msg)
    marks = spec.nodata and tuple(spec.nodata[number - 1] for number in numbers)
    if config.nodata is not None:
        marks = for_bands(nodata_as(spec.dtype, config.nodata), len(numbers))
    names = spec.band_names and tuple(spec.band_names[number - 1] for number in numbers)
    scales = spec.scale_offsets and tuple(spec.scale_offsets[number - 1] for number in numbers)
    return replace(
        spec, bands=len(numbers), nodata=marks, band_names=names, band_numbers=numbers, scale_offsets=scales
    )


def _choice(config: RunConfig, scene: Scene, sample: Crop) -> Probe:
    """Return what was chosen for this model before; else measure on a tile of the array."""
    lattice = scene.lattice

    def tiles(positions: Positions) -> Sample | None:
        own, grid = scene.grid_spec, scene.result.map
        side = math.ceil(lattice.tile * max(1.0, grid.rows.factor, grid.columns.factor))
        values = sample(own, side)
        height, width = values.shape[1:]
        # the size of its pixels on the ground is that of the middle of the array
        part = Window((own.height - height) // 2, (own.width - width) // 2, height, width)
        of_part = replace(own, height=height, width=width, georef=own.georef.of_window(part))
        source = _read_as(array_source(values, of_part, config), scene.view.metres, config)
        cut = replace(
            scene.result, lattice=replace(lattice, height=source.spec.height, width=source.spec.width)
        )
        return sample_tiles(replace(scene, cuts=(cut,)), source, positions)

    found = measure(scene, compute_options(config), tiles)
    for text in found.notes:
        warnings.warn(text, SegmentTilesWarning, stacklevel=5)
    return found.probe


def segmented_region(
    values: NDArray[Any],
    run: ArrayRun,
    region: Window,
    part: Window,
    *,
    on_tiles: Callable[[int, int], None] | None = None,
) -> NDArray[Any]:
    """Return the class codes of a Region: rows x columns, nodata if there is no class; or masks.

    Of classes that may overlap: classes x rows x columns, 1 if a pixel has the class, else 0, nodata 255.

    Parameters
    ----------
    values
        Of a part of the array that has all that the tiles of the Region read: bands of the model x rows x columns;
        what NumPy masks in them is missing.
    run
        How it is segmented.
    region, part
        Windows of the array.
    on_tiles
        Told of tiles computed and tiles skipped.

    Raises
    ------
    ModelError
        If another model than the one that was asked for is found under its name.
    """
    own = array_source(values, run.spec, run.config, part=part)
    mask = None if run.metres is None or run.spec.has_no_holes else own
    found = np.empty(run.shape_of(region), dtype=run.dtype)
    lost = 0
    with ONE_REGION_AT_ONCE:
        scorer = load_scorer(run.request)
        with torch_threads(run.request.backend, scorer.batches_at_once):
            stream = RegionStream(
                _read_as(own, run.metres, run.config), scorer, run.lattice, run.grid.covering(region),
                blend=run.config.blend, batch=run.request.batch, on_tiles=on_tiles,
                with_scores=run.has_masks, decision=run.decision,
            )  # fmt: skip
            for rows in result_rows(stream, run.grid, region, ResultPixels(mask, None), run.table.nodata):
                top = rows.row - region.row
                found[..., top : top + rows.classes.shape[0], :] = _result(run, rows)
                lost += 0 if rows.not_finite is None else int(rows.not_finite.sum())
    if lost:
        warnings.warn(not_finite_warning(lost, region.area), SegmentTilesWarning, stacklevel=3)
    return found


def _result(run: ArrayRun, rows: FinishedRows) -> NDArray[Any]:
    if run.decision is None or not run.has_masks or rows.scores is None:
        return rows.classes
    return np.where(rows.classes == run.table.nodata, MASKED_OUT, run.decision.masks(rows.scores))


def array_source(
    values: NDArray[Any], spec: RasterSpec, config: RunConfig, part: Window | None = None
) -> ArraySource:
    """Return bands of the model x rows x columns as a Source; of a part of an array, with its window."""
    rule, valid, hidden = config.nodata_rule, None, None
    if isinstance(values, np.ma.MaskedArray):
        values, hidden = np.ma.getdata(values), np.ma.getmaskarray(values)
        valid = valid_pixels(values, (), rule, hidden)
    return ArraySource(
        values,
        valid=valid,
        georef=spec.georef,
        nodata=spec.nodata[0] if spec.nodata else None,
        nodata_rule=rule,
        hidden=hidden,
        part=part,
        shape=(spec.height, spec.width),
    )
