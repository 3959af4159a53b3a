"""Batches of one orientation: the same images in an epoch, less padding, a function of (seed, epoch)."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.data import LabelMap, SequentialSampler, ShuffleSampler, Synthetic, build_train_loader, build_transforms
from segkit.data.aspect_ratio_grouping import batch_by_group, orientations
from segkit.data.batch_sampler import EpochBatchSampler
from segkit.data.formats.base import Dataset
from segkit.data.samplers import RepeatFactorSampler


class Shapes(Dataset):
    """Two wide images, then a tall one, and so on; a square image is not wide. Label 1 is rare."""

    classes, category_ids = ["common", "rare"], [1, 2]

    def __init__(self, length):
        self.image_ids = list(range(length))

    def load(self, index):
        raise AssertionError("sizes are enough")

    def label_counts(self, index):
        return {int(index == 1): 2}

    def size(self, index):
        return [(48, 64), (64, 48), (48, 72), (48, 64), (48, 48), (48, 60)][index % 6]


def batches_of(sampler, dataset, batch_size, start=0, count=None, **options):
    batches = EpochBatchSampler(sampler, batch_size, start, groups=orientations(dataset), **options)
    return list(itertools.islice(iter(batches), count or batches.iterations_per_epoch))


def padded_area(dataset, batches):
    sizes = [[dataset.size(draw.index) for draw in batch] for batch in batches]
    return sum(len(batch) * max(h for h, _ in batch) * max(w for _, w in batch) for batch in sizes)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize(("length", "batch_size"), [(60, 4), (61, 4), (37, 8), (9, 4), (3, 4), (4, 4), (1, 4), (6, 1)])
def test_one_orientation_and_the_same_images(length, batch_size, repeats):
    dataset = Shapes(length)
    sampler = RepeatFactorSampler(dataset, 3, threshold=0.5) if repeats else ShuffleSampler(length, 3)
    plain = EpochBatchSampler(sampler, batch_size)
    grouped = EpochBatchSampler(sampler, batch_size, groups=orientations(dataset))
    assert grouped.iterations_per_epoch == plain.iterations_per_epoch
    for epoch in range(3):
        assert sorted(grouped.epoch(epoch)) == sorted(plain.epoch(epoch))
        draws = grouped.epoch(epoch)
        assert len(draws) == plain.iterations_per_epoch * batch_size
        wide = [
            [orientations(dataset)[d.index] for d in draws[i : i + batch_size]]
            for i in range(0, len(draws), batch_size)
        ]
        assert all(len(set(batch)) == 1 for batch in wide[:-1])  # the last batch may hold the remaining images of both


def test_less_padding():
    dataset = Shapes(300)
    sampler = ShuffleSampler(300, 0)
    plain = list(itertools.islice(iter(EpochBatchSampler(sampler, 4)), 75))
    grouped = batches_of(sampler, dataset, 4)
    pixels = sum(math.prod(dataset.size(i)) for i in range(300))
    # The padding of the batches is less than half as large.
    assert padded_area(dataset, grouped) - pixels < 0.5 * (padded_area(dataset, plain) - pixels)


def test_restart_and_ranks():
    dataset, sampler = Shapes(50), ShuffleSampler(50, 1)
    whole = batches_of(sampler, dataset, 6, count=20)
    assert batches_of(sampler, dataset, 6, start=7, count=13) == whole[7:]
    assert [EpochBatchSampler(sampler, 6, groups=orientations(dataset)).iteration(i) for i in range(20)] == [
        [b] for b in whole
    ]
    parts = [batches_of(sampler, dataset, 6, count=20, rank=rank, world_size=3) for rank in range(3)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sorted(itertools.chain(*shares)) == sorted(batch) and {len(share) for share in shares} == {2}


def test_images_of_one_orientation_keep_their_order():
    dataset, sampler = Synthetic(num_images=23, image_size=(64, 80)), ShuffleSampler(23, 1)
    assert batches_of(sampler, dataset, 4) == list(itertools.islice(iter(EpochBatchSampler(sampler, 4)), 5))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(groups=st.lists(st.integers(0, 2), max_size=40), size=st.integers(1, 5))
def test_any_groups(groups, size):
    items = list(range(len(groups)))
    ordered = batch_by_group(items, groups, size)
    assert sorted(ordered) == items
    whole = sum(count // size for count in Counter(groups).values())
    for k in range(whole):
        batch = ordered[k * size : (k + 1) * size]
        assert len({groups[i] for i in batch}) == 1 and batch == sorted(batch)


def test_the_loader_groups(label_map_root):
    dataset = Synthetic(num_images=4, image_size=(64, 80))
    loader = build_train_loader(
        dataset, build_transforms([]), sampler=SequentialSampler(4), batch_size=2, seed=0, aspect_ratio_grouping=True
    )
    assert next(iter(loader)).image_ids == [1, 2]
    assert orientations(dataset) == b"\1\1\1\1" and orientations(LabelMap(root=str(label_map_root))) == b"\1\1\1"
    assert orientations(Shapes(6)) == b"\1\0\1\1\0\1"
