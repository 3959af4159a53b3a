"""Mixing transforms, and large-scale jitter, which usually precedes them."""

import itertools

import pytest
import torch

from segkit.data import SequentialSampler, Synthetic, build_test_loader, build_train_loader, build_transforms
from segkit.data.formats import SubsetDataset
from segkit.data.transforms import Compose, CopyPaste, LargeScaleJitter, Mosaic, geometry
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def plain(value, size, boxes=(), crowd=None):
    """An image of one colour, with objects that fill their boxes, all of label ``value``."""
    dense = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(dense, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    masks = InstanceMasks.from_dense(dense)
    crowd = None if crowd is None else torch.tensor(crowd)
    targets = Targets(masks.boxes(), torch.full((len(boxes),), value), masks, crowd)
    return Sample(torch.full((3, *size), value, dtype=torch.uint8), targets, value, f"{value}.png", size)


def others(*samples):
    endless = itertools.cycle(samples)
    return lambda: next(endless)


def test_mosaic_of_four():
    whole = [plain(i + 1, (40, 50), [(0, 0, 50, 40)]) for i in range(4)]
    for seed in range(20):
        result = Mosaic(size=[20, 30]).mix(whole[0], others(*whole[1:]), seeded(seed))
        assert result.image.shape == (3, 20, 30) and result.targets.labels.tolist() == [1, 2, 3, 4]
        (_, _, x, y), *_ = result.targets.boxes.int().tolist()
        assert 5 <= y <= 15 and 8 <= x <= 22
        assert result.targets.boxes.tolist() == [[0, 0, x, y], [x, 0, 30, y], [0, y, x, 20], [x, y, 30, 20]]
        for mask, label in zip(result.targets.masks.to_dense(), (1, 2, 3, 4), strict=True):
            assert torch.equal(result.image[0] == label, mask)
        assert (result.image_id, result.file_name, result.size) == (1, "1.png", (40, 50))


def test_mosaic_of_small_images_lies_around_the_meeting_point():
    whole = [plain(i + 1, (3, 4), [(0, 0, 4, 3)]) for i in range(4)]
    result = Mosaic(size=30, fill=9, min_share=0.5).mix(whole[0], others(*whole[1:]), seeded())
    assert result.targets.boxes.tolist() == [[11, 12, 15, 15], [15, 12, 19, 15], [11, 15, 15, 18], [15, 15, 19, 18]]
    assert int((result.image == 9).sum()) == 3 * (900 - 48) and result.dropped == 0


def test_mosaic_adds_up_dropped_and_rescued():
    corners = [(0, 0, 1, 1), (99, 0, 100, 1), (0, 99, 1, 100), (99, 99, 100, 100)]
    whole = [plain(i + 1, (100, 100), corners) for i in range(4)]
    result = Mosaic(size=60).mix(whole[0], others(*whole[1:]), seeded())
    assert result.dropped + len(result.targets) == 16 and result.dropped > 8


def test_masks_rescued_in_the_drawn_images_are_counted():
    """Shrunk tenfold, the one-pixel mask of each image is rescued."""
    whole = [plain(i + 1, (100, 100), [(55, 55, 56, 56)] * (i + 1)) for i in range(4)]
    shrink = {"name": "Resize", "size": [10, 10]}
    mosaic = build_transforms([shrink, {"name": "Mosaic", "size": 20, "min_share": 0.5}])
    drawn = iter(whole[1:])
    assert mosaic(whole[0], seeded(), lambda generator: next(drawn)).rescued == 1 + 2 + 3 + 4
    paste = build_transforms([shrink, {"name": "CopyPaste", "p": 1.0}])
    assert paste(whole[0], seeded(), lambda generator: whole[2]).rescued == 1 + 3
    assert paste(whole[0], seeded(), lambda generator: plain(9, (100, 100))).rescued == 1


def test_copy_paste_covers_and_counts():
    below = plain(1, (20, 20), [(0, 0, 10, 10), (5, 5, 9, 9), (12, 12, 20, 20), (0, 4, 10, 16)])
    above = plain(2, (20, 20), [(4, 4, 11, 10)])
    result = CopyPaste(p=1, min_visibility=0.2).mix(below, others(above), seeded())
    # The second object is covered completely; the first keeps an L, the third everything, the last its lower half.
    assert result.targets.labels.tolist() == [1, 1, 1, 2] and result.dropped == 1
    assert result.targets.boxes.tolist() == [[0, 0, 10, 10], [12, 12, 20, 20], [0, 4, 10, 16], [4, 4, 11, 10]]
    assert result.targets.masks.areas().tolist() == [100 - 36, 64, 120 - 36, 42]
    assert torch.equal(result.image[0] == 2, result.targets.masks.to_dense()[3])
    dense = result.targets.masks.to_dense()
    assert not (dense[:3] & dense[3]).any()
    assert torch.equal(below.image, plain(1, (20, 20)).image)
    strict = CopyPaste(p=1, min_visibility=0.68).mix(below, others(above), seeded())
    assert strict.targets.masks.areas().tolist() == [64, 84, 42] and strict.dropped == 2


def test_an_object_at_the_visibility_limit_stays():
    below = plain(1, (10, 20), [(0, 0, 10, 10)])
    half = plain(2, (10, 20), [(0, 0, 5, 10)]).targets
    for share, kept in ((0.5, 1), (0.51, 0)):
        cropped = geometry.crop(below, (5, 0, 20, 10), share)
        pasted = geometry.paste(below, below.image, half, share)
        assert len(cropped.targets) == kept and cropped.dropped == 1 - kept
        assert len(pasted.targets) == kept + 1 and pasted.dropped == 1 - kept


def test_boxes_of_covered_objects_are_those_of_their_masks():
    below = plain(1, (20, 20), [(0, 0, 10, 10), (15, 15, 18, 18)])
    below.targets.boxes += 0.25
    result = CopyPaste(p=1).mix(below, others(plain(2, (20, 20), [(5, 0, 20, 10)])), seeded())
    assert result.targets.boxes.tolist() == [[0, 0, 5, 10], [15.25, 15.25, 18.25, 18.25], [5, 0, 20, 10]]


def test_copy_paste_from_images_of_other_sizes():
    below = plain(1, (20, 30), [(0, 0, 30, 20)])
    for size in ((5, 6), (50, 60), (9, 60)):
        for seed in range(5):
            other = plain(2, size, [(0, 0, size[1], size[0])])
            result = CopyPaste(p=1).mix(below, others(other), seeded(seed))
            shown = result.image[0] == 2
            assert torch.equal(shown, result.targets.masks.to_dense()[result.targets.labels == 2][0])
            assert int(shown.sum()) == min(size[0], 20) * min(size[1], 30)
            assert result.dropped == (size == (50, 60))


def test_copy_paste_chooses_some_objects_and_no_crowd():
    boxes = [(i, 0, i + 1, 2) for i in range(20)]
    above = plain(2, (4, 20), boxes, [i % 2 == 0 for i in range(20)])
    counts = set()
    for seed in range(40):
        result = CopyPaste(p=1).mix(plain(1, (4, 20)), others(above), seeded(seed))
        counts.add(len(result.targets))
        assert not result.targets.crowd.any() and (result.targets.boxes[:, 0] % 2 == 1).all()
    assert counts >= {1, 5, 10}
    assert max(len(CopyPaste(p=1, max_objects=3).mix(above, others(above), seeded(i)).targets) for i in range(9)) <= 23


def test_crowd_regions_are_covered():
    below = plain(1, (20, 20), [(0, 0, 20, 20)], [True])
    result = CopyPaste(p=1).mix(below, others(plain(2, (20, 20), [(0, 0, 20, 10)])), seeded())
    assert result.targets.crowd.tolist() == [True, False] and result.targets.boxes[0].tolist() == [0, 10, 20, 20]


def test_images_without_objects():
    empty, full = plain(1, (20, 20)), plain(2, (20, 20), [(3, 3, 9, 9)])
    assert CopyPaste(p=1).mix(full, others(empty), seeded()) is full
    pasted = CopyPaste(p=1).mix(empty, others(full), seeded())
    assert pasted.targets.labels.tolist() == [2] and int((pasted.image[0] == 2).sum()) == 36
    crowd = plain(3, (20, 20), [(0, 0, 5, 5)], [True])
    assert CopyPaste(p=1).mix(empty, others(crowd), seeded()) is empty
    # An image without objects may have no masks either.
    bare = Sample(empty.image, Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)), 1, "", (20, 20))
    assert len(CopyPaste(p=1).mix(bare, others(full), seeded()).targets.masks) == 1
    assert len(Mosaic(size=60, min_share=0.5).mix(bare, others(full), seeded()).targets.masks) == 3


