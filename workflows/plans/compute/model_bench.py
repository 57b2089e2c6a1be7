"""A model on its device, loaded when something of it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from segment_tiles.pipeline.grid.raster import RasterSpec
from segment_tiles.pipeline.models.calibration.calibrated import INT8
from segment_tiles.pipeline.models.registry import portable_name
from segment_tiles.workflows.plans.compute.compute_choice import (
    Bench,
    ComputeOptions,
    Decision,
    pairs_in_question,
)
from segment_tiles.workflows.plans.compute.kept_choice import Choice
from segment_tiles.workflows.plans.compute.kept_probe import Probe
from segment_tiles.workflows.process_memory import peak_since_reset, reset_peak, resident_bytes
from segment_tiles.workflows.scenes.scene import Scene

if TYPE_CHECKING:
    import torch

    from segment_tiles.pipeline.models.ensemble import Ensemble
    from segment_tiles.pipeline.models.precision import Sample
    from segment_tiles.pipeline.models.segmenter import Segmenter
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage, ModelRequest


PROGRAM_STEP: Final = 16 * 2**20
"""Bytes in which the memory of the program is counted: from start to start it differs by less."""


class ModelBench:
    """The model on its device, loaded when something is measured.

    Parameters
    ----------
    scene, options
        Source, model, and how the user wants to compute.
    device
        Where.
    sample_of
        Gives real tiles, or None: then noise is measured.
    """

    def __init__(
        self,
        scene: Scene,
        options: ComputeOptions,
        device: torch.device,
        sample_of: Callable[[], Sample | None],
    ) -> None:
        self._scene, self.options, self._device, self._sample_of = scene, options, device, sample_of
        self._packages: list[LoadedPackage] | None = None
        self._sample: Sample | None = None
        self.has_real_tiles = False

    @property
    def sample(self) -> Sample:
        """Real tiles if there are any, else noise."""
        if self._sample is None:
            found = self._sample_of()
            self.has_real_tiles = found is not None
            self._sample = found or _noise(self._scene.spec, self._scene.lattice.tile)
        return self._sample

    @property
    def packages(self) -> list[LoadedPackage]:
        """The models with their networks, loaded once."""
        if self._packages is None:
            self._packages = _packages(self._scene, self.options)
        return self._packages

    def make(self, backend: str, precision: str, batch: int) -> Segmenter | Ensemble:
        """Return the scorer of a backend and a precision."""
        from segment_tiles.workflows.regions.loaded_model import scorer_of  # noqa: PLC0415

        return scorer_of(self.packages, self._device, self._request(backend, precision, batch))

    def _request(self, backend: str, precision: str, batch: int) -> ModelRequest:
        from segment_tiles.workflows.regions.loaded_model import ModelRequest  # noqa: PLC0415

        options, tile = self.options, self._scene.lattice.tile
        return ModelRequest(
            (), str(self._device), precision, backend, batch, tile, options.augmentation, options.trust,
            options.calibrations.checksums if precision == INT8 else (),
            own_folder=options.own_folder,
        )  # fmt: skip

    def of(self, batch: int) -> Bench:
        """Return where pairs are compared."""
        return Bench(lambda backend, precision: self.make(backend, precision, batch), self.sample, batch)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs in question; of a run that goes on the one that it has."""
        if self.options.is_settled:
            return [(self.options.backend, self.options.precision)]
        manifests = [manifest for _, manifest in self._scene.members]
        return pairs_in_question(self.options, self._device, manifests)

    def batch(self, choice: Choice) -> tuple[int, Choice]:
        """Return tiles of a forward pass, and the Choice with them if they were measured: on a GPU, if left open."""
        tile, batches = self._scene.lattice.tile, choice.batches or {}
        if self.options.batch is not None or self._device.type != "cuda":
            return self.options.batch or 1, choice
        if tile in batches:
            return batches[tile], choice
        # float32 takes the most memory: what fits in it fits in all
        precision = "fp32" if self.options.precision == "auto" else self.options.precision
        start = self.make("torch", precision, 1)
        found = _larger_batch(start, measured(start, 1, self.sample), self.sample).batch
        return found, replace(choice, batches={**batches, tile: found})

    def probe(self, decision: Decision, batch: int, earlier: Probe | None) -> Probe:
        """Load the model as the run has it, and return what that takes; one batch is measured only once."""
        from segment_tiles.pipeline.models.devices import device_label  # noqa: PLC0415
        from segment_tiles.workflows.regions.loaded_model import load_scorer  # noqa: PLC0415

        self._packages = None  # the networks as they were loaded are not part of what a run holds
        backend, precision = decision.pair
        models = tuple(
            (portable_name(folder), manifest.map_checksum) for folder, manifest in self._scene.members
        )
        # all as the run asks for it, else it would be loaded once more
        scorer_request = replace(
            self._request(backend, precision, batch),
            models=models,
            scalings=self._scene.scalings,
            is_of_mask=self.options.is_of_mask,
            keeps_coarse=self._scene.result.coarser > 1,
        )
        scorer = load_scorer(scorer_request)
        if earlier is not None:
            return replace(
                earlier, program_bytes=_in_steps(resident_bytes()), calibrations=scorer_request.calibrations
            )
        # what a batch takes does not depend on its pixels: nothing is read for it
        sample = self._sample or _noise(self._scene.spec, self._scene.lattice.tile)
        probe = measured(scorer, batch, sample)
        return replace(
            probe,
            device=str(self._device),
            device_name=device_label(self._device),
            calibrations=scorer_request.calibrations,
        )


