"""Headers that say what cannot be: each is refused at the door, in one line that names it, with exit status 2."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np
import pydicom
import pytest
import rasterio
import rasterio.shutil
import zarr

from segment_tiles.pipeline.errors import SegmentTilesError
from segment_tiles.pipeline.grid.window import Window
from segment_tiles.pipeline.library_messages import leave_out_lost_messages
from segment_tiles.pipeline.sources import patience
from segment_tiles.pipeline.sources.open import open_source
from segment_tiles.workflows.run.describe import describe_source

Refused = Callable[..., None]
VALUES = np.random.default_rng(0).integers(0, 255, (3, 90, 120), np.uint8)
VOXELS = np.random.default_rng(0).integers(0, 255, (8, 6, 4), np.uint8)
pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's advice about values that do not fit their type


@pytest.fixture(autouse=True)
def _as_in_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    leave_out_lost_messages()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=120, height=90, count=3, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 1000, 0, -1, 2000), tiled=True, blockxsize=64, blockysize=64,
    ) as dataset:  # fmt: skip
        dataset.write(VALUES)
    return path


@pytest.fixture
def vrt(scene: Path) -> Callable[[str, str], str]:
    """Return a VRT of the scene in which a pattern is replaced."""

    def make(pattern: str, by: str) -> str:
        path = scene.with_suffix(".vrt")
        rasterio.shutil.copy(str(scene), str(path), driver="VRT")
        text, count = re.subn(pattern, by, path.read_text(), count=1)
        assert count == 1
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        return str(path)

    return make


# VRT and GeoTIFF


@pytest.mark.parametrize(
    ("pattern", "by", "words"),
    [
        ("<GeoTransform>[^<]*<", "<GeoTransform>1000, 0, 0, 2000, 0, -1<", "1000, 0, 0, 2000, 0, -1"),
        ("<GeoTransform>[^<]*<", "<GeoTransform>1000, nan, 0, 2000, 0, -1<", "1000, nan, 0, 2000, 0, -1"),
        ("(?s)<SRS.*</GeoTransform>", "<GeoTransform>5, 0, 0, 5, 0, 0</GeoTransform>", "pixels have no size"),
        ("Transverse_Mercator", "Transver{e_Mercator", "its CRS is not understood"),
        ('rasterXSize="120"', 'rasterXSize="0"', "0 x 90"),
        ('dataType="Byte"', 'dataType="\u00e4"', "is not a raster"),
        ('dataType="Byte"', 'dataType="\udcff\udcfe"', "is not a raster"),
        ('rasterYSize="90">', 'rasterYSize="90"\udcff\udcfe>', "is not a raster"),
        ('rasterYSize="90">', 'rasterYSize="90"\u00e4>', "is not a raster"),
    ],
)
def test_vrt(pattern: str, by: str, words: str, vrt: Callable[[str, str], str], refused: Refused) -> None:
    refused(["info", vrt(pattern, by)], "scene.vrt", words)


def test_a_message_of_gdal_that_is_no_text_prints_nothing(vrt: Callable[[str, str], str]) -> None:
    """rasterio decodes it where nothing can be raised: Python then prints a traceback, and goes on."""
    name = vrt('rasterYSize="90">', 'rasterYSize="90"\u00e4>')
    code = "from segment_tiles.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "info", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "it holds what is no UTF-8" in done.stderr


def test_a_tag_of_a_type_that_gdal_reads_late(scene: Path, refused: Refused) -> None:
    """rasterio hands this error of GDAL on as it is, from any property of a file that is open already."""
    profile: dict[str, Any] = {"width": 64, "height": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(
        scene, "w", driver="GTiff", transform=rasterio.Affine(1, 0, 5, 0, -1, 5), **profile
    ) as out:
        out.write(VALUES[:1, :64, :64])
    content = bytearray(scene.read_bytes())
    tags = _tiff_entries(content)
    struct.pack_into("<H", content, tags[273] + 2, 12)  # offsets of the strips as floats
    struct.pack_into("<H", content, tags[277], 34)  # no number of bands
    scene.write_bytes(content)
    refused(["info", str(scene)], "is not a raster that can be read", "StripOffsets")


def _tiff_entries(content: bytes | bytearray) -> dict[int, int]:
    """Return where the entry of each tag of the first directory is, in a small TIFF of Intel's byte order."""
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    entries = [start + 2 + 12 * number for number in range(count)]
    return {struct.unpack_from("<H", content, entry)[0]: entry for entry in entries}


# volumes


def _nifti(path: Path, **fields: tuple[int, str, float]) -> str:
    image = nibabel.Nifti1Image(VOXELS, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    for offset, kind, value in fields.values():
        struct.pack_into(kind, content, offset, value)
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ((70, "<h", 0), "is not a NIfTI volume"),
        ((70, "<h", 1536), "is not a NIfTI volume"),
        ((70, "<h", 99), "is not a NIfTI volume"),
        ((42, "<h", 0), "0 x 6 x 4"),
        ((46, "<h", 0), "8 x 6 x 0"),
        ((46, "<h", -1), "volume of three dimensions is needed"),
        ((42, "<h", 32767), "ends early"),
        ((108, "<f", float("inf")), "is not a NIfTI volume"),
        ((108, "<f", float("nan")), "is not a NIfTI volume"),
        ((280, "<f", float("nan")), "its affine has no volume"),
    ],
)
def test_nifti(field: tuple[int, str, float], words: str, tmp_path: Path, refused: Refused) -> None:
    refused(["info", _nifti(tmp_path / "v.nii", field=field)], "v.nii", words)


