"""The report in a real browser: that it draws, sorts and slides, fits a phone, and asks nothing of the network."""

import os

import pytest
from browser import CHROMIUM, Browser
from pages import STRUCTURES, evaluated_model, evaluation_of, write_json

from utils.html_report.build import write

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")

NAMES = ["case 10", "case 9", "<script>alert(1)<", "last", "a name of a case that is too long for one line on a phone"]
HOSTILE = "</script><img src=x onerror=alert(1)>"
FIRST = "document.querySelector('article.case')"
COLUMN = "Array.from(document.querySelectorAll('table.cases tbody tr'), row => row.cells[{}].textContent)"
# The text of all pixels of a plane's canvas, to tell one picture from another.
PIXELS = "document.querySelector('article.case [data-plane={}] canvas').toDataURL()"
COUNT = """(() => {
    const canvas = document.querySelector('article.case [data-plane=%s] canvas'), colour = %s;
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
        count += colour.every((part, place) => Math.abs(data[at + place] - part) < 40);
    }
    return count;
})()"""
ORANGE = [230, 159, 0]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The report of a model with five cases, some of whose names are not to be trusted."""
    structures = STRUCTURES[:1] + (HOSTILE,)
    model_dir, cases, log = evaluated_model(tmp_path_factory.mktemp("report"), names=NAMES, structures=structures)
    write(model_dir, cases, structures, logs=[log])
    return os.path.join(model_dir, "report", "index.html")


@pytest.fixture(scope="module")
def browser():
    """A browser for all tests here: one starts in a second or so."""
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(browser, path):
    """The report, freshly opened on a desktop, with its first case drawn."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(path)
    show_first(browser)
    return browser


def show_first(browser):
    browser.value(FIRST + ".scrollIntoView({behavior: 'instant'})")
    browser.until(FIRST + ".dataset.state === 'open'")


def count_of(browser, plane, colour):
    """How many pixels of a plane have about this colour, [red, green, blue]."""
    return browser.value(COUNT % (plane, colour))


class TestIsolation:
    @pytest.mark.parametrize("width", [1280, 375])
    def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(self, page, path, width):
        page.open(path, width)
        page.value("document.querySelectorAll('article.case').forEach(card => card.scrollIntoView())")
        show_first(page)
        assert page.requests and all(url.startswith(("file://", "data:image/jpeg")) for url in page.requests)
        assert {url for url in page.requests if url.startswith("file:")} == {"file://" + path}
        assert page.complaints == []

    def test_hostile_names_are_text(self, page):
        assert page.value("document.images.length") == 0
        assert set(page.value("Array.from(document.querySelectorAll('h3'), name => name.textContent)")) == set(NAMES)
        assert HOSTILE in page.value("document.querySelector('.controls').textContent")
        assert HOSTILE in page.value("document.querySelector('.cases thead').textContent")

    def test_a_script_that_gets_in_does_not_run(self, page):
        page.value(
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.caught = 1\">')"
        )
        page.value("new Promise(done => setTimeout(done, 100))")
        assert page.value("window.caught") is None
        assert page.complaints


