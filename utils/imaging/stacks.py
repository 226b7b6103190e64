"""Reading and writing stacks of 2-D images: multi-page TIFF files, and folders of PNG or TIFF files of one page each.

The form is that of the ISBI 2012 challenge (Arganda-Carreras et al. 2015, doi:10.3389/fnana.2015.00142): images in
``train-volume``, their masks in ``train-labels``, further images in ``test-volume``. Pages are arrays [X, Y], with
channels [X, Y, C], x to the right and y down.
"""

import collections
import functools
import hashlib
import os
import re
import stat
import threading
from typing import NamedTuple, Optional, Tuple

import numpy as np
import SimpleITK as sitk

from utils.imaging import label_values, png_header
from utils.imaging.tiff_header import MOST_PIXELS, TiffError, check_file
from utils.system import memory
from utils.system.errors import CannotWrite, UnusableFile, UserError, last_line
from utils.system.files import replace_on_success
from utils.system.printable import is_printable

TIFF = (".tif", ".tiff")
EXTENSIONS = TIFF + (".png",)
ISBI_NAMES = ("train-volume", "train-labels", "test-volume")
# Of masks with two classes.
WHITE = 255
MODALITIES = {1: ("image",), 3: ("red", "green", "blue")}

Page = NamedTuple("Page", [("name", str), ("path", str), ("number", Optional[int])])
Page.__doc__ = "One image of a stack: its name, its file, and its number (from 0) in a file that may have several."

Header = NamedTuple("Header", [("size", Tuple[int, int]), ("channels", int)])
Header.__doc__ = "The (X, Y) pixels of a page, and its channels, without transparency."

# One file is read at a time, so that pages asked for by several threads are read once.
_reading = threading.Lock()


def is_stack(path):
    """Tell whether a path names a stack: an image file by its extension, or a folder that is there."""
    return path.lower().endswith(EXTENSIONS) or os.path.isdir(path)


def pages_of(path):
    """Return the pages of a stack, a file or a folder: a tuple of Page, in the order of a file, or by name in a folder.

    Numbers in names count as numbers: page2 comes before page10. A folder's pages have the names of their files, those
    of a TIFF file its name and their numbers. Raises UnusableFile for what is no stack, or not there, or incomplete.
    """
    if os.path.isdir(path):
        return _pages_of_folder(path)
    if not path.lower().endswith(EXTENSIONS):
        raise UnusableFile("{}: is no stack: give a TIFF or PNG file, or a folder of them".format(path))
    stem = _stem(path)
    if not path.lower().endswith(TIFF):
        _state(path)
        return (Page(stem, path, None),)
    count = len(_tiff_pages(path))
    digits = max(3, len(str(count - 1)))
    return tuple(Page("{}_{:0{}}".format(stem, number, digits), path, number) for number in range(count))


def read_header(pages):
    """Return the Header that pages have in common, without reading pixels.

    Raises UnusableFile for a file that cannot be read, and where pages have several sizes or numbers of channels.
    """
    first = None
    for path in sorted({page.path for page in pages}):
        state = _state(path)
        header = _header(path, state.st_mtime_ns, state.st_size)
        if first is not None and header != first:
            raise UnusableFile(
                "{}: has {} by {} pixels of {} channels, {} {} by {} of {}: name images of several kinds one by "
                "one".format(path, *header.size + (header.channels, pages[0].path) + first.size + (first.channels,))
            )
        first = header
    return first


def read_page(page):
    """Return a page as np.float32 [X, Y, C]: one channel where it is grey, three where it is in colour.

    Raises UnusableFile for a file that cannot be read, and for pixels that are not finite.
    """
    pixels = _pixels(page).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise UnusableFile(
            "{}: has pixels that are not finite numbers: {} of {}: give them a value, or leave this image out".format(
                _told(page), np.count_nonzero(~np.isfinite(pixels)), pixels.size
            )
        )
    return pixels