def test_what_nibabel_repairs_is_a_note_in_a_command_too(tmp_path: Path) -> None:
    """A command silences nibabel's logger; the notes do not go by it."""
    name = _nifti(tmp_path / "v.nii", zoom=(80, "<f", -1.0))
    logger, reject = nibabel.imageglobals.logger, lambda _record: False
    logger.addFilter(reject)
    try:
        notes = describe_source(name)["notes"]
    finally:
        logger.removeFilter(reject)
    assert any("pixdim[1,2,3] should be positive" in note for note in notes)
    assert nibabel.imageglobals.logger is logger


@pytest.mark.parametrize(
    ("pattern", "by", "words"),
    [
        ("sizes: 8 6 4", "sizes: -1 6 4", "-1 6 4"),
        ("sizes: 8 6 4", "sizes: 8 0 4", "8 0 4"),
        ("sizes: 8 6 4", "sizes: 8 6", "8 6; three numbers"),
        ("sizes: 8 6 4", "sizes: many", "is not a NRRD volume"),
        ("type: uint8", "type: int128", "'int128'; known are uint8"),
        ("type: uint8", "type: ", "known are uint8"),
        ("type: uint8", "type: block", "block"),
        ("dimension: 3", "dimension: 99999999999", "99999999999 axes"),
        ("dimension: 3", "dimension: -1", "-1 axes"),
        ("space directions: .*", "space directions: (0,0,0) (0,1,0) (0,0,1)", "span no volume"),
        ("space directions: .*", "space directions: (nan,0,0) (0,1,0) (0,0,1)", "span no volume"),
        ("space directions: .*", "space directions: (1,0) (0,1) (0,0)", "is not a NRRD volume"),
    ],
)
def test_nrrd(pattern: str, by: str, words: str, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "v.nrrd"
    nrrd.write(str(path), VOXELS, {"space": "RAS", "space directions": np.diag([1.0, 1.0, 2.0])})
    content, count = re.subn(pattern.encode(), by.encode(), path.read_bytes(), count=1)
    assert count == 1
    path.write_bytes(content)
    refused(["info", str(path)], "v.nrrd", words)


def test_an_empty_nrrd(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "v.nrrd").write_bytes(b"")
    refused(["info", str(tmp_path / "v.nrrd")], "is not a NRRD volume")


@pytest.fixture
def series(write_series: Callable[..., Path], tmp_path: Path) -> Path:
    return write_series(tmp_path / "series", VOXELS.astype(np.uint16), np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("SamplesPerPixel", None, "its SamplesPerPixel is missing or empty"),
        ("SamplesPerPixel", 3, "holds colours"),
        ("BitsAllocated", None, "its BitsAllocated is missing or empty"),
        ("BitsAllocated", 7, "its BitsAllocated is 7; 1, 8, 16, 32, 64"),
        ("BitsAllocated", [16, 16], "its BitsAllocated is [16, 16]"),
        ("BitsAllocated", 64, "has 96 bytes of pixels, and its header needs 384"),
        ("BitsStored", 17, "its BitsStored is 17"),
        ("BitsStored", [1, 2], "its BitsStored is [1, 2]"),
        ("PixelRepresentation", None, "its PixelRepresentation is None"),
        ("PixelRepresentation", 5, "its PixelRepresentation is 5"),
        ("PixelData", b"", "has 0 bytes of pixels, and its header needs 96"),
        ("PixelData", bytes(90), "has 90 bytes of pixels, and its header needs 96"),
        ("PixelData", "removed", "has 0 bytes of pixels"),
        ("Rows", 0, "its Rows is 0"),
        ("Rows", 65535, "of pixels, and its header needs"),
        ("ImageOrientationPatient", [1], "ImageOrientationPatient 1; 6 finite numbers"),
        ("ImageOrientationPatient", [0] * 6, "two directions of length 1"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "two directions of length 1"),
        ("ImagePositionPatient", [0, 0], "ImagePositionPatient 0/0; 3 finite numbers"),
        ("PixelSpacing", [1], "PixelSpacing 1; 2 finite numbers"),
        ("PixelSpacing", [1, 2, 3, 4, 5, 6, 7], "PixelSpacing 1/2/3/4/5/6/7; 2 finite numbers"),
        ("PixelSpacing", [0, 1], "PixelSpacing 0/1; sizes above 0"),
        ("PixelSpacing", None, "has no PixelSpacing"),
        ("RescaleSlope", "nan", "finite numbers are needed"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.11", "holds 1 Basic Text SR Storage, but no image"),
        ("TransferSyntaxUID", None, "names no transfer syntax"),
        ("TransferSyntaxUID", "1.2.3", "is not a DICOM image that can be read"),
    ],
)
def test_dicom(keyword: str, value: Any, words: str, series: Path, refused: Refused) -> None:
    path = sorted(series.iterdir())[0]
    _set(path, keyword, value)
    refused(["info", str(path)], path.name, words)


def _set(path: Path, keyword: str, value: Any) -> None:
    settings = pydicom.config.settings
    kept = settings.reading_validation_mode, settings.writing_validation_mode
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        dataset = pydicom.dcmread(path)
        holder = dataset.file_meta if keyword == "TransferSyntaxUID" else dataset
        setattr(holder, keyword, None if value == "removed" else value)
        if value == "removed":
            del holder[keyword]
        dataset.save_as(path, enforce_file_format=False)
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = kept


# OME-Zarr


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", shape=VALUES.shape, dtype="uint8", chunks=(1, 64, 64))[:] = VALUES
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    return path


@pytest.mark.parametrize(
    ("file", "keys", "value", "words"),
    [
        (".zattrs", ("multiscales",), 3, "list of images (multiscales)"),
        (".zattrs", ("multiscales",), {}, "list of images (multiscales)"),
        (".zattrs", ("multiscales", 0, "datasets"), 5, "cannot be understood"),
        (".zattrs", ("multiscales", 0, "axes"), 5, "cannot be understood"),
        pytest.param(
            *("0/.zarray", ("chunks", 1), 0, "in chunks of 1 x 0 x 64"),
            marks=pytest.mark.skipif(
                version("zarr") >= "3.4", reason="this zarr takes chunks of 0 for chunks of 1: reading fails"
            ),
        ),
        ("0/.zarray", ("shape", 1), 0, "3 x 0 x 120 values"),
        ("0/.zarray", ("shape", 0), 2**31 - 1, "2,147,483,647 channels"),
        ("0/.zarray", ("shape", 2), 2**63, "sides of 1 to 2,147,483,647"),
        ("0/.zarray", ("dtype",), "|O7", "missing or damaged"),
        ("0/.zarray", ("fill_value",), -1, "missing or damaged"),
    ],
)
def test_ome_zarr(
    file: str, keys: tuple[Any, ...], value: Any, words: str, image: Path, refused: Refused
) -> None:
    document = json.loads((image / file).read_text())
    holder = document
    for key in keys[:-1]:
        holder = holder[key]
    holder[keys[-1]] = value
    (image / file).write_text(json.dumps(document))
    refused(["info", str(image)], "image.zarr", words)


# every field, not the ones above alone


def _numbers_of_tiff(content: bytes) -> Iterator[bytes]:
    for entry in _tiff_entries(content).values():
        for offset, kind, values in (
            (2, "<H", (0, 2, 12, 65535)),
            (4, "<I", (0, 3, 2**31)),
            (8, "<I", (0, 2**32 - 1)),
        ):
            for value in values:
                damaged = bytearray(content)
                struct.pack_into(kind, damaged, entry + offset, value)
                yield bytes(damaged)


def _values_of_text(content: bytes) -> Iterator[bytes]:
    for found in re.finditer(rb'="([^"\n]*)"|>([^<\n]+)<|: ([^\n]+)\n', content[:20_000]):
        start, stop = next(found.span(group) for group in (1, 2, 3) if found.group(group) is not None)
        for value in (b"", b"-1", b"nan", b"99999999999", b"\xc3\xa4", b"(0,0,0)"):
            yield content[:start] + value + content[stop:]


def _nifti_words(content: bytes) -> Iterator[bytes]:
    for offset in range(40, 344, 4):
        for value in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\x80\x7f"):
            yield content[:offset] + value + content[offset + 4 :]


@pytest.mark.parametrize(
    ("name", "damages"),
    [
        ("scene.tif", _numbers_of_tiff),
        ("scene.vrt", _values_of_text),
        ("v.nii", _nifti_words),
        ("v.nrrd", _values_of_text),
    ],
)
def test_no_field_of_a_header_raises_anything_but_our_errors(
    name: str,
    damages: Callable[[bytes], Iterator[bytes]],
    scene: Path,
    vrt: Callable[[str, str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0.0)
    vrt("VRTDataset", "VRTDataset")
    _nifti(tmp_path / "v.nii")
    nrrd.write(
        str(tmp_path / "v.nrrd"), VOXELS, {"space": "RAS", "space directions": np.diag([1.0, 1.0, 2.0])}
    )
    path = tmp_path / name
    content, refusals = path.read_bytes(), 0
    for damaged in damages(content):
        path.write_bytes(damaged)
        try:
            describe_source(str(path))
            if path.suffix in {".tif", ".vrt"}:
                _read(str(path))
        except SegmentTilesError as error:
            refusals += name in str(error)
    assert refusals > 20


def _read(name: str) -> None:
    source = open_source(name)
    try:
        if source.spec.bands <= 10:
            window = Window(0, 0, min(source.spec.height, 100), min(source.spec.width, 100))
            source.valid(window, source.read(window))
    finally:
        source.close()
