"""Tensors out of checkpoint files, without running anything that is in them."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, one_line
from segment_tiles.pipeline.models.checkpoints.file_kinds import (
    is_safetensors,
    refuse_foreign_file,
    refuse_no_pickle,
)
from segment_tiles.pipeline.wording import counted

ROOTS = ("state_dict", "model_state", "model_state_dict", "model", "network", "net", "student")
"""Where checkpoints keep their weights: Lightning and jfzhang95, VainF, habit; of several the first."""

# VainF's best_score and jfzhang95's best_pred are NumPy numbers: plain data, but not on torch's own list
_PLAIN_TYPES: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    (multiarray.scalar, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a checkpoint file."""

    tensors: dict[str, Tensor]
    """By name, as they stand in the file."""
    left_out: tuple[str, ...] = ()
    """What stands beside them: other sets of tensors, such as an average of the weights."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights of a checkpoint: safetensors, or a pickle of plain data.

    Raises
    ------
    ModelError
        The file is absent, damaged, of another kind, would execute code, or holds no weights.
    """
    refuse_foreign_file(path)
    if path.suffix == ".safetensors" or is_safetensors(path):
        return Checkpoint(_read_safetensors(path))
    refuse_no_pickle(path)
    return _find_weights(_read_pickle(path), path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of `read_checkpoint` without what data parallelism and compilation put before all names."""
    return without_common_prefix(read_checkpoint(path).tensors)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        msg = f"{path} is not a complete safetensors file: {one_line(error)}"
        raise ModelError(msg) from error


def _read_pickle(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_PLAIN_TYPES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (
            "Unsupported" not in str(error)
            and "GLOBAL" not in str(error)
            and "Weights only" not in str(error)
        ):
            msg = f"{path} is not a complete checkpoint: {one_line(error)}"
        else:
            msg = (
                f"{path} would execute code when read ({_culprit(path)}); refused: "
                "save the weights alone, torch.save(model.state_dict(), PATH)"
            )
        raise ModelError(msg) from error
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        UnicodeDecodeError,
    ) as error:
        msg = f"{path} is not a complete checkpoint: {one_line(error)}"
        raise ModelError(msg) from error


def _culprit(path: Path) -> str:
    """Name what a pickle wants to import and may not."""
    try:
        with torch.serialization.safe_globals(_PLAIN_TYPES):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (RuntimeError, OSError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError):
        # files older than torch 1.6 cannot be listed; that they are refused is known already
        return "it holds more than tensors and plain values"
    shown = sorted(set(names))[:4]
    more = ", ..." if len(set(names)) > len(shown) else ""
    return ", ".join(shown) + more or "it holds more than tensors and plain values"


def _find_weights(loaded: object, path: Path) -> Checkpoint:
    if isinstance(loaded, Mapping):
        sets = {str(key): value for key, value in loaded.items() if _is_weights(value)}
        chosen = next((root for root in ROOTS if root in sets), next(iter(sets), None))
        if chosen is not None:
            others = tuple(f"{key} ({counted(len(sets[key]), 'tensor')})" for key in sets if key != chosen)
            return Checkpoint(_tensors(sets[chosen]), others + _no_tensors(sets[chosen]))
        if _is_weights(loaded):
            return Checkpoint(_tensors(loaded), _no_tensors(loaded))
    found = list(loaded)[:8] if isinstance(loaded, Mapping) else type(loaded).__name__
    msg = f"{path} holds no weights: found {found}; a state dict is needed, bare or under {', '.join(ROOTS)}"
    raise ModelError(msg)


def _is_weights(value: object) -> bool:
    """Say whether a mapping holds tensors by name, and beside them plain values at most."""
    if not isinstance(value, Mapping):
        return False
    held = [isinstance(entry, Tensor) for entry in value.values()]
    nested = any(isinstance(entry, Mapping | list | tuple) and entry for entry in value.values())
    return any(held) and not nested


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(key): value for key, value in mapping.items() if isinstance(value, Tensor)}


def _no_tensors(mapping: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(key) for key, value in mapping.items() if not isinstance(value, Tensor))


def without_common_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip ``module.``, ``model.``, ``_orig_mod.`` and the like: whatever all names begin with."""
    while state:
        firsts = {key.split(".", maxsplit=1)[0] for key in state}
        if len(firsts) != 1 or any("." not in key for key in state):
            break
        cut = len(next(iter(firsts))) + 1
        state = {key[cut:]: tensor for key, tensor in state.items()}
    return state
