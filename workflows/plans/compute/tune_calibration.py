"""What `tune --calibrate` does first: a model calibrated on scenes, and int8 judged on other tiles of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segment_tiles.pipeline.errors import UsageError
from segment_tiles.pipeline.models.calibration.calibrated import INT8
from segment_tiles.pipeline.models.calibration.kept import Calibrations
from segment_tiles.pipeline.names import shown_name
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.options.tuning import TuneConfig
from segment_tiles.workflows.plans.compute.calibrate import calibrated
from segment_tiles.workflows.plans.compute.compute_choice import ComputeOptions, measured_choice
from segment_tiles.workflows.plans.compute.kept_choice import Choice
from segment_tiles.workflows.plans.compute.model_bench import ModelBench
from segment_tiles.workflows.plans.compute.sample_tiles import CALIBRATED, JUDGED
from segment_tiles.workflows.plans.compute.scene_tiles import tiles_of
from segment_tiles.workflows.scenes.registry import open_scene
from segment_tiles.workflows.scenes.scene_statistics import scaled_scene

if TYPE_CHECKING:
    import torch


def calibrated_and_judged(
    asked: TuneConfig, device: torch.device, before: Choice, of_run: dict[str, Any]
) -> tuple[Calibrations, Choice]:
    """Calibrate a model anew, and return the Choice with what int8 does on tiles that it was not calibrated on.

    Parameters
    ----------
    asked
        The model, and scenes that it is used for.
    device
        Where it runs.
    before
        The Choice of the model.
    of_run
        Options of `RunConfig` that say how scenes are read.

    Raises
    ------
    SegmentTilesError
        If a scene cannot be read, or the model cannot be calibrated.
    """
    trust = bool(of_run.get("trust"))
    options = ComputeOptions(str(device), INT8, trust=trust)
    scenes = [
        scaled_scene(open_scene(RunConfig(source, asked.model, Path(), device=str(device), **of_run)), None)
        for source in asked.calibrate
    ]
    scene = scenes[0]
    if len({(other.lattice.tile, other.spec.bands) for other in scenes}) > 1:
        msg = (
            "--calibrate: the scenes give tiles of several sizes or numbers of bands; name scenes of one kind"
        )
        raise UsageError(msg)
    bench = ModelBench(scene, options, device, lambda: tiles_of(scenes, JUDGED))
    pairs = bench.pairs()  # refuses a device or a model that has no int8
    names = [shown_name(source) for source in asked.calibrate]
    made = calibrated(
        [manifest for _, manifest in scene.members], scene.lattice.tile, lambda: bench.packages,
        lambda: tiles_of(scenes, CALIBRATED), names, anew=True,
    )  # fmt: skip
    bench.options = replace(options, calibrations=made)
    return made, measured_choice(bench.options, before, pairs, bench.of(1))
