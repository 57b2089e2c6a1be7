"""Fixtures and settings shared by all tests."""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

# one thread per process, here and in the processes that tests start: many run at once on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import nibabel
import numpy as np
import pytest
import rasterio
import tifffile
import torch
import yaml
import zarr
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
from segment_tiles.pipeline.models.networks.build import build_network
from segment_tiles.pipeline.models.package import load_manifest, save_model_package
from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
from segment_tiles.pipeline.models.registry import bundled_models, find_model
from segment_tiles.pipeline.models.scaling.scaling import z_score
from segment_tiles.pipeline.models.trials import PrecisionTrial
from segment_tiles.workflows.demo import DEMO_SCENE
from segment_tiles.workflows.plans.compute.kept_choice import Choice, choice_file

pytest_plugins = ["gdal_drivers"]
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SHARED_REAL = SHARED_DATA.with_name("real")

settings.register_profile(
    "short", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


WHOLE_RUNS = {"workflows", "laws"}
"""Folders of tests of whole runs, whose files take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first: one process does all tests of a file, and the other has nothing to do beside the last."""
    items.sort(key=lambda item: WHOLE_RUNS.isdisjoint(item.path.parts))


def pytest_collection_finish() -> None:
    """Let the collector pass over what libraries and tests hold for ever: a run asks it to look at all there is."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data of ../shared/data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_real() -> Path:
    """The folder of small real files beside the checkout."""
    if not SHARED_REAL.is_dir():
        pytest.skip("the real files of ../shared/real are not beside this checkout")
    return SHARED_REAL


@pytest.fixture
def unlisted_folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment says, as users of remote files let it, that GDAL lists no folder."""
    from rasterio._env import del_gdal_config  # noqa: PLC0415

    # rasterio's Env puts what it found back as an option of GDAL's own, which hides the environment from then on
    del_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN")
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    yield
    monkeypatch.undo()
    del_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _spread_classes(network: torch.nn.Module, classes: int, bands: int = 3) -> None:
    """Give a network with drawn weights a lively class map: laws about a map of one class say nothing."""
    noise = torch.nn.functional.interpolate(torch.randn(8, bands, 16, 16), scale_factor=4)
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


class Quiet:
    """Listens to a run without a word, and remembers the last Plan."""

    plan: Any = None

    def warn(self, text: str) -> None:
        """Say nothing."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def planned(self, plan: object) -> None:
        """Keep it."""
        self.plan = plan

    def tiles(self, computed: int, skipped: int) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def quiet() -> Quiet:
    """A listener for runs of which nothing needs to be heard but the Plan."""
    return Quiet()


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model package with the real architecture, tiles of 64 px and weights drawn from one seed."""
    return _package(tmp_path_factory.mktemp("models") / "small", ("red", "green", "blue"))


@pytest.fixture(scope="session")
def grey_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for slices of a volume: one band."""
    return _package(tmp_path_factory.mktemp("models") / "grey", ("intensity",))


def _package(folder: Path, bands: tuple[str, ...]) -> Path:
    architecture = Architecture("deeplabv3plus", "resnet10t", output_stride=16, image_pooling="off")
    table = ClassTable(
        (
            MapClass(0, "other", (200, 200, 180)),
            MapClass(1, "tree", (20, 120, 40)),
            MapClass(2, "water", (0, 0, 255)),
        )
    )
    manifest = ModelManifest(
        name=folder.name,
        architecture=architecture,
        bands=bands,
        dtype="uint8",
        scaling=z_score((120.0,) * len(bands), (60.0,) * len(bands)),
        tile=64,
        overlap=0.25,
        classes=table,
    )
    torch.manual_seed(7)
    network = build_network(architecture, len(bands), table.count)
    _spread_classes(network, table.count, len(bands))
    save_model_package(folder, manifest, network.eval().state_dict())
    keep_choice(folder, "fp32")
    return folder


def keep_choice(folder: Path, precision: str) -> None:
    """Say that torch in a precision is the fastest here: measuring takes seconds, and has tests of its own."""
    trials = [
        PrecisionTrial(name, 1.0, 0.0, 1.0 if (backend, name) == ("torch", precision) else 2.0, backend)
        for backend in ("torch", "openvino")
        for name in ("fp32", "bf16")
    ]
    choice = Choice(tuple(trials), pair=("torch", precision))
    choice_file([load_manifest(folder).network_checksum], "cpu").keep(choice)


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[Callable[[], None]]]:
    """Inside, what it gives is called when the disk is to be full: a limit on the bytes of a file stands for it."""

    @contextmanager
    def limited(size: int) -> Iterator[Callable[[], None]]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited


@pytest.fixture(scope="session")
def write_series() -> Callable[..., Path]:
    """Writes i x j x k, affine in RAS+, as a DICOM series: one file per slice k, named against their order."""

    def write(folder: Path, values: NDArray[np.integer], affine: NDArray[np.float64]) -> Path:
        to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        steps = np.linalg.norm(to_lps[:3, :3], axis=0)
        cosines = to_lps[:3, :2] / steps[:2]
        identifiers = [
            generate_uid(entropy_srcs=[folder.name, what]) for what in ("study", "series", "frame")
        ]
        folder.mkdir()
        for number in range(values.shape[2]):
            dataset = Dataset()
            dataset.file_meta = FileMetaDataset()
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
            dataset.SOPInstanceUID = generate_uid(entropy_srcs=[folder.name, str(number)])
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = identifiers
            dataset.PatientName, dataset.PatientID, dataset.Modality = "Nobody^At All", "0", "MR"
            dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyID = dataset.AccessionNumber = ""
            dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20260101", "000000", ""
            dataset.PositionReferenceIndicator = ""
            # the reader must go by position, not by number or name
            dataset.SeriesNumber, dataset.InstanceNumber = 1, values.shape[2] - number
            dataset.ImagePositionPatient = [f"{v:.9g}" for v in (to_lps @ [0, 0, number, 1])[:3]]
            dataset.ImageOrientationPatient = [f"{v:.9g}" for v in (*cosines[:, 0], *cosines[:, 1])]
            dataset.PixelSpacing, dataset.SliceThickness = (
                [f"{steps[1]:.9g}", f"{steps[0]:.9g}"],
                f"{steps[2]:.9g}",
            )
            dataset.Rows, dataset.Columns = values.shape[1], values.shape[0]
            dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
            dataset.BitsAllocated = dataset.BitsStored = 16
            dataset.HighBit, dataset.PixelRepresentation = 15, int(values.dtype.kind == "i")
            dataset.PixelData = np.ascontiguousarray(values[:, :, number].T).astype("<i2").tobytes()
            name = f"{values.shape[2] - number:04d}.dcm"
            dataset.save_as(folder / name, enforce_file_format=True)
        return folder

    return write


@pytest.fixture(scope="session")
def aerial_crop() -> Path:
    """The scene that ships with the program: uint8, 3 bands, 1236 x 1149."""
    return DEMO_SCENE


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Probes and Choices of tests are not those of the person who runs them."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    for name in bundled_models():
        keep_choice(find_model(name), "bf16")


def write_levels(
    path: Path, levels: list[NDArray[np.uint8]], mpp: float | None = 0.5, **options: object
) -> Path:
    """Write a tiled pyramidal TIFF as scanners do: every level an IFD of its own, lossless."""
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level, values in enumerate(levels):
            step = levels[0].shape[0] / values.shape[0]
            size = (
                {} if mpp is None else {"resolution": (1e4 / mpp / step,) * 2, "resolutionunit": "CENTIMETER"}
            )
            settings = {"tile": (256, 256), "compression": "deflate", "metadata": None, **size, **options}
            file.write(values, photometric="rgb", subfiletype=1 if level else 0, **settings)
    return path


def write_ome_zarr(
    path: Path, levels: list[NDArray[np.uint8]], mpp: float | None = 0.5, version: int = 3
) -> Path:
    """Write bands x rows x columns as OME-Zarr 0.5 (Zarr 3) or 0.4 (Zarr 2), by hand as the specifications say."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    datasets = []
    for level, values in enumerate(levels):
        chunks = (1, min(64, values.shape[1]), min(96, values.shape[2]))
        names = ("c", "y", "x") if version == 3 else None
        array = group.create_array(
            str(level), shape=values.shape, dtype=values.dtype, chunks=chunks, dimension_names=names
        )
        array[:] = values
        scale = [1.0, *((1.0 if mpp is None else mpp) * levels[0].shape[i] / values.shape[i] for i in (1, 2))]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    unit = {} if mpp is None else {"unit": "micrometer"}
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", **unit} for n in "yx")]
    image = {"name": "picture", "axes": axes, "datasets": datasets}
    if version == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [{**image, "version": "0.4"}]
    return path


def write_slices(path: Path, values: NDArray[np.uint8]) -> Path:
    """Write bands as axial slices of a volume; rows count from the front, columns from the left."""
    voxels = np.ascontiguousarray(values.transpose(2, 1, 0)[:, ::-1])
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    return path


def write_stack(path: Path, values: NDArray[np.uint8]) -> Path:
    """Write bands as files of their own, those after the first with pixels twice as high and three times as wide."""
    path.mkdir(exist_ok=True)
    members = []
    for number, band in enumerate(values):
        rows, columns = (1, 1) if number == 0 else (2, 3)
        small = band[::rows, ::columns]
        height, width = small.shape
        with rasterio.open(
            path / f"{number}.tif", "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8",
            crs="EPSG:32633", transform=rasterio.Affine(columns, 0, 400000 - number, 0, -rows, 5600000),
        ) as dataset:  # fmt: skip
            dataset.write(small, 1)
        members.append({"file": f"{number}.tif", "name": "abcdefgh"[number]})
    (path / "stack.yaml").write_text(yaml.safe_dump({"members": members}))
    return path / "stack.yaml"


@pytest.fixture(scope="session")
def write_as(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a picture, bands x rows x columns, in the way of one of the READERS; the same picture once."""
    folder = tmp_path_factory.mktemp("pictures")

    def write(reader: str, values: NDArray[np.uint8], mpp: float | None = 0.5, *steps: int) -> Path:
        name = f"{reader}-{sha256(values.tobytes()).hexdigest()[:16]}-{values.shape}-{mpp}-{steps}"
        bands = [values[:, ::step, ::step] for step in (1, *steps)]
        colours = [
            np.ascontiguousarray(np.resize(level, (3, *level.shape[1:])).transpose(1, 2, 0))
            for level in bands
        ]
        if reader.startswith("ome-zarr"):
            path = folder / f"{name}.zarr"
            return path if path.exists() else write_ome_zarr(path, bands, mpp, 2 if "0.4" in reader else 3)
        if reader == "stack":
            return write_stack(folder / name, values)
        if reader == "volume":
            return write_slices(folder / f"{name}.nii", values)
        path = folder / (f"{name}.ome.tif" if reader == "ome-tiff" else f"{name}.tif")
        if path.exists():
            return path
        if reader == "slide":
            return write_levels(path, colours, mpp)
        size = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
        with tifffile.TiffWriter(path, ome=True) as file:
            settings = {"tile": (64, 96), "photometric": "minisblack", "compression": "deflate"}
            file.write(bands[0], subifds=len(bands) - 1, metadata={"axes": "CYX", **size}, **settings)
            for level in bands[1:]:
                file.write(level, subfiletype=1, **settings)
        return path

    return write


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "emptied": lambda content: b"",  # the name reached the disk before the content
    "cut": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),  # the size reached the disk before the content
    "flipped": lambda content: bytes(b ^ (i == len(content) // 2) for i, b in enumerate(content)),
    "deleted": lambda content: None,
}


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """What a power cut or a bad disk does to a file."""

    def done(path: Path) -> None:
        content = DAMAGES[request.param](path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return done
