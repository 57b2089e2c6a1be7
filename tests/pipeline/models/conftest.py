"""What the tests of models share: the published heads of jfzhang95 and VainF, in our own words.

They follow the order of calls of VainF's network/_deeplab.py at 4e1087de and jfzhang95's modeling/aspp.py and
decoder.py at 9135e104, which were run beside ours: docs/decisions/0073-references-checked-against-their-source.md.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.models.networks.build import build_network


class JfzhangBranch(nn.Module):
    def __init__(self, cin, kernel, rate):
        super().__init__()
        padding = 0 if kernel == 1 else rate
        self.atrous_conv = nn.Conv2d(cin, 256, kernel, padding=padding, dilation=rate, bias=False)
        self.bn = nn.BatchNorm2d(256)

    def forward(self, x):
        return torch.relu(self.bn(self.atrous_conv(x)))


class JfzhangPyramid(nn.Module):
    def __init__(self, cin, rates):
        super().__init__()
        self.aspp1 = JfzhangBranch(cin, 1, 1)
        self.aspp2, self.aspp3, self.aspp4 = (JfzhangBranch(cin, 3, rate) for rate in rates)
        pooled = nn.Conv2d(cin, 256, 1, bias=False)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d((1, 1)), pooled, nn.BatchNorm2d(256), nn.ReLU()
        )
        self.conv1 = nn.Conv2d(1280, 256, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(256)

    def forward(self, x):
        image = F.interpolate(self.global_avg_pool(x), size=x.shape[2:], mode="bilinear", align_corners=True)
        joined = torch.cat((self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x), image), 1)
        return torch.relu(self.bn1(self.conv1(joined)))


class JfzhangDecoder(nn.Module):
    def __init__(self, low, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(low, 48, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(48)
        first, second = (nn.Conv2d(c, 256, 3, padding=1, bias=False) for c in (304, 256))
        layers = [first, nn.BatchNorm2d(256), nn.ReLU(), nn.Dropout(0.5)]
        layers += [second, nn.BatchNorm2d(256), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(256, classes, 1)]
        self.last_conv = nn.Sequential(*layers)

    def forward(self, x, low):
        low = torch.relu(self.bn1(self.conv1(low)))
        x = F.interpolate(x, size=low.shape[2:], mode="bilinear", align_corners=True)
        return self.last_conv(torch.cat((x, low), 1))


class JfzhangDeepLab(nn.Module):
    """modeling/deeplab.py around a backbone that returns (last features, low-level features)."""

    def __init__(self, backbone, cin, low, output_stride, classes=4):
        super().__init__()
        self.backbone = backbone
        self.aspp = JfzhangPyramid(cin, (6, 12, 18) if output_stride == 16 else (12, 24, 36))
        self.decoder = JfzhangDecoder(low, classes)

    def features(self, image):
        return self.backbone(image)[::-1]

    def forward(self, image):
        x, low = self.backbone(image)
        logits = self.decoder(self.aspp(x), low)
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True)


def conv_bn_relu(cin, cout, kernel=1, rate=1):
    pad = rate * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, padding=pad, dilation=rate, bias=False), nn.BatchNorm2d(cout), nn.ReLU()
    )


class VainFPyramid(nn.Module):
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


class VainFPlusHead(nn.Module):
    def __init__(self, cin, low, classes, rates):
        super().__init__()
        self.project = conv_bn_relu(low, 48)
        self.aspp = VainFPyramid(cin, rates)
        self.classifier = nn.Sequential(*conv_bn_relu(304, 256, 3), nn.Conv2d(256, classes, 1))

    def forward(self, low, x):
        low = self.project(low)
        x = F.interpolate(self.aspp(x), size=low.shape[2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([low, x], 1))


class VainFV3Head(nn.Module):
    def __init__(self, cin, classes, rates):
        super().__init__()
        self.classifier = nn.Sequential(
            VainFPyramid(cin, rates), *conv_bn_relu(256, 256, 3), nn.Conv2d(256, classes, 1)
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


class VainFNetwork(nn.Module):
    """network/modeling.py around a backbone that returns (low-level features, last features)."""

    def __init__(self, backbone, cin, low, rates, *, plus, separable=False, classes=5):
        super().__init__()
        self.backbone = backbone
        self.classifier = (
            VainFPlusHead(cin, low, classes, rates) if plus else VainFV3Head(cin, classes, rates)
        )
        if separable:
            separate(self.classifier)

    def features(self, image):
        return self.backbone(image)

    def forward(self, x):
        logits = self.classifier(*self.backbone(x))
        return F.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=False)


@pytest.fixture
def jfzhang_network() -> Callable[..., nn.Module]:
    return JfzhangDeepLab


@pytest.fixture
def vainf_network() -> Callable[..., nn.Module]:
    return VainFNetwork


@pytest.fixture
def assert_same(with_lively_norms) -> Callable[..., None]:
    """Compare an imported network with its source: low-level features, last features and logits.

    Each must be within 1e-5 of its range. Logits alone would not show everything: in a deep network with
    torch's initial weights they follow the low-level features, and a wrong rate in a late block changes
    them by less than that.
    """

    @torch.inference_mode()
    def compare(theirs, read, size):
        for module in theirs.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        with_lively_norms(theirs)
        imported = read(theirs.state_dict())
        ours = build_network(imported.architecture, imported.bands, imported.classes).eval()
        ours.load_state_dict(dict(imported.state_dict))
        image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
        features = ours.backbone(image)
        found = [features[ours.low_index], features[-1], ours(image)]
        expected = [*theirs.features(image), theirs(image)]
        assert expected[-1].shape[-2:] == size
        for mine, original in zip(found, expected, strict=True):
            assert mine.shape == original.shape
            assert (mine - original).abs().max() <= 1e-5 * (original.max() - original.min())

    return compare


@pytest.fixture
def with_lively_norms() -> Callable[[nn.Module], nn.Module]:
    """Give batch norms statistics that are not the identity, so that a mixed-up one shows."""

    def enliven(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(7)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.6, 1.4, generator=generator)
                module.weight.data.uniform_(0.7, 1.3, generator=generator)
                module.bias.data.uniform_(-0.2, 0.2, generator=generator)
        return network.eval()

    return enliven
