"""Whole small inputs of every kind that the program reads, made once; every case damages a copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml
from faults.small_training import TRAINING

RUN_OPTIONS = ("--device", "cpu", "--precision", "fp32", "--backend", "torch", "--batch", "2", "--quiet")
"""Everything that a probe would otherwise measure."""
HEIGHT, WIDTH = 90, 120


def make_seeds(folder: Path, *, with_results: bool = True) -> None:
    """Write all inputs below a folder, and if asked one finished result of each kind of source."""
    folder.mkdir(parents=True, exist_ok=True)
    _models(folder)
    _rasters(folder)
    _vectors(folder)
    _volumes(folder)
    _ome_zarr(folder / "image.zarr")
    _documents(folder)
    if with_results:
        _results(folder)


def _models(folder: Path) -> None:
    import torch

    from segment_tiles.pipeline.grid.classes import ClassTable, MapClass
    from segment_tiles.pipeline.models.networks.build import build_network
    from segment_tiles.pipeline.models.package import save_model_package
    from segment_tiles.pipeline.models.packages.manifest import Architecture, ModelManifest
    from segment_tiles.pipeline.models.scaling.scaling import z_score

    table = ClassTable((MapClass(0, "other", (200, 200, 180)), MapClass(1, "tree", (20, 120, 40))))
    for name, bands in (("colour", ("red", "green", "blue")), ("grey", ("intensity",))):
        torch.manual_seed(7)
        architecture = Architecture(
            "deeplabv3plus",
            "mobilenetv2_050",
            output_stride=16,
            image_pooling="off",
            details={"channels": 64},
        )
        network = build_network(architecture, len(bands), table.count).eval()
        manifest = ModelManifest(
            name=name, architecture=architecture, bands=bands, dtype="uint8",
            scaling=z_score((120.0,) * len(bands), (60.0,) * len(bands)), tile=64, overlap=0.25, classes=table,
        )  # fmt: skip
        save_model_package(folder / name, manifest, network.state_dict())
    torch.manual_seed(1)
    convolution = torch.nn.Conv2d(3, 2, 1)
    torch.onnx.export(
        convolution, (torch.zeros(1, 3, 64, 64),), str(folder / "graph.onnx"), input_names=["x"],
        output_names=["y"], dynamo=False, dynamic_axes={n: {0: "n", 2: "h", 3: "w"} for n in "xy"},
    )  # fmt: skip


def _rasters(folder: Path) -> None:
    import numpy as np
    import rasterio.shutil
    from PIL import Image

    rng = np.random.default_rng(0)
    values = rng.integers(0, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
    profile = {
        "driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8", "crs": "EPSG:32633",
        "transform": rasterio.Affine(1, 0, 1000, 0, -1, 2000),
    }  # fmt: skip
    with rasterio.open(
        folder / "scene.tif", "w", nodata=0, tiled=True, blockxsize=64, blockysize=64, **profile
    ) as out:
        out.write(values)
    codes = np.kron(rng.integers(0, 2, (9, 12), dtype=np.uint8), np.ones((10, 10), np.uint8))
    with rasterio.open(folder / "codes.tif", "w", **{**profile, "count": 1}) as out:
        out.write(codes, 1)
    Image.fromarray(values.transpose(1, 2, 0)).save(folder / "picture.png")
    rasterio.shutil.copy(str(folder / "scene.tif"), str(folder / "scene.vrt"), driver="VRT")
    rasterio.shutil.copy(str(folder / "codes.tif"), str(folder / "codes.vrt"), driver="VRT")
    for name in ("scene.vrt", "codes.vrt"):
        (folder / name).write_text((folder / name).read_text().replace(str(folder) + "/", ""))


def _vectors(folder: Path) -> None:
    rings = [[[1010, 1990], [1100, 1990], [1100, 1920], [1010, 1920], [1010, 1990]]]
    feature = {
        "type": "Feature", "properties": {"class": "tree"}, "geometry": {"type": "Polygon", "coordinates": rings},
    }  # fmt: skip
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    document = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (folder / "area.geojson").write_text(json.dumps(document))


def _volumes(folder: Path) -> None:
    import nibabel
    import nrrd
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    voxels = np.random.default_rng(0).integers(0, 255, (40, 30, 4), dtype=np.uint8)
    image = nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, folder / "volume.nii")
    nibabel.save(image, folder / "volume.nii.gz")
    nrrd.write(
        str(folder / "volume.nrrd"), voxels, {"space": "RAS", "space directions": np.diag([1.0, 1.0, 2.0])}
    )
    series = folder / "series"
    series.mkdir()
    identifiers = [generate_uid(entropy_srcs=["fuzz", what]) for what in ("study", "series", "frame")]
    for number in range(3):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=["fuzz", str(number)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = identifiers
        dataset.PatientName, dataset.PatientID, dataset.Modality = "Nobody", "0", "MR"
        dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyID = dataset.AccessionNumber = ""
        dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20260101", "000000", ""
        dataset.SeriesNumber, dataset.InstanceNumber, dataset.PositionReferenceIndicator = 1, number + 1, ""
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number * 2], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 2
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 30, 40, 1
        dataset.PhotometricInterpretation, dataset.BitsAllocated, dataset.BitsStored = "MONOCHROME2", 16, 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.PixelData = voxels[:, :, number].T.astype("<u2").tobytes()
        dataset.save_as(series / f"{number}.dcm", enforce_file_format=True)


def _ome_zarr(path: Path) -> None:
    import numpy as np
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=(3, HEIGHT, WIDTH), dtype="uint8", chunks=(1, 64, 64))
    array[:] = np.random.default_rng(0).integers(0, 255, (3, HEIGHT, WIDTH), dtype=np.uint8)
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "name": "a", "axes": axes, "datasets": datasets}]


def _documents(folder: Path) -> None:
    options = {"model": "colour", "precision": "fp32", "backend": "torch", "batch": 2, "device": "cpu"}
    jobs = {"defaults": {**options, "format": ["cog"]}, "jobs": [{"source": "scene.tif", "bands": [1, 2, 3]}]}
    (folder / "jobs.yaml").write_text(yaml.safe_dump(jobs))
    cluster = {"cluster": "dask.distributed.LocalCluster", "arguments": {}, "workers": 1, "wait_seconds": 20}
    (folder / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    training = TRAINING | {
        "scenes": [
            {
                "name": "scene", "raster": "scene.tif", "labels": "codes.tif",
                "held_out": [{"row": 0, "column": 64, "height": 32, "width": 32}],
            }
        ],
        "classes": [{"name": "ground", "color": [200, 200, 200]}, {"name": "disc", "color": [20, 120, 40]}],
        "steps": 1,
    }  # fmt: skip
    (folder / "training.yaml").write_text(yaml.safe_dump(training))


def _results(folder: Path) -> None:
    from segment_tiles.cli.main import run_command_line

    for name, source, model, formats in (
        ("result", "scene.tif", "colour", "cog,parquet,gpkg"),
        ("volume-result", "volume.nii", "grey", "nifti"),
    ):
        arguments = ["run", str(folder / source), "--model", str(folder / model), "--out", str(folder / name)]
        status = run_command_line([*arguments, "--format", formats, *RUN_OPTIONS])
        if status != 0:
            msg = f"the undamaged {source} ended with {status}"
            raise RuntimeError(msg)


def copy_seeds(seeds: Path, folder: Path, *names: str) -> None:
    """Copy some inputs into the folder of a case."""
    for name in names:
        if (seeds / name).is_dir():
            shutil.copytree(seeds / name, folder / name, dirs_exist_ok=True)
        else:
            shutil.copy(seeds / name, folder / name)
