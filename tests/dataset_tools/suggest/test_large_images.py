"""Large images are suggested as tiles; photographs that are reduced are not."""

from __future__ import annotations

from rectangles import Rectangles, scattered

from segkit.dataset_tools.suggest import large_images
from segkit.dataset_tools.suggest.config import suggest


def test_large_images_are_cut_into_tiles(monkeypatch):
    monkeypatch.setattr(large_images, "MOST_PIXELS", 100_000)
    monkeypatch.setattr(large_images, "LEAST_TILE", 256)
    large = Rectangles(scattered(3, objects=200, side=30, size=600), (600, 600))
    found = suggest(large, memory=16)
    spec = found.config.data.train
    assert (spec["format"], spec["size"], spec["overlap"]) == ("tiles", 256, 32) and spec["of"]["format"] == "catalog"
    assert found.stats.images == 27 and found.config.model["roi_heads"]["detections_per_image"] == 100
    assert found.config.data.val is None  # the images are no files, so that their tiles cannot be kept together
    assert "600 x 600 pixels are cut into tiles of 256" in found.config.comments["data.train"]
    small = suggest(Rectangles(scattered(9)), memory=16).config.data.train
    assert small["format"] == "catalog"
    photographs = Rectangles([[(0, 0, 900, 900, 0)]] * 9, (1000, 1000))  # reduced as a whole
    assert suggest(photographs, memory=16).config.data.train["format"] == "catalog"
