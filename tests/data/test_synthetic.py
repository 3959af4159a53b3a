import numpy as np
import pytest
import torch

from segkit.data import Synthetic
from segkit.data.formats.synthetic.shapes import SHAPES, draw_shape
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(num_images=30, seed=1)


@pytest.fixture(scope="module")
def samples(dataset):
    return [dataset.load(i) for i in range(len(dataset))]


def test_is_a_function_of_seed_and_index(dataset, samples):
    again = Synthetic(num_images=5, seed=1).load(3)
    assert torch.equal(again.image, samples[3].image) and torch.equal(again.targets.boxes, samples[3].targets.boxes)
    other = Synthetic(num_images=5, seed=2).load(3)
    assert not torch.equal(other.image, samples[3].image)
    assert not torch.equal(samples[0].image, samples[1].image)


def test_counts_sizes_and_classes(dataset, samples):
    counts = [len(s.targets) for s in samples]
    assert min(counts) >= 10 and max(counts) <= 40 and max(counts) - min(counts) > 15
    labels = torch.cat([s.targets.labels for s in samples])
    assert (labels.bincount(minlength=4) / len(labels) > 0.18).all()
    boxes = torch.cat([s.targets.boxes for s in samples])
    longer = (boxes[:, 2:] - boxes[:, :2]).amax(1)
    assert longer.max() <= 61 and (longer >= 11).float().mean() > 0.9 and longer.median() > 20
    for i in (0, 7):
        found = samples[i].targets.labels.bincount(minlength=4).tolist()
        assert dataset.label_counts(i) == {label: count for label, count in enumerate(found) if count}


def test_a_fifth_of_the_objects_touch(samples):
    touching = total = 0
    for sample in samples[:10]:
        dense = sample.targets.masks.to_dense()
        grown = torch.nn.functional.max_pool2d(dense.float(), 3, 1, 1) > 0
        others = dense.sum(0)[None] - dense.int()
        touches = (grown & (others > 0)).flatten(1).any(1)
        assert touches.float().mean() >= 0.2, sample.file_name
        touching, total = touching + int(touches.sum()), total + len(touches)
    assert touching / total > 0.3


def test_masks_are_what_is_visible_and_boxes_are_poor_masks(samples):
    for sample in samples:
        assert sample.targets.masks.to_dense().sum(0).max() == 1
        areas = sample.targets.masks.areas()
        boxes = sample.targets.boxes
        fill = areas / (boxes[:, 2:] - boxes[:, :2]).prod(1)
        assert areas.min() > 0 and (fill > 0.75).float().mean() < 0.03
    assert 0.4 < fill.mean() < 0.6


def test_objects_differ_from_the_background(samples):
    for sample in samples:
        grey = sample.image.float().mean(0)
        dense = sample.targets.masks.to_dense()
        outside = grey[~dense.any(0)].mean()
        for mask in dense:
            assert abs(grey[mask].mean() - outside) > 15


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_the_requested_size(name):
    rng = np.random.default_rng(0)
    for _ in range(60):
        size = rng.uniform(8, 60)
        center = tuple(rng.uniform(-20, 120, 2))
        drawn = draw_shape(name, size, rng.uniform(0, 7), rng.uniform(0.7, 1.4), center, (90, 100))
        rows, columns = np.where(drawn.mask)
        # The outermost parts of a ring or a corner may not cover a pixel's centre.
        assert size - 4.5 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= size + 1
        assert drawn.x >= 0 and drawn.y >= 0
        assert drawn.x + drawn.mask.shape[1] <= 100 and drawn.y + drawn.mask.shape[0] <= 90


def test_no_objects_and_objects_as_large_as_the_image():
    sample = Synthetic(num_images=1, min_objects=0, max_objects=0).load(0)
    assert len(sample.targets) == 0 and sample.image.shape == (3, 256, 256)
    crowded = Synthetic(num_images=1, image_size=(64, 48), min_objects=40, max_objects=40, max_size=48).load(0)
    assert 0 < len(crowded.targets) <= 40 and crowded.image.shape == (3, 64, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_objects": 5, "max_objects": 4}, "min_objects <= max_objects; got 5 and 4"),
        ({"max_size": 300}, "the image's shorter side, 256"),
        ({"classes": ["a"]}, "expected 4 names"),
        ({"seed": -1}, "must be 0 or more"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(SegkitError, match=message):
        Synthetic(**arguments)


def test_large_seeds_have_images_of_their_own():
    other = Synthetic(num_images=2, seed=2**32).load(0).image
    assert not torch.equal(other, Synthetic(num_images=2, seed=0).load(1).image)
