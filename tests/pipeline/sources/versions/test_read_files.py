"""The files that count for a source are those that GDAL reads, without opening every member of a mosaic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from segment_tiles.pipeline.sources.versions.read_files import Walk, read_files
from segment_tiles.pipeline.sources.versions.version import source_version, source_versions

WORLD = "1\n0\n0\n-1\n500000.5\n3999999.5\n"
DRIVERS = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG", ".jp2": "JP2OpenJPEG"}


def write(path: Path) -> Path:
    with rasterio.open(
        path, "w", driver=DRIVERS[path.suffix.lower()], count=3, height=64, width=64, dtype="uint8"
    ) as dataset:
        dataset.write(np.full((3, 64, 64), 7, np.uint8))
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    return path


def with_sidecars(raster: Path) -> Path:
    """Give a raster every sidecar that GDAL reads with it, and files that it does not read."""
    first, last = raster.suffix[1], raster.suffix[-1]
    raster.with_suffix(f".{first}{last}w").write_text(WORLD)
    copy = write(raster.with_name("copy.tif"))
    with rasterio.Env(TIFF_USE_OVR=True, GDAL_TIFF_INTERNAL_MASK=False):
        with rasterio.open(copy, "r+") as dataset:
            dataset.build_overviews([2], rasterio.enums.Resampling.nearest)
        with rasterio.open(copy, "r+") as dataset:
            dataset.write_mask(np.full((64, 64), 255, np.uint8))
    for ending in (".ovr", ".msk"):
        Path(f"{copy}{ending}").rename(f"{raster}{ending}")
    Path(f"{raster}.aux.xml").write_text("<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>")
    for other in ("qml", "txt", "gpkg"):
        raster.with_suffix(f".{other}").write_text("x")
    return raster


def vrt(path: Path, members: list[Path]) -> Path:
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{member.name}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        f'<DstRect xOff="{64 * number}" yOff="0" xSize="64" ySize="64"/></SimpleSource>'
        for number, member in enumerate(members)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{64 * len(members)}" rasterYSize="64">'
        f'<VRTRasterBand dataType="Byte" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
    return path


@pytest.mark.parametrize("suffix", DRIVERS)
def test_sidecars_of_a_member_are_those_that_gdal_reads(tmp_path: Path, suffix: str) -> None:
    member = with_sidecars(write(tmp_path / f"m{suffix}"))
    with rasterio.open(member) as dataset:
        expected = {Path(name) for name in dataset.files}
    assert len(expected) > 3
    mosaic = vrt(tmp_path / "all.vrt", [member])
    assert {mosaic, *expected} <= set(read_files(str(mosaic)))
    assert not [name for name in read_files(str(mosaic)) if Path(name).suffix in {".qml", ".txt", ".gpkg"}]


def test_members_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "m0.tif")
    members = [first]
    for number in range(1, 200):
        members.append(tmp_path / f"m{number}.tif")
        members[-1].write_bytes(first.read_bytes())
    mosaic, opened = vrt(tmp_path / "all.vrt", members), []
    opens = rasterio.open
    monkeypatch.setattr(rasterio, "open", lambda name, *rest: opened.append(name) or opens(name, *rest))
    assert set(read_files(str(mosaic))) == {mosaic, *members}
    assert opened == [str(mosaic)]
    versions = source_versions([*map(str, members), str(first)])
    assert opened == [str(mosaic)]
    assert versions[0] == versions[-1] == source_version(str(first))
    assert None not in versions


def test_overviews_of_the_source_itself_count_only_where_they_are_read(tmp_path: Path) -> None:
    member = with_sidecars(write(tmp_path / "m.tif"))
    mosaic = vrt(tmp_path / "all.vrt", [member])
    overview, own = tmp_path / "m.tif.ovr", tmp_path / "all.vrt.ovr"
    own.write_bytes(overview.read_bytes())
    assert overview in read_files(str(member))
    assert overview not in read_files(str(member), overviews=False)
    assert {tmp_path / "m.tif", tmp_path / "m.tif.msk", tmp_path / "m.tfw"} <= set(
        read_files(str(member), overviews=False)
    )
    # GDAL reads a member from its overviews where the VRT has larger pixels
    assert overview in read_files(str(mosaic), overviews=False)
    assert own in read_files(str(mosaic))
    assert own not in read_files(str(mosaic), overviews=False)
    assert overview in Walk().of(str(member), is_member=True)
