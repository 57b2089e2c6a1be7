"""What the scaling of a model takes from its scene: scale and offset of the file, and statistics, measured once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from segment_tiles.pipeline.errors import SourceError
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.scaling.mlm import record_of, scaling_of_record
from segment_tiles.pipeline.names import shown_name
from segment_tiles.pipeline.sources.resampling.looked_at import Pixels, pixels_of, together
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    from segment_tiles.pipeline.models.scaling.scaling import Scaling

PLANES_LOOKED_AT: Final = 16
"""Of a volume."""


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
    found = scaler.measured(values[None, :, None], valid[None, :, None])
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
    return together(parts)
