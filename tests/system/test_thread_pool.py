import threading

import pytest

from utils.system.thread_pool import overlapped


class TestBasic:
    @pytest.mark.parametrize("threads", [1, 2, 5])
    @pytest.mark.parametrize("count", [0, 1, 2, 7])
    def test_results_come_in_order(self, threads, count):
        assert list(overlapped(lambda item: 10 * item, iter(range(count)), threads)) == [
            10 * item for item in range(count)
        ]

    def test_work_goes_on_beside_the_caller_and_as_much_at_a_time_as_there_are_threads(self):
        # Each waits for the other: one after the other would wait for ever.
        both = threading.Barrier(2, timeout=60)
        names = list(overlapped(lambda item: (both.wait(), threading.current_thread().name)[1], range(4), 2))
        assert len(set(names)) == 2 and threading.current_thread().name not in names

    def test_items_are_drawn_in_the_callers_thread(self):
        drawn = []

        def items():
            for item in range(3):
                drawn.append(threading.current_thread())
                yield item

        list(overlapped(str, items(), 2))
        assert drawn == [threading.current_thread()] * 3

    @pytest.mark.parametrize("threads, ahead, most", [(1, 0, 1), (3, 2, 3), (2, 8, 8)])
    def test_it_is_never_far_ahead(self, threads, ahead, most):
        drawn = []

        def items():
            for item in range(50):
                drawn.append(item)
                yield item

        for taken, _ in enumerate(overlapped(str, items(), threads, ahead), 1):
            assert len(drawn) == min(50, taken + most)


class TestErrors:
    def fail_at_two(self, item):
        if item == 2:
            raise ZeroDivisionError("item 2")
        return item

    def test_an_error_comes_where_its_result_was_due(self):
        results = overlapped(self.fail_at_two, range(5), 2)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ZeroDivisionError, match="item 2"):
            next(results)

    def test_an_error_of_the_items_is_the_callers(self):
        def items():
            yield 1
            raise ValueError("no more")

        with pytest.raises(ValueError, match="no more"):
            list(overlapped(str, items(), 2))
