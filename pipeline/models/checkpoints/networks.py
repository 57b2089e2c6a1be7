"""The network among the tensors of a checkpoint: what a trainer wrapped around it is stripped and listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

TRAINED = ("model", "net", "network", "student", "module", "segmentor", "backbone_model")
"""First parts of names under which trainers keep the network itself, before averages and teachers of it."""
_DEEPEST = 4
"""Parts of the longest prefix: state_dict of a compiled, parallel model in a trainer."""
_TRAINING = ("criterion.", "loss.", "loss_fn.", "loss_function.")
"""Beginnings of names, beside a network without a prefix, that serve training alone."""


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """One network of a checkpoint."""

    prefix: str
    """What stood before its names, such as ``model.``; empty if nothing did."""
    tensors: dict[str, Tensor]
    """Without the prefix."""
    left_out: tuple[str, ...]
    """Tensors beside it, by their full names."""
    notes: tuple[str, ...]
    """What the user has to know of the choice."""


def find_network(
    state: Mapping[str, Tensor], recognises: Callable[[Mapping[str, Tensor]], bool]
) -> FoundNetwork | None:
    """Return the network whose names are recognised, or None if there is none.

    Of several, such as ``model.`` and ``ema_model.``, the trained one is taken, and a note says so.
    """
    found: list[str] = []
    for prefix in _prefixes(state):
        if any(prefix.startswith(above) for above in found):
            continue  # a part of a network may look like another one
        if recognises(_below(state, prefix)):
            found.append(prefix)
    if not found:
        return None
    prefix = min(found, key=_rank)
    tensors = _below(state, prefix)
    left_out = [key for key in state if not key.startswith(prefix)]
    if not prefix:
        left_out = [key for key in tensors if key.startswith(_TRAINING)]
        tensors = {key: tensor for key, tensor in tensors.items() if key not in left_out}
    others = [other for other in found if other != prefix]
    return FoundNetwork(prefix, tensors, tuple(left_out), _notes(prefix, others, state, left_out))


def _prefixes(state: Mapping[str, Tensor]) -> list[str]:
    """Return what names begin with, the shortest first: nothing, ``model.``, ``model.module.``, ..."""
    prefixes = {"": None}
    for key in state:
        parts = key.split(".")[:-1]
        for length in range(1, min(len(parts), _DEEPEST) + 1):
            prefixes[".".join(parts[:length]) + "."] = None
    return sorted(prefixes, key=lambda prefix: prefix.count("."))


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: tensor for key, tensor in state.items() if key.startswith(prefix)}


def _rank(prefix: str) -> int:
    parts = [part for part in prefix.split(".") if part not in ("module", "_orig_mod", "")]
    first = parts[0] if parts else "module"
    return TRAINED.index(first) if first in TRAINED else len(TRAINED)


def _notes(
    prefix: str, others: list[str], state: Mapping[str, Tensor], left_out: list[str]
) -> tuple[str, ...]:
    notes = []
    if others:
        left = ", ".join(f"{other}*" for other in others)
        notes.append(
            f"the file holds {1 + len(others)} networks: {prefix}* was taken, {left} left out; to use another one, "
            "save its state dict alone"
        )
    scaling = [
        key for key in left_out if key.rpartition(".")[2] in ("mean", "std", "pixel_mean", "pixel_std")
    ]
    if scaling:
        values = "; ".join(
            f"{key} {[round(v, 4) for v in state[key].flatten().tolist()[:4]]}" for key in scaling
        )
        notes.append(
            f"{values} stand beside the network: if its trainer scales images by them, say so with --mean and --std, "
            "in the units of the raster's values"
        )
    return tuple(notes)