class TestTable:
    def test_comes_sorted_by_the_mean_dice_worst_first(self, page):
        found = page.value(COLUMN.format(1))
        assert found == sorted(found) and len(found) == len(NAMES)
        assert page.value("document.querySelectorAll('th[aria-sort=ascending]').length") == 1

    def test_a_click_sorts_and_another_turns_round(self, page):
        evaluation = {
            case["case"]: case["hard_dice"] for case in evaluation_of(NAMES, (STRUCTURES[0], HOSTILE))["cases"]
        }
        values = {name: dice[STRUCTURES[0]] for name, dice in evaluation.items()}
        undefined = [name for name, value in values.items() if value is None]
        rising = sorted((name for name in values if values[name] is not None), key=values.get)
        heading = "table.cases thead tr:nth-child(2) th:nth-child(2)"
        page.click(heading + " button")
        assert page.value(COLUMN.format(0)) == rising + undefined
        assert page.value("document.querySelector('{}').getAttribute('aria-sort')".format(heading)) == "ascending"
        page.click(heading + " button")
        assert page.value(COLUMN.format(0)) == rising[::-1] + undefined
        assert page.value("document.querySelectorAll('th[aria-sort=none]').length") == page.value(
            "document.querySelectorAll('th[aria-sort]').length - 1"
        )

    def test_names_sort_by_their_numbers_from_the_keyboard(self, page):
        page.value("document.querySelector('table.cases thead th button').focus()")
        page.enter()
        found = page.value(COLUMN.format(0))
        assert found.index("case 9") + 1 == found.index("case 10")

    @pytest.mark.parametrize("width", [1280, 375])
    def test_the_heading_of_a_long_one_stays_in_sight(self, page, path, width):
        page.open(path, width)
        page.value(
            "(() => { const body = document.querySelector('table.cases tbody'), rows = body.innerHTML;"
            "body.innerHTML = rows.repeat(30); body.parentNode.parentNode.scrollTo(90, 1500); })()"
        )
        box = "document.querySelector('{}').getBoundingClientRect()"
        above, below = page.value(box.format(".wide.tall") + ".top"), page.value("innerHeight")
        assert page.value(box.format(".tall") + ".height") < below
        for heading in "thead tr:first-child th", "thead tr:last-child th:last-child":
            assert 0 <= page.value(box.format("table.cases " + heading) + ".top") - above < 100
        assert page.value(box.format("table.cases tbody tr") + ".bottom") < above
        # What lies at the heading is the heading's.
        corner = "document.elementFromPoint({0}.left + 20, {0}.top + 20)".format(box.format(".tall"))
        page.value("document.querySelector('.tall').scrollIntoView({behavior: 'instant'})")
        assert page.value(corner + ".closest('thead') !== null")

    def test_a_name_leads_to_its_pictures(self, page):
        page.value("scrollTo({top: 0, behavior: 'instant'})")
        page.click("table.cases tbody tr:nth-child(4) a")
        card = "document.querySelector('article.case:target')"
        page.until(
            "{0} && {0}.dataset.state === 'open' && Math.abs({0}.getBoundingClientRect().top) < 300".format(card)
        )
        name = page.value("document.querySelector('tbody tr:nth-child(4) th').textContent")
        assert page.value(card + ".querySelector('h3').textContent") == name


