"""TiledPipeline: windows, batches of tiles, merging, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from segkit.data.transforms import Compose, InvertibleCompose
from segkit.inference.image_pipeline import InferencePipeline
from segkit.inference.tiles import TiledPipeline
from segkit.inference.tiles.overlap import resolved_overlap
from segkit.postprocess.base import build_postprocess
from segkit.structures.components import connected_components
from segkit.structures.detections import Detections
from segkit.structures.object_sides import ObjectSides
from segkit.structures.sample import Batch, Sample
from segkit.structures.targets import Targets
from segkit.structures.tiling import tile_windows
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


class Whole(Reader):
    """Reads the image whole."""

    def read(self, path):
        return self.image


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


def opened(pixels: torch.Tensor) -> Sample:
    size = (pixels.shape[1], pixels.shape[2])
    return Sample(pixels, Targets.empty(size), 1, "a.tif", size, None)


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
    with pytest.raises(UnreadableImage, match=r"slide\.tif: .*ends too early.*24,0,40,16"):
        pipeline(Components(), tile=16, overlap=4).predict([sample(Reader(image(), readable=30))])


@pytest.mark.parametrize(("tile", "overlap"), [(0, 1), (8, 8), (8, 9), (8, 0), (1, "auto")])
def test_impossible_tiles(tile: int, overlap) -> None:
    with pytest.raises(SegkitError, match=r"predict\.(tile|overlap)"):
        pipeline(Components(), tile=tile, overlap=overlap)


@pytest.mark.parametrize("size", [(1, 1), (20, 40), (40, 1)])
@pytest.mark.parametrize("value", [0, 1])
def test_images_without_objects_and_tiny_ones(size: tuple[int, int], value: int) -> None:
    pixels = torch.full((1, *size), value, dtype=torch.uint8)
    found = pipeline(Components(), tile=16, overlap=4).predict([opened(pixels)])[0]
    assert found.size == size and found.masks is not None
    assert (
        found.boxes.tolist() == [[0, 0, size[1], size[0]]] * value
        and found.masks.areas().tolist() == [size[0] * size[1]] * value
    )


def test_a_tile_larger_than_the_image_changes_nothing() -> None:
    model = Components()
    found = pipeline(model, tile=64, overlap=4).predict([sample(Whole(image())), opened(image())])
    assert (
        model.batches == [2]
        and [one.boxes.tolist() for one in found]
        == [
            [[2, 3, 37, 6], [14, 10, 18, 13]],
        ]
        * 2
    )


def test_tiles_that_reach_the_limit_of_detections_are_counted(caplog) -> None:
    pipeline(Components(), tile=16, overlap=4, detections_per_tile=2).predict([sample(Reader(image()))])
    message = next(record.getMessage() for record in caplog.records if "detections_per_image" in record.getMessage())
    assert "slide.tif: 4 of 6 tiles" in message and "which is 2" in message
    caplog.clear()
    pipeline(Components(), tile=16, overlap=4, detections_per_tile=3).predict([sample(Reader(image()))])
    assert not caplog.records


class Flipped(InferencePipeline):
    """Predicts the mirrored image, as test-time augmentation does."""

    @property
    def replaces_model(self) -> bool:
        return True

    def predict_batch(self, batch: Batch) -> list[Detections]:
        flipped = [replace(one, image=one.image.flip(2)) for one in batch.samples]
        found = self.model.predict([one.image for one in flipped], batch.sizes)
        return [Detections.from_masks(one.masks.hflip(), one.scores, one.labels) for one in found]


def test_tiles_pass_the_pipeline_of_an_image() -> None:
    model = Components()
    inner = Flipped(model, InvertibleCompose(Compose([])), build_postprocess(()))
    found = TiledPipeline(inner, tile=16, overlap=4, batch_size=3).predict([sample(Reader(image()))])[0]
    assert found.boxes.tolist() == [[2, 3, 37, 6], [14, 10, 18, 13]] and model.batches == [3, 3]


@pytest.mark.parametrize(
    ("tile", "sides", "pixels", "reason"),
    [
        (100, ObjectSides(30.2, 0.99, 500), 32, "up to 30.2 pixels"),
        (100, ObjectSides(80, 0.99, 500), 50, "half of the tile"),
        (100, None, 25, "a quarter of the tile"),
        (2, None, 1, "a quarter of the tile"),
    ],
)
def test_the_overlap_auto(caplog, tile: int, sides: ObjectSides | None, pixels: int, reason: str) -> None:
    caplog.set_level("INFO")
    assert pipeline(Components(), tile=tile, overlap="auto", object_sides=sides).overlap == pixels
    assert [reason in record.getMessage() for record in caplog.records] == [True]


def test_with_the_overlap_auto_some_tile_sees_an_object_of_that_side_whole() -> None:
    overlap = resolved_overlap(16, "auto", ObjectSides(5, 0.99, 1))
    windows = tile_windows((1, 60), (16, 16), overlap)
    starts, ends = windows[:, 0].clone(), windows[:, 2].clone()
    starts[1:] += 1  # an object at an inner edge is cut
    ends[:-1] -= 1
    assert all(((starts <= x) & (x + 5 <= ends)).any() for x in range(60 - 5))
    assert not all(((starts <= x) & (x + 6 <= ends)).any() for x in range(60 - 6))
