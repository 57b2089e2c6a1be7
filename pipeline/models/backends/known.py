"""The backends by name, and which of them this machine offers."""

from __future__ import annotations

from typing import Final

import torch

from segment_tiles.pipeline.errors import MissingExtraError, UsageError
from segment_tiles.pipeline.models.backends.onnx_runtime import OnnxRuntime
from segment_tiles.pipeline.models.backends.openvino import OpenVino
from segment_tiles.pipeline.models.backends.protocol import Backend
from segment_tiles.pipeline.models.backends.torch_compiled import TorchCompiled
from segment_tiles.pipeline.models.backends.torch_eager import TorchEager
from segment_tiles.pipeline.models.graphs.packaged import GRAPH_FILES
from segment_tiles.pipeline.models.packages.manifest import ModelManifest

BACKENDS: Final[dict[str, Backend]] = {
    backend.name: backend for backend in (TorchEager(), TorchCompiled(), OpenVino(), OnnxRuntime())
}


def offered(device: torch.device, manifest: ModelManifest) -> tuple[str, ...]:
    """Return what ``auto`` may choose among, torch first; a packaged graph runs as it is."""
    if manifest.architecture.arch in GRAPH_FILES:
        return ("torch",)
    return tuple(name for name, backend in BACKENDS.items() if backend.unavailable(device) is None)


def require_backend(name: str, device: torch.device, manifest: ModelManifest) -> Backend:
    """Return a backend that runs this model on this device.

    Raises
    ------
    MissingExtraError
        Naming what is to be installed.
    UsageError
        Where the model brings its own graph.
    """
    backend = BACKENDS[name]
    if name != "torch" and manifest.architecture.arch in GRAPH_FILES:
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