def test_p_zero_loads_nothing():
    sample = plain(1, (9, 9))
    for transform in (Mosaic(size=8, p=0), CopyPaste(p=0)):
        assert transform.mix(sample, None, seeded()) is sample


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (Mosaic, {"size": 1}, "at least 2 x 2 pixels"),
        (Mosaic, {"size": 9, "min_share": 0.6}, "min_share: expected above 0, to 0.5; got 0.6"),
        (CopyPaste, {"max_objects": 0}, "max_objects: expected at least 1, or null; got 0"),
        (CopyPaste, {"min_visibility": 2}, "probability"),
        (LargeScaleJitter, {"size": 9, "fill": [1, -1, 0]}, "fill: expected one value from 0 to 255"),
        (LargeScaleJitter, {"size": 9, "min_scale": 3}, "0 < min_scale <= max_scale"),
    ],
)
def test_mistakes(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


# In a loader


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(num_images=5, image_size=(64, 64), min_objects=3, max_objects=5, max_size=30)


MIXING = [
    {"name": "LargeScaleJitter", "size": 64, "min_scale": 0.5},
    {"name": "CopyPaste", "p": 0.7},
    {"name": "Mosaic", "size": [80, 70], "p": 0.8},
    {"name": "RandomHorizontalFlip"},
    {"name": "RandomCrop", "size": 60},
]


def batches(dataset, count=4, **changes):
    options = {"sampler": SequentialSampler(len(dataset)), "batch_size": 2, "seed": 5, **changes}
    iterator = iter(build_train_loader(dataset, build_transforms(MIXING), **options))
    taken = list(itertools.islice(iterator, count))
    iterator.close()
    return taken


def same(first, second):
    for a, b in zip(first.samples, second.samples, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.targets.boxes, b.targets.boxes)
        assert torch.equal(a.targets.masks.bits, b.targets.masks.bits) and a.dropped == b.dropped


def test_workers_and_restarts_change_nothing(dataset):
    alone = batches(dataset)
    for a, b in zip(alone, batches(dataset, num_workers=1), strict=True):
        same(a, b)
    for a, b in zip(alone[2:], batches(dataset, count=2, start_iteration=2), strict=True):
        same(a, b)
    first, again = alone[0].samples[0], alone[2].samples[0]  # the epoch has two batches
    assert first.image_id == again.image_id and not torch.equal(first.image, again.image)
    for batch in alone:
        for sample in batch.samples:
            tight = sample.targets.masks.boxes()
            assert (tight[:, 2:] > tight[:, :2]).all() and sample.targets.masks.image_size == tuple(
                sample.image.shape[1:]
            )


def test_data_set_of_one_image(dataset):
    (batch,) = batches(SubsetDataset(dataset, [0]), count=1)
    assert batch.image_ids == [dataset.image_ids[0]] * 2


def test_other_samples_come_through_the_transforms_before(dataset):
    seen = []

    class Look(Mosaic):
        def mix(self, sample, draw_other, generator):
            seen.extend([sample.image.shape, draw_other().image.shape])
            return sample

    transforms = Compose(
        [build_transforms([{"name": "Resize", "size": [30, 40]}]), Look(size=9), LargeScaleJitter(size=7)]
    )
    loader = build_train_loader(dataset, transforms, sampler=SequentialSampler(1), batch_size=1, seed=0)
    assert next(iter(loader)).images[0].shape == (3, 7, 7)
    assert seen == [(3, 30, 40)] * 2


def test_every_image_may_be_mixed_in(dataset):
    seen = set()

    class Look(CopyPaste):
        def mix(self, sample, draw_other, generator):
            seen.update(draw_other().image_id for _ in range(40))
            return sample

    next(iter(build_train_loader(dataset, Look(), sampler=SequentialSampler(1), batch_size=1, seed=0)))
    assert seen == set(dataset.image_ids)


def test_as_test_transform_or_without_data(dataset):
    with pytest.raises(SegkitError, match="Mosaic combines several training images: it cannot be a test transform"):
        build_test_loader(dataset, build_transforms([{"name": "Mosaic", "size": 9}]))
    with pytest.raises(SegkitError, match=r"CopyPaste combines several images .* data.train_transforms only"):
        Compose([CopyPaste()])(dataset.load(0), seeded())


# Large-scale jitter


@pytest.mark.parametrize(("size", "factor"), [((30, 40), 0.25), ((80, 50), 0.5), ((20, 200), 1.0), ((40, 40), 2.0)])
def test_jitter_scales_to_the_target(size, factor):
    sample = plain(200, size, [(0, 0, size[1], size[0])])
    result = LargeScaleJitter(size=[60, 80], min_scale=factor, max_scale=factor, fill=7)(sample, seeded())
    fit = factor * min(60 / size[0], 80 / size[1])
    height, width = (min(most, round(side * fit)) for most, side in zip((60, 80), size, strict=True))
    assert result.image.shape == (3, 60, 80)
    expected = torch.full((60, 80), 7, dtype=torch.uint8)
    expected[:height, :width] = 200
    assert torch.equal(result.image[0], expected)
    assert torch.allclose(result.targets.boxes, torch.tensor([[0.0, 0, width, height]]))
    assert torch.equal(result.targets.masks.to_dense()[0], expected == 200)


def test_jitter_draws_evenly():
    jitter, sample, generator = LargeScaleJitter(size=40), plain(9, (20, 20)), seeded()
    sides = torch.tensor([int((jitter(sample, generator).image[0, 0] == 9).sum()) for _ in range(100)])
    # From 0.1 to 2.0; above 1.0 the crop has the full size.
    assert sides.min() < 8 and abs((sides < 40).float().mean() - 0.9 / 1.9) < 0.15
    assert abs((sides < 22).float().mean() - 0.45 / 1.9) < 0.15


def test_pad_keeps_what_is_there():
    sample = plain(5, (4, 6), [(1, 1, 3, 4)])
    padded = geometry.pad(sample, (7, 9), fill=[1, 2, 3])
    assert padded.image[:, 6, 8].tolist() == [1, 2, 3] and torch.equal(padded.image[:, :4, :6], sample.image)
    assert torch.equal(padded.targets.boxes, sample.targets.boxes) and padded.targets.masks.image_size == (7, 9)
    assert geometry.pad(sample, (4, 6)) is sample
