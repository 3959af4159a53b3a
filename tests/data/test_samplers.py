"""How often the repeat factor sampler uses an image."""

from collections import Counter

import pytest
import torch

from segkit.data import LabelMap, Synthetic
from segkit.data.formats.base import Dataset
from segkit.data.samplers import RepeatFactorSampler
from segkit.utils.errors import SegkitError


class Known(Dataset):
    """Ten images: one of another class, one four times as tall and wide."""

    classes, category_ids, image_ids = ["a", "b"], [1, 2], list(range(10))

    def load(self, index):
        raise AssertionError("labels and sizes are enough")

    def label_counts(self, index):
        return {int(index == 3): 2}

    def size(self, index):
        return (80, 40) if index == 7 else (20, 10)


def counts(sampler, epochs=50):
    seen = Counter(i for epoch in range(epochs) for i in sampler.epoch_indices(epoch))
    return torch.tensor([seen[i] / epochs for i in range(10)])


def test_rare_classes_and_large_images_come_more_often():
    expected = torch.ones(10)
    expected[3] = (0.4 / 0.1) ** 0.5
    plain = RepeatFactorSampler(Known(), 0, threshold=0.4)
    torch.testing.assert_close(counts(plain), expected, atol=0.15, rtol=0)
    expected[7] = 16**0.5
    by_area = RepeatFactorSampler(Known(), 0, threshold=0.4, area_power=0.5)
    torch.testing.assert_close(counts(by_area), expected, atol=0.15, rtol=0)
    assert by_area.length == round(float(expected.sum()))
    assert {len(by_area.epoch_indices(epoch)) for epoch in range(5)} == {by_area.length}


def test_sizes_are_those_of_the_images(label_map_root):
    synthetic = Synthetic(num_images=2, image_size=(64, 72), max_objects=3, min_objects=1, max_size=30)
    for dataset in (LabelMap(root=str(label_map_root)), synthetic, synthetic.subset([1])):
        assert all(dataset.size(i) == dataset.load(i).size for i in range(len(dataset)))


@pytest.mark.parametrize("arguments", [{"area_power": 1.5}, {"area_power": -1}, {"threshold": 0}])
def test_bad_arguments(arguments):
    with pytest.raises(SegkitError, match=next(iter(arguments))):
        RepeatFactorSampler(Known(), 0, **arguments)
