"""Weights put into a network: exactly those it has, and every one of them a number."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from segment_tiles.pipeline.errors import ModelError


def load_exactly(network: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load weights whose names and shapes are exactly those of the network.

    Raises
    ------
    ModelError
        Lists missing and unexpected names, shapes that differ, and tensors that hold no numbers.
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
    refuse_no_numbers(state_dict, source)
    network.load_state_dict(dict(state_dict))


def refuse_no_numbers(state_dict: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights with NaN or infinity, and variances below 0: every map of theirs would be without meaning.

    Raises
    ------
    ModelError
        Names the tensors.
    """
    bad = [
        key
        for key, tensor in state_dict.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if bad:
        msg = f"{source} holds NaN or infinity in {_some(bad)}; take a checkpoint from before training went wrong"
        raise ModelError(msg)
    negative = [key for key, tensor in state_dict.items() if key.endswith("running_var") and tensor.min() < 0]
    if negative:
        msg = f"{source} holds variances below 0 in {_some(negative)}; the file is damaged"
        raise ModelError(msg)


def _some(names: list[str], shown: int = 8) -> str:
    more = f", and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
