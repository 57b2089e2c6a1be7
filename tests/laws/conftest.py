"""What the laws of runs hold for: a raster, a stack, a slide that is resampled, and a volume, in the same words."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import nibabel
import numpy as np
import pytest
import rasterio
import tifffile
import torch
from numpy.typing import NDArray

from segment_tiles.pipeline.grid.volume import Slicing
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.outputs.stores.store import shard_shape
from segment_tiles.pipeline.sources.array import ArraySource
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.pipeline.sources.protocol import Source
from segment_tiles.pipeline.sources.stacks.resolve import OF_NO_STACK, resolved
from segment_tiles.pipeline.sources.view import View
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.slices import open_slices
from segment_tiles.pipeline.sources.volumes.volume import read_volume, read_volume_spec
from segment_tiles.workflows.config import RunConfig
from segment_tiles.workflows.executors import InProcess
from segment_tiles.workflows.executors.interruption import Interruption
from segment_tiles.workflows.model_packages.weights_import import import_model
from segment_tiles.workflows.options.model_import import import_request_from
from segment_tiles.workflows.regions.region_task import Progress, RegionReport, RegionTask
from segment_tiles.workflows.regions.region_work import do_region


@dataclass(frozen=True)
class Scene(ABC):
    """An image of one kind, and how a run of it is asked for."""

    source: Path
    model: Path

    kind: ClassVar[str]
    shape: ClassVar[tuple[int, ...]]
    """Of the arrays of the result."""
    pieces: ClassVar[int]
    """How many Regions it is when every shard, or every slice, is one of its own."""
    crop: ClassVar[tuple[slice, ...]]
    """Of the result, what the ROI covers."""
    roi: ClassVar[tuple[float, ...]]
    """The same in what users give to --roi."""
    reading: ClassVar[dict[str, Any]] = {}
    words_of_reading: ClassVar[tuple[str, ...]] = ()
    """Both: what a run of this kind needs to be told."""
    dense: ClassVar[tuple[str, ...]] = ("--tile", "128")
    """A lattice that takes many seconds."""

    def config(self, out: Path, **changes: Any) -> RunConfig:
        """The run as a configuration."""
        settings: dict[str, Any] = {"source": str(self.source), "model": str(self.model), "out": out}
        settings |= {"precision": "fp32", "device": "cpu", "formats": ("zarr",), **self.reading, **changes}
        return RunConfig(**settings)

    def words(self, out: Path) -> list[str]:
        """The run as words of the command line."""
        words = [
            "run",
            str(self.source),
            "--model",
            str(self.model),
            "--out",
            str(out),
            "--precision",
            "fp32",
        ]
        return [*words, "--device", "cpu", "--format", "zarr", *self.words_of_reading]

    @abstractmethod
    def stored_otherwise(self, folder: Path) -> Scene:
        """The same pixels under the same name in a file of other chunks."""


class RasterScene(Scene):
    """530 x 4150 pixels: two shards wide and high, the second ones narrow."""

    kind = "raster"
    shape = (530, 4150)
    pieces = 4
    crop = (slice(77, 77 + 401), slice(333, 333 + 1203))
    roi = (
        400000 + 333 * 0.5,
        5600000 - (77 + 401) * 0.5,
        400000 + (333 + 1203) * 0.5,
        5600000 - 77 * 0.5,
    )
    pixel_area = 0.5**2
    reading: ClassVar = {"tile": 256, "overlap": 0.125}
    words_of_reading = ("--tile", "256", "--overlap", "0.125")

    @classmethod
    def write(cls, folder: Path, model: Path) -> RasterScene:
        """Write one."""
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 255, (3, 34, 260), dtype=np.uint8)
        values = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, : cls.shape[0], : cls.shape[1]]
        values = values + rng.integers(0, 20, values.shape, dtype=np.uint8)
        with rasterio.open(
            folder / "wide.tif", "w", driver="GTiff", width=4150, height=530, count=3, dtype="uint8",
            crs="EPSG:32633", transform=rasterio.Affine(0.5, 0, 400000, 0, -0.5, 5600000),
            tiled=True, compress="deflate",
        ) as dataset:  # fmt: skip
            dataset.write(values)
        return cls(folder / "wide.tif", model)

    def stored_otherwise(self, folder: Path) -> Scene:
        """In strips of 7 rows, band by band."""
        with rasterio.open(self.source) as dataset:
            profile = {**dataset.profile, "tiled": False, "blockysize": 7, "interleave": "band"}
            profile.pop("blockxsize")
            with rasterio.open(folder / self.source.name, "w", **profile) as other:
                other.write(dataset.read())
        return RasterScene(folder / self.source.name, self.model)


class StackScene(RasterScene):
    """The same size in three files: pixels of 0.5, 1 and 1.5 m, the last beginning elsewhere and ending too early."""

    @classmethod
    def write(cls, folder: Path, model: Path) -> StackScene:
        """Write one."""
        rng = np.random.default_rng(0)
        files = (("red", 0.5, 0, (530, 4150)), ("green", 1.0, 0, (265, 2075)), ("blue", 1.5, 4, (160, 1380)))
        for name, size, start, shape in files:
            coarse = rng.integers(0, 235, (1, 1 + shape[0] // 8, 1 + shape[1] // 8))
            values = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[0], : shape[1]]
            values = (values + rng.integers(0, 20, values.shape)).astype(np.uint8)
            place = rasterio.Affine(size, 0, 400000 - start * 1.0, 0, -size, 5600000 + start * 1.0)
            with rasterio.open(
                folder / f"{name}.tif", "w", driver="GTiff", width=shape[1], height=shape[0], count=1, dtype="uint8",
                crs="EPSG:32633", transform=place, tiled=True, compress="deflate", nodata=0,
            ) as dataset:  # fmt: skip
                dataset.write(values)
        return cls.of(folder, model)

    @classmethod
    def of(cls, folder: Path, model: Path) -> StackScene:
        """Of the three files in a folder, their names relative to a stack file."""
        members = "".join(f"  - file: {name}.tif\n" for name in ("red", "green", "blue"))
        (folder / "scene.stack.yaml").write_text(f"members:\n{members}")
        return cls(folder / "scene.stack.yaml", model)

    def stored_otherwise(self, folder: Path) -> Scene:
        """Each file in strips of 7 rows."""
        for name in ("red", "green", "blue"):
            RasterScene(self.source.with_name(f"{name}.tif"), self.model).stored_otherwise(folder)
        return StackScene.of(folder, self.model)


class CroppedScene(RasterScene):
    """The raster, with a graph that gives no scores for the outer 16 pixels of tiles of 128, which share 48."""

    reading: ClassVar = {"overlap": 0.375, "trust": True}
    words_of_reading = ("--overlap", "0.375", "--trust")

    @classmethod
    def write(cls, folder: Path, model: Path) -> RasterScene:
        """Write the raster and the graph."""
        network = torch.nn.Conv2d(3, 3, 3, dilation=16)
        torch.nn.init.normal_(network.weight, std=0.2, generator=torch.Generator().manual_seed(6))
        torch.nn.init.zeros_(network.bias)
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 128, 128),)), folder / "net.pt2")
        graph = {"path": folder / "net.pt2", "out": folder / "cropped", "classes": "a,b,c"}
        import_model(import_request_from(**graph, mean="128,128,128", std="60,60,60", trust=True))
        return cls(RasterScene.write(folder, model).source, folder / "cropped")

    def stored_otherwise(self, folder: Path) -> Scene:
        """As a raster is."""
        return CroppedScene(super().stored_otherwise(folder).source, self.model)


class SlideScene(Scene):
    """848 x 6640 pixels at 0.5 micrometres each, read at 0.8: 530 x 4150."""

    kind = "slide"
    shape = RasterScene.shape
    pieces = RasterScene.pieces
    crop = RasterScene.crop
    # in full-resolution pixels, 1.6 to one that is read
    roi = (333 * 1.6, 77 * 1.6, (333 + 1203) * 1.6, (77 + 401) * 1.6)
    reading: ClassVar = {**RasterScene.reading, "mpp": 0.8, "tissue": "off"}
    words_of_reading = (*RasterScene.words_of_reading, "--mpp", "0.8", "--tissue", "off")

    @classmethod
    def write(cls, model: Path, write_as: Callable[..., Path]) -> SlideScene:
        """Write one with two levels."""
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 255, (3, 34, 266), dtype=np.uint8)
        values = coarse.repeat(25, axis=1).repeat(25, axis=2)[:, :848, :6640]
        return cls(
            write_as("slide", values + rng.integers(0, 20, values.shape, dtype=np.uint8), 0.5, 4), model
        )

    def stored_otherwise(self, folder: Path) -> Scene:
        """In tiles of 64 x 128, without the second level."""
        size = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER", "metadata": None}
        values = tifffile.imread(self.source)
        tifffile.imwrite(folder / self.source.name, values, tile=(64, 128), photometric="rgb", **size)
        return SlideScene(folder / self.source.name, self.model)


class GroundScene(RasterScene):
    """The same shape on the ground, computed on pixels of 0.8 m, with the result on its own of 0.5 m and 0.7 m."""

    roi = (
        400000 + 333 * 0.5,
        5600000 - (77 + 401) * 0.7,
        400000 + (333 + 1203) * 0.5,
        5600000 - 77 * 0.7,
    )
    pixel_area = 0.5 * 0.7
    reading: ClassVar = {**RasterScene.reading, "resolution": 0.8}
    words_of_reading = (*RasterScene.words_of_reading, "--resolution", "0.8")

    @classmethod
    def write(cls, folder: Path, model: Path) -> GroundScene:
        """Write one with a hole, and holes of a pixel."""
        plain = RasterScene.write(folder, model)
        with rasterio.open(plain.source) as dataset:
            values, profile = dataset.read(), dataset.profile
        values = np.maximum(values, 1)
        values[:, 200:330, 900:1700] = 0
        values[:, np.random.default_rng(3).random(cls.shape) < 0.01] = 0
        profile |= {"nodata": 0, "transform": rasterio.Affine(0.5, 0, 400000, 0, -0.7, 5600000)}
        with rasterio.open(plain.source, "w", **profile) as dataset:
            dataset.write(values)
        return cls(plain.source, model)

    def stored_otherwise(self, folder: Path) -> Scene:
        """In strips of 7 rows, band by band."""
        return GroundScene(super().stored_otherwise(folder).source, self.model)


class MaskedScene(RasterScene):
    """The raster without what the model itself, on pixels of 0.8 m, calls water."""

    pieces = 2 * RasterScene.pieces

    def config(self, out: Path, **changes: Any) -> RunConfig:
        """With the mask."""
        return super().config(out, mask_model=f"{self.mask}:water", **changes)

    def words(self, out: Path) -> list[str]:
        """With the mask."""
        return [*super().words(out), "--mask-model", f"{self.mask}:water"]

    @property
    def mask(self) -> Path:
        """Folder of its model."""
        return self.source.with_name("coarse")

    @classmethod
    def write(cls, folder: Path, model: Path) -> RasterScene:
        """Write the raster and the model."""
        shutil.copytree(model, folder / "coarse")
        manifest = json.loads((folder / "coarse" / "model.json").read_text())
        manifest["properties"]["segment_tiles:pixel_size"] = {"value": 0.8, "unit": "m"}
        (folder / "coarse" / "model.json").write_text(json.dumps(manifest))
        return cls(RasterScene.write(folder, model).source, model)

    def stored_otherwise(self, folder: Path) -> Scene:
        """As a raster is."""
        shutil.copytree(self.mask, folder / "coarse")
        return MaskedScene(super().stored_otherwise(folder).source, self.model)


class VolumeScene(Scene):
    """70 x 60 x 40 voxels along i, j, k: 40 axial slices of two tiles of 64."""

    kind = "volume"
    shape = (40, 60, 70)
    pieces = 40
    # voxels i 20 to 59, j 11 to 49, k 5 to 16: rows count against j, from the front, and columns against i,
    # from the left; edges in millimetres lie half a step before and after the centres
    crop = (slice(5, 17), slice(60 - 50, 60 - 11), slice(70 - 60, 70 - 20))
    roi = (-2.0 * 59.5, 1.5 * 10.5, 3.0 * 4.5, -2.0 * 19.5, 1.5 * 49.5, 3.0 * 16.5)
    dense = ("--tile", "32", "--overlap", "0.75")

    @classmethod
    def write(cls, folder: Path, model: Path, voxels: NDArray[np.int16]) -> VolumeScene:
        """Write one as NIfTI with axes along those of the body, mirrored from left to right."""
        image = nibabel.Nifti1Image(voxels, np.diag([-2.0, 1.5, 3.0, 1.0]))
        (folder / "volume.nii.gz").write_bytes(gzip.compress(image.to_bytes(), mtime=0))
        return cls(folder / "volume.nii.gz", model)

    def stored_otherwise(self, folder: Path) -> Scene:
        """In many members of gzip, as parallel compressors write them."""
        whole = gzip.decompress(self.source.read_bytes())
        members = [gzip.compress(whole[start : start + 5000], 1) for start in range(0, len(whole), 5000)]
        (folder / self.source.name).write_bytes(b"".join(members))
        return VolumeScene(folder / self.source.name, self.model)


class SmallestPieces(InProcess):
    """Does every shard, or every slice, as a Region of its own, the last first: as far from one strip as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = 0

    def run(
        self, tasks: Sequence[RegionTask], progress: Progress | None, interruption: Interruption
    ) -> list[RegionReport]:
        reports = []
        for task in reversed(tasks):
            pieces = planes_of(task) if task.cut.planes > 1 else shards_of(task)
            self.pieces += len(pieces)
            reports += [do_region(piece, progress) for piece in reversed(pieces)]
        return reports


