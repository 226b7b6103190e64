import threading

import numpy as np
import pytest
from synthetic import image_of, write_image

from utils.imaging import large_scan_turns
from utils.imaging.large_scan_turns import LARGE, in_turn, turn_of


class TestTurns:
    def most_at_once(self, dimensions, count=4):
        """How many of so many threads come to be inside at the same time, if they may."""
        inside, most, lock = [0], [0], threading.Lock()
        together = threading.Barrier(count)

        def work():
            with in_turn(dimensions):
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                try:
                    together.wait(0.1)
                except threading.BrokenBarrierError:
                    pass
                with lock:
                    inside[0] -= 1

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most[0]

    @pytest.mark.parametrize("dimensions", [(512, 512, 300), (256, 256, 256), (128, 128, 128, 8)])
    def test_one_large_scan_at_a_time(self, dimensions):
        assert self.most_at_once(dimensions) == 1

    def test_small_ones_do_not_wait(self):
        with in_turn((LARGE,)):
            assert self.most_at_once((36, 50, 36)) == 4

    def test_the_turn_ends_with_an_error(self):
        with pytest.raises(ValueError), in_turn((LARGE,)):
            raise ValueError
        assert not large_scan_turns._turn.locked()


class TestFiles:
    def test_the_header_tells_the_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(large_scan_turns, "LARGE", 5 * 7 * 4)
        for name, shape, large in (("smaller", (5, 7, 3), False), ("larger", (5, 7, 4), True)):
            with turn_of(write_image(image_of(np.zeros(shape, np.float32)), tmp_path / (name + ".nii.gz"))):
                assert large_scan_turns._turn.locked() == large

    @pytest.mark.parametrize("content", [None, b"", b"nonsense" * 100])
    def test_what_cannot_be_read_is_left_to_others_to_tell(self, tmp_path, content):
        path = tmp_path / "scan.nii.gz"
        if content is not None:
            path.write_bytes(content)
        with turn_of(str(path)):
            assert not large_scan_turns._turn.locked()
