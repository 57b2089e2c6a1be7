"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

# one thread per process, here and in the processes that tests start: many run at once on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.build import build_network
from segment_tiles.pipeline.models.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.package import save_model_package
from segment_tiles.workflows.demo import DEMO_SCENE

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile(
    "short", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data of ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _spread_classes(network: torch.nn.Module, classes: int) -> None:
    """Give a network with drawn weights a lively class map: laws about a map of one class say nothing."""
    noise = torch.nn.functional.interpolate(torch.randn(8, 3, 16, 16), scale_factor=4)
    classifier = [
        m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels == classes
    ][-1]
    network.train()
    with torch.no_grad():
        for _ in range(30):
            network(noise)
        logits = network.eval()(noise)
        classifier.weight.mul_(3 / logits.std(dim=(0, 2, 3))[:, None, None, None])
        assert classifier.bias is not None
        classifier.bias.sub_(network(noise).mean(dim=(0, 2, 3)))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model package with the real architecture, tiles of 64 px and weights drawn from one seed."""
    architecture = Architecture("deeplabv3plus", "resnet10t", output_stride=16, image_pooling="off")
    table = ClassTable(
        (
            MapClass(0, "other", (200, 200, 180)),
            MapClass(1, "tree", (20, 120, 40)),
            MapClass(2, "water", (0, 0, 255)),
        )
    )
    manifest = ModelManifest(
        name="small",
        architecture=architecture,
        bands=("red", "green", "blue"),
        dtype="uint8",
        mean=(120.0, 120.0, 120.0),
        std=(60.0, 60.0, 60.0),
        tile=64,
        overlap=0.25,
        classes=table,
    )
    torch.manual_seed(7)
    network = build_network(architecture, 3, table.count)
    _spread_classes(network, table.count)
    folder = tmp_path_factory.mktemp("models") / "small"
    save_model_package(folder, manifest, network.eval().state_dict())
    return folder


@pytest.fixture(scope="session")
def aerial_crop() -> Path:
    """The scene that ships with the program: uint8, 3 bands, 1236 x 1149."""
    return DEMO_SCENE


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Probes of tests are not those of the person who runs them."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
