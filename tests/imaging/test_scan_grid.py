import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import DIRECTIONS, grid_of, image_of, raw_nifti, scan, write_image

from utils.imaging.nifti import read_channels, read_grid, write_mask
from utils.imaging.scan_grid import GEOMETRY_KEY
from utils.system.errors import UserError


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("direction", sorted(DIRECTIONS))
class TestAgainstTheWholeImage:
    def test_it_is_where_the_image_is(self, tmp_path, direction, channels, name):
        image = image_of(scan(), direction)
        path = write_image(image if channels == 1 else sitk.JoinSeries([image] * channels), tmp_path / name)
        whole, grid = read_channels(path)[0], read_grid(path)
        assert grid_of(grid) == grid_of(whole)
        assert grid.HasMetaDataKey(GEOMETRY_KEY) and not grid.HasMetaDataKey("other")
        assert grid.GetMetaData(GEOMETRY_KEY) == whole.GetMetaData(GEOMETRY_KEY)

    def test_masks_written_on_either_are_one_file(self, tmp_path, direction, channels, name):
        image = image_of(scan(), direction)
        path = write_image(image if channels == 1 else sitk.JoinSeries([image] * channels), tmp_path / name)
        mask = np.random.RandomState(0).randint(3, size=image.GetSize()).astype(np.uint8)
        contents = []
        for number, like in enumerate((read_channels(path)[0], read_grid(path))):
            # However the mask lies in memory.
            written = tmp_path / "mask{}.nii.gz".format(number)
            write_mask(np.array(mask, order="CF"[number]), like, str(written))
            contents.append(written.read_bytes())
        assert contents[0] == contents[1]


class TestErrors:
    @pytest.mark.parametrize(
        "content, message",
        [
            (b"", "is empty"),
            (b"\0" * 400, "is not a NIfTI-1 file"),
            (b"\x1f\x8b" + b"\0" * 50, "is damaged or cut off"),
        ],
    )
    def test_no_header(self, tmp_path, content, message):
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"scan\.nii\.gz: " + message):
            read_grid(str(path))

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match=r"scan\.nii: cannot be read \(No such file"):
            read_grid(str(tmp_path / "scan.nii"))

    def test_too_few_axes(self, tmp_path):
        path = write_image(sitk.Image(3, 4, sitk.sitkFloat32), tmp_path / "flat.nii")
        with pytest.raises(UserError, match=r"flat\.nii: has 2 dimensions: a scan has 3"):
            read_grid(path)

    def test_voxels_are_not_looked_at(self, tmp_path):
        path = tmp_path / "scan.nii.gz"
        path.write_bytes(gzip.compress(bytes(raw_nifti())[:352]))
        assert read_grid(str(path)).size == tuple(struct.unpack_from("<8h", raw_nifti(), 40)[1:4])
