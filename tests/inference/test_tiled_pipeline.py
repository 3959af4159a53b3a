"""TiledPipeline: windows, batches of tiles, merging, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segkit.data.transforms import Compose, InvertibleCompose
from segkit.inference.image_pipeline import InferencePipeline
from segkit.inference.tiles import TiledPipeline
from segkit.postprocess.base import build_postprocess
from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, UnreadableImage
from segkit.utils.images.lazy_image import LazyImage


class Components:
    """A model that detects the connected pixels above 0."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, images, output_sizes):
        self.batches.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, image: torch.Tensor) -> Detections:
        masks = connected_components(np.ascontiguousarray(image[0].numpy() > 0))[1]
        return Detections.from_masks(masks, torch.full((len(masks),), 0.5), torch.zeros(len(masks), dtype=torch.long))


class Reader:
    """Reads windows of an array, and breaks off at a column."""

    def __init__(self, image: torch.Tensor, readable: int = 10**6) -> None:
        self.image, self.readable, self.windows = image, readable, []

    def read(self, path):
        raise AssertionError("the whole image is read")

    def read_window(self, path, window):
        x0, y0, x1, y1 = window
        if x1 > self.readable:
            raise SegkitError("the file ends too early")
        self.windows.append(window)
        return self.image[:, y0:y1, x0:x1]


def image() -> torch.Tensor:
    pixels = torch.zeros(1, 20, 40, dtype=torch.uint8)
    pixels[0, 3:6, 2:37] = 1
    pixels[0, 10:13, 14:18] = 1
    return pixels


def pipeline(model: Components, **arguments) -> TiledPipeline:
    plain = InferencePipeline(model, InvertibleCompose(Compose([])), build_postprocess(()))
    return TiledPipeline(plain, **arguments)


def sample(reader: Reader) -> Sample:
    return Sample(LazyImage(reader, "slide.tif", (20, 40), 1), Targets.empty((20, 40)), 1, "slide.tif", (20, 40), None)


def test_windows_of_a_lazy_image_go_through_the_model_in_batches() -> None:
    model, reader = Components(), Reader(image())
    found = pipeline(model, tile=16, overlap=4, batch_size=4).predict([sample(reader)])[0]
    assert found.masks is not None and torch.equal(found.masks.to_dense().sum(0), image()[0].long())
    assert found.boxes.tolist() == [[2, 3, 37, 6], [14, 10, 18, 13]]
    assert model.batches == [4, 2] and len(reader.windows) == 6


def test_an_evaluation_gets_the_same() -> None:
    one = pipeline(Components(), tile=16, overlap=4)
    batch = Batch([sample(Reader(image()))]).to("cpu")
    assert one.replaces_model and one.predict_batch(batch)[0].boxes.tolist() == [[2, 3, 37, 6], [14, 10, 18, 13]]


def test_a_window_that_cannot_be_read_is_named() -> None:
    with pytest.raises(UnreadableImage, match=r"slide\.tif.*24,0,40,16.*ends too early"):
        pipeline(Components(), tile=16, overlap=4).predict([sample(Reader(image(), readable=30))])


@pytest.mark.parametrize(("tile", "overlap"), [(0, 1), (8, 8), (8, 0), (1, "auto")])
def test_impossible_tiles(tile: int, overlap) -> None:
    with pytest.raises(SegkitError, match=r"predict\.(tile|overlap)"):
        pipeline(Components(), tile=tile, overlap=overlap)