def read_mask(page, shape, classes):
    """Return a page of a mask as np.uint8 [X, Y] of values 0 to `classes` - 1.

    `shape` is the (X, Y) of its image, None of one that cannot be read. Of two classes the second may be white, 255.
    Raises UnusableFile for a file that cannot be read, one of another size, and for values that mean no class.
    """
    pixels = _pixels(page)
    if shape is not None and pixels.shape[:2] != tuple(shape):
        raise UnusableFile(
            "{}: has {} by {} pixels, its image {} by {}: draw it on its image".format(
                _told(page), *pixels.shape[:2] + tuple(shape)
            )
        )
    if pixels.shape[-1] > 1 and (pixels != pixels[..., :1]).any():
        raise UnusableFile(
            "{}: is in colour, or has a palette: save it as grey, with the number of a class in each pixel".format(
                _told(page)
            )
        )
    values = label_values.rounded(pixels[..., 0], page.path)
    found = np.unique(values)
    white = classes == 2 and WHITE in found
    wrong = found[~np.isin(found, [0, WHITE] if white else range(classes))]
    if wrong.size:
        meaning = "0 and 255" if white else "whole numbers from 0 to {}".format(classes - 1)
        raise UnusableFile(
            "{}: has the value {}: masks of this task hold {}: correct it".format(
                _told(page), label_values.exact(wrong[0]), meaning
            )
        )
    return (values == WHITE if white else values).astype(np.uint8)


def mask_pages(images, path):
    """Return the pages of the masks in the stack `path` that belong to pages of images, in their order.

    In folders they have the same names; in files the same numbers. Raises UnusableFile where one is missing.
    """
    masks = pages_of(path)
    if os.path.isdir(path):
        by_name = {mask.name: mask for mask in masks}
        missing = [image.name for image in images if image.name not in by_name]
        if missing:
            raise UnusableFile(
                "{}: has no mask named {} ({} missing): add it, or leave out its image".format(
                    path, missing[0], len(missing)
                )
            )
        return tuple(by_name[image.name] for image in images)
    if len(masks) != len(images):
        raise UnusableFile(
            "{}: has {} masks for {} images: it needs one for each page".format(path, len(masks), len(images))
        )
    return masks


def hash_of(pages):
    """Return a hash of the pixels of pages, 64 bytes. Raises UnusableFile for a file that cannot be read."""
    content = hashlib.blake2b()
    for page in pages:
        pixels = _pixels(page)
        content.update("{} {}".format(pixels.dtype.str, pixels.shape).encode())
        content.update(np.ascontiguousarray(pixels))
    return content.digest()


def to_channels(pages):
    """Return pages [X, Y, C] of one shape as a list of 3-D SimpleITK images, one for each channel, a page a slice.

    That is what `utils.imaging.nifti.read_channels` returns of a scan. A pixel counts as 1 mm, and so does a page: what
    the files say of it is not to be relied on.
    """
    channels = np.stack(pages, axis=2).transpose(3, 2, 1, 0)  # [C, pages, Y, X]
    return [sitk.GetImageFromArray(np.ascontiguousarray(channel)) for channel in channels]


def forget():
    """Let go of the files that were kept in memory, since page after page was asked for."""
    with _reading:
        _kept_file.cache_clear()
    _header.cache_clear()


def write_masks(masks, classes, path):
    """Write masks, np.uint8 [X, Y] of one shape, as `write_stack` does.

    Of two classes the second is written as 255, more are written as their numbers.
    """
    write_stack([mask * np.uint8(WHITE) for mask in masks] if classes == 2 else masks, path)


def write_stack(pages, path):
    """Write pages, np.uint8 [X, Y] of one shape, as a TIFF file (.tif).

    The file appears only when it is complete. Raises CannotWrite when it cannot be written.
    """
    stack = np.stack([page.T for page in pages])  # [pages, Y, X]
    if stack.dtype != np.uint8 or stack.ndim != 3:
        raise ValueError("no pages: {} of shape {}".format(stack.dtype, stack.shape))
    with replace_on_success(path, ".tif") as temporary:
        try:
            sitk.WriteImage(sitk.GetImageFromArray(stack), temporary)
            written = len(check_file(temporary))
        except (RuntimeError, TiffError) as error:
            raise CannotWrite("{}: cannot be written ({})".format(path, last_line(error))) from error
        if written != len(stack):
            raise CannotWrite("{}: cannot be written: {} of its {} pages are there".format(path, written, len(stack)))


