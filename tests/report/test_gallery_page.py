"""The gallery in a headless Chromium: it counts as Python does, and answers the slider, buttons, keys and the pointer."""

from __future__ import annotations

import numpy as np
import pytest

from segkit.diagnosis.findings import Example
from segkit.evaluation.greedy_matching import match_detections
from segkit.report.gallery import GALLERY_CSS, GALLERY_JS, GalleryGroup, gallery
from tests.report.browser import Browser, find_browser
from tests.report.gallery_runs import EVIL, Cells, make_cells_run

PAGE = "<!doctype html><html lang='en'><meta charset='utf-8'><style>{css}</style><body>{body}<script>{js}</script>"
BOX = "document.querySelector('.g-box')"


@pytest.fixture(scope="module")
def run():
    return make_cells_run(Cells(12))


@pytest.fixture(scope="module")
def other(run):
    return make_cells_run(run.dataset, seed=5, name="other")


@pytest.fixture(scope="module")
def browser(run, other, tmp_path_factory):
    find_browser()
    file = tmp_path_factory.mktemp("page") / "gallery.html"
    groups = [
        GalleryGroup("Worst", "", list(range(10, 22))),
        GalleryGroup("Missed <b>", EVIL, [Example(10, 5, None), Example(11, 6, 0)]),
    ]
    body = gallery([run, other], groups, score_threshold=0.5)
    file.write_text(PAGE.format(css=GALLERY_CSS, body=body, js=GALLERY_JS), encoding="utf-8")
    with Browser() as opened:
        opened.open(file)
        yield opened
        assert opened.errors == []


def expected(run, image_ids, threshold: float) -> dict[str, int]:
    """Counts of the detections from a score, by Python."""
    counts = {"tp": 0, "fp": 0, "fn": 0}
    for image in run.overlaps().images:
        if image.image_id in image_ids:
            matches, shown = match_detections(image, [0.5]), image.scores >= threshold
            true = int((matches.true_positives[0] & shown).sum())
            counts["tp"] += true
            counts["fp"] += int((matches.false_positives[0] & shown).sum())
            counts["fn"] += len(image.object_ids) - true
    return counts


def texts(counts: dict[str, int]) -> str:
    return f"{counts['tp']} found, {counts['fn']} missed, {counts['fp']} false"


def caption(browser, number: int) -> str:
    return browser.js(f"document.querySelector('[data-item=\"{number}\"] .g-counts').textContent")


