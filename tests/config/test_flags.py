import re

import pytest

from utils.config.flag import shown
from utils.config.flag_values import SWITCH
from utils.config.flags import FLAGS, GROUPS
from utils.config.parser import build_parser
from utils.config.recipes import named
from utils.system.errors import UserError

REFERENCE_FLAGS = (
    "exec_mode data_normalization activation resize_interpolator loss normalization_layer pooling upsampling seed "
    "input_shape upscale_blocks downscale_blocks model_dir convolution_size batch_size log_every warmup_steps "
    "train_epochs optimizer base_lr momentum train_split split_seed data_dir augment benchmark amp xla"
).split()

# The flags' own entries, behind the usage and the first of them all, --help.
HELP = " ".join(build_parser().format_help().split())
DESCRIBED = HELP[HELP.index("exit") :]


def parse(text):
    return vars(build_parser().parse_args(text.split()))


class TestTable:
    def test_has_every_flag_of_the_recipe(self):
        assert set(REFERENCE_FLAGS) <= set(FLAGS)

    def test_no_flag_is_listed_twice(self):
        assert sum(len(flags) for flags in GROUPS.values()) == len(FLAGS)

    @pytest.mark.parametrize("name", sorted(FLAGS))
    def test_default_is_accepted_by_its_own_flag(self, name):
        flag = FLAGS[name]
        assert flag.default is None or flag.problem(flag.default) is None

    @pytest.mark.parametrize("name", sorted(name for name, flag in FLAGS.items() if flag.default is not None))
    def test_default_can_be_typed_as_shown(self, name):
        flag = FLAGS[name]
        if flag.kind is SWITCH:
            assert flag.default is False
            assert parse("--" + name) == {name: True}
        else:
            assert parse("--{} {}".format(name, shown(flag.default))) == {name: flag.default}


class TestHelp:
    @pytest.mark.parametrize("name", sorted(FLAGS))
    def test_tells_default_and_choices(self, name):
        flag = FLAGS[name]
        # A flag's own entry goes on with its values; where another speaks of it, with a word.
        entry = DESCRIBED[re.search(r"--{} (\[|\{{|[A-Z])".format(name), DESCRIBED).start() :]
        if following(name):
            entry = re.split(r" --{} (\[|\{{|[A-Z])".format(following(name)), entry)[0]
        # Lines break at hyphens too.
        assert "".join(flag.help.split()) in "".join(entry.split())
        if flag.default is not None:
            assert "default: {}".format(shown(flag.default)) in entry
        for recipe, values in named():
            if name in values:
                assert "{}: {}".format(recipe, shown(values[name])) in entry
        if flag.kind.metavar.startswith("{"):
            assert flag.kind.metavar in entry

    def test_exits_with_0(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            parse("--help")
        assert stopped.value.code == 0
        assert "--input_shape X Y Z " in capsys.readouterr().out


def following(name):
    names = list(FLAGS)
    position = names.index(name) + 1
    return names[position] if position < len(names) else None


class TestParsing:
    def test_what_is_not_given_is_absent(self):
        assert parse("") == {}

    def test_values_have_their_types(self):
        given = parse("--input_shape 40 56 48 --base_lr 1e-3 --amp --images a.nii b.nii.gz --convolution_size 5")
        assert given == {
            "input_shape": [40, 56, 48],
            "base_lr": 0.001,
            "amp": True,
            "images": ["a.nii", "b.nii.gz"],
            "convolution_size": 5,
        }

    def test_last_one_wins(self):
        assert parse("--batch_size 4 --batch_size=8") == {"batch_size": 8}


class TestRefusals:
    @pytest.mark.parametrize(
        "text, message",
        [
            ("--exec_mode infer", r"^--exec_mode: 'infer' is not one of train, evaluate, predict, train_and_predict"),
            ("--upsampling dice2", r"^--upsampling: 'dice2' is not transposed_conv$"),
            ("--convolution_size 4", r"^--convolution_size: '4' is not one of 3, 5$"),
            ("--batch_size 0", r"^--batch_size: '0' is not a whole number from 1 to 1000000$"),
            ("--batch_size 2.5", r"^--batch_size: '2.5' is not a whole number"),
            ("--batch_size two", r"^--batch_size: 'two' is not a whole number"),
            ("--batch_size", r"^--batch_size: expected one argument$"),
            ("--seed -1", r"^--seed: '-1' is not a whole number from 0 to 2147483647$"),
            ("--split_seed 2147483648", r"^--split_seed: '2147483648' is not a whole number"),
            ("--train_epochs 0", r"^--train_epochs: '0' is not"),
            ("--log_every 0", r"^--log_every: '0' is not"),
            ("--evaluate_every -1", r"^--evaluate_every: '-1' is not"),
            ("--base_lr 0", r"^--base_lr: '0' is not a number above 0 and up to 1e\+38$"),
            ("--base_lr inf", r"^--base_lr: 'inf' is not"),
            ("--base_lr nan", r"^--base_lr: 'nan' is not"),
            ("--momentum 1", r"^--momentum: '1' is not a number from 0 to below 1$"),
            ("--train_split 0", r"^--train_split: '0' is not a number above 0 and up to 1$"),
            ("--train_split 1.01", r"^--train_split: '1.01' is not"),
            ("--train_split nan", r"^--train_split: 'nan' is not"),
            ("--input_shape 32", r"^--input_shape: takes 2 to 3 values, not 1$"),
            ("--input_shape 32 32 32 1", r"^--input_shape: takes 2 to 3 values, not 4$"),
            ("--input_shape 32 0 32", r"^--input_shape: '0' is not a whole number from 1"),
            ("--input_shape", r"^--input_shape: expected at least one argument$"),
            ("--downscale_blocks 3 -3", r"^--downscale_blocks: '-3' is not a whole number from 1"),
            ("--downscale_blocks 1 1 1 1 1 1 1", r"^--downscale_blocks: takes 1 to 6 values, not 7$"),
            ("--model_dir=", r"^--model_dir: '' is not the name of a folder, on one line$"),
        ],
    )
    def test_value_is_refused_in_one_line(self, text, message):
        with pytest.raises(UserError, match=message) as refused:
            parse(text)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        "text, message",
        [
            ("--batchsize 4", r"^--batchsize: no such flag; did you mean --batch_size\?"),
            ("--epochs 4", r"^--epochs: no such flag; did you mean --train_epochs or"),
            ("--lr=0.1", r"^--lr: no such flag; did you mean --base_lr or --lr_schedule or"),
            ("--batch-size=4", r"^--batch-size: no such flag; did you mean --batch_size\?"),
            ("--bogus 4", r"^--bogus: no such flag \(see --help\)$"),
            ("--batch_size 4 8", r"^8: does not belong to any flag"),
        ],
    )
    def test_unknown_flag_is_named(self, text, message):
        with pytest.raises(UserError, match=message):
            parse(text)

    def test_abbreviation_is_refused(self):
        with pytest.raises(UserError, match=r"^--batch: no such flag; did you mean --batch_size\?"):
            parse("--batch 4")

    @pytest.mark.parametrize(
        "name, value",
        [
            ("augment", 1),
            ("batch_size", True),
            ("batch_size", 2.0),
            ("base_lr", "0.1"),
            ("base_lr", False),
            ("convolution_size", 3.0),
            ("input_shape", 32),
            ("input_shape", [32, 32, "32"]),
            ("activation", ["relu"]),
        ],
    )
    def test_value_of_another_type_is_a_problem(self, name, value):
        assert "is not" in FLAGS[name].problem(value)
