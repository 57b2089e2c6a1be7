"""Layers of timm that nothing else needs it for, as layers of torch: the same numbers to the bit."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional as F


class SamePadding(nn.Module):
    """Pads so that a layer with a stride gives ceil(size / stride), as TensorFlow's SAME does.

    The padding depends on the size of the input; if it is odd, the last row or column gets more.

    Parameters
    ----------
    kernel_size, stride, dilation
        Of the layer that follows: rows, columns.
    value
        What is padded.
    """

    def __init__(
        self,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
        value: float = 0.0,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.dilation, self.value = kernel_size, stride, dilation, value

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, C, h, w) with the rows and columns that are missing."""
        pads = []
        for axis in (1, 0):  # as F.pad has it: columns first
            size, stride = image.shape[2 + axis], self.stride[axis]
            reach = (-(-size // stride) - 1) * stride + (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
            missing = max(reach - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return F.pad(image, pads, value=self.value)


def plain_layer(layer: nn.Module) -> nn.Module:
    """Return a layer of timm made of layers of torch; any other as it is."""
    make = _PLAIN.get(f"{type(layer).__module__}.{type(layer).__qualname__}")
    return layer if make is None else make(layer)


def _convolution(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.Conv2d)
    kernel, stride, dilation = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.dilation)
    plain = nn.Conv2d(
        layer.in_channels, layer.out_channels, kernel, stride, 0, dilation, layer.groups,
        bias=layer.bias is not None, device="meta",
    )  # fmt: skip
    plain.weight, plain.bias = layer.weight, layer.bias
    return nn.Sequential(SamePadding(kernel, stride, dilation), plain)


def _average(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.AvgPool2d)
    kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
    plain = nn.AvgPool2d(kernel, stride, _pair(layer.padding), layer.ceil_mode, layer.count_include_pad)
    return nn.Sequential(SamePadding(kernel, stride), plain)


def _maximum(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.MaxPool2d)
    kernel, stride, dilation = _pair(layer.kernel_size), _pair(layer.stride), _pair(layer.dilation)
    plain = nn.MaxPool2d(kernel, stride, (0, 0), dilation, ceil_mode=layer.ceil_mode)
    return nn.Sequential(SamePadding(kernel, stride, dilation, float("-inf")), plain)


def _norm(layer: nn.Module) -> nn.Module:
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.eps is not None
    plain = nn.BatchNorm2d(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats, device="meta"
    )
    plain.weight, plain.bias = layer.weight, layer.bias
    plain.running_mean, plain.running_var = layer.running_mean, layer.running_var
    plain.num_batches_tracked = layer.num_batches_tracked
    return nn.Sequential(plain, copy.deepcopy(layer.drop), copy.deepcopy(layer.act)).eval()  # type: ignore[arg-type]


def _pair(value: object) -> tuple[int, int]:
    rows, columns = value if isinstance(value, tuple | list) else (value, value)
    assert isinstance(rows, int)
    assert isinstance(columns, int)
    return rows, columns


_PLAIN = {
    "timm.layers.conv2d_same.Conv2dSame": _convolution,
    "timm.layers.pool2d_same.AvgPool2dSame": _average,
    "timm.layers.pool2d_same.MaxPool2dSame": _maximum,
    "timm.layers.norm_act.BatchNormAct2d": _norm,
}
