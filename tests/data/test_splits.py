import pytest
import torch

from segkit.data import Dataset, split_dataset
from segkit.data.splits import stratified_choice
from segkit.utils.errors import SegkitError


class Labelled(Dataset):
    """Images with labels only."""

    def __init__(self, label_sets):
        self.label_sets = label_sets
        self.classes, self.category_ids = list("abcd"), [1, 2, 3, 4]
        self.image_ids = list(range(100, 100 + len(label_sets)))

    def load(self, index):
        raise AssertionError("a split loads no images")

    def label_counts(self, index):
        return dict.fromkeys(self.label_sets[index], 3)


def _many(count=400):
    generator = torch.Generator().manual_seed(0)
    shares = torch.tensor([0.9, 0.4, 0.1, 0.03])
    present = torch.rand(count, 4, generator=generator) < shares
    return [frozenset(row.nonzero().flatten().tolist()) for row in present]


def test_each_class_keeps_its_share():
    label_sets = _many()
    train, val = split_dataset(Labelled(label_sets), 0.1, seed=3)
    assert len(val) == 40 and len(train) == 360
    assert sorted(train.indices + val.indices) == list(range(400))
    for label in range(4):
        total = sum(label in s for s in label_sets)
        found = sum(label in label_sets[i] for i in val.indices)
        assert abs(found - 0.1 * total) <= 1.5, label
    assert val.image_ids == [100 + i for i in val.indices] and val.classes == list("abcd")


def test_same_seed_same_split():
    dataset = Labelled(_many(50))
    for stratify in (True, False):
        first, second, other = (split_dataset(dataset, 0.3, s, stratify)[1].indices for s in (1, 1, 2))
        assert first == second != other and len(first) == 15


def test_images_without_objects_are_a_class_of_their_own():
    label_sets = [frozenset()] * 20 + [frozenset({0})] * 80
    val = split_dataset(Labelled(label_sets), 0.2)[1]
    assert sum(i < 20 for i in val.indices) == 4


def test_rare_class_stays_with_training():
    label_sets = [frozenset({0, 1})] * 2 + [frozenset({0})] * 18
    assert not {0, 1} & set(split_dataset(Labelled(label_sets), 0.1)[1].indices)


def test_two_images_and_fewer():
    assert [len(part) for part in split_dataset(Labelled([frozenset({0})] * 2), 0.01)] == [1, 1]
    assert [len(part) for part in split_dataset(Labelled([frozenset({0})] * 2), 0.99)] == [1, 1]
    with pytest.raises(SegkitError, match="1 images cannot be split"):
        split_dataset(Labelled([frozenset()]), 0.1)
    with pytest.raises(SegkitError, match=r"between 0 and 1; got 1\.5"):
        split_dataset(Labelled(_many(5)), 1.5)


@pytest.mark.parametrize("size", [1, 7, 20, 39])
def test_stratified_choice_has_the_requested_size(size):
    assert len(set(stratified_choice(_many(40), range(40), size))) == size


class Named(Labelled):
    """Images of ten patients, three of each."""

    def image_files(self):
        return [f"/d/p{i // 3}_{i % 3}.png" for i in range(len(self.label_sets))]


def test_groups_stay_in_one_part():
    data = Named(_many(30))
    for stratify in (True, False):
        train, val = split_dataset(data, 0.2, stratify=stratify, group=r"(p\d+)_")
        assert len(val) == 6 and sorted(train.indices + val.indices) == list(range(30))
        assert not {i // 3 for i in train.indices} & {i // 3 for i in val.indices}
    again = [split_dataset(data, 0.2, seed=seed, group=r"(p\d+)_")[1].indices for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    for pattern, message in (
        ("(p", "data.val.group: .*not a regular expression"),
        ("p1", "matches 3 of 30 names"),
        ("p", "form 1 groups"),
    ):
        with pytest.raises(SegkitError, match=message):
            split_dataset(data, 0.2, group=pattern)
