import itertools
import multiprocessing

import pytest
import torch

from segkit.data import (
    LabelMap,
    SequentialSampler,
    ShuffleSampler,
    Synthetic,
    build_test_loader,
    build_train_loader,
    build_transforms,
)
from segkit.data.batch_sampler import EpochBatchSampler
from segkit.registry import SAMPLER_REGISTRY
from segkit.utils.errors import SegkitError

AUGMENTATION = [{"name": "RandomHorizontalFlip"}, {"name": "RandomCrop", "size": 40}, {"name": "ColorJitter"}]


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(num_images=7, image_size=(64, 64), min_objects=3, max_objects=5, max_size=30)


def _train(dataset, **changes):
    options = {"sampler": ShuffleSampler(len(dataset), 5), "batch_size": 2, "seed": 5, **changes}
    return build_train_loader(dataset, build_transforms(AUGMENTATION), **options)


def _take(loader, count):
    iterator = iter(loader)
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def _equal(first, second):
    assert first.image_ids == second.image_ids
    for a, b in zip(first.samples, second.samples, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.targets.boxes, b.targets.boxes)
        assert torch.equal(a.targets.masks.bits, b.targets.masks.bits) and a.dropped == b.dropped


def test_workers_change_nothing_and_global_state_neither(dataset):
    torch.manual_seed(0)
    alone = _take(_train(dataset), 7)
    torch.manual_seed(1)
    torch.rand(3)
    state = torch.get_rng_state()
    for first, second in zip(alone, _take(_train(dataset, num_workers=2), 7), strict=True):
        _equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("start", [1, 2, 3, 5, 6])
def test_restart_equals_skipping(dataset, start):
    uninterrupted = _take(_train(dataset), start + 4)[start:]
    moved = _train(dataset, num_workers=start % 2)
    moved.start_at(start)
    for loader in (_train(dataset, start_iteration=start), moved):
        for first, second in zip(uninterrupted, _take(loader, 4), strict=True):
            _equal(first, second)


def test_epochs_and_augmentation_differ(dataset):
    loader = _train(dataset)
    assert loader.iterations_per_epoch == 3
    batches = _take(loader, 6)
    epochs = [[i for b in part for i in b.image_ids] for part in (batches[:3], batches[3:])]
    assert all(len(set(epoch)) == 6 for epoch in epochs) and epochs[0] != epochs[1]
    images = {}
    for batch in batches:
        for sample in batch.samples:
            images.setdefault(sample.image_id, []).append(sample.image)
    pairs = [pair for pair in images.values() if len(pair) == 2]
    assert pairs and all(not torch.equal(*pair) for pair in pairs)
    assert all(sample.annotations is None for batch in batches for sample in batch.samples)


@pytest.mark.parametrize(("length", "batch_size"), [(1, 4), (3, 4), (4, 4), (5, 4), (3, 8)])
def test_small_data_sets_fill_a_batch(length, batch_size):
    batches = EpochBatchSampler(SequentialSampler(length), batch_size)
    assert batches.iterations_per_epoch == 1
    first, second = itertools.islice(iter(batches), 2)
    assert len(first) == len(second) == batch_size
    assert len(set(first + second)) == 2 * batch_size  # every repetition has another augmentation
    if length < batch_size:
        assert {draw.index for draw in first} == set(range(length))


def test_an_image_repeated_in_an_epoch_is_augmented_differently(dataset):
    class Twice(SequentialSampler):
        def epoch_indices(self, epoch):
            return [0, 1, 0, 0]

    loader = _train(dataset, sampler=Twice(2), batch_size=4)
    first, _, second, third = next(iter(loader)).samples
    assert first.image_id == second.image_id == third.image_id
    pairs = itertools.combinations((first, second, third), 2)
    assert not any(torch.equal(a.image, b.image) for a, b in pairs)


def test_ranks_share_a_batch():
    whole = next(iter(EpochBatchSampler(ShuffleSampler(20, 1), 6)))
    parts = [next(iter(EpochBatchSampler(ShuffleSampler(20, 1), 6, rank=r, world_size=3))) for r in range(3)]
    assert sorted(itertools.chain(*parts)) == sorted(whole) and all(len(part) == 2 for part in parts)
    with pytest.raises(SegkitError, match="multiple of the 4 processes; got 6"):
        EpochBatchSampler(ShuffleSampler(20, 1), 6, world_size=4)


