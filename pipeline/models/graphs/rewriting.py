"""Rewrites a traced network for inference, its function unchanged: fewer passes over memory, a precise end.

::

    as it is     conv -> new tensor -> ReLU -> new tensor  ...  coarse logits -> upsampling | softmax
    rewritten    conv -> new tensor -> ReLU in place       ...  coarse logits | upsampling, softmax

What stands left of the bar runs in the backend and in its precision, the rest in torch and in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import getitem

from torch import Tensor, fx, nn
from torch.nn import functional as F

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU)
"""Layers that can write their result over their input."""
NOTHING_AT_INFERENCE = (nn.Identity, nn.Dropout, nn.Dropout2d)
"""Layers that hand on the tensor that they got."""


@dataclass(frozen=True, slots=True)
class Upsampling:
    """The bilinear upsampling of the logits that ends a network of the family, in float32 for every backend.

    The edge between two classes lies where their logits cross: in bfloat16 it would fall on steps of 1/256 of
    their size. One class after the other in memory, torch upsamples a few classes several times as fast as
    channels last, and on one core faster than OpenVINO on two.
    """

    align_corners: bool
    """Whether the centres of the corner pixels stay where they are, or the corners themselves."""

    def __call__(self, logits: Tensor, side: int) -> Tensor:
        """Return (B, classes, side, side) float32 of (B, classes, h, w)."""
        planar = logits.float().contiguous()
        return F.interpolate(planar, (side, side), mode="bilinear", align_corners=self.align_corners)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A network for inference, in two parts."""

    network: nn.Module
    """Runs in the backend."""
    upsampling: Upsampling | None
    """What follows it; None if the network does not end so, or has no graph."""
    folded_batch_norms: int = 0
    """How many were folded into the convolutions before them."""


def rewrite(network: nn.Module, folded_batch_norms: int = 0) -> Rewritten:
    """Rewrite what `fold_batch_norms` returned, in place; what has no graph stays as it is."""
    if not isinstance(network, fx.GraphModule):
        return Rewritten(network, None, folded_batch_norms)
    activate_in_place(network)
    upsampling = cut_upsampling(network)
    network.recompile()
    return Rewritten(network, upsampling, folded_batch_norms)


def activate_in_place(traced: fx.GraphModule) -> int:
    """Let activations write over the output of the convolution before them where nothing else reads it.

    The values are the same to the bit. Returns the number of layers that now do.
    """
    modules = dict(traced.named_modules())
    calls: dict[str, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module" and type(modules[str(node.target)]) in ACTIVATIONS:
            calls.setdefault(str(node.target), []).append(node)
    changed = 0
    for name, nodes in calls.items():
        layer = modules[name]
        if not layer.inplace and all(_follows_convolution(node, modules) for node in nodes):
            layer.inplace = True
            changed += 1
    return changed


def cut_upsampling(traced: fx.GraphModule) -> Upsampling | None:
    """Take off the last step of a network if it upsamples logits to the size of its input, and return it."""
    # further parameters of a forward have defaults, and nothing is given for them
    image = next(node for node in traced.graph.nodes if node.op == "placeholder")
    result = traced.graph.output_node()
    last = result.args[0]
    if not isinstance(last, fx.Node) or last.target is not F.interpolate or len(last.users) != 1:
        return None
    size = last.kwargs.get("size")
    if last.kwargs.get("mode") != "bilinear" or not (isinstance(size, fx.Node) and _is_size_of(size, image)):
        return None
    result.args = (last.args[0],)
    traced.graph.eliminate_dead_code()
    return Upsampling(align_corners=bool(last.kwargs.get("align_corners")))


def _follows_convolution(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the input of a node is the output of a convolution that goes nowhere else."""
    while True:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            return False
        layer = modules[str(source.target)]
        if isinstance(layer, nn.Conv2d):
            return True
        if not isinstance(layer, NOTHING_AT_INFERENCE):
            return False
        node = source


def _is_size_of(size: fx.Node, image: fx.Node) -> bool:
    """Whether a node is ``image.shape[-2:]``."""
    shape = size.args[0] if size.args else None
    return (
        size.target is getitem
        and size.args[1] == slice(-2, None, None)
        and isinstance(shape, fx.Node)
        and shape.target is getattr
        and shape.args == (image, "shape")
    )
