"""Predictor and predict_files on large files: lazily, in tiles, and broken off in the middle."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

import segkit
from segkit.inference import TiledPredictor
from segkit.inference.predict_files import predict_files
from segkit.inference.predictor import Predictor
from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError, UnreadableImage
from segkit.utils.images import image_file, image_reader


class Spots(nn.Module):
    """Finds the connected pixels above 0."""

    num_classes = 1

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[tuple[int, ...]]] = []

    def predict(self, images, output_sizes=None):
        self.batches.append([tuple(image.shape[1:]) for image in images])
        found = [connected_components(np.ascontiguousarray(image[0].numpy() > 0))[1] for image in images]
        return [
            Detections.from_masks(one, torch.full((len(one),), 0.9), torch.zeros(len(one), dtype=torch.long))
            for one in found
        ]


class Names:
    """A writer that keeps the names and boxes of images."""

    def __init__(self) -> None:
        self.added: dict[str, list[list[float]]] = {}

    def files_of(self, stem):
        return []

    def add(self, image):
        self.added[image.name] = image.detections.boxes.tolist()

    def close(self):
        return []


@pytest.fixture(autouse=True)
def every_tiled_file_is_large(monkeypatch):
    monkeypatch.setattr(image_file, "LAZY_PIXELS", 64 * 64)


@pytest.fixture(scope="module")
def cfg():
    settings = ["data.test_transforms=[]", "predict.tile=64", "predict.overlap=16", "predict.score_threshold=0"]
    return segkit.load_config("segkit://quickstart.yaml", settings)


@pytest.fixture
def slide(tmp_path):
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[10:20, 5:150] = pixels[100:104, 70:75] = 200
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(32, 32))
    return tmp_path / "slide.tif"


BOXES = [[5, 10, 150, 20], [70, 100, 75, 104]]


def test_a_predictor_with_tiles_reads_no_large_file_whole(cfg, slide, monkeypatch) -> None:
    monkeypatch.setattr(image_reader.ImageReader, "read", lambda self, path: pytest.fail("the whole image is read"))
    model = Spots()
    predictor = Predictor(cfg, model=model, batch_size=4)
    assert predictor(slide).boxes.tolist() == BOXES
    assert [len(batch) for batch in model.batches] == [4, 4, 1]
    tiled = TiledPredictor(cfg.with_overrides(["predict.tile=null"]), model=Spots(), tile=64, overlap=16)
    assert tiled(slide).boxes.tolist() == BOXES and tiled(str(slide)).size == (160, 160)


def test_a_slide_that_breaks_off_is_named_or_skipped(cfg, slide, tmp_path) -> None:
    content = slide.read_bytes()
    broken = tmp_path / "broken.tif"
    broken.write_bytes(content[: len(content) * 2 // 3])  # its directory is at the front
    predictor = Predictor(cfg, model=Spots())
    with pytest.raises(UnreadableImage, match=r"broken\.tif.*cut off.*tile \d+,\d+,\d+,\d+"):
        predictor(broken)
    inputs = {"a.tif": slide, "broken.tif": broken, "b.tif": slide}
    writer = Names()
    with pytest.raises(SegkitError, match=r"broken\.tif.*cut off.*1 image"):
        predict_files(predictor, inputs, [writer])
    assert writer.added == {"a.tif": BOXES}
    for batch_size in (1, 3):
        writer = Names()
        summary = predict_files(predictor, inputs, [writer], skip_unreadable=True, batch_size=batch_size)
        assert writer.added == {"a.tif": BOXES, "b.tif": BOXES}
        assert summary.skipped == [broken] and summary.inputs == 3