def test_test_loader_provides_the_ground_truth_of_the_file(dataset):
    loader = build_test_loader(dataset, build_transforms([{"name": "Resize", "size": 32}]), batch_size=3)
    batches = list(loader)
    assert len(loader) == len(batches) == 3 and [i for b in batches for i in b.image_ids] == dataset.image_ids
    sample = dataset.load(3)
    assert batches[1].annotations[0] == dataset.ground_truth(3, sample)
    assert batches[1].images[0].shape == (3, 32, 32) and batches[1].sizes[0] == (64, 64)
    share = build_test_loader(dataset, build_transforms([]), rank=1, world_size=2)
    assert [i for b in share for i in b.image_ids] == [2, 4, 6]


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_is_one_message(label_map_root, workers):
    dataset = LabelMap(root=str(label_map_root))
    (label_map_root / "b" / "image.tif").write_bytes(b"junk")
    for loader in (
        build_test_loader(dataset, build_transforms([]), num_workers=workers),
        _train(dataset, sampler=SequentialSampler(3), batch_size=3, num_workers=workers),
    ):
        with pytest.raises(SegkitError) as caught:
            list(loader)
        assert "b/image.tif: cannot be read as an image" in str(caught.value)
        assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    assert "data.unreadable=skip" in str(caught.value)
    del loader
    assert not multiprocessing.active_children()


def test_no_training_images(dataset):
    with pytest.raises(SegkitError, match="there are no training images"):
        _train(Synthetic(num_images=0))
    with pytest.raises(SegkitError, match="there are no training images"):
        _train(dataset, sampler=ShuffleSampler(0, 0))


@pytest.mark.parametrize("name", SAMPLER_REGISTRY.names())
def test_every_sampler_is_a_pure_function_of_the_epoch(name, dataset):
    make = lambda: SAMPLER_REGISTRY.build({"name": name}, dataset=dataset, num_samples=len(dataset), seed=3)  # noqa: E731
    first, second = make(), make()
    expected = [first.epoch_indices(epoch) for epoch in range(4)]
    assert [second.epoch_indices(epoch) for epoch in (3, 1, 0, 2)] == [expected[e] for e in (3, 1, 0, 2)]
    assert len({len(indices) for indices in expected}) == 1
    assert all(0 <= i < len(dataset) for indices in expected for i in indices)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_pinned_batches(dataset):
    batch = _take(_train(dataset, pin_memory=True, num_workers=1), 1)[0]
    assert batch.images[0].is_pinned() and batch.targets[0].masks.bits.is_pinned()


def test_batches_at_repeats_an_iteration(dataset):
    for i, batch in enumerate(_take(_train(dataset), 5)):
        (again,) = _train(dataset, start_iteration=2).batches_at(i)
        _equal(batch, again)


def test_accumulated_batches_are_one_large_batch_in_parts(dataset):
    large, small = _train(dataset, batch_size=4), _train(dataset, batch_size=2, accumulate=2, start_iteration=1)
    assert large.iterations_per_epoch == small.iterations_per_epoch == 1  # of 7 images, the last 3 are dropped
    whole, parts = _take(large, 3)[1:], _take(small, 4)
    for i, batch in enumerate(whole):
        first, second = parts[2 * i : 2 * i + 2]
        assert len(first) == len(second) == 2 and first.image_ids + second.image_ids == batch.image_ids
        for again, part in zip(small.batches_at(i + 1), (first, second), strict=True):
            _equal(again, part)


def test_boxes_without_area_are_dropped_and_counted(dataset):
    class Odd(Synthetic):
        """Boxes as files may hold them: a line, a point, and NaN."""

        def load(self, index):
            sample = super().load(index)
            sample.targets.boxes[0, 2] = sample.targets.boxes[0, 0]
            sample.targets.boxes[1, 1] = float("nan")
            return sample

    odd = Odd(num_images=2, image_size=(64, 64), min_objects=3, max_objects=5, max_size=30)
    whole = [len(odd.load(i).targets) for i in range(2)]
    for loader in (
        build_train_loader(odd, build_transforms([]), sampler=SequentialSampler(2), batch_size=2, seed=0),
        build_test_loader(odd, build_transforms([]), batch_size=2),
    ):
        (batch,) = _take(loader, 1)
        assert [sample.dropped for sample in batch.samples] == [2, 2]
        assert [len(sample.targets) for sample in batch.samples] == [count - 2 for count in whole]
        assert all((t.boxes[:, 2:] > t.boxes[:, :2]).all() and len(t.masks) == len(t) for t in batch.targets)
