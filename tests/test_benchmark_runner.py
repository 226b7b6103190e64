import os

import pytest
from command_line import TINY, checkpoint_steps, logged
from shared_model import content, run


class TestRun:
    @pytest.mark.parametrize("mode", ["train", "predict"])
    def test_it_measures_and_leaves_no_model(self, model, tmp_path, mode, capsys):
        mine = model._replace(model_dir=str(tmp_path / "mine"))
        flags = "--benchmark", "--warmup_steps", "2", "--benchmark_steps", "7"
        run(mode, mine, *TINY + flags)
        assert not {"checkpoint", "params.json", "split.json", "eval", "best"} & set(os.listdir(mine.model_dir))
        assert checkpoint_steps(mine.model_dir) == []
        figures = dict(logged(mine.model_dir, 0))[()]
        assert (figures["mode"], figures["steps"], figures["batch_size"]) == (mode, 7, 2)
        assert figures["images_per_second"] > 0
        assert 0 < figures["latency_90"] <= figures["latency_95"] <= figures["latency_99"]
        assert "images_per_second" in capsys.readouterr().out

    def test_it_leaves_a_model_alone(self, copied):
        before = content(copied.model_dir, "checkpoint"), checkpoint_steps(copied.model_dir)
        # Settings that contradict the model's are no matter: they are measured.
        flags = "--benchmark", "--warmup_steps", "0", "--benchmark_steps", "2", "--base_lr", "0.5"
        run("train", copied, *TINY + flags)
        assert (content(copied.model_dir, "checkpoint"), checkpoint_steps(copied.model_dir)) == before
