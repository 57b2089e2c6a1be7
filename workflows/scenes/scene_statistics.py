"""What the scaling of a model takes from its scene: scale and offset of the file, and statistics, measured once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.scaling.mlm import record_of, scaling_of_record
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.protocol import Source, reductions_of
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.scaling.scaling import Scaling

SIDE_LOOKED_AT: Final = 1024
"""Rows and columns of the decimated scene that is measured."""
DECODED_AT_MOST: Final = 4096 * 4096
"""Pixels that are decoded for it; of a larger scene without overviews, pieces are measured."""
PIECES: Final = 16
"""Along each side."""
PIECE_SIDE: Final = 128
"""Rows and columns of a piece."""
PLANES_LOOKED_AT: Final = 16
"""Of a volume."""

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Values, bands x pixels, and which of the pixels hold data."""


def scaled_scene(
    scene: Scene, recorded: Mapping[str, Any] | None, look: Callable[[], Pixels] | None = None
) -> Scene:
    """Return a scene whose models know scale, offset and statistics of it.

    Parameters
    ----------
    scene
        Source and models, checked.
    recorded
        Settings of the run that is taken up, whose statistics count; None: they are measured.
    look
        Gives pixels of the scene; None: they are read from it, from an overview if there is one.

    Raises
    ------
    SourceError, ReadFailedError
        If a band has no valid pixel, or the source cannot be read.
    """
    before = (recorded or {}).get("--scaling") or []
    pixels: list[Pixels] = []

    def of_scene() -> Pixels:
        if not pixels:
            pixels.append(_pixels(scene) if look is None else look())
        return pixels[0]

    manifests = [
        _scaled(manifest, scene, before[n] if n < len(before) else None, of_scene)
        for n, (_, manifest) in enumerate(scene.members)
    ]
    companions = zip((folder for folder, _ in scene.companions), manifests[1:], strict=True)
    return replace(scene, manifest=manifests[0], companions=tuple(companions))


def scaling_settings(scene: Scene) -> dict[str, Any]:
    """Return what a run records of scalings that its packages do not say in full: one entry for each model."""
    scalings = [manifest.run_scaling for _, manifest in scene.members]
    if all(scaling is None for scaling in scalings):
        return {}
    return {"--scaling": [None if scaling is None else record_of(scaling) for scaling in scalings]}


def shown_scalings(recorded: Sequence[Mapping[str, Any] | None] | None) -> str:
    """Return what `scaling_settings` gives as people read it."""
    if not recorded:
        return "as the model says"
    return "; ".join("as the model says" if one is None else str(scaling_of_record(one)) for one in recorded)


def _scaled(
    manifest: ModelManifest, scene: Scene, before: Mapping[str, Any] | None, of_scene: Callable[[], Pixels]
) -> ModelManifest:
    scaling, bands = manifest.with_units(scene.spec.scale_offsets).scaling_used, scene.spec.bands
    if scaling.is_measured_in_scene:
        kept = None if before is None else scaling_of_record(before)
        is_kept = kept is not None and kept.declared(bands) == scaling.declared(bands)
        scaling = kept if is_kept and kept is not None else _measured(scaling, manifest, scene, of_scene())
    return manifest if scaling == manifest.scaling_used else replace(manifest, run_scaling=scaling)


def _measured(scaling: Scaling, manifest: ModelManifest, scene: Scene, pixels: Pixels) -> Scaling:
    import torch  # noqa: PLC0415 - slow, and only statistics of a scene need it

    from segment_tiles.pipeline.models.scaling.scaler import Scaler  # noqa: PLC0415

    values, valid = (torch.from_numpy(np.ascontiguousarray(part)) for part in pixels)
    scaler = Scaler(scaling, len(manifest.bands), torch.device("cpu"))
    found = scaler.measured(values[None, :, None], valid[None, None])
    if found is None:
        msg = (
            f"{shown_name(scene.uri)}: has no valid pixel in a band, so that there are no statistics of the scene, by "
            f"which model {manifest.name} scales ({scaling}); give --nodata if another value is missing, or fixed "
            "numbers with --scaling"
        )
        raise SourceError(msg)
    return found


def _pixels(scene: Scene) -> Pixels:
    planes = scene.result.planes
    count = min(planes, PLANES_LOOKED_AT)
    with closing(scene.result.opener.open()) as opened:
        parts = [
            part
            for source in opened.sources([planes * (2 * n + 1) // (2 * count) for n in range(count)])
            for part in pixels_of(source)
        ]
    return np.concatenate([values for values, _ in parts], axis=1), np.concatenate([v for _, v in parts])


def pixels_of(source: Source) -> Iterator[Pixels]:
    """Yield pixels of all of a source: decimated, or pieces if to decimate it would be to decode a large file."""
    spec = source.spec
    shape = min(spec.height, SIDE_LOOKED_AT), min(spec.width, SIDE_LOOKED_AT)
    step = min(spec.height / shape[0], spec.width / shape[1])
    finest = max((reduction for reduction in reductions_of(source) if reduction <= step), default=1.0)
    if spec.height * spec.width / finest**2 <= DECODED_AT_MOST:
        yield _flat(*source.thumbnail(spec.window, shape))
        return
    for window in _pieces(spec.height, spec.width):
        values = source.read(window)
        yield _flat(values, source.valid(window, values))


def _pieces(height: int, width: int) -> Iterator[Window]:
    rows, columns = (
        sorted({max(0, side - PIECE_SIDE) * n // (PIECES - 1) for n in range(PIECES)})
        for side in (height, width)
    )
    for row in rows:
        for column in columns:
            yield Window(row, column, PIECE_SIDE, PIECE_SIDE).intersect(Window(0, 0, height, width))


def _flat(values: NDArray[Any], valid: NDArray[np.bool_] | None) -> Pixels:
    flat = values.reshape(len(values), -1)
    return flat, np.ones(flat.shape[1], bool) if valid is None else valid.reshape(-1)
