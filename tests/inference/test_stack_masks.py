"""Masks of stacks: their files, scores in pixels, pictures, and the report's page."""

import csv
import json
import os
import re

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from PIL import Image
from stack_tasks import certain, disc, saved, stack_task

from utils.evaluation import predictions, tables
from utils.html_report import build
from utils.imaging.stacks import pages_of, read_mask
from utils.imaging.tasks import read_task
from utils.inference.masks import MaskWriter, mask_path

SHAPE = (40, 30)
CENTRES = [(12, 10), (25, 15), (20, 20)]


def truth_of(number):
    return disc(SHAPE, CENTRES[number % 3], 8)


def found_of(number):
    """The truth, shifted by three pixels to the right."""
    return np.roll(truth_of(number), 3, axis=0)


@pytest.fixture
def task(tmp_path):
    data_dir = stack_task(tmp_path, pages=3, test=3, shape=SHAPE)
    saved(os.path.join(data_dir, "train-labels.tif"), *[truth_of(number) * np.uint8(255) for number in range(3)])
    return read_task(data_dir)


@pytest.fixture
def params(tmp_path):
    return dict(model_dir=str(tmp_path / "model"), pictures=False, largest_component=False)


def writer_of(params):
    """That of a network which sees each page as it is."""
    preparation = {"input_shape": list(SHAPE) + [None], "fit": "resize", "spacing": None, "classes": 2}
    return MaskWriter(params, preparation, ["foreground"])


def evaluated(writer, task):
    return [
        writer.evaluate(case, certain(found_of(number)[..., np.newaxis]), truth_of(number)[..., np.newaxis])
        for number, case in enumerate(task.training)
    ]


def predicted(params, task, mask):
    return writer_of(params).write(task.test[0], certain(mask))


class TestFiles:
    def test_a_page_of_each_held_out_one(self, task, params):
        evaluated(writer_of(params), task)
        folder = os.path.join(params["model_dir"], "eval")
        assert sorted(os.listdir(folder)) == ["train-volume_00{}.tif".format(number) for number in range(3)]
        for number, case in enumerate(task.training):
            image = Image.open(mask_path(params["model_dir"], case))
            assert image.size == SHAPE and image.mode == "L"
            np.testing.assert_array_equal(np.asarray(image).T, 255 * found_of(number))

    def test_a_stack_of_as_many_pages(self, task, params):
        mask = np.stack([found_of(number) for number in range(3)], axis=-1)
        made = predicted(params, task, mask)
        path = os.path.join(params["model_dir"], "eval", "test-volume.tif")
        for number, page in enumerate(pages_of(path)):
            np.testing.assert_array_equal(read_mask(page, SHAPE, 2), found_of(number))
        assert made == predictions.StackPrediction("test-volume", [mask.sum()], made.uncertainty)

    def test_the_largest_part_of_each_page(self, task, params):
        """What a stray part is on one page is no part of the next one's structure."""
        mask = np.stack([np.maximum(truth_of(number), disc(SHAPE, (35, 5), 2)) for number in range(3)], axis=-1)
        mask[:, :, 1] = disc(SHAPE, (35, 5), 2)
        predicted(dict(params, largest_component=True), task, mask)
        pages = pages_of(os.path.join(params["model_dir"], "eval", "test-volume.tif"))
        found = [read_mask(page, SHAPE, 2) for page in pages]
        for number, expected in enumerate([truth_of(0), disc(SHAPE, (35, 5), 2), truth_of(2)]):
            np.testing.assert_array_equal(found[number], expected)


