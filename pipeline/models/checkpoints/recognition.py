"""Whose weights a file or a folder holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.checkpoints import smp
from segment_tiles.pipeline.models.checkpoints.answers import check_answer
from segment_tiles.pipeline.models.checkpoints.networks import find_network
from segment_tiles.pipeline.models.checkpoints.readers import READERS
from segment_tiles.pipeline.models.checkpoints.reading import Checkpoint, read_checkpoint
from segment_tiles.pipeline.models.checkpoints.translation import (
    ImportedWeights,
    ImportOptions,
    with_counters,
)
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.networks.comparison import BACKGROUND
from segment_tiles.pipeline.models.packages.weights import load_exactly

_CLASSIFIER = "head.classifier"
_PROBE_SIDE = 64


def import_weights(path: Path, options: ImportOptions) -> ImportedWeights:
    """Read the weights of another project and translate them; nothing is executed.

    Parameters
    ----------
    path
        A folder of SMP's ``save_pretrained``, or a checkpoint: safetensors, or a pickle of plain data.
    options
        Output stride and rates, if the file cannot say.

    Returns
    -------
    ImportedWeights
        Fitting its network exactly: every tensor is there, and no other.

    Raises
    ------
    ModelError
        Damaged, of another architecture, or with missing or unexpected tensors.
    UsageError
        Options for a folder that has a configuration.
    """
    try:
        imported = _read(path, options)
        network = build_network(imported.architecture, imported.bands, imported.classes)
    except ModelError as error:
        if str(path) in str(error):
            raise
        msg = f"{path}: {error}"
        raise ModelError(msg) from error
    state = with_counters(imported.state_dict, network.state_dict())
    load_exactly(network, state, f"{path} ({imported.source})")
    if imported.architecture.arch == "smp":
        check_answer(network, path, bands=imported.bands, classes=imported.classes, side=_PROBE_SIDE)
    return replace(imported, state_dict=state)


def _read(path: Path, options: ImportOptions) -> ImportedWeights:
    if path.is_dir():
        if not smp.is_folder(path):
            files = " or ".join(smp.WEIGHT_FILES)
            msg = f"{path} holds no {smp.CONFIG_FILE} with {files}; give an SMP folder or a file"
            raise ModelError(msg)
        if options != ImportOptions():
            msg = f"{path / smp.CONFIG_FILE} says output stride and rates; they are for files without a configuration"
            raise UsageError(msg)
        return smp.translate_folder(path)
    return _translate(read_checkpoint(path), options, path)


def with_background(imported: ImportedWeights) -> ImportedWeights:
    """Turn one output, read by sigmoid, into two, read by softmax: softmax(0, z) is sigmoid(z).

    Raises
    ------
    ModelError
        The network has another number of outputs.
    """
    if imported.classes != 1:
        msg = f"{imported.source}: a background can be added to a network of one output, this has {imported.classes}"
        raise ModelError(msg)
    architecture, state = imported.architecture, dict(imported.state_dict)
    if f"{_CLASSIFIER}.weight" in state:
        for name in (f"{_CLASSIFIER}.weight", f"{_CLASSIFIER}.bias"):
            state[name] = torch.cat([torch.zeros_like(state[name]), state[name]])
    else:  # another library's network, whose last layer is its own affair
        architecture = replace(architecture, details={**architecture.details, BACKGROUND: True})
    note = "one output read by sigmoid became two read by softmax: the first class is the background"
    return replace(
        imported,
        architecture=architecture,
        classes=2,
        state_dict=state,
        assumptions=(*imported.assumptions, note),
    )


def _translate(checkpoint: Checkpoint, options: ImportOptions, path: Path) -> ImportedWeights:
    state = checkpoint.tensors
    readers = list(READERS.all())
    found = find_network(state, lambda part: any(reader.recognises(part) for reader in readers))
    if found is None:
        known = ", ".join(reader.SOURCE for reader in readers)
        first = ", ".join(list(state)[:4])
        msg = f"{path} is no DeepLabv3 or v3+ of {known}; its tensors begin with {first}"
        raise ModelError(msg)
    reader = next(reader for reader in readers if reader.recognises(found.tensors))
    imported = reader.translate(found.tensors, options)
    return replace(
        imported,
        assumptions=(*imported.assumptions, *found.notes),
        dropped=(*imported.dropped, *found.left_out, *checkpoint.left_out),
    )
