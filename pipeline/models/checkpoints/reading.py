"""Tensors out of checkpoint files, without running anything that is in them."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from segment_tiles.pipeline.errors import ModelError, one_line

ROOTS = ("state_dict", "model_state", "model_state_dict", "model")
"""Where checkpoints keep their weights: Lightning and jfzhang95, VainF, habit, habit."""

# VainF's best_score and jfzhang95's best_pred are NumPy numbers: plain data, but not on torch's own list
_PLAIN_TYPES: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),  # type: ignore[attr-defined]
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a checkpoint: safetensors, or a pickle of plain data.

    Returns
    -------
    dict
        Tensors by name, without the prefixes that data parallelism and compilation put before all.

    Raises
    ------
    ModelError
        The file is absent, damaged, would execute code, or holds no weights.
    """
    if path.suffix == ".safetensors":
        return without_common_prefix(_read_safetensors(path))
    return without_common_prefix(_find_root(_read_pickle(path), path))


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


def _find_root(loaded: object, path: Path) -> dict[str, Tensor]:
    candidates = [loaded]
    if isinstance(loaded, Mapping):
        candidates = [loaded[root] for root in ROOTS if root in loaded] + [loaded]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and candidate and _all_tensors(candidate):
            return {str(key): value for key, value in candidate.items()}
    found = list(loaded)[:8] if isinstance(loaded, Mapping) else type(loaded).__name__
    msg = f"{path} holds no weights: found {found}; a state dict is needed, bare or under {', '.join(ROOTS)}"
    raise ModelError(msg)


def _all_tensors(mapping: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in mapping.values())


def without_common_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip ``module.``, ``model.``, ``_orig_mod.`` and the like: whatever all names begin with."""
    while state:
        firsts = {key.split(".", maxsplit=1)[0] for key in state}
        if len(firsts) != 1 or any("." not in key for key in state):
            break
        cut = len(next(iter(firsts))) + 1
        state = {key[cut:]: tensor for key, tensor in state.items()}
    return state