class TestPlanes:
    def test_every_case_is_drawn_when_it_is_near(self, page):
        for number in range(len(NAMES)):
            card = "document.querySelectorAll('article.case')[{}]".format(number)
            page.value(card + ".scrollIntoView({behavior: 'instant'})")
            page.until(card + ".dataset.state === 'open'")
            widths = page.value("Array.from({}.querySelectorAll('canvas'), canvas => canvas.width)".format(card))
            assert min(widths) >= 24

    def test_a_case_far_away_gives_its_memory_back(self, page):
        page.value("scrollTo({top: 0, behavior: 'instant'})")
        last = "Array.from(document.querySelectorAll('article.case')).pop()"
        page.value(last + ".scrollIntoView({behavior: 'instant'})")
        page.until(last + ".dataset.state === 'open'")
        page.until("!{0}.dataset.state && {0}.querySelector('canvas').width === 1".format(FIRST))

    @pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
    def test_the_slider_changes_the_slice(self, page, plane):
        slider = "article.case [data-plane={}] input".format(plane)
        before = page.value(PIXELS.format(plane))
        position = int(page.value("document.querySelector('{}').value".format(slider)))
        page.value("document.querySelector('{}').focus()".format(slider))
        page.press("ArrowRight", 39)
        assert int(page.value("document.querySelector('{}').value".format(slider))) == position + 1
        assert page.value(PIXELS.format(plane)) != before
        count = int(page.value("document.querySelector('{}').max".format(slider))) + 1
        output = page.value(
            "document.querySelector('{}').parentNode.querySelector('output').textContent".format(slider)
        )
        assert output == "{} / {}".format(position + 2, count)
        told = page.value("document.querySelector('{}').getAttribute('aria-valuetext')".format(slider))
        assert told == "slice {} of {}".format(position + 2, count)
        page.press("ArrowLeft", 37)
        assert page.value(PIXELS.format(plane)) == before

    def test_contours_are_there_and_can_be_hidden(self, page):
        # Orange is the first structure's mask, white dashes are the truth.
        both = count_of(page, "coronal", ORANGE)
        assert both > 30
        page.click(".controls input[value=mask]")
        assert count_of(page, "coronal", ORANGE) == 0
        white = page.value(PIXELS.format("coronal"))
        page.click(".controls input[value=truth]")
        assert page.value(PIXELS.format("coronal")) != white
        page.click(".controls input[value=mask]")
        assert count_of(page, "coronal", ORANGE) > 30
        page.click(".controls input[value='1']")
        assert count_of(page, "coronal", ORANGE) == 0

    def test_a_click_moves_the_other_planes_there(self, page):
        page.click("article.case [data-plane=axial] canvas", across=0.1, down=0.9)
        values = {
            plane: page.value(
                "document.querySelector('article.case [data-plane={}] input').valueAsNumber".format(plane)
            )
            / page.value("Number(document.querySelector('article.case [data-plane={}] input').max)".format(plane))
            for plane in ("sagittal", "coronal")
        }
        assert values["sagittal"] < 0.2 and values["coronal"] > 0.8
        page.click("article.case [data-plane=coronal] canvas", across=0.5, down=0.05)
        slider = "document.querySelector('article.case [data-plane=axial] input')"
        assert page.value(slider + ".value") == page.value(slider + ".max")

    @pytest.mark.parametrize("width", [1280, 375])
    def test_have_the_true_proportions(self, page, path, width):
        page.open(path, width)
        show_first(page)
        x, y, z = map(float, page.value(FIRST + ".dataset.extent").split())
        boxes = page.value(
            "Array.from({}.querySelectorAll('canvas'), canvas => {{ const box = canvas.getBoundingClientRect();"
            "return [box.width, box.height]; }})".format(FIRST)
        )
        scale = boxes[0][0] / x
        for (width, height), (across, down) in zip(boxes, ((x, y), (x, z), (y, z))):
            assert width == pytest.approx(scale * across, abs=2) and height == pytest.approx(scale * down, abs=2)


class TestPhone:
    @pytest.mark.parametrize("width", [320, 375, 768, 1280])
    def test_nothing_runs_over_the_edge(self, page, path, width):
        page.open(path, width)
        show_first(page)
        assert page.value("document.documentElement.scrollWidth") <= width
        over = page.value(
            "Array.from(document.querySelectorAll('main *')).filter(found => !found.closest('.wide, .unseen, svg') && "
            "found.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"
        )
        assert over == 0

    def test_names_are_whole(self, page, path):
        page.open(path, 375)
        cut = "found => found.scrollWidth > found.clientWidth || found.getBoundingClientRect().width > 150"
        assert page.value("document.querySelectorAll('.case-name').length") == len(NAMES)
        assert page.value("Array.from(document.querySelectorAll('.case-name')).filter({}).length".format(cut)) == 0

    def test_a_window_that_changes_is_filled_anew(self, page):
        widths = "Array.from(document.querySelectorAll('canvas'), canvas => canvas.clientWidth).join()"
        before = page.value(widths)
        page.size(300, 650)
        page.until("{} !== '{}'".format(widths, before))
        show_first(page)
        assert page.value("document.documentElement.scrollWidth") <= 300


class TestColours:
    @pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
    def test_follow_the_system(self, page, path, scheme, dark):
        page.open(path, scheme=scheme)
        colours = page.value("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        back, text = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
        assert (back < text) == dark and abs(back - text) > 400


class TestPredictions:
    def test_without_truth_and_scores(self, page, tmp_path):
        model_dir, cases, _ = evaluated_model(tmp_path, names=["only"])
        os.remove(os.path.join(model_dir, "evaluation.json"))
        write_json({"structures": STRUCTURES, "cases": [{"case": "only"}]}, model_dir, "predictions.json")
        write(model_dir, [cases[0]._replace(label=None)], STRUCTURES, predicted=True)
        page.open(os.path.join(model_dir, "report", "index.html"))
        show_first(page)
        assert count_of(page, "coronal", ORANGE) > 30 and page.complaints == []
