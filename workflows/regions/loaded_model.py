"""The model that a process holds: loaded once, by what the run was begun with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import nn

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.calibration.calibrated import INT8, Calibrated, copies_of
from segment_tiles.pipeline.models.calibration.kept import calibrated_for
from segment_tiles.pipeline.models.ensemble import Ensemble
from segment_tiles.pipeline.models.graphs.rewriting import Rewritten
from segment_tiles.pipeline.models.inference_network import load_rewritten
from segment_tiles.pipeline.models.package import load_manifest
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.registry import find_model
from segment_tiles.pipeline.models.scaling.scaling import Scaling
from segment_tiles.pipeline.models.segmenter import Segmenter
from segment_tiles.pipeline.outputs.stores.sent_folder import Send, SentFolder, forget_brought
from segment_tiles.workflows.process_memory import keep_freed_memory


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Everything that decides what is computed of a batch of tiles."""

    models: tuple[tuple[str, str], ...]
    """Name or folder, and `map_checksum`, of every member of the ensemble; mostly one."""
    device: str
    """cpu or cuda:N."""
    precision: str = "fp32"
    """fp32, bf16, fp16 or int8."""
    backend: str = "torch"
    """torch, compile, openvino or onnx."""
    batch: int = 1
    """Tiles of a forward pass."""
    tile: int | None = None
    """Side in pixels; None: the model's."""
    augmentation: str = "none"
    """none, flips or rotations."""
    trust: bool = False
    """Whether a graph that may execute code is loaded."""
    calibrations: tuple[str, ...] = ()
    """Of int8: checksums of the calibrated networks, in the order of the models."""
    scalings: tuple[Scaling | None, ...] = ()
    """How each model scales in this run, in the order of the models; None, or an empty tuple: as its package says."""
    is_of_mask: bool = False
    """Whether it is the model of a mask: it is kept beside that of the map, which the next scene needs again too."""
    own_folder: Path | SentFolder | None = field(default=None, compare=False)
    """Where the run keeps its books, and copies of the calibrated networks; or where workers find these."""
    keeps_coarse: bool = False
    """Whether scores of a model with a coarser output stay as coarse as they are."""

    def calibrated(self, position: int, manifest: ModelManifest) -> Calibrated | None:
        """Return the calibrated network of the model in a position; None if the precision needs none.

        Raises
        ------
        ModelError
            If it is gone.
        """
        if self.precision != INT8:
            return None
        side, own = self.tile or manifest.tile, self.own_folder
        folder = own.whole() if isinstance(own, SentFolder) else own
        return calibrated_for(manifest, side, self.calibrations[position], folder)

    def sent(self, send: Send, own_folder: Path) -> ModelRequest:
        """Return it for workers that do not see the folder with the books: calibrated networks are sent."""
        if not self.calibrations:
            return self
        return replace(self, own_folder=send(INT8, own_folder, partial(copies_of, own_folder)))


def load_scorer(request: ModelRequest) -> Segmenter | Ensemble:
    """Load a model, or several as one; the checksums key it, so another package is never mistaken.

    What differs between scenes in their scalings alone shares what is loaded.

    Raises
    ------
    ModelError
        If a package is not the one that the run was begun with.
    """
    load = _load_mask_scorer if request.is_of_mask else _load_scorer
    loaded = load(replace(request, scalings=()))
    if not any(request.scalings):
        return loaded
    if isinstance(loaded, Ensemble):
        return loaded.scaled_by(request.scalings)
    return loaded.scaled_by(request.scalings[0])


def _loaded_scorer(request: ModelRequest) -> Segmenter | Ensemble:
    loaded = []
    for name, checksum in request.models:
        folder = find_model(name)
        manifest = load_manifest(folder).of_checksum(checksum)
        if manifest is None:
            msg = (
                f"{folder}: its weights or its model.json are not those that the run was begun with; "
                "give every worker the same model package, and leave it as it is while a run goes on"
            )
            raise ModelError(msg)
        loaded.append(LoadedPackage(folder, manifest, load_rewritten(folder, manifest, trust=request.trust)))
    return scorer_of(loaded, torch.device(request.device), request, takes_networks=True)


_load_scorer = lru_cache(maxsize=1)(_loaded_scorer)
_load_mask_scorer = lru_cache(maxsize=1)(_loaded_scorer)


@dataclass(frozen=True, slots=True)
class LoadedPackage:
    """A package and its network."""

    folder: Path
    """Where it lies."""
    manifest: ModelManifest
    """What it says of itself."""
    network: nn.Module | Rewritten
    """With its weights, float32; rewritten for inference if it is no packaged graph."""


def scorer_of(
    packages: list[LoadedPackage],
    device: torch.device,
    request: ModelRequest,
    *,
    takes_networks: bool = False,
) -> Segmenter | Ensemble:
    """Make what scores tiles of loaded packages; `request` says how. It may take their networks, or copies."""
    keep_freed_memory()
    members = [
        Segmenter(
            package.network,
            package.manifest,
            device,
            request.precision,
            backend=request.backend,
            batch=request.batch,
            tile=request.tile,
            folder=package.folder,
            calibrated=request.calibrated(position, package.manifest),
            takes_network=takes_networks,
            keeps_coarse=request.keeps_coarse,
        )
        for position, package in enumerate(packages)
    ]
    if len(members) == 1 and request.augmentation == "none":
        return members[0]
    return Ensemble(members, request.augmentation)


_KEPT: ContextVar[bool] = ContextVar("segmenters kept", default=False)


@contextmanager
def segmenters_kept(*, afterwards: bool = False) -> Iterator[None]:
    """Inside, the loaded model outlives the run that used it: the next scene of a batch needs it again.

    Parameters
    ----------
    afterwards
        Whether it stays loaded after this too, until `forget_segmenters` is called.
    """
    token = _KEPT.set(True)
    try:
        yield
    finally:
        _KEPT.reset(token)
        if not afterwards:
            forget_segmenters()


def forget_segmenters() -> None:
    """Free the loaded model, and what was brought to this disk: what follows a run needs the room and not these."""
    if not _KEPT.get():
        _load_scorer.cache_clear()
        _load_mask_scorer.cache_clear()
        forget_brought()
