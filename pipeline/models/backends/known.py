"""The backends by name, and which of them this machine offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from segment_tiles.pipeline.errors import MissingExtraError, UsageError
from segment_tiles.pipeline.models.backends.protocol import Backend
from segment_tiles.pipeline.plugins import Registry

if TYPE_CHECKING:
    import torch

    from segment_tiles.pipeline.models.packages.manifest import ModelManifest

REFERENCE: Final = "torch"
"""The backend that every model runs in, and by which the others are judged."""
BACKENDS: Final = Registry("segment_tiles.backends", "backend", Backend)  # type: ignore[type-abstract]


def offered(device: torch.device, manifest: ModelManifest) -> tuple[str, ...]:
    """Return what ``auto`` may choose among, the quickest to prepare first; a packaged graph runs as it is."""
    if manifest.architecture.is_graph:
        return (REFERENCE,)
    offering = [backend for backend in BACKENDS.all() if backend.unavailable(device) is None]
    return tuple(backend.name for backend in sorted(offering, key=lambda backend: backend.conversion_seconds))


def require_backend(name: str, device: torch.device, manifest: ModelManifest) -> Backend:
    """Return a backend that runs this model on this device.

    Raises
    ------
    MissingExtraError
        Naming what is to be installed.
    UsageError
        If the model brings its own graph.
    """
    backend = BACKENDS[name]
    if name != REFERENCE and manifest.architecture.is_graph:
        msg = (
            f"--backend {name}: model {manifest.name} is a {manifest.architecture.arch} graph, which runs as it is; "
            "give --backend torch"
        )
        raise UsageError(msg)
    reason = backend.unavailable(device)
    if reason is not None:
        msg = f"--backend {name}: {reason}"
        raise MissingExtraError(msg)
    return backend
