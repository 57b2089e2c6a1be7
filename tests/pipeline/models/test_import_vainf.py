"""VainF's networks, written here from their published layout, against the imported ones."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions

resnet = pytest.importorskip("torchvision.models.resnet")


def conv_bn_relu(cin, cout, kernel=1, rate=1):
    pad = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, padding=pad, dilation=rate, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
    )


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


class Pyramid(nn.Module):
    def __init__(self, cin, rates):
        super().__init__()
        pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(cin, 256))
        branches = [conv_bn_relu(cin, 256, 3, rate) for rate in rates]
        self.convs = nn.ModuleList([conv_bn_relu(cin, 256), *branches, pooling])
        self.project = nn.Sequential(*conv_bn_relu(1280, 256), nn.Dropout(0.1))

    def forward(self, x):
        found = [branch(x) for branch in self.convs]
        found[-1] = F.interpolate(found[-1], size=x.shape[-2:], mode="bilinear", align_corners=False)
        return self.project(torch.cat(found, 1))


class PlusHead(nn.Module):
    def __init__(self, cin, low, classes, rates):
        super().__init__()
        self.project = conv_bn_relu(low, 48)
        self.aspp = Pyramid(cin, rates)
        self.classifier = nn.Sequential(*conv_bn_relu(304, 256, 3), nn.Conv2d(256, classes, 1))

    def forward(self, low, x):
        low = self.project(low)
        x = F.interpolate(self.aspp(x), size=low.shape[2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([low, x], 1))


class V3Head(nn.Module):
    def __init__(self, cin, classes, rates):
        super().__init__()
        self.classifier = nn.Sequential(
            Pyramid(cin, rates), *conv_bn_relu(256, 256, 3), nn.Conv2d(256, classes, 1)
        )

    def forward(self, low, x):
        return self.classifier(x)


class Separated(nn.Module):
    """What --separable_conv makes of every 3x3 of the head."""

    def __init__(self, conv):
        super().__init__()
        cin, k = conv.in_channels, conv.kernel_size[0]
        depthwise = nn.Conv2d(cin, cin, k, 1, conv.padding, conv.dilation, groups=cin, bias=False)
        self.body = nn.Sequential(depthwise, nn.Conv2d(cin, conv.out_channels, 1, bias=False))

    def forward(self, x):
        return self.body(x)


def separate(module):
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and child.kernel_size[0] > 1:
            module.add_module(name, Separated(child))
        else:
            separate(child)


class VainF(nn.Module):
    def __init__(self, backbone, output_stride, *, plus, separable=False, classes=5):
        super().__init__()
        self.backbone = MobileNet(output_stride) if backbone == "mobilenet" else ResNet(output_stride)
        cin, low = (320, 24) if backbone == "mobilenet" else (2048, 256)
        rates = (12, 24, 36) if output_stride == 8 else (6, 12, 18)
        self.classifier = PlusHead(cin, low, classes, rates) if plus else V3Head(cin, classes, rates)
        if separable:
            separate(self.classifier)

    def forward(self, x):
        logits = self.classifier(*self.backbone(x))
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


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
@torch.inference_mode()
def test_logits(tmp_path, with_lively_norms, backbone, stride, plus, separable):
    torch.manual_seed(0)
    theirs = with_lively_norms(VainF(backbone, stride, plus=plus, separable=separable))
    checkpoint = {
        "cur_itrs": 30000,
        "model_state": theirs.state_dict(),
        "optimizer_state": torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9).state_dict(),
        "scheduler_state": {"last_epoch": 1},
        "best_score": np.float64(0.7),
    }
    torch.save(checkpoint, tmp_path / "best.pth")
    imported = import_weights(tmp_path / "best.pth", ImportOptions(output_stride=stride))
    ours = build_network(imported.architecture, imported.bands, imported.classes)
    ours.load_state_dict(dict(imported.state_dict))
    image = torch.randn(1, 3, 97, 80, generator=torch.Generator().manual_seed(1))
    expected, found = theirs(image), ours.eval()(image)
    assert found.shape == expected.shape == (1, 5, 97, 80)
    assert (found - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())
