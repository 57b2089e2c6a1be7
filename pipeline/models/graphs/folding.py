"""Fold batch norms into the convolutions before them: the same function with fewer steps."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@dataclass(frozen=True, slots=True)
class Folded:
    """A network for inference."""

    network: nn.Module
    """The copy with folded batch norms, or a plain copy where its graph cannot be traced."""
    count: int
    """Number of batch norms that were folded."""


class _Tracer(fx.Tracer):
    """Sees batch norms and every module without parts as one step.

    There is nothing to fold inside such a module, and its code may decide by sizes, as timm's "same"
    padding does, which a symbolic trace cannot follow.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.BatchNorm2d) or next(m.children(), None) is None
        return whole or super().is_leaf_module(m, module_qualified_name)


LARGEST_DIFFERENCE = 1e-3
"""Difference of logits, in parts of their range, above which a folded copy is not the same function."""


def fold_batch_norms(network: nn.Module, sample: Tensor) -> Folded:
    """Return a copy of a network in eval mode with its batch norms folded if that is exact.

    A batch norm is folded if its only input is a convolution that nothing else reads, once. Batch
    norms with an activation of their own (timm's ``BatchNormAct2d``) keep the activation. A network
    whose graph depends on its data cannot be traced; it is returned as a copy, with count 0. So is one
    whose folded copy answers the sample (1, bands, rows, columns) otherwise: a trace follows one path and
    may miss another.
    """
    twin = copy.deepcopy(network)
    try:
        tracer = _Tracer()
        traced = fx.GraphModule(twin, tracer.trace(twin))
    except (TypeError, ValueError, RuntimeError, AttributeError, AssertionError, LookupError):
        # fx refuses control flow on data, each kind with an exception of its own
        return Folded(twin, 0)
    modules = dict(traced.named_modules())
    calls: dict[str, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            calls[node.target] = calls.get(node.target, 0) + 1
    count = 0
    for node in list(traced.graph.nodes):
        pair = _conv_and_norm(node, modules, calls)
        if pair is not None:
            conv, norm = pair
            _fold(conv, norm)
            _set_module(traced, str(node.target), _after_fold(norm))
            count += 1
    traced.recompile()
    return Folded(traced, count) if _same(network, traced, sample) else Folded(copy.deepcopy(network), 0)


@torch.inference_mode()
def _same(network: nn.Module, folded: nn.Module, sample: Tensor) -> bool:
    expected, found = network(sample), folded(sample)
    span = float(expected.max() - expected.min()) or 1.0
    return float((expected - found).abs().max()) <= LARGEST_DIFFERENCE * span


def _conv_and_norm(
    node: fx.Node, modules: dict[str, nn.Module], calls: dict[str, int]
) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    if node.op != "call_module" or not isinstance(modules.get(str(node.target)), nn.BatchNorm2d):
        return None
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return None
    conv, norm = modules.get(str(source.target)), modules[str(node.target)]
    once = calls[str(source.target)] == 1 and calls[str(node.target)] == 1
    # a subclass of Conv2d may transform its weights on the way; the plain class alone is safe
    if (
        type(conv) is nn.Conv2d
        and isinstance(norm, nn.BatchNorm2d)
        and once
        and norm.running_mean is not None
    ):
        return conv, norm
    return None


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: PT018 - checked before
    with torch.no_grad():
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )


def _after_fold(norm: nn.BatchNorm2d) -> nn.Module:
    """What remains of a batch norm: nothing, or the drop and activation of timm's combined layer."""
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    return nn.Sequential(*rest) if rest else nn.Identity()


def _set_module(root: nn.Module, path: str, module: nn.Module) -> None:
    parent_path, _, name = path.rpartition(".")
    setattr(root.get_submodule(parent_path), name, module)
