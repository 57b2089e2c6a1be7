"""``model.json``: read and verified without loading a weight, and without the libraries that run one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.packages.checksum import MULTIHASH_SHA256, checksum_of_weights
from segment_tiles.pipeline.models.packages.manifest import ModelManifest
from segment_tiles.pipeline.models.packages.stac_item import MODEL_ASSET, from_stac_item

MANIFEST_FILE = "model.json"
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-]+[a-zA-Z0-9]")
"""Names that MLM's ``mlm:name`` allows and that are safe as a folder."""


def load_manifest(folder: Path) -> ModelManifest:
    """Read ``model.json`` and verify size and checksum of the weights it names; loads no weights.

    Raises
    ------
    ModelError
        A file is absent or damaged, or the manifest does not describe a model.
    """
    document = read_document(folder)
    path = weights_path(folder, document)
    manifest = from_stac_item(document, folder / MANIFEST_FILE)
    check_manifest(manifest)
    verify_weights(path, document)
    return manifest


def check_manifest(manifest: ModelManifest) -> None:
    """Refuse a manifest that contradicts itself.

    Raises
    ------
    ModelError
        Names the field.
    """
    bands = len(manifest.bands)
    if bands == 0:
        msg = f"model {manifest.name}: has no bands"
        raise ModelError(msg)
    if not _NAME.fullmatch(manifest.name):
        msg = f"model name {manifest.name!r}: letters, digits, '-', '_' and '.' only, from a letter on, 3 or more"
        raise ModelError(msg)
    try:
        manifest.scaling.of_bands(bands)
    except ValueError as error:
        msg = f"model {manifest.name}: value_scaling {error}"
        raise ModelError(msg) from error
    _refuse_mistaken_import(manifest)
    if manifest.tile < 1 or not 0 <= manifest.overlap < 1:
        msg = f"tile {manifest.tile} px with overlap {manifest.overlap}: at least 1 px, overlap from 0 to below 1"
        raise ModelError(msg)
    for one in (manifest, *(manifest.with_head(head.name) for head in manifest.heads)):
        _check_output(one)


def _check_output(manifest: ModelManifest) -> None:
    """Refuse an output that does not fill the tile without its margin."""
    scored = manifest.output.scored(manifest.tile)
    if scored < 1 or scored % manifest.output.coarser:
        msg = (
            f"model {manifest.name}: a tile of {manifest.tile} px without a margin of {manifest.output.margin} px on "
            f"each side leaves {scored} px, which an output coarser by {manifest.output.coarser} does not fill"
        )
        raise ModelError(msg)


def _refuse_mistaken_import(manifest: ModelManifest) -> None:
    """Refuse VainF's HRNet as it was imported at first: with a ReLU that its source does not have."""
    origin = manifest.extra.get("imported_from")
    architecture = manifest.architecture
    if (
        isinstance(origin, Mapping)
        and str(origin.get("source", "")).startswith("VainF/")
        and architecture.backbone.startswith("hrnetv2_")
        and "stem_relu" not in architecture.details
    ):
        msg = (
            f"model {manifest.name}: was imported by an earlier version, which computed VainF's HRNet with a ReLU that "
            f"its source does not have; import {origin.get('file', 'the checkpoint')} again"
        )
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


def read_document(folder: Path) -> dict[str, Any]:
    """Return the JSON of ``model.json``.

    Raises
    ------
    ModelError
        It is absent or no JSON object.
    """
    path = folder / MANIFEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        msg = f"{folder} is not a model package: {MANIFEST_FILE} cannot be read ({error.strerror})"
        raise ModelError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path} is not JSON: {one_line(error)}"
        raise ModelError(msg) from error
    if not isinstance(document, dict):
        msg = f"{path} holds a JSON {type(document).__name__}; a STAC item is needed"
        raise ModelError(msg)
    return document


def _refuse_constant(name: str) -> None:
    msg = f"{name} is no number that JSON has"
    raise ValueError(msg)


def verify_weights(path: Path, document: Mapping[str, Any]) -> None:
    """Compare size and checksum of the weights with what ``model.json`` says.

    Raises
    ------
    ModelError
        They differ, or the file cannot be read.
    """
    asset = document["assets"][MODEL_ASSET]
    try:
        size = path.stat().st_size
    except OSError as error:
        msg = f"weights {path} cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    if size != asset.get("file:size"):
        msg = f"weights {path} have {size} bytes, {MANIFEST_FILE} says {asset.get('file:size')}: copy the package again"
        raise ModelError(msg)
    try:
        checksum = MULTIHASH_SHA256 + checksum_of_weights(path)
    except OSError as error:
        msg = f"weights {path} cannot be read: {error.strerror}"
        raise ModelError(msg) from error
    if checksum != asset.get("file:checksum"):
        msg = f"weights {path} have checksum {checksum}, {MANIFEST_FILE} says {asset.get('file:checksum')}: refused"
        raise ModelError(msg)