class TestScores:
    def test_are_those_of_outlines_in_pixels(self, task, params):
        for number, scores in enumerate(evaluated(writer_of(params), task)):
            assert isinstance(scores, tables.PageScores)
            overlap = 2 * (found_of(number) & truth_of(number)).sum() / (2 * truth_of(number).sum())
            assert scores.hard_dice[0] == pytest.approx(overlap)
            # Of a slice of a volume, where all pixels are surface, the mean distance would be near 0.
            assert 2 < scores.hausdorff_95_pixels[0] <= 3 and 1 < scores.surface_distance_pixels[0] < 3
            assert scores.area_pixels[0] == scores.true_area_pixels[0] == truth_of(number).sum()
            assert scores.area_difference_pixels[0] == 0

    def test_reach_the_files_and_the_terminal(self, task, params, tmp_path):
        scores = evaluated(writer_of(params), task)
        summary = tables.summarise(scores, ["foreground"])
        tables.write_json(summary, tmp_path)
        tables.write_csv(summary, tmp_path)
        measures = list(tables.PageScores._fields[1:])
        assert list(summary["mean"]) == measures
        with open(str(tmp_path / "evaluation.csv"), newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["case", "structure"] + measures and len(rows) == 4
        table = tables.format_table(summary)
        assert "HD95 pixels" in table and "area pixels" in table and "area: mask less truth" in table
        assert not re.search(r"\b(mm|ml)\b", table) and max(map(len, table.splitlines())) <= 120

    def test_predictions_too(self, task, params, tmp_path, capsys):
        made = predicted(params, task, np.stack([found_of(number) for number in range(3)], axis=-1))
        table = predictions.tabulate([made], ["foreground"], {})
        predictions.write_csv(table, tmp_path)
        with open(str(tmp_path / "predictions.csv"), newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == ["case", "structure", "area_pixels", "uncertainty"]
        assert rows[1][:3] == ["test-volume", "foreground", str(float(3 * truth_of(0).sum()))]
        predictions.tell(table, "model")
        assert "areas and uncertainties: model" in capsys.readouterr().out


class TestPictures:
    def test_show_the_page_as_it_is(self, task, params):
        """White below, black above, whichever way a volume's axes would be drawn."""
        bright = np.zeros(SHAPE, np.uint8)
        bright[:, SHAPE[1] // 2 :] = 255
        saved(task.training[0].image, *[bright] * 3)
        writer = writer_of(dict(params, pictures=True))
        writer.evaluate(task.training[0], certain(np.zeros(SHAPE + (1,), int)), truth_of(0)[..., np.newaxis])
        picture = Image.open(os.path.join(params["model_dir"], "eval", "train-volume_000.png")).convert("L")
        pixels = np.asarray(picture).astype(float)
        middle = pixels[:, 520:680]
        assert pixels.shape == (450, 1200)
        assert middle[280:340].mean() > 200 and middle[90:140].mean() < 80
        # One panel, in the middle.
        assert pixels[100:350, :250].max() < 60 and pixels[100:350, 950:].max() < 60


def write_report(task, params):
    """The path of a report of held-out pages and of a predicted stack."""
    scores = evaluated(writer_of(params), task)
    os.makedirs(params["model_dir"], exist_ok=True)
    tables.write_json(tables.summarise(scores, ["foreground"]), params["model_dir"])
    build.write(params["model_dir"], task.training, ["foreground"])
    made = predicted(params, task, np.stack([found_of(number) for number in range(3)], axis=-1))
    predictions.write_json(predictions.tabulate([made], ["foreground"], {}), params["model_dir"])
    build.write(params["model_dir"], task.test, ["foreground"], predicted=True)
    return os.path.join(params["model_dir"], "report", "index.html")


class TestPage:
    def test_holds_all_pages_and_pixels_for_units(self, task, params):
        path = write_report(task, params)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        assert page.count('<article class="case"') == 4 and page.count('data-plane="page"') == 4
        assert 'data-plane="axial"' not in page and "crosshair</label>" not in page
        assert "40 × 30 pixels, 3 pages" in page and "40 × 30 pixels</p>" in page
        text = re.sub("<(style|script).*?</\\1>", "", page, flags=re.DOTALL)
        assert "Hausdorff 95 %, pixels" in text and "Masks over the images" in text
        assert not re.search(r"\b(mm|ml|voxels)\b", text)

    def test_of_one_that_shows_scans_beside_them(self, task, params):
        """As those who trained another model in the folder have it."""
        cards = {("evaluated", 0): build.Card("", pages=True), ("predicted", 0): build.Card("")}
        contents = build.Contents([], ["foreground"], {}, 0, {})

        def shown(*kinds):
            pictures = build.Pictures({key: card for key, card in cards.items() if key[0] in kinds}, [], True)
            (part,) = [part for part in build.sections.parts(contents, pictures) if part.anchor == "pictures"]
            return part.title, "crosshair</label>" in "".join(part.html)

        assert shown("evaluated") == ("Masks over the images", False)
        assert shown("predicted") == ("Masks over the scans", True)
        assert shown("evaluated", "predicted") == ("Masks over the images", True)

    def test_knows_the_pages_of_an_earlier_run(self, task, params):
        write_report(task, params)
        with open(os.path.join(params["model_dir"], "report", "scans.json")) as file:
            scans = json.load(file)
        image, label = (os.path.abspath(path) for path in (task.training[1].image, task.training[1].label))
        assert scans["evaluated"][1] == ["train-volume_001", image, label, [1, 1]]
        assert scans["predicted"] == [["test-volume", os.path.abspath(task.test[0].image), None, []]]

    @pytest.mark.parametrize("entry", [["a", "b.tif", None, [0]], ["a", "b.tif", "c.tif", [0]], ["a", "b", None, 0]])
    def test_pages_that_are_none(self, entry):
        with pytest.raises(Exception, match="is damaged: delete it"):
            build.sources.check_scans("scans.json", {"predicted": [entry]})

    def test_each_page_of_a_large_stack_is_kept(self, tmp_path):
        """Neighbouring pages do not become one, as slices of a volume do."""
        import SimpleITK as sitk

        from utils.html_report.volume import encode

        image = sitk.GetImageFromArray(np.random.RandomState(0).rand(40, 300, 300).astype(np.float32))
        mask = sitk.Cast(image > 2, sitk.sitkUInt8)
        content = encode(image, mask, None, 200000, pages=True)
        assert content["shape"][2] == 40 and content["shrunk"][0] > 1 == content["shrunk"][2]

    @pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")
    def test_in_a_browser(self, task, params):
        path = write_report(task, params)
        first = "document.querySelector('article.case')"
        with Browser() as browser:
            for width in (1280, 375):
                browser.open(path, width)
                browser.value(first + ".scrollIntoView({behavior: 'instant'})")
                browser.until(first + ".dataset.state === 'open'")
                assert browser.value("document.documentElement.scrollWidth") <= width
                box = browser.value(
                    "(() => {const box = " + first + ".querySelector('canvas'); return [box.width, box.height]; })()"
                )
                assert box[0] / box[1] == pytest.approx(SHAPE[0] / SHAPE[1], rel=0.02) and box[0] > 250
            # The stack has a slider for its pages, a page of its own has none.
            slides = "Array.from(document.querySelectorAll('article.case .slide'), one => one.clientHeight > 0)"
            assert browser.value(slides) == [True, False, False, False]
            canvas = first + ".querySelector('canvas')"
            shown = browser.value(canvas + ".toDataURL()")
            browser.value(first + ".querySelector('input').value = 0")
            browser.value(first + ".dispatchEvent(new Event('input'))")
            assert browser.value(first + ".querySelector('output').textContent") == "1 / 3"
            assert browser.value(canvas + ".toDataURL()") != shown
            assert browser.complaints == []