def _packages(scene: Scene, options: ComputeOptions) -> list[LoadedPackage]:
    from segment_tiles.pipeline.models.inference_network import load_rewritten  # noqa: PLC0415
    from segment_tiles.workflows.regions.loaded_model import LoadedPackage  # noqa: PLC0415

    return [
        LoadedPackage(folder, manifest, load_rewritten(folder, manifest, trust=options.trust))
        for folder, manifest in scene.members
    ]


def measured(segmenter: Segmenter | Ensemble, batch: int, sample: Sample) -> Probe:
    """Return what one batch of a scorer takes; device and trials are not known here."""
    from segment_tiles.pipeline.models.precision import timed_scores  # noqa: PLC0415

    before = resident_bytes()
    reset_peak()
    _, seconds = timed_scores(segmenter, *sample.batch(0, batch))
    added = max(0, peak_since_reset() - before)
    return Probe(
        "",
        "",
        segmenter.precision,
        batch,
        seconds / batch,
        _in_steps(before),
        added,
        backend=segmenter.backend,
    )


def _in_steps(size: int) -> int:
    """Return bytes in whole steps, so that two starts of the same command have the same Plan."""
    return -(-size // PROGRAM_STEP) * PROGRAM_STEP


def _larger_batch(segmenter: Segmenter | Ensemble, probe: Probe, sample: Sample) -> Probe:
    """Double the batch while that gains at least a twentieth and the GPU has the memory."""
    import torch  # noqa: PLC0415

    while probe.batch < 64:
        try:
            larger = measured(segmenter, probe.batch * 2, sample)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if larger.seconds_per_tile > 0.95 * probe.seconds_per_tile:
            break
        probe = larger
    return probe


def _noise(spec: RasterSpec, tile: int) -> Sample:
    """Return a tile of random values of the raster's type, the same every time."""
    import torch  # noqa: PLC0415

    from segment_tiles.pipeline.models.precision import Sample  # noqa: PLC0415

    generator = np.random.default_rng(0)
    shape = (1, spec.bands, tile, tile)
    if np.dtype(spec.dtype).kind == "f":
        return Sample(torch.from_numpy(generator.random(shape).astype(spec.dtype)))
    return Sample(torch.from_numpy(generator.integers(0, 127, shape).astype(spec.dtype)))
