"""jfzhang95's DRN and Xception, written here from their published order of calls, against the imported ones.

The code itself (modeling/ at 9135e104) was run beside ours at 65 x 97 px, DRN at stride 8 and Xception at 8 and 16,
with batch norms that are not the identity: no bit of the logits differed in float32. See
docs/decisions/0073-references-checked-against-their-source.md.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segment_tiles.pipeline.errors import ModelError, UsageError
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
        shortcut = nn.Conv2d(cin, planes * 4, 1, stride, bias=False)
        self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(planes * 4)) if project else None

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x)))


class DRN(nn.Module):
    """drn_d_54: arch D, layers 1, 1, 3, 4, 6, 3, 1, 1."""

    def __init__(self):
        super().__init__()
        self.layer0 = self.plain(3, 16, 7)
        self.layer1 = self.plain(16, 16, 3)
        self.layer2 = self.plain(16, 32, 3, stride=2)
        self.layer3 = self.blocks(32, 64, 3, 2, 1)
        self.layer4 = self.blocks(256, 128, 4, 2, 1)
        self.layer5 = self.blocks(512, 256, 6, 1, 2)
        self.layer6 = self.blocks(1024, 512, 3, 1, 4)
        self.layer7 = self.plain(2048, 512, 3, rate=2)
        self.layer8 = self.plain(512, 512, 3)

    @staticmethod
    def plain(cin, cout, kernel, stride=1, rate=1):
        conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2 * rate, rate, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True))

    @staticmethod
    def blocks(cin, planes, count, stride, rate):
        first = Bottleneck(cin, planes, stride, rate, project=True)
        others = [Bottleneck(planes * 4, planes, 1, rate, project=False) for _ in range(count - 1)]
        return nn.Sequential(first, *others)

    def forward(self, x):
        low = self.layer3(self.layer2(self.layer1(self.layer0(x))))
        return self.layer8(self.layer7(self.layer6(self.layer5(self.layer4(low))))), low


class Separable(nn.Module):
    def __init__(self, cin, cout, stride=1, rate=1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cin, 3, stride, 0, rate, groups=cin, bias=False)
        self.bn = nn.BatchNorm2d(cin)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.bn(self.conv1(F.pad(x, (self.conv1.dilation[0],) * 4))))


class Block(nn.Module):
    def __init__(self, cin, cout, reps, stride=1, rate=1, *, relu_first=True, grow_first=True, last=False):
        super().__init__()
        self.skip = None
        if cin != cout or stride != 1:
            self.skip = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(cout)
        relu = nn.ReLU(inplace=True)  # in place: the shortcut sees its result where it comes first
        widths = ([(cin, cout)] if grow_first else []) + [(cout if grow_first else cin,) * 2] * (reps - 1)
        widths += [] if grow_first else [(cin, cout)]
        rep = []
        for before, after in widths:
            rep += [relu, Separable(before, after, 1, rate), nn.BatchNorm2d(after)]
        if stride != 1 or last:
            rep += [relu, Separable(cout, cout, stride), nn.BatchNorm2d(cout)]
        self.rep = nn.Sequential(*(rep if relu_first else rep[1:]))

    def forward(self, x):
        out = self.rep(x)
        return out + (x if self.skip is None else self.skipbn(self.skip(x)))


class Xception(nn.Module):
    def __init__(self, output_stride):
        super().__init__()
        step, middle, exits = (2, 1, (1, 2)) if output_stride == 16 else (1, 2, (2, 4))
        self.conv1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.block1 = Block(64, 128, 2, 2, relu_first=False)
        self.block2 = Block(128, 256, 2, 2, relu_first=False)
        self.block3 = Block(256, 728, 2, step, last=True)
        for number in range(4, 20):
            self.add_module(f"block{number}", Block(728, 728, 3, rate=middle))
        self.block20 = Block(728, 1024, 2, rate=exits[0], grow_first=False, last=True)
        for number, (cin, cout) in enumerate(((1024, 1536), (1536, 1536), (1536, 2048)), start=3):
            self.add_module(f"conv{number}", Separable(cin, cout, rate=exits[1]))
            self.add_module(f"bn{number}", nn.BatchNorm2d(cout))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        low = x = torch.relu(self.block1(x))
        for number in range(2, 21):
            x = getattr(self, f"block{number}")(x)
        x = torch.relu(x)
        for number in (3, 4, 5):
            x = torch.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x)))
        return x, low


@pytest.fixture
def drn(jfzhang_network):
    torch.manual_seed(0)
    return jfzhang_network(DRN(), 512, 256, 8)


@pytest.fixture
def xception(jfzhang_network):
    torch.manual_seed(0)
    return jfzhang_network(Xception(16), 2048, 128, 16)


def save(state, path):
    torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}}, path)
    return path


def test_logits_of_drn(tmp_path, assert_same, drn):
    assert_same(
        drn, lambda state: import_weights(save(state, tmp_path / "drn.pth.tar"), ImportOptions()), (65, 97)
    )


@pytest.mark.parametrize("stride", [16, 8])
def test_logits_of_xception(tmp_path, assert_same, jfzhang_network, stride):
    torch.manual_seed(0)
    options = ImportOptions(output_stride=stride)
    assert_same(
        jfzhang_network(Xception(stride), 2048, 128, stride),
        lambda state: import_weights(save(state, tmp_path / "xception.pth.tar"), options),
        (65, 97),
    )


def test_an_output_stride_that_drn_never_has_is_refused(tmp_path, drn):
    path = save(drn.state_dict(), tmp_path / "drn.pth")
    with pytest.raises(UsageError, match=r"--output-stride 16: .* runs DRN at 8"):
        import_weights(path, ImportOptions(output_stride=16))


def test_another_drn_is_refused_with_its_tensors(tmp_path, drn):
    state = drn.state_dict()
    state["backbone.layer5.6.conv1.weight"] = torch.zeros(256, 1024, 1, 1)  # drn_d_105 has 23 blocks there
    with pytest.raises(ModelError, match=r"backbone\.layer5\.6\.conv1\.weight"):
        import_weights(save(state, tmp_path / "drn.pth"), ImportOptions())


def test_a_block_that_begins_otherwise_is_refused(tmp_path, xception):
    """Earlier versions had a ReLU before block 2: other numbers, the same shapes, another function."""
    state = {}
    for key, tensor in xception.state_dict().items():
        head, found, tail = key.partition("block2.rep.")
        number, _, leaf = tail.partition(".")
        state[f"{head}block2.rep.{int(number) + 1}.{leaf}" if found else key] = tensor
    with pytest.raises(ModelError, match=r"missing: .*blocks\.2\.units.*unexpected: .*block2\.rep"):
        import_weights(save(state, tmp_path / "xception.pth"), ImportOptions())


def test_missing_tensors_are_named(tmp_path, xception):
    state = xception.state_dict()
    del state["backbone.block7.rep.4.pointwise.weight"]
    with pytest.raises(ModelError, match=r"missing: .*blocks\.7\.units\.1\.conv\.weight"):
        import_weights(save(state, tmp_path / "xception.pth"), ImportOptions())


def test_the_layout_before_modeling_is_refused_with_a_way_out(tmp_path):
    state = {
        "xception_features.conv1.weight": torch.zeros(32, 3, 3, 3),
        "aspp1.atrous_convolution.weight": torch.zeros(256, 2048, 1, 1),
    }
    with pytest.raises(ModelError, match=r"networks/\*\.py.*export the network itself"):
        import_weights(save(state, tmp_path / "early.pth"), ImportOptions())
