"""Output sizes of samples, and errors for images that cannot be mapped back to the file."""

from __future__ import annotations

import pickle

import pytest
import torch
from geometry_scenes import FILE, numbered_file, some_detections

from segkit.data.transforms import geometry
from segkit.structures import Batch, Detections, ImageGeometry, Sample, Targets
from segkit.utils.errors import SegkitError


def test_output_size_is_the_files_or_the_images():
    whole = geometry.resize(numbered_file(), (60, 80))
    turned = geometry.rot90(whole, 1)
    batch = Batch([whole, turned, numbered_file()])
    assert batch.output_sizes == [FILE, (80, 60), FILE]
    by_hand = Sample(torch.zeros(3, 9, 8, dtype=torch.uint8), Targets.empty((9, 8)), 1, "a.png", FILE)
    assert by_hand.geometry is None and by_hand.output_size == FILE  # resized elsewhere: as the sizes say
    assert pickle.loads(pickle.dumps(batch)).samples[1].geometry == turned.geometry
    turned.image = turned.image[:, 1:]
    with pytest.raises(
        SegkitError, match=r"a.png: the image is 79 x 60 pixels large, but its geometry was recorded for 80"
    ):
        _ = batch.output_sizes


def test_no_inverse():
    sample = numbered_file()
    shear = torch.tensor([[1.0, 0.2, 0], [0, 1, 0]], dtype=torch.float64)
    moved = geometry.hflip(geometry.affine(sample, shear, FILE))
    with pytest.raises(SegkitError, match="an affine map has no exact inverse for boxes and masks"):
        moved.map_to_file(some_detections(FILE, 0))
    turned = geometry.rot90(sample, 1)
    with pytest.raises(SegkitError, match=r"their size is \(9, 9\), but .* is \(53, 37\)"):
        some_detections((9, 9), 0).mapped_to_file(turned.geometry)
    for asked, text in ((turned, "53 x 37"), (sample, "37 x 53"), (geometry.resize(sample, (9, 9)), "37 x 53")):
        with pytest.raises(SegkitError, match=f"a.png: .*detections for 9 x 9 pixels, .* {text}; map"):
            asked.map_to_file(some_detections((9, 9), 0))

    class Own(Detections):
        def to_rle(self):
            return []

    own = Own(torch.zeros(1, 4), torch.ones(1), torch.zeros(1), torch.ones(1, 2, 2), FILE)
    assert sample.map_to_file(own) is own
    with pytest.raises(SegkitError, match=r"a.png: the model returned Own with .*own masks"):
        geometry.hflip(sample).map_to_file(own)


def test_geometry_of_a_file():
    assert ImageGeometry.of_file((4, 5)).window == (0, 0, 5, 4)
