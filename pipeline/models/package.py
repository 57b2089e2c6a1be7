"""Model packages: a folder with ``model.json`` and ``weights.safetensors``, checked before it is loaded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError, WriteFailedError, one_line
from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.checksum import MULTIHASH_SHA256, sha256_of_file
from segment_tiles.pipeline.models.graphs import GRAPH_FILES, load_graph
from segment_tiles.pipeline.models.manifest import ModelManifest
from segment_tiles.pipeline.models.stac_item import MODEL_ASSET, from_stac_item, to_stac_item

MANIFEST_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-]+[a-zA-Z0-9]")
"""Names that MLM's ``mlm:name`` allows and that are safe as a folder."""


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
        The manifest contradicts itself, or the weights are not those of its network.
    WriteFailedError
        The disk is full, or the folder cannot be written.
    """
    check_manifest(manifest)
    network = build_network(manifest.architecture, len(manifest.bands), manifest.classes.count)
    load_exactly(network, state_dict, f"weights of {manifest.name}")
    tensors = {key: _as_stored(tensor, half=half) for key, tensor in state_dict.items()}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    temporary = folder / f".{WEIGHTS_FILE}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary)
        return finish_package(
            folder, manifest, temporary, file_name=WEIGHTS_FILE, parameters=parameters, framework="PyTorch"
        )
    except (OSError, SafetensorError) as error:
        msg = f"model package {folder} cannot be written: {one_line(error)}"
        raise WriteFailedError(msg) from error
    finally:
        if folder.is_dir():
            temporary.unlink(missing_ok=True)


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
    document = item.to_dict(include_self_link=False, transform_hrefs=False)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    manifest_temporary = folder / f".{MANIFEST_FILE}.{os.getpid()}"
    manifest_temporary.write_text(text, encoding="utf-8")
    temporary.replace(folder / file_name)
    manifest_temporary.replace(folder / MANIFEST_FILE)
    return manifest


def load_manifest(folder: Path) -> ModelManifest:
    """Read ``model.json`` and verify size and checksum of the weights it names; loads no weights.

    Raises
    ------
    ModelError
        A file is absent or damaged, or the manifest does not describe a model.
    """
    document = _read_document(folder)
    path = weights_path(folder, document)
    manifest = from_stac_item(document)
    check_manifest(manifest)
    _verify(path, document)
    return manifest


def load_network(folder: Path, manifest: ModelManifest, *, trust: bool = False) -> nn.Module:
    """Build the network of a package and load its weights as float32, in evaluation mode.

    A package of a TorchScript or torch.export graph may execute code when it is loaded: it needs `trust`.

    Raises
    ------
    ModelError
        The weights are not those of the network, changed since `manifest` was read, or execute code.
    """
    document = _read_document(folder)
    path = weights_path(folder, document)
    _verify(path, document)
    if sha256_of_file(path) != manifest.weights_checksum:
        msg = f"weights in {folder} changed since the manifest was read; load the manifest again"
        raise ModelError(msg)
    if manifest.architecture.arch in GRAPH_FILES:
        return load_graph(path, manifest.architecture, trust=trust)
    try:
        stored = load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"{path} is not a safetensors file: {one_line(error)}"
        raise ModelError(msg) from error
    network = build_network(manifest.architecture, len(manifest.bands), manifest.classes.count)
    load_exactly(network, {key: _as_float32(tensor) for key, tensor in stored.items()}, str(path))
    return network.eval()


def load_exactly(network: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load weights whose names and shapes are exactly those of the network.

    Raises
    ------
    ModelError
        Lists missing and unexpected names, and shapes that differ.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state_dict]
    unexpected = [key for key in state_dict if key not in expected]
    different = [
        f"{key} {tuple(state_dict[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in state_dict and state_dict[key].shape != tensor.shape
    ]
    complaints = [
        f"{len(names)} {what}: {_some(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", different))
        if names
    ]
    if complaints:
        msg = f"{source} does not fit the network; {'; '.join(complaints)}"
        raise ModelError(msg)
    network.load_state_dict(dict(state_dict))


def check_manifest(manifest: ModelManifest) -> None:
    """Refuse a manifest that contradicts itself.

    Raises
    ------
    ModelError
        Names the field.
    """
    bands = len(manifest.bands)
    if not _NAME.fullmatch(manifest.name):
        msg = f"model name {manifest.name!r}: letters, digits, '-', '_' and '.' only, from a letter on, 3 or more"
        raise ModelError(msg)
    if bands == 0 or len(manifest.mean) != bands or len(manifest.std) != bands:
        msg = (
            f"model has {bands} bands, {len(manifest.mean)} means and {len(manifest.std)} standard deviations; "
            "each band needs one of each"
        )
        raise ModelError(msg)
    if min(manifest.std) <= 0:
        msg = f"standard deviations {manifest.std} must be above 0"
        raise ModelError(msg)
    if manifest.tile < 1 or not 0 <= manifest.overlap < 1:
        msg = f"tile {manifest.tile} px with overlap {manifest.overlap}: at least 1 px, overlap from 0 to below 1"
        raise ModelError(msg)


def weights_path(folder: Path, document: Mapping[str, Any]) -> Path:
    """Return the path of the weights that ``model.json`` names: a plain file name beside it.

    Raises
    ------
    ModelError
        The manifest names no file, or one elsewhere.
    """
    try:
        name = str(document["assets"][MODEL_ASSET]["href"]).removeprefix("./")
    except (KeyError, TypeError) as error:
        msg = f"{folder / MANIFEST_FILE} names no weights: asset {MODEL_ASSET!r} is needed"
        raise ModelError(msg) from error
    if Path(name).name != name:
        msg = f"{folder / MANIFEST_FILE} names weights {name!r}; they must lie beside it"
        raise ModelError(msg)
    return folder / name


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{folder} is not a model package: {MANIFEST_FILE} cannot be read ({error.strerror})"
        raise ModelError(msg) from error
    except ValueError as error:
        msg = f"{path} is not JSON: {one_line(error)}"
        raise ModelError(msg) from error
    if not isinstance(document, dict):
        msg = f"{path} holds a JSON {type(document).__name__}; a STAC item is needed"
        raise ModelError(msg)
    return document


def _verify(path: Path, document: Mapping[str, Any]) -> None:
    asset = document["assets"][MODEL_ASSET]
    try:
        size = path.stat().st_size
    except OSError as error:
        msg = f"weights {path} cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    if size != asset.get("file:size"):
        msg = f"weights {path} have {size} bytes, {MANIFEST_FILE} says {asset.get('file:size')}: copy the package again"
        raise ModelError(msg)
    checksum = MULTIHASH_SHA256 + sha256_of_file(path)
    if checksum != asset.get("file:checksum"):
        msg = f"weights {path} have checksum {checksum}, {MANIFEST_FILE} says {asset.get('file:checksum')}: refused"
        raise ModelError(msg)


def _as_stored(tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(torch.float16) if half and tensor.is_floating_point() and tensor.ndim > 1 else tensor


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def _some(names: list[str], shown: int = 8) -> str:
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
