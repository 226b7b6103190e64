"""Where the voxels of a scan lie, known without reading them: a scan may have hundreds of megabytes."""

from typing import NamedTuple, Tuple

# What SimpleITK's images carry the header's own fields under.
GEOMETRY_KEY = "nifti_geometry"


class ScanGrid(NamedTuple):
    """The grid of a scan's three axes; it answers as a SimpleITK image does, for which it stands.

    size: voxels; spacing: mm; origin: mm, the centre of the first voxel; direction: nine numbers, row by row;
    geometry: the header's own fields, as ``utils.imaging.nifti_header`` has them.
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
