import copy

import pytest

from utils.config import recipes
from utils.config.flags import FLAGS
from utils.params import from_command_line


@pytest.fixture
def run(tmp_path):
    return lambda text="": from_command_line(["--data_dir", "task", "--model_dir", str(tmp_path)] + text.split())


def test_the_flag_chooses_among_them():
    names = sorted({recipe for recipe, _ in recipes.RECIPES})
    assert FLAGS["recipe"].kind.meaning == "one of " + ", ".join(names)
    assert set(recipes.RECIPES) == {(recipe, model) for recipe in names for model in ("vnet", "unet")}


def test_the_names_tell_recipe_and_network_where_they_are_not_the_usual_ones():
    assert [name for name, _ in recipes.named()] == ["tuned", "unet", "tuned unet"]


@pytest.mark.parametrize("recipe,model", sorted(recipes.RECIPES))
class TestValues:
    def test_are_those_of_flags_and_accepted_by_them(self, recipe, model):
        for name, value in recipes.RECIPES[recipe, model].items():
            assert FLAGS[name].problem(value) is None

    def test_become_the_params(self, recipe, model, run):
        chosen = run("--recipe {} --model {}".format(recipe, model))
        expected = dict(recipes.RECIPES[recipe, model], recipe=recipe, model=model)
        assert {name: chosen[name] for name in expected} == expected

    def test_are_copies(self, recipe, model):
        before = copy.deepcopy(recipes.defaults(recipe, model))
        for value in recipes.defaults(recipe, model).values():
            if isinstance(value, list):
                value.append(7)
        assert recipes.defaults(recipe, model) == before


class TestReference:
    def test_is_the_published_recipe(self):
        published = {
            "input_shape": [32, 32, 32],
            "fit": "resize",
            "resize_interpolator": "linear",
            "data_normalization": "zscore",
            "crop_shape": None,
            "downscale_blocks": [3, 3, 3],
            "upscale_blocks": [3, 3],
            "convolution_size": 3,
            "activation": "relu",
            "normalization_layer": "batchnorm",
            "pooling": "conv_pool",
            "upsampling": "transposed_conv",
            "loss": "dice",
            "optimizer": "rmsprop",
            "momentum": 0.0,
            "base_lr": 0.0001,
            "lr_schedule": "constant",
            "batch_size": 2,
            "train_epochs": 80,
            "train_split": 0.9,
            "weight_decay": 0.0,
            "weight_averaging": 0.0,
            "deep_supervision": False,
        }
        values = recipes.defaults(recipes.REFERENCE)
        assert {name: values[name] for name in published} == published
        assert not any(
            value for name, value in values.items() if name.startswith("augment") and name != "augment_share"
        )


class TestPrecedence:
    def test_the_reference_is_the_default_and_the_flags_own_values(self, run):
        expected = {name: flag.default for name, flag in FLAGS.items()}
        assert recipes.defaults(recipes.REFERENCE) == expected
        assert run()["recipe"] == recipes.REFERENCE

    def test_a_flag_wins_wherever_it_stands(self, run):
        assert run("--optimizer sgd --recipe tuned")["optimizer"] == "sgd"
        assert run("--recipe tuned --optimizer sgd")["optimizer"] == "sgd"

    def test_a_flag_wins_even_with_the_references_value(self, run):
        assert run("--recipe tuned --augment_rotation 0")["augment_rotation"] == 0
        assert run("--recipe tuned --input_shape 32 32 32")["input_shape"] == [32, 32, 32]
