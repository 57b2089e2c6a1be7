"""Model packages: a folder with ``model.json`` and ``weights.safetensors``, checked before it is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segment_tiles.pipeline.durable import make_folder, put_in_place, write_whole
from segment_tiles.pipeline.errors import ModelError, WriteFailedError, one_line
from segment_tiles.pipeline.models.graphs.packaged import load_graph
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.packages.checksum import checksum_of_weights, sha256_of_file
from segment_tiles.pipeline.models.packages.manifest import GRAPH_FILES, ModelManifest
from segment_tiles.pipeline.models.packages.manifest_file import (
    MANIFEST_FILE,
    check_manifest,
    load_manifest,
    read_document,
    verify_weights,
    weights_path,
)
from segment_tiles.pipeline.models.packages.stac_fields import stac_text
from segment_tiles.pipeline.models.packages.stac_item import to_stac_item
from segment_tiles.pipeline.models.packages.weights import load_exactly

WEIGHTS_FILE = "weights.safetensors"
__all__ = [
    "MANIFEST_FILE",
    "WEIGHTS_FILE",
    "check_manifest",
    "finish_package",
    "load_exactly",
    "load_manifest",
    "load_network",
    "require_weights",
    "save_graph_package",
    "save_model_package",
]


def save_model_package(
    folder: Path, manifest: ModelManifest, state_dict: Mapping[str, Tensor], *, half: bool = False
) -> ModelManifest:
    """Write a model package; both files appear complete or not at all.

    Parameters
    ----------
    folder
        Made if absent; a package that is there is replaced.
    manifest
        What the package says of itself; its checksum is set here.
    state_dict
        Weights of the network that `manifest` describes.
    half
        Store matrices and kernels as float16. Vectors (norms, biases) stay as they are.

    Returns
    -------
    ModelManifest
        With the checksum of the written weights.

    Raises
    ------
    ModelError
        The manifest contradicts itself, its tiles are too small for the network, or the weights are not its own.
    WriteFailedError
        The disk is full, or the folder cannot be written.
    """
    check_manifest(manifest)
    network = build_network(manifest.architecture, len(manifest.bands), manifest.classes.count)
    _check_tile(manifest, getattr(network, "smallest_side", 1))
    load_exactly(network, state_dict, f"weights of {manifest.name}")
    tensors = {key: _as_stored(tensor, half=half) for key, tensor in state_dict.items()}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    temporary = folder / f".{WEIGHTS_FILE}.{os.getpid()}"
    try:
        make_folder(folder)
        save_file(tensors, temporary)
        # safetensors lets nobody else read the file; who may read the folder may read the model
        temporary.chmod(folder.stat().st_mode & 0o666)
        return finish_package(
            folder, manifest, temporary, file_name=WEIGHTS_FILE, parameters=parameters, framework="PyTorch"
        )
    except (OSError, SafetensorError) as error:
        msg = f"model package {folder} cannot be written: {one_line(error)}"
        raise WriteFailedError(msg) from error
    finally:
        if folder.is_dir():
            temporary.unlink(missing_ok=True)


def _check_tile(manifest: ModelManifest, smallest: int) -> None:
    if manifest.tile < smallest:
        backbone = manifest.architecture.backbone
        msg = f"tile side {manifest.tile} px is too small for backbone {backbone}; {smallest} px or more are needed"
        raise ModelError(msg)


def save_graph_package(folder: Path, manifest: ModelManifest, temporary: Path) -> ModelManifest:
    """Write a package of a graph that was checked; `temporary` lies in `folder` and is moved to its name.

    Raises
    ------
    ModelError
        The manifest contradicts itself.
    """
    check_manifest(manifest)
    arch = manifest.architecture.arch
    framework = "ONNX" if arch == "onnx" else "PyTorch"
    name = GRAPH_FILES[arch]
    return finish_package(folder, manifest, temporary, file_name=name, parameters=None, framework=framework)


def finish_package(
    folder: Path,
    manifest: ModelManifest,
    temporary: Path,
    *,
    file_name: str,
    parameters: int | None,
    framework: str,
) -> ModelManifest:
    """Move finished weights to their name and write the manifest that vouches for them."""
    manifest = replace(manifest, weights_checksum=sha256_of_file(temporary))
    item = to_stac_item(manifest, file_name, temporary.stat().st_size, parameters, framework)
    text = stac_text(item)
    put_in_place(temporary, folder / file_name)
    write_whole(folder / MANIFEST_FILE, text)
    return manifest


def require_weights(folder: Path, manifest: ModelManifest) -> Path:
    """Return the path of the weights that a manifest was read with.

    Raises
    ------
    ModelError
        They changed since, or are not what ``model.json`` says.
    """
    document = read_document(folder)
    path = weights_path(folder, document)
    verify_weights(path, document)
    if checksum_of_weights(path) != manifest.weights_checksum:
        msg = f"weights in {folder} changed since the manifest was read; load the manifest again"
        raise ModelError(msg)
    return path


def load_network(folder: Path, manifest: ModelManifest, *, trust: bool = False) -> nn.Module:
    """Build the network of a package and load its weights as float32, in evaluation mode.

    A package of a TorchScript or torch.export graph may execute code when it is loaded: it needs `trust`.

    Raises
    ------
    ModelError
        The weights are not those of the network, changed since `manifest` was read, or execute code.
    """
    path = require_weights(folder, manifest)
    if manifest.architecture.is_graph:
        return load_graph(path, manifest.architecture, trust=trust)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"{path} is not a safetensors file: {one_line(error)}"
        raise ModelError(msg) from error
    network = build_network(manifest.architecture, len(manifest.bands), manifest.classes.count)
    load_exactly(network, {key: _as_float32(tensor) for key, tensor in stored.items()}, str(path))
    return network.eval()


def _as_stored(tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if not half or not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    halved = tensor.to(torch.float16)
    return halved if halved.isfinite().all() else tensor  # beyond 65504 float16 has only infinity


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor
