"""Stacks of small images, in all forms that there are, and tasks of them."""

import io
import os
import struct

import numpy as np
from PIL import Image

SHAPE = (7, 5)  # X, Y


def grey(seed=0, shape=SHAPE):
    """Return noise, np.uint8 [X, Y]."""
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def truth(seed=0, classes=2, shape=SHAPE):
    """Return a mask, np.uint8 [X, Y], that has every class."""
    mask = np.random.RandomState(seed).randint(classes, size=shape).astype(np.uint8)
    mask[0, :classes] = np.arange(classes)
    return mask


def saved(path, *pages, **options):
    """Write pages [X, Y] or [X, Y, C] with another library than the one that reads them; return the path as text."""
    images = [Image.fromarray(np.ascontiguousarray(np.swapaxes(page, 0, 1))) for page in pages]
    if len(images) > 1:
        options.update(save_all=True, append_images=images[1:])
    if not isinstance(path, io.BytesIO):
        path = str(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
    images[0].save(path, **options)
    return path


def content_of_image(form, *pages, **options):
    """Return the bytes of a file of pages in a form, TIFF or PNG."""
    file = io.BytesIO()
    saved(file, *pages, format=form, **options)
    return file.getvalue()


def tiled(content):
    """Return a little-endian TIFF file of one uncompressed page of 16 by 16 pixels with a tile instead of a strip."""
    content = bytearray(content)
    (at,) = struct.unpack_from("<I", content, 4)
    count = struct.unpack_from("<H", content, at)[0]
    entries = [list(struct.unpack_from("<HHII", content, at + 2 + 12 * number)) for number in range(count)]
    for entry in entries:
        # Place, rows and size of the strip become place, width and size of the tile; what planes there are, its height.
        entry[0] = {273: 324, 278: 322, 279: 325, 284: 323}.get(entry[0], entry[0])
        entry[3] = 16 if entry[0] == 323 else entry[3]
    for number, entry in enumerate(sorted(entries)):
        struct.pack_into("<HHII", content, at + 2 + 12 * number, *entry)
    return bytes(content)


def stack_task(parent, pages=4, test=3, folders=False, shape=SHAPE, colour=False):
    """Write a task of stacks in the form of the challenge, files or folders; return its folder."""
    data_dir = os.path.join(str(parent), "Cells")
    channels = (3,) if colour else ()
    parts = {
        "train-volume": [grey(number, shape + channels) for number in range(pages)],
        "train-labels": [truth(number, shape=shape) * np.uint8(255) for number in range(pages)],
        "test-volume": [grey(100 + number, shape + channels) for number in range(test)],
    }
    for name, images in parts.items():
        if folders:
            for number, image in enumerate(images):
                saved(os.path.join(data_dir, name, "page{}.png".format(number)), image)
        elif images:
            saved(os.path.join(data_dir, name + ".tif"), *images)
    return data_dir


def disc(shape, centre, radius):
    """Return a mask, np.uint8 [X, Y], of a disc."""
    across, down = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return ((across - centre[0]) ** 2 + (down - centre[1]) ** 2 <= radius**2).astype(np.uint8)


def certain(mask, classes=2):
    """Return probabilities float32 [X, Y, Z, K] that leave no doubt of a mask [X, Y, Z]."""
    return np.eye(classes, dtype=np.float32)[mask]
