"""Every flag of main.py: meaning, unit, accepted values and default, in one table."""

from utils.config.data_flags import AUGMENTATION, IMAGES
from utils.config.flag import Flag
from utils.config.flag_values import (
    FILE,
    FOLDER,
    FOLDS,
    LARGEST_COUNT,
    LARGEST_FLOAT,
    LARGEST_SEED,
    SWITCH,
    choice,
    positive,
    real,
    whole,
)
from utils.config.modes import MODES
from utils.config.network_flags import NETWORK

GROUPS = {
    "what to do": (
        Flag(
            "exec_mode",
            choice(*MODES),
            "train_and_predict",
            "what to run, in this order; check reads the whole task, tells what is wrong with it, and trains nothing; "
            "plan reads it too, and proposes settings for it, with the memory and the time that they take here",
        ),
        Flag(
            "recipe",
            choice("reference", "tuned"),
            "reference",
            "set of defaults for the other flags: the published recipe, or the one that segments best in minutes",
        ),
        Flag(
            "data_dir",
            FOLDER,
            None,
            "task folder with its dataset.json, imagesTr, labelsTr and imagesTs, or with the stacks of images "
            "train-volume, train-labels and test-volume; only predicting --images needs none",
        ),
        Flag(
            "model_dir",
            FOLDER,
            "./result",
            "folder of the model: checkpoints, settings, logs, scores and masks. A later run continues from it and "
            "takes from it the settings of the network, the split and the training that are not given again",
        ),
        Flag(
            "images",
            FILE,
            None,
            "NIfTI files (.nii, .nii.gz), or stacks of images (.tif, .png, folders of them), to predict instead of the "
            "task's test images",
            (1, LARGEST_COUNT),
        ),
        Flag(
            "checkpoint",
            choice("last", "best"),
            "last",
            "which checkpoint evaluates and predicts: the last one, or the one with the best held-out Dice",
        ),
    ),
    "the images": IMAGES,
    "augmentation": AUGMENTATION,
    "the split": (
        Flag(
            "train_split",
            real(lambda value: 0 < value <= 1, "above 0 and up to 1"),
            0.9,
            "fraction of the labelled cases to train on; the others are held out for evaluation",
        ),
        Flag("split_seed", whole(0, LARGEST_SEED), 0, "seed that decides which cases are held out"),
        Flag(
            "folds",
            FOLDS,
            0,
            "cross-validation: train and evaluate so many models, each case held out by one of them, instead of one "
            "model by --train_split; prediction averages theirs",
        ),
    ),
    "the network": NETWORK,
    "training": (
        Flag(
            "train_epochs",
            whole(1),
            80,
            "passes over the training cases, in total over all runs in --model_dir",
        ),
        Flag(
            "batch_size",
            whole(1),
            2,
            "images per step of each worker; where it is not given, prediction and evaluation take as many as suit the "
            "machine",
        ),
        Flag(
            "loss",
            choice("dice", "dice_ce", "dice_focal", "weighted_ce"),
            "dice",
            "what training minimises: 1 minus the soft Dice, alone or plus --cross_entropy_weight times the "
            "cross-entropy or the focal loss; or the U-Net paper's cross-entropy, in which rare classes and borders "
            "between structures count more",
        ),
        Flag(
            "cross_entropy_weight",
            positive(LARGEST_COUNT),
            3.0,
            "what cross-entropy or focal loss count beside the Dice",
        ),
        Flag(
            "deep_supervision",
            SWITCH,
            False,
            "let the coarser levels of the way up learn to segment too, at their size",
        ),
        Flag(
            "optimizer",
            choice("rmsprop", "adam", "sgd"),
            "rmsprop",
            "optimizer: centred RMSProp, Adam, or gradient descent with Nesterov --momentum",
        ),
        Flag("base_lr", positive(LARGEST_FLOAT), 0.0001, "learning rate, at its highest"),
        Flag(
            "lr_schedule",
            choice("constant", "cosine", "polynomial"),
            "constant",
            "how the learning rate falls: not; or to 0 at --train_epochs along half a cosine or with the power 0.9",
        ),
        Flag(
            "lr_warmup_steps",
            whole(0),
            0,
            "optimizer steps over which the learning rate first rises from 0; a tenth of all steps at most",
        ),
        Flag(
            "lr_scaling",
            choice("none", "linear"),
            "none",
            "learning rate of several workers: as it is, or times their number",
        ),
        Flag(
            "lr_warmup_epochs",
            whole(0),
            5,
            "epochs over which --lr_scaling linear raises the learning rate from that of one worker",
        ),
        Flag(
            "momentum",
            real(lambda value: 0 <= value < 1, "from 0 to below 1"),
            0.0,
            "momentum coefficient of RMSProp and of gradient descent, for which 0.9 to 0.99 is usual",
        ),
        Flag(
            "weight_decay",
            real(lambda value: 0 <= value < 1, "from 0 to below 1"),
            0.0,
            "what each step takes off the convolution kernels, relative to them and to the learning rate",
        ),
        Flag(
            "weight_averaging",
            real(lambda value: 0 <= value < 1, "from 0 to below 1"),
            0.0,
            "evaluate and predict with an exponential moving average of the weights: how much of it a step keeps",
        ),
        Flag(
            "seed",
            whole(0, LARGEST_SEED),
            0,
            "seed of the initial weights, the order of the cases and the augmentation",
        ),
        Flag("checkpoint_every", whole(1), 1, "epochs between checkpoints"),
        Flag(
            "evaluate_every",
            whole(0),
            1,
            "epochs between measurements of the held-out soft Dice while training; 0 for never",
        ),
    ),
    "prediction": (
        Flag(
            "test_time_flips",
            SWITCH,
            False,
            "predict every flip of an image along --flip_axes too, and average; for models trained with --augment",
        ),
        Flag("largest_component", SWITCH, False, "keep only the largest connected part of each structure in a mask"),
    ),
    "speed": (
        Flag("amp", SWITCH, False, "automatic mixed precision: float16 on GPUs, bfloat16 on CPUs"),
        Flag("xla", SWITCH, False, "compile the graph with XLA"),
        Flag(
            "no_tf32", SWITCH, False, "full float32 products on GPUs that would round their factors to TensorFloat-32"
        ),
        Flag("threads", whole(0, 1024), 0, "processor threads; 0 for all cores, 1 for repeatable results"),
        Flag("benchmark", SWITCH, False, "measure images per second and step times"),
        Flag("warmup_steps", whole(0), 200, "steps at the start that --benchmark leaves out"),
        Flag("benchmark_steps", whole(1), 200, "steps that --benchmark measures"),
        Flag("synthetic", SWITCH, False, "let --benchmark measure the network alone, on one batch of noise"),
        Flag("no_trial", SWITCH, False, "let --exec_mode plan compute memory alone, without a trial of some steps"),
    ),
    "what is left behind": (
        Flag("log_every", whole(1), 100, "optimizer steps between log lines of the training loss"),
        Flag("log_dir", FOLDER, None, "folder of dllogger.json (default: --model_dir)"),
        Flag("cache_dir", FOLDER, None, "folder of the preprocessed images (default: the folder cache in --model_dir)"),
        Flag("output", FILE, None, "JSON file of what --benchmark measured, or --exec_mode check or plan found"),
        Flag("pictures", SWITCH, False, "leave a PNG per evaluated or predicted case, and one of the training curves"),
    ),
}

FLAGS = {flag.name: flag for flags in GROUPS.values() for flag in flags}
