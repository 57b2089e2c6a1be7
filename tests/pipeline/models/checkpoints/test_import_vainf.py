"""VainF's ResNet and MobileNetV2, written here from their published order of calls, against the imported ones.

The code itself (network/ at 4e1087de) was run beside ours on both heads, at strides 8 and 16, at 65 x 97, 64 x 96
and 129 x 75 px, with batch norms that are not the identity: 3.2e-7 of the range of the logits at most in float32,
1.5e-15 in float64. See docs/decisions/0073-references-checked-against-their-source.md.
"""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions

resnet = pytest.importorskip("torchvision.models.resnet")


class UnpaddedConv(nn.Sequential):
    """Every convolution of this MobileNet is without padding; blocks pad their input."""

    def __init__(self, cin, cout, kernel=3, stride=1, rate=1, groups=1):
        super().__init__(
            nn.Conv2d(cin, cout, kernel, stride, 0, dilation=rate, groups=groups, bias=False),
            nn.BatchNorm2d(cout),
            nn.ReLU6(),
        )


class Inverted(nn.Module):
    def __init__(self, cin, cout, stride, rate, expand):
        super().__init__()
        self.skip, self.rate, hidden = stride == 1 and cin == cout, rate, cin * expand
        layers = [UnpaddedConv(cin, hidden, 1)] if expand != 1 else []
        depthwise = UnpaddedConv(hidden, hidden, 3, stride, rate, hidden)
        self.conv = nn.Sequential(
            *layers, depthwise, nn.Conv2d(hidden, cout, 1, bias=False), nn.BatchNorm2d(cout)
        )

    def forward(self, x):
        out = self.conv(F.pad(x, (self.rate,) * 4))
        return x + out if self.skip else out


class MobileNet(nn.Module):
    def __init__(self, output_stride):
        super().__init__()
        settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
        settings += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        features, channels, current, rate = [UnpaddedConv(3, 32, stride=2)], 32, 2, 1
        for expand, width, repeats, step in settings:
            before = rate
            if current == output_stride:
                stride, rate = 1, rate * step
            else:
                stride, current = step, current * step
            for i in range(repeats):
                block_stride, block_rate = (stride, before) if i == 0 else (1, rate)
                features.append(Inverted(channels, width, block_stride, block_rate, expand))
                channels = width
        chain = OrderedDict((str(i), layer) for i, layer in enumerate(features))
        self.low_level_features = nn.Sequential(OrderedDict(list(chain.items())[:4]))
        self.high_level_features = nn.Sequential(OrderedDict(list(chain.items())[4:]))

    def forward(self, x):
        low = self.low_level_features(x)
        return low, self.high_level_features(low)


class ResNet(nn.ModuleDict):
    def __init__(self, output_stride):
        replaced = [False, output_stride == 8, True]
        whole = resnet.resnet50(weights=None, replace_stride_with_dilation=replaced)
        names = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        super().__init__({name: getattr(whole, name) for name in names})

    def forward(self, x):
        low = None
        for name, layer in self.items():
            x = layer(x)
            low = x if name == "layer1" else low
        return low, x


@pytest.mark.parametrize(
    ("backbone", "stride", "plus", "separable"),
    [
        ("mobilenet", 16, True, False),
        ("mobilenet", 8, False, False),
        ("mobilenet", 16, True, True),
        ("resnet", 16, True, False),
        ("resnet", 8, False, False),
    ],
)
def test_logits(tmp_path, assert_same, vainf_network, backbone, stride, plus, separable):
    torch.manual_seed(0)
    rates = (12, 24, 36) if stride == 8 else (6, 12, 18)
    network, *channels = (
        (MobileNet(stride), 320, 24) if backbone == "mobilenet" else (ResNet(stride), 2048, 256)
    )
    theirs = vainf_network(network, *channels, rates, plus=plus, separable=separable)

    def read(state):
        checkpoint = {
            "cur_itrs": 30000,
            "model_state": state,
            "optimizer_state": torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9).state_dict(),
            "scheduler_state": {"last_epoch": 1},
            "best_score": np.float64(0.7),
        }
        torch.save(checkpoint, tmp_path / "best.pth")
        return import_weights(tmp_path / "best.pth", ImportOptions(output_stride=stride))

    assert_same(theirs, read, (97, 80))
