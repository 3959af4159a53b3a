"""The page in a real browser, if there is one: no console errors, readable themes and widths, a readout under the pointer."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile

import numpy as np
import pytest
from PIL import Image

from segkit.engine.finished_run import open_finished_run
from segkit.report import ReportOptions, write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Uses the page as a reader does, and notes what happened on the body.
READER = """<script>
const seen = document.body.dataset, pick = (s) => document.querySelector(s);
const svg = pick("#curves svg.lines[data-x]"), frame = svg.getBoundingClientRect();
svg.dispatchEvent(new PointerEvent("pointermove", {clientX: frame.left + frame.width / 2, clientY: frame.top + 50}));
seen.hover = pick("#curves .readout").textContent;
svg.dispatchEvent(new PointerEvent("pointerleave"));
seen.left = String(pick("#curves .readout").hidden);
svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
seen.key = pick("#curves .readout").textContent;
const before = getComputedStyle(document.body).backgroundColor;
pick("#theme").click();
seen.themes = before + " " + getComputedStyle(document.body).backgroundColor;
const raw = pick("svg .raw");
pick("button.chip[data-hides=raw]").click();
seen.raw = getComputedStyle(raw).display;
seen.width = document.documentElement.scrollWidth + " " + innerWidth;
const head = pick("table.sortable th:nth-child(2) button");
head.click();
seen.sorted = [...head.closest("table").tBodies[0].rows].map((row) => row.cells[1].dataset.value).join(" ");
</script></body>"""


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    return found


@pytest.fixture(scope="module")
def page(run_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "page.html"
    return write_report([open_finished_run(run_dir)], path, ReportOptions(images=2, resamples=20))


def opened(browser, page, *options) -> tuple[str, str]:
    """The page's DOM after its scripts, and the browser's log."""
    general = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tempfile.mkdtemp(dir=page.parent)}"]
    words = [browser, *general, "--enable-logging=stderr", *options, page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return done.stdout, done.stderr


def test_the_page_opens_without_errors(browser, page):
    dom, log = opened(browser, page, "--dump-dom")
    assert re.search(r"<body[^>]* data-ready", dom), log[-2000:]
    assert "CONSOLE" not in log, log[-2000:]


def test_readouts_theme_and_sorting_work(browser, page):
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy = page.with_name("used.html")
    copy.write_text(text.replace("</body>", READER))
    dom, log = opened(browser, copy, "--window-size=600,900", "--dump-dom")
    body = re.search(r"<body[^>]*>", dom)[0]
    seen = dict(re.findall(r'data-(\w+)="([^"]*)"', body))
    assert re.match(r"iteration \d+training[\d.]+", seen.get("hover", "")), (body, log[-2000:])
    assert seen["left"] == "true" and seen["key"].startswith("iteration 1training")
    first, second = re.findall(r"rgb\([^)]*\)", seen["themes"])
    assert first != second and seen["raw"] == "none"
    wide, inner = map(int, seen["width"].split())
    assert wide <= inner, "the page is wider than its window"
    values = [float(value) for value in seen["sorted"].split()]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(("width", "scheme"), [(500, 1), (1600, 0)])  # light and narrow, dark and wide
def test_pictures_of_the_page(browser, page, width, scheme):
    picture = page.with_name(f"{width}.png")
    options = [f"--window-size={width},1200", f"--blink-settings=preferredColorScheme={scheme}"]
    _, log = opened(browser, page, f"--screenshot={picture}", *options)
    pixels = np.asarray(Image.open(picture).convert("L")).astype(float)
    assert pixels.shape[1] == width and pixels.std() > 15, log[-2000:]  # not blank
    assert (np.median(pixels) > 200) == (scheme == 1)
