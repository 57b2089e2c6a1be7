"""Members of mosaics that GDAL could not open: it keeps them as such, and says nothing the second time.

GDAL opens the members of a VRT or of a tile index through a pool (``GDALDatasetPool``) that all datasets of a
process share. A member that could not be opened stays in it as an entry without a dataset. Whoever asks for it again,
from the same thread, gets that entry: no second try, and no error. The read is then one of zeros that looks well.
The entry goes only if the pool has no other user, or if other members need its room: so we fill the pool.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import rasterio
from rasterio.env import get_gdal_config
from rasterio.io import MemoryFile

_SIZE: Final = "GDAL_MAX_DATASET_POOL_SIZE"
_MOST: Final = 1000
"""Of that setting GDAL takes no more."""
_USUAL: Final = 100
"""What GDAL takes if nobody says."""


def forget_failed_members() -> None:
    """Make GDAL open those members again that it could not open: fill its pool with others, and let them go.

    It opens as many small rasters as the pool has room for, and is for reads that have failed.
    """
    size = get_gdal_config(_SIZE)
    count = min(int(size), _MOST) if isinstance(size, int) and size > 0 else _USUAL
    with rasterio.Env(), MemoryFile(_one_pixel(), ext=".tif") as file:
        # the same bytes under names of which none was there before: the length that each allows differs
        members = [f"/vsisubfile/0_{100_000 + number},{file.name}" for number in range(count)]
        with rasterio.open(_beside_each_other(members)) as dataset:
            dataset.read(1)


def _one_pixel() -> bytes:
    with MemoryFile(ext=".tif") as file:
        with file.open(driver="GTiff", width=1, height=1, count=1, dtype="uint8") as dataset:
            dataset.write(np.zeros((1, 1, 1), np.uint8))
        return bytes(file.read())


def _beside_each_other(members: list[str]) -> str:
    """Return a VRT of one row."""
    properties = (
        '<SourceProperties RasterXSize="1" RasterYSize="1" DataType="Byte" BlockXSize="1" BlockYSize="1"/>'
    )
    sources = "".join(
        f"<SimpleSource><SourceFilename>{name}</SourceFilename><SourceBand>1</SourceBand>{properties}"
        f'<SrcRect xOff="0" yOff="0" xSize="1" ySize="1"/><DstRect xOff="{column}" yOff="0" xSize="1" ySize="1"/>'
        "</SimpleSource>"
        for column, name in enumerate(members)
    )
    return (
        f'<VRTDataset rasterXSize="{len(members)}" rasterYSize="1"><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>'
        f'<VRTRasterBand dataType="Byte" band="1">{sources}</VRTRasterBand></VRTDataset>'
    )
