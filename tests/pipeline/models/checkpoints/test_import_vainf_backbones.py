"""VainF's HRNetV2 and Xception, written here from their published order of calls, against the imported ones.

The code itself (network/ at 4e1087de) was run beside ours, with batch norms that are not the identity: HRNetV2-32
and -48 on both heads at 64 x 96 px, 2.1e-7 of the range of the logits at most in float32 and 8.1e-16 in float64;
Xception at strides 8 and 16, at 107 x 140 and 129 x 193 px, 2.5e-7 and 8.4e-16. See
docs/decisions/0073-references-checked-against-their-source.md.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.errors import ModelError, UsageError
from segment_tiles.pipeline.models.checkpoints.recognition import import_weights
from segment_tiles.pipeline.models.checkpoints.translation import ImportOptions
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.packages.manifest_file import check_manifest
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.workflows.model_packages.import_result import class_table


def conv_bn(cin, cout, kernel=3, stride=1):
    return [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout)]


class Basic(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(width, width)
        self.conv2, self.bn2 = conv_bn(width, width)

    def forward(self, x):
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Bottleneck(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(cin, 64, 1)
        self.conv2, self.bn2 = conv_bn(64, 64)
        self.conv3, self.bn3 = conv_bn(64, 256, 1)
        self.downsample = nn.Sequential(*conv_bn(cin, 256, 1)) if cin != 256 else None

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x)))


class StageModule(nn.Module):
    def __init__(self, branches, c):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(Basic(c * 2**i) for _ in range(4))) for i in range(branches)
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self.fusion(c, source, target) for source in range(branches))
            for target in range(branches)
        )

    @staticmethod
    def fusion(c, source, target):
        cin, cout = c * 2**source, c * 2**target
        if source == target:
            return nn.Sequential()
        if source > target:
            up = nn.Upsample(scale_factor=2.0 ** (source - target), mode="nearest")
            return nn.Sequential(*conv_bn(cin, cout, 1), up)
        steps = [nn.Sequential(*conv_bn(cin, cin, 3, 2), nn.ReLU()) for _ in range(target - source - 1)]
        return nn.Sequential(*steps, nn.Sequential(*conv_bn(cin, cout, 3, 2)))

    def forward(self, x):
        x = [branch(part) for branch, part in zip(self.branches, x, strict=True)]
        return [
            torch.relu(sum(f(part) for f, part in zip(fuse, x, strict=True))) for fuse in self.fuse_layers
        ]


class HRNet(nn.Module):
    """hrnetv2_32 and _48 as the layer getter runs them: up to stage4, without the classifier.

    The getter (network/utils.py) calls the children in the order in which they were made, each once:
    conv1, bn1, conv2, bn2, relu, layer1, transition1, ... The one ReLU of the stem was made after bn2
    (backbone/hrnetv2.py), so that none runs between bn1 and conv2, other than in the network's own forward.
    """

    def __init__(self, c):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, 64, 3, 2)
        self.conv2, self.bn2 = conv_bn(64, 64, 3, 2)
        self.layer1 = nn.Sequential(Bottleneck(64), *(Bottleneck(256) for _ in range(3)))
        coarse = nn.Sequential(nn.Sequential(*conv_bn(256, 2 * c, 3, 2), nn.ReLU()))
        self.transition1 = nn.ModuleList([nn.Sequential(*conv_bn(256, c), nn.ReLU()), coarse])
        self.stage2 = nn.Sequential(StageModule(2, c))
        self.transition2 = nn.Sequential(*conv_bn(2 * c, 4 * c, 3, 2), nn.ReLU())
        self.stage3 = nn.Sequential(*(StageModule(3, c) for _ in range(4)))
        self.transition3 = nn.Sequential(*conv_bn(4 * c, 8 * c, 3, 2), nn.ReLU())
        self.stage4 = nn.Sequential(*(StageModule(4, c) for _ in range(3)))

    def forward(self, x):
        for layer in (self.conv1, self.bn1, self.conv2, self.bn2, torch.relu):
            x = layer(x)
        low = self.layer1(x)
        x = self.stage2([transition(low) for transition in self.transition1])
        x = self.stage3([*x, self.transition2(x[-1])])
        x = self.stage4([*x, self.transition3(x[-1])])
        size = x[0].shape[2:]
        joined = [x[0], *(F.interpolate(p, size=size, mode="bilinear", align_corners=False) for p in x[1:])]
        return low, torch.cat(joined, 1)


class Separable(nn.Module):
    def __init__(self, cin, cout, rate, padding):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cin, 3, 1, padding, rate, groups=cin, bias=False)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.conv1(x))


class Block(nn.Module):
    def __init__(self, cin, cout, reps, stride, rate, *, relu_first=True, grow_first=True):
        super().__init__()
        self.skip = None
        if cin != cout or stride != 1:
            self.skip = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(cout)
        widths = ([(cin, cout)] if grow_first else []) + [(cout if grow_first else cin,) * 2] * (reps - 1)
        widths += [] if grow_first else [(cin, cout)]
        rep = []
        for before, after in widths:
            rep += [nn.ReLU(inplace=True), Separable(before, after, rate, rate), nn.BatchNorm2d(after)]
        rep = [nn.ReLU(inplace=False), *rep[1:]] if relu_first else rep[1:]
        self.rep = nn.Sequential(*rep, *([nn.MaxPool2d(3, stride, 1)] if stride != 1 else []))

    def forward(self, x):
        return self.rep(x) + (x if self.skip is None else self.skipbn(self.skip(x)))


class Xception(nn.Module):
    """Up to conv4, which the layer getter returns; bn4 and what follows are cut off."""

    def __init__(self, output_stride):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2, 0, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        rate = 1
        self.block1 = Block(64, 128, 2, 2, 1, relu_first=False)
        self.block2 = Block(128, 256, 2, 2, 1)
        stride, rate = (1, 2) if output_stride == 8 else (2, 1)
        self.block3 = Block(256, 728, 2, stride, rate)
        for number in range(4, 12):
            self.add_module(f"block{number}", Block(728, 728, 3, 1, rate))
        rate *= 2
        self.block12 = Block(728, 1024, 2, 1, rate, grow_first=False)
        self.conv3 = Separable(1024, 1536, rate, 1)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = Separable(1536, 2048, rate, 1)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        low = x = self.block1(x)
        for number in range(2, 13):
            x = getattr(self, f"block{number}")(x)
        return low, self.conv4(torch.relu(self.bn3(self.conv3(x))))


def save(state, path):
    torch.save({"model_state": {f"module.{key}": tensor for key, tensor in state.items()}}, path)
    return path


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("width", [32, pytest.param(48, marks=pytest.mark.slow)])
def test_logits_of_hrnet(tmp_path, assert_same, vainf_network, width, plus):
    torch.manual_seed(0)
    assert_same(
        vainf_network(HRNet(width), 15 * width, 256, (12, 24, 36), plus=plus),
        lambda state: import_weights(save(state, tmp_path / "best.pth"), ImportOptions()),
        (64, 96),
    )


@pytest.mark.parametrize(
    ("stride", "plus", "separable"), [(16, True, False), (8, True, True), (8, False, False)]
)
def test_logits_of_xception(tmp_path, assert_same, vainf_network, stride, plus, separable):
    torch.manual_seed(0)
    rates = (6, 12, 18) if stride == 16 else (12, 24, 36)
    options = ImportOptions(output_stride=stride)
    assert_same(
        vainf_network(Xception(stride), 2048, 128, rates, plus=plus, separable=separable),
        lambda state: import_weights(save(state, tmp_path / "best.pth"), options),
        (107, 140),
    )


@pytest.fixture
def xception(vainf_network):
    return vainf_network(Xception(16), 2048, 128, (6, 12, 18), plus=True)


def test_missing_and_unexpected_tensors_are_named(tmp_path, xception):
    state = xception.state_dict()
    state["backbone.bn4.weight"] = state.pop("backbone.conv4.pointwise.weight")[:, 0, 0, 0]
    with pytest.raises(
        ModelError, match=r"missing: .*exit\.1\.conv\.weight.*unexpected: .*backbone\.bn4\.weight"
    ):
        import_weights(save(state, tmp_path / "best.pth"), ImportOptions())


def test_two_tensors_of_one_name_are_refused(tmp_path, xception):
    state = xception.state_dict()
    state["backbone.stem.0.weight"] = state["backbone.conv1.weight"]
    with pytest.raises(ModelError, match=r"conv1\.weight and stem\.0\.weight are both stem\.0\.weight"):
        import_weights(save(state, tmp_path / "best.pth"), ImportOptions())


def test_a_package_of_an_import_that_computed_something_else_is_refused():
    """Earlier versions had a ReLU in VainF's stem; their packages do not say stem_relu."""
    old = Architecture("deeplabv3plus", "hrnetv2_32", 32, (12, 24, 36), details={"aspp_separable": "none"})
    new = replace(old, details={**old.details, "stem_relu": False})
    table = class_table(("land", "water"))
    manifest = ModelManifest(
        "hrnet", old, ("r", "g", "b"), "uint8", z_score((1.0,) * 3, (1.0,) * 3), 512, 0.5, table,
        extra={"imported_from": {"source": "VainF/DeepLabV3Plus-Pytorch", "file": "best.pth"}},
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"hrnet: .*import best\.pth again"):
        check_manifest(manifest)
    check_manifest(replace(manifest, architecture=new))
    check_manifest(replace(manifest, extra={}))  # trained here, with the ReLU


def test_hrnet_has_no_output_stride_to_choose(tmp_path, vainf_network):
    state = vainf_network(HRNet(32), 480, 256, (12, 24, 36), plus=True).state_dict()
    with pytest.raises(UsageError, match=r"--output-stride 16: .*no output stride for HRNet"):
        import_weights(save(state, tmp_path / "best.pth"), ImportOptions(output_stride=16))


def test_an_unknown_backbone_is_refused_with_what_is_known(tmp_path, xception):
    state = {key.replace("block1.", "trunk."): tensor for key, tensor in xception.state_dict().items()}
    with pytest.raises(ModelError, match=r"known are ResNet, MobileNetV2, Xception, HRNetV2-32"):
        import_weights(save(state, tmp_path / "best.pth"), ImportOptions())
