"""A mask whose header would put it elsewhere than its source never gets its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from segment_tiles.pipeline.errors import OutputError
from segment_tiles.pipeline.grid.classes import ClassTable
from segment_tiles.pipeline.grid.volume import Slicing, as_matrix
from segment_tiles.pipeline.outputs.masks.nifti_mask import write_nifti
from segment_tiles.pipeline.outputs.stores.volume_store import create_volume_store, geometry_of
from segment_tiles.pipeline.sources.volumes.selection import Selection
from segment_tiles.pipeline.sources.volumes.volume import read_volume_spec

SHAPE = (7, 5, 3)
AFFINE = np.array([[2.0, 0, 0, -5], [0, 1.5, 0, 3], [0, 0, 4.0, 1], [0, 0, 0, 1]])


@pytest.mark.parametrize("millimetres", [0, 2])
def test_a_mask_in_another_position_is_not_written(
    table: ClassTable, tmp_path: Path, millimetres: int
) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), tmp_path / "source.nii")
    spec = read_volume_spec(str(tmp_path / "source.nii"), Selection())
    affine = np.asarray(spec.affine).copy()
    affine[0, 3] += millimetres  # what the store says, and not the header that is repeated
    spec = replace(spec, affine=as_matrix(affine))
    group = create_volume_store(
        tmp_path / "classes.zarr", geometry_of(spec, Slicing.along(2, spec.affine), (0, 0, 0), SHAPE), table
    )
    target = tmp_path / "classes.nii.gz"
    if millimetres:
        with pytest.raises(OutputError, match=r"its affine would be .* as in the source"):
            write_nifti(group, target)
        assert not target.exists()
    else:
        write_nifti(group, target)
        assert np.array_equal(nibabel.load(target).affine, AFFINE)
