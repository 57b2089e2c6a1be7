"""jfzhang95's ResNet and MobileNetV2, written here from their published order of calls, against the imported ones.

The code itself (modeling/ at 9135e104) was run beside ours at strides 8 and 16, at 65 x 97 and 64 x 96 px, with batch
norms that are not the identity: no bit of the logits differed, in float32 and float64. See
docs/decisions/0073-references-checked-against-their-source.md.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions


class Bottleneck(nn.Module):
    def __init__(self, cin, planes, stride, rate, *, project):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, rate, rate, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        if project:
            shortcut = nn.Conv2d(cin, planes * 4, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes * 4))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, output_stride, blocks=(3, 4, 6, 3)):
        super().__init__()
        strides, rates = ((1, 2, 2, 1), (1, 1, 1, 2)) if output_stride == 16 else ((1, 2, 1, 1), (1, 1, 2, 4))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        cin = 64
        for stage in range(4):
            grid = (1, 2, 4) if stage == 3 else (1,) * blocks[stage]
            layers, planes = [], 64 * 2**stage
            for i, factor in enumerate(grid):
                stride = strides[stage] if i == 0 else 1
                layers.append(Bottleneck(cin, planes, stride, rates[stage] * factor, project=i == 0))
                cin = planes * 4
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        low = self.layer1(x)
        return self.layer4(self.layer3(self.layer2(low))), low


class Inverted(nn.Module):
    def __init__(self, cin, cout, stride, rate, expand):
        super().__init__()
        self.skip, self.rate, hidden = stride == 1 and cin == cout, rate, cin * expand
        expansion = [nn.Conv2d(cin, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        depthwise = nn.Conv2d(hidden, hidden, 3, stride, 0, rate, groups=hidden, bias=False)
        layers = [depthwise, nn.BatchNorm2d(hidden), nn.ReLU6()]
        layers += [nn.Conv2d(hidden, cout, 1, bias=False), nn.BatchNorm2d(cout)]
        self.conv = nn.Sequential(*(expansion if expand != 1 else []), *layers)

    def forward(self, x):
        out = self.conv(F.pad(x, (self.rate,) * 4))
        return x + out if self.skip else out


class MobileNet(nn.Module):
    def __init__(self, output_stride):
        super().__init__()
        settings = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)]
        settings += [(6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        features, channels, current, rate = [stem], 32, 2, 1
        for expand, width, repeats, step in settings:
            if current == output_stride:
                stride, block_rate, rate = 1, rate, rate * step
            else:
                stride, block_rate, current = step, 1, current * step
            for i in range(repeats):
                features.append(Inverted(channels, width, stride if i == 0 else 1, block_rate, expand))
                channels = width
        self.features = nn.Sequential(*features)
        self.low_level_features = self.features[0:4]
        self.high_level_features = self.features[4:]

    def forward(self, x):
        low = self.low_level_features(x)
        return self.high_level_features(low), low


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("backbone", [ResNet, MobileNet])
def test_logits(tmp_path, assert_same, jfzhang_network, backbone, stride):
    torch.manual_seed(0)
    channels = (320, 24) if backbone is MobileNet else (2048, 256)

    def read(state):
        weights = {
            f"module.{key}": tensor
            for key, tensor in state.items()
            if not key.endswith("num_batches_tracked")  # his files come from torch 0.4.0
        }
        checkpoint = {"epoch": 50, "state_dict": weights, "optimizer": {}, "best_pred": np.float64(0.78)}
        torch.save(checkpoint, tmp_path / "model_best.pth.tar", _use_new_zipfile_serialization=False)
        return import_weights(tmp_path / "model_best.pth.tar", ImportOptions(output_stride=stride))

    assert_same(jfzhang_network(backbone(stride), *channels, stride), read, (65, 97))


def test_copies_of_the_mobilenet_that_differ_are_refused(tmp_path, jfzhang_network):
    state = jfzhang_network(MobileNet(16), 320, 24, 16).state_dict()
    state["backbone.low_level_features.0.0.weight"] = state["backbone.features.0.0.weight"] + 1
    torch.save({"state_dict": state}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match="differs from"):
        import_weights(tmp_path / "odd.pth", ImportOptions())