def describe(data_dir):
    """Return what a dataset.json of a folder in the ISBI form would hold, or None where it has not that form.

    A dict of the form of the Medical Segmentation Decathlon, whose image and label are stacks. Raises UserError
    where a part is missing or cannot be read.
    """
    images, labels, test = parts_of(data_dir)
    if images is None and test is None:
        return None
    if images is not None and labels is None:
        raise UserError("{}: has {} without {}: add the masks".format(data_dir, *ISBI_NAMES[:2]))
    channels = read_header(pages_of(os.path.join(data_dir, images or test))[:1]).channels
    return {
        "name": os.path.basename(os.path.abspath(data_dir)),
        "tensorImageSize": "2D",
        "modality": {str(number): name for number, name in enumerate(MODALITIES[channels])},
        "labels": {"0": "background", "1": "foreground"},
        "training": [{"image": images, "label": labels}] if images else [],
        "test": [test] if test else [],
    }


def parts_of(data_dir):
    """Return the names that the stacks of ISBI_NAMES have in a folder, each with its extension, or None."""
    return tuple(_stack_in(data_dir, name) for name in ISBI_NAMES)


def _stack_in(folder, name):
    """The name of the stack in a folder that is called `name`, with the extension it has, or None."""
    for extension in ("",) + TIFF:
        if os.path.exists(os.path.join(folder, name + extension)):
            return name + extension
    return None


def _pages_of_folder(path):
    try:
        names = [name for name in os.listdir(path) if name.lower().endswith(EXTENSIONS) and name[0] != "."]
    except OSError as error:
        raise UnusableFile("{}: cannot be read ({})".format(path, error.strerror)) from error
    if not names:
        raise UnusableFile("{}: has no PNG or TIFF files: put the images there, or name their folder".format(path))
    unprintable = sorted(name for name in names if not is_printable(name))
    if unprintable:
        raise UnusableFile("{}: {}: has characters that cannot be shown: rename it".format(path, ascii(unprintable[0])))
    pages = tuple(Page(_stem(name), os.path.join(path, name), None) for name in sorted(names, key=_natural))
    counts = collections.Counter(page.name for page in pages)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise UnusableFile("{}: has two images named {}: rename or remove one".format(path, twice[0]))
    return pages


def _natural(name):
    """What names of files are sorted by: texts, and the numbers between them; what is equal by these, by the name."""
    parts = re.split("([0-9]+)", _stem(name))
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name


def _pixels(page):
    """The pixels of a page as they are in its file: [X, Y, C], without transparency."""
    with _reading:
        state = _state(page.path)
        pages = (_read_file if page.number is None else _kept_file)(page.path, state.st_mtime_ns, state.st_size)
    if page.number is None and len(pages) > 1:
        raise UnusableFile(
            "{}: has {} pages: in a folder each file is one image: save each as a file".format(page.path, len(pages))
        )
    if (page.number or 0) >= len(pages):
        raise UnusableFile("{}: has {} pages, not {}".format(page.path, len(pages), page.number + 1))
    pixels = pages[page.number or 0].transpose(1, 0, 2)  # [X, Y, C]
    return pixels[..., :3] if pixels.shape[-1] == 4 else pixels


def _state(path):
    """What the system says of a file."""
    try:
        state = os.stat(path)
    except OSError as error:
        raise UnusableFile("{}: cannot be read ({})".format(path, error.strerror)) from error
    if not stat.S_ISREG(state.st_mode):
        # A pipe would be waited for.
        raise UnusableFile("{}: cannot be read: is no file".format(path))
    return state