def shards_of(task: RegionTask) -> list[RegionTask]:
    rows, columns = shard_shape(task.cut.roi.width)
    region = task.region
    return [
        replace(task, region=Window(top, left, rows, columns).intersect(region))
        for top in range(region.row, region.row_stop, rows)
        for left in range(region.column, region.column_stop, columns)
    ]


def planes_of(task: RegionTask) -> list[RegionTask]:
    return [replace(task, planes=(number, number + 1)) for number in range(*task.planes)]


@pytest.fixture
def smallest_pieces() -> SmallestPieces:
    """An executor of the most and smallest Regions."""
    return SmallestPieces()


@pytest.fixture(scope="session")
def voxels() -> NDArray[np.int16]:
    """Blocks with noise, i x j x k."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (9, 8, 10))
    values = coarse.repeat(8, axis=0).repeat(8, axis=1).repeat(4, axis=2)[:70, :60, :40]
    return (values + rng.integers(0, 20, values.shape)).astype(np.int16)


@pytest.fixture(
    scope="module",
    params=[
        "raster",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("stack", "ground", "cropped", "masked")),
        "slide",
        "volume",
    ],
)
def scene(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_as: Callable[..., Path],
    voxels: NDArray[np.int16],
    small_model: Path,
    grey_model: Path,
) -> Scene:
    """One scene of every kind: each law is tried on all of them."""
    if request.param == "slide":
        return SlideScene.write(small_model, write_as)
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "volume":
        return VolumeScene.write(folder, grey_model, voxels)
    kinds = {"stack": StackScene, "ground": GroundScene, "cropped": CroppedScene, "masked": MaskedScene}
    return kinds.get(request.param, RasterScene).write(folder, small_model)


def middle_slice(path: Path) -> Source:
    """Open the second axial slice of a volume with its neighbours as bands."""
    spec = read_volume_spec(str(path), Selection())
    slicing = Slicing.along(2, spec.affine)
    return next(open_slices(read_volume(str(path), Selection()), spec, slicing, [1], neighbours=1))


def write_ground(path: Path, values: NDArray[np.uint8]) -> Path:
    """Write a raster of pixels of a metre."""
    bands, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=bands, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 400000, 0, -1, 5600000),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return path


@pytest.fixture(scope="session")
def open_as(
    write_as: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Source]]:
    """Opens a picture through one of the READERS.

    ``resampled``: one of this shape, made of a finer one; ``ground``: the same with a CRS; ``volume``: the middle slice
    of three, with its neighbours.
    """

    sources: list[Source] = []

    def opened(reader: str, values: NDArray[np.uint8]) -> Source:
        sources.append(fresh(reader, values))
        return sources[-1]

    def fresh(reader: str, values: NDArray[np.uint8]) -> Source:
        bands, height, width = values.shape
        if reader == "array":
            return ArraySource(values)
        if reader == "volume":
            return middle_slice(write_as(reader, values))
        chosen = tuple(range(1, bands + 1))
        if reader == "stack":
            return open_source(resolved(str(write_as(reader, values)), OF_NO_STACK), bands=chosen)
        if reader != "resampled":
            return open_source(str(write_as(reader, values)), bands=chosen)
        if reader == "ground":
            finer = np.resize(values, (bands, 2 * height, 2 * width))
            path = write_ground(tmp_path_factory.mktemp(reader) / "ground.tif", finer)
            return open_source(str(path), bands=chosen, view=View(metres=2.0))
        finer = np.resize(values, (bands, round(1.5 * height), round(1.5 * width)))
        source = open_source(str(write_as("slide", finer)), bands=chosen, view=View(mpp=0.75))
        assert source.spec.window.shape == (height, width)
        return source

    yield opened
    for source in sources:
        source.close()


@pytest.fixture(scope="session")
def bytes_of() -> Callable[..., dict[str, str]]:
    """Returns the checksum of every file of a Zarr store, or of these of its arrays."""

    def checksums(store: Path, *names: str) -> dict[str, str]:
        folders = [store / name for name in names] or [store]
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        assert files
        return {str(path.relative_to(store)): sha256(path.read_bytes()).hexdigest() for path in files}

    return checksums


@pytest.fixture(scope="session")
def command() -> Callable[..., list[str]]:
    """Returns the words that start the installed program."""

    def words(*arguments: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name("segment-tiles")), *map(str, arguments)]

    return words
