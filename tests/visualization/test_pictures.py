import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from matplotlib.image import imread
from training_logs import epoch, write_log

from utils.system.errors import UserError
from utils.visualization import pictures, planes
from utils.visualization.pictures import case_picture, training_curves

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHAPE = (20, 31, 14)
SPACING = (1.0, 0.8, 2.5)


def image_of(shape=SHAPE):
    return np.random.RandomState(0).normal(100.0, 20.0, shape).astype(np.float32)


def mask_of(shape=SHAPE, start=(4, 6, 3), size=(6, 9, 5), value=1):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(first, first + extent) for first, extent in zip(start, size))] = value
    return mask


def draw(tmp_path, name="case.png", **arguments):
    """Draws the case and returns the picture's pixels [rows, columns, RGB] as integers of 0 to 255."""
    settings = {"image": image_of(), "spacing": SPACING, "mask": mask_of(), "structures": ("Anterior", "Posterior")}
    settings.update(arguments)
    path = str(tmp_path / name)
    case_picture(path, **settings)
    return pixels_of(path)


def pixels_of(path):
    return (imread(path)[..., :3] * 255).round().astype(int)


PANEL_ROWS = slice(60, 400)


def colour_places(pixels, colour, rows=PANEL_ROWS):
    """Returns (rows, columns) where the panels have the colour; the legend lies below them."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.nonzero((np.abs(pixels[rows] - wanted) <= 3).all(axis=-1))


def panel_extents(shape, spacing):
    """Returns (width, height) in pixels of each panel."""
    boxes = pictures._panel_boxes(shape, spacing)
    return [(box[2] * 1200, box[3] * 450) for box in boxes]


class TestCasePicture:
    def test_size(self, tmp_path):
        assert draw(tmp_path).shape == (450, 1200, 3)

    def test_contours_have_the_structure_colours(self, tmp_path):
        mask = np.maximum(mask_of(), mask_of(start=(4, 15, 3), value=2))
        pixels = draw(tmp_path, mask=mask)
        for colour, other in zip(planes.COLOURS, (True, True, False)):
            assert (colour_places(pixels, colour)[0].size > 50) == other

    def test_a_structure_that_is_not_there_has_no_contour(self, tmp_path):
        pixels = draw(tmp_path)
        assert colour_places(pixels, planes.COLOURS[0])[0].size > 50
        assert colour_places(pixels, planes.COLOURS[1])[0].size == 0

    def test_truth_is_drawn_in_white(self, tmp_path):
        image = np.zeros(SHAPE, np.float32)
        without = draw(tmp_path, image=image)
        beside = draw(tmp_path, image=image, truth=mask_of(start=(10, 16, 6)))
        white = [colour_places(pixels, "#ffffff")[0].size for pixels in (without, beside)]
        assert white[0] == 0 and white[1] > 30

    def test_contour_lies_around_the_structure(self, tmp_path):
        pixels = draw(tmp_path, image=np.zeros(SHAPE))
        box = pictures._panel_boxes(SHAPE, SPACING)[0]
        left, width = box[0] * 1200, box[2] * 1200
        bottom, height = box[1] * 450, box[3] * 450
        rows, columns = colour_places(pixels, planes.COLOURS[0], rows=slice(None))
        inside = (columns < left + width) & (rows < 450 - bottom)
        rows, columns = rows[inside], columns[inside]
        # Voxels 4 to 9 of 20 across, 6 to 14 of 31 upwards.
        across = [(edge - left) / width * 20 for edge in (columns.min(), columns.max())]
        up = [(450 - edge - bottom) / height * 31 for edge in (rows.max(), rows.min())]
        assert across == pytest.approx([4, 10], abs=0.4)
        assert up == pytest.approx([6, 15], abs=0.4)

    @pytest.mark.parametrize(
        "shape, spacing", [(SHAPE, SPACING), ((64, 64, 6), (0.7, 0.7, 8.0)), ((9, 90, 9), (1, 1, 1))]
    )
    def test_panels_are_to_one_scale_and_within_the_picture(self, shape, spacing):
        extent = [size * step for size, step in zip(shape, spacing)]
        panels = panel_extents(shape, spacing)
        scale = panels[0][0] / extent[0]
        assert panels == [pytest.approx((extent[a] * scale, extent[u] * scale)) for a, u in ((0, 1), (0, 2), (1, 2))]
        boxes = pictures._panel_boxes(shape, spacing)
        assert boxes[0][0] >= 0.02 - 1e-9 and boxes[2][0] + boxes[2][2] <= 0.98 + 1e-9
        assert all(0.13 - 1e-9 <= box[1] and box[1] + box[3] <= 0.86 + 1e-9 for box in boxes)
        assert boxes[0][0] + boxes[0][2] < boxes[1][0] and boxes[1][0] + boxes[1][2] < boxes[2][0]

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize(
        "image",
        [np.zeros(SHAPE), np.full(SHAPE, np.nan), np.where(mask_of() == 1, np.inf, image_of()), image_of() > 100],
        ids=["constant", "all not a number", "some infinite", "boolean"],
    )
    def test_awkward_images(self, tmp_path, image):
        assert colour_places(draw(tmp_path, image=image), planes.COLOURS[0])[0].size > 50

    @pytest.mark.filterwarnings("error")
    def test_nothing_marked(self, tmp_path):
        pixels = draw(tmp_path, mask=np.zeros(SHAPE, np.uint8), truth=np.zeros(SHAPE, np.uint8), structures=())
        assert pixels[60:400].std() > 10

    def test_more_structures_than_colours(self, tmp_path):
        mask = mask_of(value=7)
        pixels = draw(tmp_path, mask=mask, structures=["structure {}".format(number) for number in range(1, 9)])
        assert colour_places(pixels, planes.COLOURS[0])[0].size > 50

    def test_texts_that_look_like_formulas(self, tmp_path):
        draw(tmp_path, title="a_$\\frac{$_b", structures=("$x^{$", "b"))

    def test_wrong_shape(self, tmp_path):
        with pytest.raises(ValueError, match=r"a mask of shape \(20, 31, 13\) does not fit an image of \(20, 31, 14\)"):
            draw(tmp_path, truth=np.zeros((20, 31, 13), np.uint8))

    def test_leaves_the_picture_alone_in_its_folder(self, tmp_path):
        draw(tmp_path)
        draw(tmp_path)
        assert os.listdir(str(tmp_path)) == ["case.png"]

    def test_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "pictures").write_text("")
        with pytest.raises(UserError, match="case.png.*cannot be written"):
            draw(tmp_path, name="pictures/case.png")


class TestTrainingCurves:
    def test_size_and_curves(self, tmp_path):
        log = write_log(
            tmp_path / "log.json",
            *[epoch([n], loss=1 / n, soft_dice_A=0.5, soft_dice_B=1 - 1 / n) for n in range(1, 30)],
        )
        path = str(tmp_path / "curves.png")
        training_curves(path, [log])
        pixels = pixels_of(path)
        assert pixels.shape == (450, 1200, 3)
        assert all(colour_places(pixels, colour)[0].size > 100 for colour in ("#404040",) + planes.COLOURS[:2])

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("data", [{"loss": 0.5}, {"soft_dice_A": 0.5}, {"loss": float("nan"), "soft_dice_A": None}])
    def test_one_epoch_with_one_metric(self, tmp_path, data):
        training_curves(str(tmp_path / "curves.png"), [write_log(tmp_path / "log.json", epoch([1], **data))])
        assert pixels_of(str(tmp_path / "curves.png")).std() > 5

    def test_no_log(self, tmp_path):
        with pytest.raises(UserError, match="log.json: holds no epoch's loss or Dice"):
            training_curves(str(tmp_path / "curves.png"), [str(tmp_path / "log.json")])

    def test_no_epochs(self, tmp_path):
        log = write_log(tmp_path / "log.json", epoch("PARAMETER", loss="dice"), epoch([], soft_dice_A=0.8))
        with pytest.raises(UserError, match="log.json: holds no epoch's loss or Dice"):
            training_curves(str(tmp_path / "curves.png"), [log])


class TestNoGlobalState:
    def test_neither_pyplot_nor_a_display_is_needed(self, tmp_path):
        program = (
            "import sys, numpy as np\n"
            "from utils.visualization.pictures import case_picture\n"
            "case_picture({!r}, np.zeros((4, 5, 6)), (1, 1, 1), np.ones((4, 5, 6), int), structures=('A',))\n"
            "assert 'matplotlib.pyplot' not in sys.modules and 'tensorflow' not in sys.modules\n"
        ).format(str(tmp_path / "case.png"))
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)

    def test_threads(self, tmp_path):
        draw(tmp_path, name="alone.png")
        threads = [threading.Thread(target=draw, args=(tmp_path, "{}.png".format(number))) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone = pixels_of(str(tmp_path / "alone.png"))
        for number in range(3):
            np.testing.assert_array_equal(pixels_of(str(tmp_path / "{}.png".format(number))), alone)
