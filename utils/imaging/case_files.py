"""A case's image, label and mask, whatever files they are in: NIfTI volumes, or pages of stacks of 2-D images.

A page of a stack is a slice, so that a case of a single page is [X, Y, 1]. A pixel counts as 1 mm, which stands for
one pixel in all that is told of such a case.
"""

import functools

import numpy as np
import SimpleITK as sitk

from utils.imaging import large_scan_turns, nifti, stacks
from utils.imaging.nifti_header import geometry_of
from utils.imaging.scan_grid import ScanGrid
from utils.system import memory
from utils.system.errors import UnusableFile, UserError

SPACING, ORIGIN, DIRECTION = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def is_stack(case):
    """Tell whether a ``utils.imaging.tasks.Case`` is a page of a stack, or a whole one."""
    return case.pages is not None


def _about_its_image(read):
    """The function of a case, which raises UnusableFile for whatever a library raises over the case's image."""

    @functools.wraps(read)
    def told(case):
        with memory.trouble_over(case.image, Exception):
            return read(case)

    return told


@_about_its_image
def channels_of(case):
    """Return how many channels the image of a case has, of which only the header is read.

    Raises UserError for a file that cannot be read, or is no scan.
    """
    if is_stack(case):
        return stacks.read_header(_pages(case)).channels
    return nifti.channels_of(nifti.scan_header(case.image))


@_about_its_image
def read_grid(case):
    """Return the ``utils.imaging.scan_grid.ScanGrid`` of a case, of whose image only the header is read.

    Raises UserError as ``channels_of`` does.
    """
    if not is_stack(case):
        return nifti.read_grid(case.image)
    pages = _pages(case)
    size = stacks.read_header(pages).size + (len(pages),)
    return ScanGrid(size, SPACING, ORIGIN, DIRECTION, geometry_of(SPACING, ORIGIN, DIRECTION))


def axes_of(grid):
    """Return the directions in which x, y and z of a grid grow, such as RAS (right, anterior, superior): the nearest.

    The grid is an image's or a ScanGrid.
    """
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(grid.GetDirection())


def turn_of(case):
    """``utils.imaging.large_scan_turns.in_turn`` for a case."""
    if not is_stack(case):
        return large_scan_turns.turn_of(case.image)
    try:
        return large_scan_turns.in_turn(read_grid(case).size)
    except UserError:
        # Reading will tell what is wrong.
        return large_scan_turns.in_turn(())


@_about_its_image
def read_channels(case):
    """Return the channels of a case's image, 3-D SimpleITK float32 images, as ``nifti.read_channels`` does."""
    if not is_stack(case):
        return nifti.read_channels(case.image)
    pages = _pages(case)
    header = stacks.read_header(pages)
    memory.refuse_beyond(
        memory.voxels(header.size) * len(pages) * header.channels * memory.FLOAT,
        "{}: its {} pages of {} pixels need".format(case.image, len(pages), memory.by_axis(header.size)),
        "cut it into several stacks",
        UnusableFile,
    )
    return stacks.to_channels([stacks.read_page(page) for page in pages])


def read_label(case, like, classes):
    """Return the label of a case, a 3-D SimpleITK uint8 image of values 0 to ``classes`` - 1 on the grid of ``like``.

    ``like`` may be None, of an image that cannot be read. Raises UserError as ``utils.imaging.nifti.read_label`` does.
    """
    with memory.trouble_over(case.label, Exception):
        if not is_stack(case):
            return nifti.read_label(case.label, like, classes)
        if case.pages.problem:
            raise UnusableFile(case.pages.problem)
        return _label_of([case.pages.mask], like, classes)


def mask_name(case):
    """Return the name of the file of a case's mask."""
    return case.name + (".tif" if is_stack(case) else ".nii.gz")


def write_mask(case, mask, grid, classes, path):
    """Write the mask of a case, np.uint8 [X, Y, Z], to a file of the kind that ``mask_name`` tells of.

    Scans have it on their own ``grid``; stacks have a TIFF file with as many pages, in which the second of two classes
    is white. Raises UserError where it cannot be written.
    """
    if is_stack(case):
        stacks.write_masks([mask[:, :, number] for number in range(mask.shape[2])], classes, path)
    else:
        nifti.write_mask(mask, grid, path)


def read_mask(case, path, grid, classes):
    """Return a mask that ``write_mask`` has written, as ``read_label`` returns a label."""
    with memory.trouble_over(path, Exception):
        if not is_stack(case):
            return nifti.read_label(path, grid, classes)
        pages = stacks.pages_of(path)
        if len(pages) != grid.size[2]:
            raise UnusableFile("{}: has {} pages, its image {}".format(path, len(pages), grid.size[2]))
        if len(pages) == 1:
            # It is not going to be asked for again, as images and labels are of which it would take the place.
            pages = [pages[0]._replace(number=None)]
        return _label_of(pages, grid, classes)


def forget():
    """Let go of what reading page after page has kept in memory, when all of a stack's have been read."""
    stacks.forget()


@_about_its_image
def content_of(case):
    """Return what tells the pages of a case, with its mask, from others: bytes. Raises UserError for unreadable files.

    That is of the pixels, since files of many pages are those of many cases.
    """
    mask = case.pages.mask
    return stacks.hash_of(_pages(case)) + (b"none" if mask is None else stacks.hash_of([mask]))


def _pages(case):
    if case.pages.problem:
        raise UnusableFile(case.pages.problem)
    return (case.pages.image,) if case.pages.image else stacks.pages_of(case.image)


def _label_of(pages, like, classes):
    shape = None if like is None else like.GetSize()[:2]
    values = np.stack([stacks.read_mask(page, shape, classes).T for page in pages])  # [pages, Y, X]
    return sitk.GetImageFromArray(values)
