"""jfzhang95's networks, written here from their published layout, against the imported ones."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.errors import ModelError
from segment_tiles.pipeline.models.build import build_network
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


class Branch(nn.Module):
    def __init__(self, cin, kernel, rate):
        super().__init__()
        padding = 0 if kernel == 1 else rate
        self.atrous_conv = nn.Conv2d(cin, 256, kernel, padding=padding, dilation=rate, bias=False)
        self.bn = nn.BatchNorm2d(256)

    def forward(self, x):
        return torch.relu(self.bn(self.atrous_conv(x)))


class Pyramid(nn.Module):
    def __init__(self, cin, rates):
        super().__init__()
        self.aspp1 = Branch(cin, 1, 1)
        self.aspp2, self.aspp3, self.aspp4 = (Branch(cin, 3, rate) for rate in rates)
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


class Decoder(nn.Module):
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


class DeepLab(nn.Module):
    def __init__(self, backbone, output_stride, classes=4):
        super().__init__()
        self.backbone = MobileNet(output_stride) if backbone == "mobilenet" else ResNet(output_stride)
        cin, low = (320, 24) if backbone == "mobilenet" else (2048, 256)
        self.aspp = Pyramid(cin, (6, 12, 18) if output_stride == 16 else (12, 24, 36))
        self.decoder = Decoder(low, classes)

    def forward(self, image):
        x, low = self.backbone(image)
        logits = self.decoder(self.aspp(x), low)
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize(
    ("backbone", "stride"), [("resnet", 16), ("resnet", 8), ("mobilenet", 16), ("mobilenet", 8)]
)
@torch.inference_mode()
def test_logits(tmp_path, with_lively_norms, backbone, stride):
    torch.manual_seed(0)
    theirs = with_lively_norms(DeepLab(backbone, stride))
    weights = {
        f"module.{key}": tensor
        for key, tensor in theirs.state_dict().items()
        if not key.endswith("num_batches_tracked")  # his files come from torch 0.4.0
    }
    checkpoint = {"epoch": 50, "state_dict": weights, "optimizer": {}, "best_pred": np.float64(0.78)}
    torch.save(checkpoint, tmp_path / "model_best.pth.tar", _use_new_zipfile_serialization=False)
    imported = import_weights(tmp_path / "model_best.pth.tar", ImportOptions(output_stride=stride))
    ours = build_network(imported.architecture, imported.bands, imported.classes)
    ours.load_state_dict(dict(imported.state_dict))
    image = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(1))
    expected, found = theirs(image), ours.eval()(image)
    assert found.shape == expected.shape == (1, 4, 65, 97)
    assert (found - expected).abs().max() <= 1e-4 * (expected.max() - expected.min())


def test_copies_of_the_mobilenet_that_differ_are_refused(tmp_path):
    state = DeepLab("mobilenet", 16).state_dict()
    state["backbone.low_level_features.0.0.weight"] = state["backbone.features.0.0.weight"] + 1
    torch.save({"state_dict": state}, tmp_path / "odd.pth")
    with pytest.raises(ModelError, match="differs from"):
        import_weights(tmp_path / "odd.pth", ImportOptions())