def test_counts_are_those_of_python_at_each_threshold(browser, run, other):
    total = "document.querySelector('[data-total]').textContent"
    first = browser.js(total)
    for threshold in (0.0, 0.29, 0.3, 0.57, 0.58, 0.9, 1.0, 0.5):
        slide(browser, threshold)
        sums = "; ".join(f"{one.name}: {texts(expected(one, range(10, 22), threshold))}" for one in (run, other))
        assert browser.js(total) == f"12 images: {sums}"
        assert caption(browser, 0).startswith(f"{run.name}: {texts(expected(run, [10], threshold))}")
    assert browser.js(total) == first
    number = "document.querySelector('[data-threshold-number]')"
    score = float(run.overlaps().images[3].scores[0])  # a threshold that is a score includes its detection
    browser.js(f"{number}.value = '{score}'; {number}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    assert texts(expected(run, range(10, 22), score)) in browser.js(total)
    slide(browser, 0.5)


def slide(browser, threshold: float) -> None:
    slider = "document.querySelector('[data-threshold]')"
    browser.js(f"{slider}.value = '{threshold}'; {slider}.dispatchEvent(new Event('input', {{bubbles: true}}))")


def error_kinds(run, image_id: int, threshold: float) -> dict[str, int]:
    """How many errors of each kind an image has, from the matrix of all IoUs."""
    (image,) = (one for one in run.overlaps().images if one.image_id == image_id)
    matches, shown = match_detections(image, [0.5]), image.scores >= threshold
    near = np.zeros((len(image.object_ids), len(image.scores)), bool)
    near[image.overlaps.objects, image.overlaps.detections] = image.overlaps.ious >= 0.5
    same = image.object_labels[:, None] == image.labels[None]
    false = matches.false_positives[0] & shown
    duplicate = false & (near & same).any(0)
    wrong = false & ~duplicate & near.any(0)
    missed = len(image.object_ids) - int((matches.true_positives[0] & shown).sum())
    counts = {
        "missed": missed,
        "false positive": int((false & ~duplicate & ~wrong).sum()),
        "duplicate": int(duplicate.sum()),
        "wrong class": int(wrong.sum()),
    }
    return {name: count for name, count in counts.items() if count}


def test_kinds_of_errors(browser, run, other):
    seen: set[str] = set()
    slide(browser, 0.12)
    for number, image_id in ((0, 10), (4, 12), (5, 13), (6, 14)):
        browser.js(f"document.querySelector('[data-item=\"{number}\"] .g-open').click()")
        found = browser.js(
            f"[...{BOX}.querySelectorAll('.g-errors')].map((list) => [...list.querySelectorAll('h5')].map((title) =>"
            " [title.childNodes[1].data.trim(), Number(title.querySelector('small').textContent)]))"
        )
        assert [dict(one) for one in found] == [error_kinds(one, image_id, 0.12) for one in (run, other)]
        seen.update(name for one in found for name, _ in one)
        browser.js(f"{BOX}.close()")
        browser.wait("document.querySelector('.gallery > .g-dock')")
    slide(browser, 0.5)
    assert seen == {"missed", "false positive", "duplicate", "wrong class"}


def test_names_are_text(browser):
    assert browser.js("document.querySelector('[data-class]').options[1].label") == EVIL
    assert browser.js("document.querySelectorAll('.gallery h3 b, .gallery figcaption b b, .g-panel i i').length") == 0
    assert browser.js("document.querySelectorAll('.g-group h3')[1].firstChild.data").strip() == "Missed <b>"


def test_filters(browser):
    search, classes = "document.querySelector('[data-search]')", "document.querySelector('[data-class]')"
    send = ".dispatchEvent(new Event('input', {bubbles: true}))"
    shown = "[...document.querySelectorAll('figure:not([hidden])')].map((one) => one.dataset.item).join()"
    browser.js(f"{search}.value = 'IMAGE1</'; {search}{send}")
    assert browser.js(shown) == "2,3"  # the image and its crop, in the order of the groups
    browser.js(f"{search}.value = 'nothing'; {search}{send}")
    assert browser.js(shown) == "" and browser.js("!document.querySelector('[data-none]').hidden")
    browser.js(f"{search}.value = ''; {search}{send}; {classes}.value = '1'; {classes}{send}")
    one = browser.js("document.querySelector('[data-total]').textContent")
    browser.js(f"{classes}.value = '-1'; {classes}{send}")
    assert browser.js("document.querySelector('[data-total]').textContent") != one


def pixels(browser) -> str:
    """The pixels of the enlarged picture of the first run, after it was drawn."""
    browser.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return browser.js(f"(() => {{ const c = {BOX}.querySelectorAll('canvas')[1]; return c.toDataURL() }})()")


def test_keys_and_buttons_of_the_enlarged_picture(browser):
    browser.js("document.querySelector('[data-item=\"2\"] .g-open').click()")
    browser.wait(f"{BOX}.open && {BOX}.dataset.zoom")
    assert browser.js(f"{BOX}.querySelectorAll('canvas').length") == 3
    browser.wait(f"{BOX}.querySelector('[data-place]').textContent.startsWith('2 of')")
    before = pixels(browser)
    for key, name in (
        ("m", "fill"),
        ("o", "outline"),
        ("b", "boxes"),
        ("s", "scores"),
        ("e", "errors"),
        ("c", "byClass"),
    ):
        pressed = f"document.querySelector('[data-toggle={name}]').getAttribute('aria-pressed')"
        was = browser.js(pressed)
        browser.key(key)
        assert browser.js(pressed) != was, key
        changed = pixels(browser)
        assert changed != before or name == "scores", key
        browser.key(key)
        assert browser.js(pressed) == was
    assert pixels(browser) == before
    zoom = f"Number({BOX}.dataset.zoom)"
    browser.key("+")
    browser.wait(f"Math.abs({zoom} - 1.4) < 0.01")
    browser.key("0")
    browser.wait(f"{zoom} === 1")
    browser.key("ArrowRight")
    browser.wait(f"{BOX}.querySelector('[data-place]').textContent.startsWith('3 of')")
    browser.key("ArrowLeft")
    browser.wait(f"{BOX}.querySelector('[data-place]').textContent.startsWith('2 of')")
    threshold = "document.querySelector('[data-threshold-number]').value"
    browser.key("]")
    assert browser.js(threshold) == "0.55"
    browser.key("[")
    assert browser.js(threshold) == "0.5"
    browser.key("?")
    assert browser.js("document.querySelector('.g-keys').open")
    browser.key("?")
    assert not browser.js("document.querySelector('.g-keys').open")
    browser.key("v")
    assert browser.js(f"[...{BOX}.querySelectorAll('canvas')].filter((one) => one.clientWidth).length") == 1
    for _ in range(3):
        browser.key("v")
    assert browser.js(f"[...{BOX}.querySelectorAll('canvas')].filter((one) => one.clientWidth).length") == 3


def test_wheel_drag_click_and_errors(browser):
    if not browser.js(f"{BOX}.open"):
        browser.js("document.querySelector('[data-item=\"2\"] .g-open').click()")
    place = browser.js(f"(() => {{ const r = {BOX}.querySelector('canvas').getBoundingClientRect();"
                       " return [r.left + r.width / 2, r.top + r.height / 2] })()")  # fmt: skip
    zoom = f"Number({BOX}.dataset.zoom)"
    browser.mouse("mouseWheel", *place, deltaX=0, deltaY=-500)
    browser.wait(f"{zoom} > 1.5")
    before = pixels(browser)
    browser.mouse("mousePressed", *place, button="left", clickCount=1)
    browser.mouse("mouseMoved", place[0] + 60, place[1] + 20, button="left", buttons=1)
    browser.mouse("mouseReleased", place[0] + 60, place[1] + 20, button="left", clickCount=1)
    assert pixels(browser) != before
    browser.key("0")
    browser.mouse("mousePressed", *place, button="left", clickCount=1)
    browser.mouse("mouseReleased", *place, button="left", clickCount=1)
    browser.wait(f"/^(Object|Region) \\d+/.test({BOX}.querySelector('.g-status').textContent)")
    errors = browser.js(f"{BOX}.querySelectorAll('.g-errors button').length")
    assert errors > 0
    browser.js(f"{BOX}.querySelector('.g-errors button').click()")
    browser.wait(f"{zoom} > 1")
    browser.js(f"{BOX}.querySelector('[data-act=close]').click()")
    browser.wait(f"!{BOX}.open && document.querySelector('.gallery > .g-dock')")
    assert browser.js("document.activeElement.closest('figure').dataset.item") == "2"


def test_pictures_are_drawn_when_they_are_seen(browser):
    browser.js("document.querySelector('[data-item=\"11\"]').scrollIntoView()")
    browser.wait("document.querySelector('[data-item=\"11\"]').dataset.drawn !== undefined")
    ink = browser.js(
        "(() => { const c = document.querySelector('[data-item=\"11\"] canvas'), e = document.createElement('canvas');"
        " Object.assign(e, { width: c.width, height: c.height }); return c.toDataURL() !== e.toDataURL() })()"
    )
    assert ink
    assert browser.js("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [390, 1600])
def test_no_page_is_wider_than_the_window(browser, width):
    browser.resize(width, 844)
    assert browser.js("document.documentElement.scrollWidth") <= width
    browser.js("document.querySelector('[data-item=\"0\"] .g-open').click()")
    browser.wait(f"{BOX}.open")
    assert browser.js(f"{BOX}.scrollWidth") <= width
    browser.js(f"{BOX}.close()")
    browser.resize(1280, 900)


def test_printed_pages_have_pictures(browser):
    pdf = browser.pdf()
    assert pdf.count(b"/Subtype /Image") >= 8  # 3 panels of at least 3 pictures, some shared
    assert np.frombuffer(pdf[:4], np.uint8).tobytes() == b"%PDF"
