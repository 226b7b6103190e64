"""Where the voxels of a scan lie, known without reading them: a scan may have hundreds of megabytes."""

from typing import NamedTuple, Tuple

import SimpleITK as sitk

from utils.errors import UserError
from utils.nifti_header import HeaderError, read_header
from utils.volumes import GEOMETRY_KEY


class ScanGrid(NamedTuple):
    """The grid of a scan's three axes; it answers as a SimpleITK image does, for which it stands.

    size: voxels; spacing: mm; origin: mm, the centre of the first voxel; direction: nine numbers, row by row;
    geometry: the header's own fields, as ``utils.nifti_header`` has them.
    """

    size: Tuple[int, ...]
    spacing: Tuple[float, ...]
    origin: Tuple[float, ...]
    direction: Tuple[float, ...]
    geometry: bytes

    def GetSize(self):
        return self.size

    def GetSpacing(self):
        return self.spacing

    def GetOrigin(self):
        return self.origin

    def GetDirection(self):
        return self.direction

    def HasMetaDataKey(self, key):
        return key == GEOMETRY_KEY

    def GetMetaData(self, key):
        return {GEOMETRY_KEY: self.geometry.hex()}[key]


def read_grid(path):
    """Return the ScanGrid of a scan: that of the images of ``utils.volumes.read_channels``, to the last bit.

    Raises UserError where the file has no header of a scan. Whether its voxels are all there is not looked at.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(path)
    try:
        geometry = read_header(path).geometry
        reader.ReadImageInformation()
    except HeaderError as error:
        raise UserError("%s: %s: get the file again or leave it out" % (path, error)) from error
    except OSError as error:
        raise UserError("%s: cannot be read (%s)" % (path, error.strerror)) from error
    except RuntimeError as error:
        raise UserError("%s: cannot be read as NIfTI: get the file again or leave it out" % path) from error
    axes = reader.GetDimension()
    if axes < 3:
        raise UserError("%s: has %d dimensions: a scan has 3, or 4 with channels" % (path, axes))
    direction = reader.GetDirection()
    rows = [direction[axes * row : axes * row + 3] for row in range(3)]
    return ScanGrid(
        reader.GetSize()[:3], reader.GetSpacing()[:3], reader.GetOrigin()[:3], rows[0] + rows[1] + rows[2], geometry
    )
