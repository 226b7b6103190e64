"""The flags of what the network is fed with: the images, and how training changes them."""

from utils.config.flag import Flag
from utils.config.flag_values import KNOTS, LARGEST_SIDE, SPACINGS, SWITCH, choice, real, strength, whole

# More takes hundreds of patches for the place of one.
MOST_OVERLAP = 0.9

IMAGES = (
    Flag(
        "input_shape",
        whole(1, LARGEST_SIDE),
        [32, 32, 32],
        "size of what the network sees, in voxels along the image's own x, y and z axes, each divisible by 2 to "
        "the number of --downscale_blocks; for --model unet two numbers, of any size, along the axes of its slices; "
        "auto chooses it from the sizes and spacings of the training images",
        (2, 3),
        ("X", "Y", "Z"),
        word="auto",
    ),
    Flag(
        "crop_shape",
        whole(1, LARGEST_SIDE),
        None,
        "train on parts of this size, each at a random place of its image, in voxels; divisible as --input_shape, "
        "of which auto takes three quarters along each axis. Evaluation and prediction see all of --input_shape "
        "(default: training does too)",
        (2, 3),
        ("X", "Y", "Z"),
        word="auto",
    ),
    Flag(
        "fit",
        choice("resize", "pad"),
        "resize",
        "how an image comes to that size: resized, its field of view kept; or brought to --spacing, then padded or "
        "cropped about its centre",
    ),
    Flag(
        "spacing",
        real(lambda value: SPACINGS[0] <= value <= SPACINGS[1], "from {:g} to {:g}".format(*SPACINGS)),
        None,
        "voxel size for --fit pad and --sampling patch, in mm along the image's own axes (default: the median of the "
        "training images)",
        (3, 3),
        ("X", "Y", "Z"),
    ),
    Flag(
        "sampling",
        choice("resize", "patch"),
        "resize",
        "what V-Net sees of an image: all of it, brought to --input_shape; or patches of the image at --spacing: in "
        "prediction overlapping windows of --input_shape, in training parts of --crop_shape, or else of "
        "--input_shape, at random places",
    ),
    Flag(
        "foreground_share",
        real(lambda value: 0 <= value <= 1, "from 0 to 1"),
        0.33,
        "--sampling patch: share of the training patches that are centred on a structure, small structures as often as "
        "large ones, as far as the images that have any suffice; the others lie anywhere",
    ),
    Flag("patches_per_case", whole(1), 1, "--sampling patch: patches of each training image in an epoch"),
    Flag(
        "patch_overlap",
        real(lambda value: 0 <= value <= MOST_OVERLAP, "from 0 to {:g}".format(MOST_OVERLAP)),
        0.5,
        "--sampling patch: overlap of two neighbouring patches in evaluation and prediction, as a share of the patch",
    ),
    Flag("slice_axis", choice("x", "y", "z"), "z", "axis across which --model unet cuts volumes into slices"),
    Flag(
        "empty_slices",
        real(lambda value: 0 <= value <= 1, "from 0 to 1"),
        1.0,
        "share of the slices without any structure that an epoch of --model unet trains on, others in each epoch",
    ),
    Flag(
        "resize_interpolator",
        choice("linear", "nearest_neighbor"),
        "linear",
        "interpolation where images are resampled",
    ),
    Flag(
        "data_normalization",
        choice("zscore", "ct", "auto"),
        "zscore",
        "normalisation of the intensities: zscore, per image and channel to mean 0 and standard deviation 1; ct, "
        "clipped to the percentiles 0.5 and 99.5 of the structures in the training cases, then by their mean and "
        "standard deviation; auto, ct for the channels that the task calls CT, zscore for others",
    ),
)

AUGMENTATION = (
    Flag("augment", SWITCH, False, "flip training images at random along the axes of --flip_axes"),
    Flag(
        "flip_axes",
        choice("x", "y", "z"),
        ["x", "y"],
        "axes of the flips of --augment and --test_time_flips; x and y are the horizontal and the vertical one",
        (1, 3),
    ),
    Flag("augment_rotation", strength(180), 0.0, "largest rotation about each axis, in degrees"),
    Flag("augment_scaling", strength(1), 0.0, "largest change of size: 0.2 for factors from 1/1.2 to 1.2"),
    Flag("augment_shift", strength(LARGEST_SIDE), 0.0, "largest shift along each axis, in voxels"),
    Flag(
        "augment_elastic",
        strength(LARGEST_SIDE),
        0.0,
        "smooth random displacements: their standard deviation, in voxels",
    ),
    Flag(
        "augment_elastic_knots",
        KNOTS,
        0,
        "points along each axis of the coarse grid that --augment_elastic displaces at random, 3 in the U-Net paper; 0 "
        "for one every 12 voxels",
    ),
    Flag(
        "augment_share",
        real(lambda value: 0 <= value <= 1, "from 0 to 1"),
        0.8,
        "share of the images that are rotated, scaled, shifted and displaced; each change of intensities is made "
        "on a quarter of the images",
    ),
    Flag("augment_noise", strength(10), 0.0, "largest standard deviation of added noise; images have 1"),
    Flag("augment_blur", strength(10), 0.0, "largest standard deviation of a Gaussian blur, in voxels"),
    Flag(
        "augment_brightness",
        strength(1),
        0.0,
        "largest relative change of contrast, and shift of the mean; images have standard deviation 1",
    ),
    Flag("augment_gamma", strength(1), 0.0, "largest change of the intensities' exponent: 0.3 for 1/1.3 to 1.3"),
)
