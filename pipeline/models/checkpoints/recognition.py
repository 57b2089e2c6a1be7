"""Whose weights a file or a folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.checkpoints import jfzhang, smp, torchvision, vainf
from segment_tiles.pipeline.models.checkpoints.reading import read_state_dict
from segment_tiles.pipeline.models.checkpoints.translation import (
    ImportedWeights,
    ImportOptions,
    with_counters,
)
from segment_tiles.pipeline.models.package import load_exactly


class _Source(Protocol):
    """A module that knows the names of one project."""

    SOURCE: str

    def recognises(self, state: Mapping[str, Tensor]) -> bool: ...

    def translate(self, state: Mapping[str, Tensor], options: ImportOptions) -> ImportedWeights: ...


_SOURCES: tuple[_Source, ...] = (jfzhang, vainf, torchvision, smp)
_CLASSIFIER = "head.classifier"


def import_weights(path: Path, options: ImportOptions) -> ImportedWeights:
    """Read the weights of another project and translate them; nothing is executed.

    Parameters
    ----------
    path
        A folder of SMP's ``save_pretrained``, or a checkpoint: safetensors, or a pickle of plain data.
    options
        Output stride and rates, where the file cannot say.

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
    if path.is_dir():
        if not smp.is_folder(path):
            files = " or ".join(smp.WEIGHT_FILES)
            msg = f"{path} holds no {smp.CONFIG_FILE} with {files}; give an SMP folder or a file"
            raise ModelError(msg)
        if options != ImportOptions():
            msg = f"{path / smp.CONFIG_FILE} says output stride and rates; they are for files without a configuration"
            raise UsageError(msg)
        imported = smp.translate_folder(path)
    else:
        imported = _translate(read_state_dict(path), options, path)
    network = build_network(imported.architecture, imported.bands, imported.classes)
    state = with_counters(imported.state_dict, network.state_dict())
    load_exactly(network, state, f"{path} ({imported.source})")
    return replace(imported, state_dict=state)


def with_background(imported: ImportedWeights) -> ImportedWeights:
    """Turn one output, read by sigmoid, into two, read by softmax: softmax(0, z) is sigmoid(z).

    Raises
    ------
    ModelError
        The network has another number of outputs, or its last layer is not known.
    """
    weight = imported.state_dict.get(f"{_CLASSIFIER}.weight")
    bias = imported.state_dict.get(f"{_CLASSIFIER}.bias")
    if imported.classes != 1 or weight is None or bias is None:
        msg = f"{imported.source}: a background can be added to a network of one output, this has {imported.classes}"
        raise ModelError(msg)
    two = {
        f"{_CLASSIFIER}.weight": torch.cat([torch.zeros_like(weight), weight]),
        f"{_CLASSIFIER}.bias": torch.cat([torch.zeros_like(bias), bias]),
    }
    note = "one output read by sigmoid became two read by softmax: the first class is the background"
    return replace(
        imported,
        classes=2,
        state_dict={**imported.state_dict, **two},
        assumptions=(*imported.assumptions, note),
    )


def _translate(state: Mapping[str, Tensor], options: ImportOptions, path: Path) -> ImportedWeights:
    for source in _SOURCES:
        if source.recognises(state):
            return source.translate(state, options)
    known = ", ".join(source.SOURCE for source in _SOURCES)
    first = ", ".join(list(state)[:4])
    msg = f"{path} is no DeepLabv3 or v3+ of {known}; its tensors begin with {first}"
    raise ModelError(msg)
