"""Random streams: unrelated for other tags, other integers, and tuples of other lengths."""

import itertools
import random
import zlib

import numpy as np
import pytest
import torch

from segkit.data import Synthetic, split_dataset
from segkit.data import samplers as sampler_module
from segkit.data import splits as split_module
from segkit.data.batch_sampler import Draw
from segkit.data.samplers import RepeatFactorSampler, ShuffleSampler
from segkit.data.transformed_dataset import TransformedTestDataset, TransformedTrainDataset
from segkit.data.transforms.base import Transform
from segkit.engine.environment import seed_everything
from segkit.engine.train_step import seed_step
from segkit.utils.seeding import evaluation_generator, generator_for, seeds

IMAGES = Synthetic(num_images=12, image_size=(64, 64), min_objects=1, max_objects=3, seed=5)


class Note(Transform):
    """Stores the seed of the generator of a sample's transforms."""

    def __call__(self, sample, generator):
        self.seed = generator.initial_seed()
        return sample


def augmentation(seed, epoch, index, repeat):
    note = Note()
    TransformedTrainDataset(IMAGES, note, seed)[Draw(epoch, index, repeat)]
    return note.seed


def transform_in_test(index):
    note = Note()
    TransformedTestDataset(IMAGES, note)[index]
    return note.seed


def seed_used(monkeypatch, module, run):
    """The seed of the generator by which ``run`` shuffles first."""
    found = []
    randperm = torch.randperm

    def watch(n, generator):
        found.append(generator.initial_seed())
        return randperm(n, generator=generator)

    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "randperm", watch)
        run()
    return found[0]


def step(seed, iteration, part, rank):
    """The seeds of dropout (the global generator) and of the sampled boxes."""
    state = torch.get_rng_state()
    sampling = seed_step(seed, iteration, part, "cpu", rank).initial_seed()
    found = torch.initial_seed(), sampling
    torch.set_rng_state(state)
    return found


SMALL = (0, 1, 2)


def test_all_streams_of_runs_with_equal_integers_differ(monkeypatch):
    """Also in the 32 bits of a seed that torch's generator on the CPU takes."""
    found = {("evaluation",): evaluation_generator().initial_seed()}
    for index in SMALL:
        found["test transforms", index] = transform_in_test(index)
    for seed in SMALL:
        found["weights", seed] = seed
        found["split", seed] = seed_used(monkeypatch, split_module, lambda: split_dataset(IMAGES, 0.5, seed, False))  # noqa: B023
        for epoch in SMALL:
            sampler = ShuffleSampler(12, seed)
            found["sampler", seed, epoch] = seed_used(monkeypatch, sampler_module, lambda: sampler.epoch_indices(epoch))  # noqa: B023
    for integers in itertools.product(SMALL, repeat=4):
        found[("augmentation", *integers)] = augmentation(*integers)
        found[("dropout", *integers)], found[("sampling", *integers)] = step(*integers)
    assert len(found) == 1 + 3 + 3 + 3 + 9 + 3 * 81
    low = [seed % 2**32 for seed in found.values()]
    assert len(set(low)) == len(low)
    assert all(0 <= seed < 2**63 for seed in found.values())


def test_the_samplers_of_a_run_share_their_stream(monkeypatch):
    """Only one of them is used."""
    repeating = RepeatFactorSampler(IMAGES, 3)
    used = seed_used(monkeypatch, sampler_module, lambda: repeating.epoch_indices(4))
    assert used == seed_used(monkeypatch, sampler_module, lambda: ShuffleSampler(12, 3).epoch_indices(4))
    assert used == seeds("sampler", 3, 4)[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("step", 0), ("step", 0, 0)),  # numpy's SeedSequence fills up with zeros: these were one stream
        (("step", 3, 1), ("step", 3, 1, 0, 0)),
        (("step", 0, 1), ("step", 1)),
        (("step", 0, 1), ("step", 2**32)),  # and writes large numbers as several
        (("step", 5, 2**32), ("step", 5, 0, 1)),
        (("step", 1, 23), ("step", 12, 3)),
        (("step", 7, 0), ("step", 0, 7)),
        (("step", 42, 1), ("step", 43, 0)),
        (("step", 1, 2), ("sampler", 1, 2)),
        (("step",), ("sampler",)),
        (("a", 1), ("a', 1", 1)),
        (("step", 2**64), ("step", 0)),
    ],
)
def test_other_integers_are_other_streams(first, second):
    assert seeds(*first) != seeds(*second)
    assert not set(seeds(*first, count=4)) & set(seeds(*second, count=4))


def test_seeds_are_functions_of_their_integers():
    assert seeds("step", 1, 2, count=2) == seeds("step", np.int64(1), torch.tensor(2), count=2)
    first, second = seeds("step", 1, 2, count=2)
    assert first != second
    draws = [torch.rand(3, generator=generator_for("step", 1, 2)).tolist() for _ in range(2)]
    assert draws[0] == draws[1]
    with pytest.raises(TypeError):
        seeds("step", 1.5)


def test_streams_of_neighbouring_seeds_are_unrelated():
    """The steps of two runs have no seed in common."""
    steps = {seed: [seeds("step", seed, i, 0, 0)[0] for i in range(50)] for seed in range(20)}
    assert len({value for row in steps.values() for value in row}) == 20 * 50


def test_bits_of_the_seeds_are_even():
    table = np.array([seeds("augmentation", 0, 0, i, 0)[0] for i in range(2000)], dtype=np.uint64)
    for bit in range(63):
        share = ((table >> np.uint64(bit)) & np.uint64(1)).mean()
        assert 0.44 < share < 0.56, bit


def test_splits_and_synthetic_images_are_those_of_earlier_versions():
    for seed, plain, stratified in ((0, [2, 8, 10], [5, 9, 11]), (42, [2, 4, 9], [1, 7, 11])):
        assert split_dataset(IMAGES, 0.25, seed, False)[1].image_ids == plain
        assert split_dataset(IMAGES, 0.25, seed, True)[1].image_ids == stratified
    assert [zlib.crc32(IMAGES.load(i).image.numpy().tobytes()) for i in (0, 3)] == [1768427474, 4005823384]


def test_initial_weights_are_those_of_torch_s_seed_and_no_other_stream_is():
    state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        found = []
        for seed in (42, 42 + 2**32, 2**64):
            seed_everything(seed)
            found.append((torch.rand(4).tolist(), np.random.rand(4).tolist(), random.random()))
        torch.manual_seed(42)
        assert found[0][0] == torch.rand(4).tolist()
        assert len({str(value) for row in found for value in row}) == 9
        words = np.random.RandomState(42).randint(0, 2**32, 2, dtype=np.uint64)  # the twister that torch has too
        seed_everything(42)
        assert np.random.randint(0, 2**32, 2, dtype=np.uint64).tolist() != words.tolist()
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])
        random.setstate(state[2])
