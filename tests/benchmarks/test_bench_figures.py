"""What made-up rounds of the benchmark come to, as figures, tables and a plot."""

import json

import pytest

from benchmarks import figures, report
from benchmarks.figures import Figures, Spread, spread
from benchmarks.network import Network, trained_gflop
from benchmarks.registry import Cell, cells, groups
from utils.system.errors import UserError

SHAPE = Network()
ORIGINAL, MIXED = Cell("original", "train", "2"), Cell("ours-mixed", "train", "2")
LARGE, FLOAT32 = Cell("ours-mixed", "train", "8"), Cell("ours-float32", "train", "2")
TORCH = [Cell("pytorch-" + name, "train", "8") for name in ("float32", "bfloat16")]
PRODUCTS = [Cell(name, "product", "bfloat16") for name in ("products", "pytorch-products")]
RATES = {
    # The machine runs at half its speed in the second round.
    ORIGINAL: [10.0, 5.0, 10.0],
    MIXED: [30.0, 15.0, 20.0],
    LARGE: [40.0, 20.0, 40.0],
    FLOAT32: [12.0, None, 13.0],
    TORCH[0]: [9.0, 4.0, 9.0],
    TORCH[1]: [20.0, 8.0, 16.0],
    Cell("ours-workers-mixed", "train", "2"): [None, None, None],
    # In each round beside both batch sizes.
    PRODUCTS[0]: [1100.0, 1000.0, 700.0, 600.0, 800.0, 900.0],
    PRODUCTS[1]: [1000.0, 1200.0, 800.0, 500.0, 700.0, 800.0],
}
RUN = {
    "hardware": {"cpu": "a processor", "instructions": [], "cores": 2, "gpus": []},
    "versions": ["tf2 2.15.1", "PyTorch 2.13.0"],
    "rounds": 3,
    "seconds": 2.5,
    "minutes": 9.6,
    "date": "2026-11-20 10:11 UTC",
    "revision": "0123456789abcdef-dirty",
}
FAILURES = {"ours-workers-mixed": "Horovod is not installed"}


@pytest.fixture
def found():
    return Figures(RATES, SHAPE)


class TestFigures:
    def test_spread(self):
        assert spread([3.0, None, 1.0, 7.0]) == Spread(3.0, 1.0, 7.0)
        assert spread([None]) is None and spread([]) is None

    def test_ratios_are_taken_round_by_round(self, found):
        assert found.ratio(MIXED, ORIGINAL) == Spread(3.0, 2.0, 3.0)
        # 12 over 10 and 13 over 10: the round that lacks one side is left out.
        assert found.ratio(FLOAT32, ORIGINAL) == pytest.approx((1.25, 1.2, 1.3))

    def test_a_ratio_to_nothing_is_nothing(self, found):
        assert found.ratio(MIXED, Cell("original", "predict", "2")) is None

    def test_the_limit_is_the_quicker_product_each_time(self, found):
        assert found.limits("bfloat16") == [1100.0, 1200.0, 800.0, 600.0, 800.0, 900.0]
        assert found.limit("float32") is None

    def test_the_fraction_counts_the_arithmetic(self, found):
        expected = [rate * trained_gflop(SHAPE) / limit for rate, limit in ((40, 1200), (20, 600), (40, 900))]
        assert found.fraction(LARGE) == pytest.approx((sorted(expected)[1], min(expected), max(expected)))
        assert found.fraction(FLOAT32) is None, "no float32 product was measured"

    def test_the_limit_of_a_fraction_is_that_beside_it(self, found):
        expected = [rate * trained_gflop(SHAPE) / limit for rate, limit in ((30, 1100), (15, 800), (20, 800))]
        assert found.fraction(MIXED) == pytest.approx((sorted(expected)[1], min(expected), max(expected)))

    def test_the_best_has_the_highest_median(self, found):
        assert found.best("train", ("ours-mixed", "ours-float32")) == LARGE
        assert found.best("train", ("ours-workers-mixed",)) is None


class TestShown:
    def test_the_ratios_asked_for(self, found):
        shown = {what: value for what, value, _ in figures.shown(found)}
        assert shown["training, batch size 2: ours-mixed:train:2 over original:train:2"] == Spread(3.0, 2.0, 3.0)
        assert shown["training, batch size 2: ours-workers-mixed over original:train:2"] is None
        best = shown["training, best: ours-mixed:train:8 over pytorch-bfloat16:train:8"]
        assert best == Spread(2.5, 2.0, 2.5)

    def test_without_any_figure(self):
        shown = figures.shown(Figures({}, SHAPE))
        assert shown and all(value is None for _, value, _ in shown)


class TestReport:
    def test_table(self, found):
        lines = report.markdown(found, SHAPE, RUN, FAILURES).splitlines()
        assert "| ours, mixed precision | 2 | 20.0 | 15.0 to 30.0 | 3.00 |  | 42% |" in lines
        assert "| PyTorch | 8 | 9.0 | 4.0 to 9.0 |  | 1.00 |  |" in lines
        assert "| the limit: the higher, time by time | bfloat16 | 850.0 | 600.0 to 1200.0 |" in lines
        assert "2026-11-20 10:11 UTC, revision 0123456789, in 3 interleaved rounds" in lines[0]
        assert "* ours-workers-mixed: Horovod is not installed" in lines
        assert not [line for line in lines if "a worker per core" in line]

    def test_json(self, found):
        value = json.loads(json.dumps(figures.summary(found, SHAPE, FAILURES)))
        assert value["not_measured"] == FAILURES
        cell = next(cell for cell in value["cells"] if cell["name"] == "ours-mixed:train:2")
        assert cell["images_per_second"] == {"median": 20.0, "least": 15.0, "greatest": 30.0}
        assert cell["rounds"] == RATES[MIXED] and cell["to_original"]["median"] == 3.0
        assert len(value["cells"]) == len(RATES) - 1

    @pytest.mark.parametrize("rates", [RATES, {PRODUCTS[0]: [900.0]}])
    def test_plot(self, tmp_path, rates):
        path = tmp_path / "plot.png"
        report.draw(Figures(rates, SHAPE), SHAPE, RUN, str(path))
        assert path.read_bytes().startswith(b"\x89PNG")


class TestCells:
    def test_what_is_compared_is_measured_one_after_the_other(self):
        found = cells((2, 8), (8,))
        kinds = [(cell.kind, cell.variant) for cell in found]
        assert kinds == sorted(kinds, key=kinds.index)
        assert len(set(found)) == len(found) == 3 * 7 + 2 * 2

    def test_the_limit_is_measured_beside_each_of_them(self):
        found = groups(cells((2, 8), (8,)))
        assert [[cell.kind for cell in group] for group in found] == [
            [kind] * 7 + ["product"] * 4 for kind in ("train", "train", "predict")
        ]
        assert groups(PRODUCTS) == [PRODUCTS]

    def test_only(self):
        found = cells((2, 8), (8,), ["ours-*:train:2", "original"])
        assert {cell.contender for cell in found if cell.kind == "predict"} == {"original"}
        assert len([cell for cell in found if cell.contender.startswith("ours")]) == 4

    def test_a_pattern_that_matches_nothing_is_refused(self):
        with pytest.raises(UserError, match="--only theirs: matches no cell"):
            cells((2,), (8,), ["theirs"])
