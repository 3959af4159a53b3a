import pickle

import pytest

from segkit.data import Synthetic, build_dataset, register_dataset
from segkit.data.formats import catalog
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError


@pytest.fixture(autouse=True)
def empty_catalog(monkeypatch):
    monkeypatch.setattr(catalog, "_CATALOG", {})


def test_formats():
    assert {"label_map", "coco", "synthetic", "image_folder", "catalog"} <= set(DATASET_FORMAT_REGISTRY.names())


def test_catalog_takes_functions_and_specs():
    register_dataset("mine", lambda: Synthetic(num_images=3))
    register_dataset("spec", {"format": "synthetic", "num_images": 4})
    assert len(build_dataset({"format": "catalog", "name": "mine"})) == 3
    names = ["a", "b", "c", "d"]
    assert build_dataset({"format": "catalog", "name": "spec"}, names).classes == names
    with pytest.raises(SegkitError, match="no data set is registered as 'mina'; did you mean 'mine'"):
        build_dataset({"format": "catalog", "name": "mina"})
    with pytest.raises(SegkitError, match="lacks a, b, c, d and has triangle"):
        build_dataset({"format": "catalog", "name": "mine"}, names)


def test_empty_catalog_says_how_to_fill_it():
    with pytest.raises(SegkitError, match=r"call segkit\.data\.register_dataset"):
        build_dataset({"format": "catalog", "name": "x"})


def test_classes_must_agree():
    with pytest.raises(SegkitError, match=r"data\.val: the data has 4 classes, 4 are expected; it lacks"):
        build_dataset({"format": "synthetic", "classes": list("abcd")}, list("abce"), path="data.val")
    with pytest.raises(SegkitError, match="in another order: b, a"):
        build_dataset({"format": "synthetic", "classes": list("bacd")}, list("abcd"))
    with pytest.raises(SegkitError, match="a occurs more than once"):
        build_dataset({"format": "synthetic"}, list("aacd"))


def test_unknown_format_and_argument():
    with pytest.raises(SegkitError, match="did you mean 'label_map'"):
        build_dataset({"format": "labelmap", "root": "x"}, path="data.train")
    with pytest.raises(SegkitError, match=r"data\.train\.numimages.*did you mean 'num_images'"):
        build_dataset({"format": "synthetic", "numimages": 3}, path="data.train")


def test_subset_of_a_subset():
    dataset = Synthetic(num_images=6)
    part = dataset.subset([5, 1, 3]).subset([2, 0])
    assert part.image_ids == [4, 6] and part.load(0).image_id == 4
    assert part.label_counts(1) == dataset.label_counts(5) and part.classes == dataset.classes


def test_packed_list():
    items = [{"a": [1, 2]}, None, "x" * 1000, []]
    packed = PackedList(items)
    assert list(packed) == items and len(packed) == 4
    assert [pickle.loads(pickle.dumps(packed))[i] for i in range(4)] == items
    assert len(PackedList([])) == 0
    with pytest.raises(IndexError):
        packed[4]
