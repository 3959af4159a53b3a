"""Text in pictures: any class name can be drawn, and different names look different."""

import numpy as np
import pytest

from segkit.structures.targets import Targets
from segkit.visualization import text
from segkit.visualization.draw import draw_detections
from segkit.visualization.text import add_legend, cut, place_labels, readable

NAMES = [
    "cell\n",
    "a\nb\nc",
    "\t",
    "\x00",
    "a\ud800b",
    "Zellkörper",
    "ядро",
    "细胞",
    "خلية",
    "😀",
    "e\u0301",
    "$\\frac{",
    "",
    "x" * 5000,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_drawn(name):
    picture = np.zeros((60, 200, 3), np.uint8)
    colors = np.full((1, 3), 200, np.uint8)
    drawn = place_labels(picture, np.array([[20.0, 30, 60, 50]]), [f"{name} 0.93"], colors)
    assert drawn.shape == picture.shape and drawn.any()
    assert add_legend(picture, [(name, 3, (255, 0, 0))], 3).shape[1] == 200
    assert draw_detections(picture, Targets.empty((60, 200)), [name]).shape[1] == 800


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cell\n", r"cell\n"),
        ("a\x1bb", r"a\x1bb"),
        ("细胞", r"\u7ec6\u80de"),
        ("a\ud800", r"a\ud800"),
        ("e\u0301", "\u00e9"),
        ("Zellkörper", "Zellkörper"),
        ("ядро", "ядро"),
        ("plain", "plain"),
    ],
)
def test_what_is_shown(name, shown):
    assert readable(name)[0] == shown


def test_names_without_glyphs_stay_different():
    picture = np.zeros((10, 200, 3), np.uint8)
    legends = [add_legend(picture, [(name, 1, None)], 1) for name in ("细胞", "細胞", "\n", "\t")]
    assert len({legend.tobytes() for legend in legends}) == 4


def test_without_matplotlibs_fonts(monkeypatch):
    monkeypatch.setattr(text.importlib.util, "find_spec", lambda _: None)
    text.fonts.cache_clear()
    try:
        assert readable("ядро")[0] == r"\u044f\u0434\u0440\u043e"
    finally:
        text.fonts.cache_clear()


def test_long_names_leave_room_for_the_count():
    assert cut("x" * 5000).endswith("x…") and len(cut("x" * 5000)) == 50 and cut("short") == "short"
