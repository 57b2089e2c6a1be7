"""What viewers write into an ``.aux.xml`` changes no version; what changes the raster does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioDeprecationWarning

from segment_tiles.pipeline.sources.versions import sidecar_meaning
from segment_tiles.pipeline.sources.versions.sidecar_meaning import aux_meaning
from segment_tiles.pipeline.sources.versions.version import source_version

HISTOGRAM = "<Histograms><HistItem><HistMin>0</HistMin><HistCounts>3|4</HistCounts></HistItem></Histograms>"
STATISTICS = '<Metadata><MDI key="STATISTICS_MAXIMUM">9</MDI><MDI key="STATISTICS_MEAN">4</MDI></Metadata>'
NOTHING = (
    "<PAMDataset></PAMDataset>",
    "<PAMDataset><Metadata/></PAMDataset>",
    f'<PAMDataset>\n  <PAMRasterBand band="1">{HISTOGRAM}{STATISTICS}</PAMRasterBand>\n</PAMDataset>',
    f'<PAMDataset><PAMRasterBand band="2">{STATISTICS}</PAMRasterBand></PAMDataset>',
)
SOMETHING = (
    "<PAMDataset><SRS>EPSG:32633</SRS></PAMDataset>",
    "<PAMDataset><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform></PAMDataset>",
    '<PAMDataset><PAMRasterBand band="1"><NoDataValue>0</NoDataValue></PAMRasterBand></PAMDataset>',
    '<PAMDataset><PAMRasterBand band="1"><ColorInterp>Alpha</ColorInterp></PAMRasterBand></PAMDataset>',
    '<PAMDataset><Metadata><MDI key="AREA_OR_POINT">Point</MDI></Metadata></PAMDataset>',
    '<PAMDataset><Metadata domain="RPC"><MDI key="LINE_OFF">1</MDI></Metadata></PAMDataset>',
    "<PAMDataset><SRS",
    "",
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar_meaning, "_SECONDS", 0.01)


@pytest.mark.parametrize("text", NOTHING)
def test_statistics_and_histograms_say_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.tif.aux.xml"
    path.write_text(text)
    assert aux_meaning(path) is None


def test_all_else_says_something_with_and_without_statistics(tmp_path: Path) -> None:
    path, found = tmp_path / "a.tif.aux.xml", set()
    for text in SOMETHING:
        path.write_text(text)
        found.add(aux_meaning(path))
        if text.endswith("</PAMDataset>"):
            path.write_text(
                text.replace(
                    "</PAMDataset>", f'\n <PAMRasterBand band="3">{STATISTICS}</PAMRasterBand></PAMDataset>'
                )
            )
            assert aux_meaning(path) in found
    assert None not in found
    assert len(found) == len(SOMETHING)


def test_a_file_that_is_being_written_is_read_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif.aux.xml"
    path.write_text(NOTHING[2][:40])
    monkeypatch.setattr(
        sidecar_meaning, "time", type("Clock", (), {"sleep": lambda _: path.write_text(NOTHING[2])})
    )
    assert aux_meaning(path) is None


def test_a_sidecar_that_gdal_writes(tmp_path: Path) -> None:
    raster = tmp_path / "a.tif"
    with rasterio.open(raster, "w", driver="GTiff", count=2, height=16, width=16, dtype="uint8") as dataset:
        dataset.write(np.arange(512, dtype=np.uint16).reshape(2, 16, 16).astype(np.uint8))
    before = source_version(str(raster))
    with (
        rasterio.open(raster) as dataset,
        pytest.warns(RasterioDeprecationWarning),
    ):  # the one that keeps them
        dataset.statistics(1, approx=False)
    assert "STATISTICS_MEAN" in Path(f"{raster}.aux.xml").read_text()
    assert source_version(str(raster)) == before
    with rasterio.open(raster, "r+") as dataset:
        dataset.nodata = 3
    assert source_version(str(raster)) != before