# Each page of a file asks for it, several times; those of a folder have files of their own.
@functools.lru_cache(maxsize=4096)
def _header(path, changed, size):
    """The Header of a file. The time it was changed and its size tell it from an earlier one."""
    reader, channels = _reader(path)
    return Header(tuple(reader.GetSize()[:2]), 3 if channels == 4 else channels)


def _reader(path):
    """A SimpleITK reader that has read what comes before the pixels of a file, and how many channels count."""
    is_tiff = path.lower().endswith(TIFF)
    pages = _tiff_pages(path) if is_tiff else _checked(path, png_header.check_file)
    expected = len(pages) if is_tiff else 1
    reader = sitk.ImageFileReader()
    reader.SetImageIO("TIFFImageIO" if is_tiff else "PNGImageIO")
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _cannot_be_read(path, error) from error
    size, channels = reader.GetSize(), reader.GetNumberOfComponents()
    if np.prod(size, dtype=np.float64) > MOST_PIXELS:
        raise UnusableFile("{}: has more than {} pixels".format(path, MOST_PIXELS))
    memory.refuse_beyond(
        memory.voxels(size) * channels * memory.FLOAT,
        "{}: its {} pixels need".format(path, memory.by_axis(size)),
        "cut it into several files",
        UnusableFile,
    )
    if (size[2] if len(size) > 2 else 1) != expected or len(size) > 3 or channels not in (1, 3, 4):
        raise UnusableFile(
            "{}: {} of its {} pages can be read, of {} channels: save it as grey or RGB pages of one size".format(
                path, np.prod(size[2:], dtype=int), expected, channels
            )
        )
    # What ITK does not know it has converted to colours and transparency, of 8 bits.
    converted = is_tiff and channels == 4 and pages[0].samples != 4
    if converted and pages[0].is_deep:
        raise UnusableFile("{}: more than 8 bits in tiles or planes cannot be read: save it in strips".format(path))
    return reader, 1 if converted and pages[0].is_grey else channels


def _read_file(path, changed, size):
    """The pages of a file: [pages, Y, X, C]. The time it was changed and its size tell it from an earlier one."""
    reader, channels = _reader(path)
    try:
        pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _cannot_be_read(path, error) from error
    if reader.GetNumberOfComponents() == 1:
        pixels = pixels[..., np.newaxis]
    return (pixels if reader.GetDimension() == 3 else pixels[np.newaxis])[..., :channels]


# The images and the masks, whose pages are asked for one by one.
_kept_file = functools.lru_cache(maxsize=2)(_read_file)


def _tiff_pages(path):
    pages = _checked(path, check_file)
    for what, found in (("sizes", {page[:2] for page in pages}), ("kinds of pixels", {page[2:] for page in pages})):
        if len(found) > 1:
            # ITK would bring them to the size of the first, and take their bytes for what those of the first are.
            raise UnusableFile(
                "{}: has pages of several {}: save each as a file of its own in a folder".format(path, what)
            )
    return pages


def _checked(path, check):
    """What `check(path)` returns; UnusableFile for what it raises."""
    try:
        return check(path)
    except (TiffError, png_header.PngError) as error:
        advice = "save it as one" if str(error).startswith("is not a ") else "get the file again or leave it out"
        raise UnusableFile("{}: {}: {}".format(path, error, advice)) from error
    except OSError as error:
        raise UnusableFile("{}: cannot be read ({})".format(path, error.strerror)) from error


def _cannot_be_read(path, error):
    told = last_line(error)
    if "Unknown PixelType" in told:
        # ITK has no name for two numbers in a pixel.
        return UnusableFile("{}: is grey with transparency, or of another unknown kind: save it as grey".format(path))
    return UnusableFile("{}: cannot be read as an image ({}): save it anew or leave it out".format(path, told))


def _stem(path):
    return os.path.splitext(os.path.basename(path))[0]


def _told(page):
    return page.path if page.number is None else "{}: page {}".format(page.path, page.number + 1)
