"""What every format promises: the ways to ask for objects, sizes and counts agree with what ``load`` returns."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from format_examples import EXAMPLES, filled

from segkit import SegkitError
from segkit.data import Dataset, PartialAnnotation, build_dataset
from segkit.data.formats import Tiles, recognize
from segkit.data.transforms.geometry import cut_targets
from segkit.structures import Targets
from segkit.structures.lazy_targets import LazyTargets
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.images import ImageReader

FIRST = {example.format: title for title, example in reversed(EXAMPLES.items())}  # one layout of each format
BASES = ("coco", "yolo", "label_pairs", "imagej_rois", "subset")  # a format of each base class, and odd ones

SPARE = {"label_map": "class3", "cityscapes": "caravan"}  # formats that know the names of their classes


def same(first: Targets, second: Targets) -> bool:
    """Whether all of two targets are equal, masks included."""
    fields = ("boxes", "labels", "crowd", "has_mask", "unlabelled")
    if (first.masks is None) != (second.masks is None) or len(first) != len(second):
        return False
    equal = first.masks is None or torch.equal(first.masks.to_dense(), second.masks.to_dense())
    return equal and all(torch.equal(getattr(first, name), getattr(second, name)) for name in fields)


def check(data: Dataset) -> None:
    """Raises AssertionError if a way to ask contradicts ``load``."""
    assert data.summary() and data.describe() and "\n" not in data.describe()
    files, objects, unmasked = data.image_files(), data.object_counts(), data.unmasked_counts()
    assert files is not None and all(Path(file).is_absolute() and Path(file).exists() for file in files)
    assert len(files) == len(data) == len(data.image_ids) == len(set(data.image_ids))
    assert len(data.classes) == len(data.category_ids)
    of_each = [data.counts_of([label]) for label in range(len(data.classes))]
    for i in range(len(data)):
        sample = data.load(i)
        targets = sample.targets
        assert data.size(i) == sample.size == tuple(sample.image.shape[-2:])
        assert sample.image_id == data.image_ids[i] and sample.file_name
        opened = data.open(i).targets
        opened = opened.read(None)[0] if isinstance(opened, LazyTargets) else opened
        assert same(data.targets(i), targets) and same(opened, targets)
        within = data.window_targets(i, (0, 0, sample.size[1], sample.size[0]))
        assert same(within[0], targets) and within[1] == sample.dropped
        height, width = sample.size
        for window in ((0, 0, width // 3, height // 3), (width // 2, height // 2, width, height)):
            inside = cut_targets(targets, window)[2] > 0
            part, others = data.window_targets(i, window)
            assert same(part[cut_targets(part, window)[2] > 0], targets[inside])
            assert isinstance(data, Tiles) or len(part) + others == len(targets) + sample.dropped
        every = data.all_targets(i)
        assert same(every[~every.degenerate()], targets)
        kept = ~every.crowd
        labels = every.labels[every.labels != ALL_CLASSES]
        assert data.label_counts(i) == {int(k): int((labels == k).sum()) for k in labels.unique()}
        assert objects is None or objects[i] == int(kept.sum())
        assert unmasked is None or unmasked[i] == int((kept & ~every.has_mask).sum())
        assert [counts[i] for counts in of_each] == [int((every.labels[kept] == k).sum()) for k in range(len(of_each))]
        counts = data.training_objects(i)
        assert counts.usable == int((~targets.crowd).sum()) and counts.empty == sample.dropped
        truth = data.ground_truth(i, sample)
        assert len(truth) in (len(targets), len(every))
        without_image = data.open_targets(i)
        assert same(without_image.targets, targets) and data.ground_truth(i, without_image) == truth
        about = ("image_id", "file_name", "size", "dropped")
        assert all(getattr(without_image, name) == getattr(sample, name) for name in about)
    again = pickle.loads(pickle.dumps(data))
    assert same(again.load(0).targets, data.load(0).targets) and again.describe() == data.describe()


@pytest.mark.parametrize("format", FIRST)
def test_what_a_format_says_is_what_it_loads(tmp_path, format):
    found = recognize(filled(tmp_path, FIRST[format]))
    check(build_dataset(found.spec))


@pytest.mark.parametrize("format", BASES)
def test_wrappers_ask_the_format(tmp_path, format):
    spec = recognize(filled(tmp_path, FIRST[format])).spec
    data = build_dataset(spec)
    check(data.subset([0]))
    check(build_dataset({"format": "tiles", "of": dict(spec), "size": 24, "overlap": 2}))
    if data.classes:
        partial = PartialAnnotation(not_exhaustive=(data.classes[0],))
        check(build_dataset(spec, partial=partial))
        regions = build_dataset(spec, partial=PartialAnnotation(ignore_classes=(data.classes[0],)))
        assert len(regions.classes) == len(data.classes) - 1
        assert all(bool(regions.targets(i).crowd.all()) for i in range(len(data)) if len(data.classes) == 1)


@pytest.mark.parametrize("format", BASES)
def test_the_reader_reads_the_images_of_every_wrapper(tmp_path, format):
    spec = recognize(filled(tmp_path, FIRST[format])).spec
    reader = ImageReader(channels=(0,))
    for data in (
        build_dataset(spec, reader=reader),
        build_dataset(spec, reader=reader).subset([0]),
        build_dataset({"format": "tiles", "of": dict(spec), "size": 24, "overlap": 2}, reader=reader),
    ):
        assert data.reader is reader and data.load(0).image.shape[0] == 1


@pytest.mark.parametrize("format", FIRST)
def test_classes_of_the_configuration(tmp_path, format):
    """Their order is that of the labels, additional ones are allowed, and lacking ones are an error that names them."""
    spec = recognize(filled(tmp_path, FIRST[format])).spec
    if format == "subset":
        spec = spec["dataset"]
    known = build_dataset(spec)
    names = ["spare", *known.classes]
    if format in SPARE:
        names = [SPARE[format], *known.classes]
    data = build_dataset(spec, names)
    assert data.classes == names and len(set(data.category_ids)) == len(names)
    for i in range(len(known)):
        assert data.label_counts(i) == {label + 1: n for label, n in known.label_counts(i).items()}
        assert torch.equal(data.targets(i).labels, known.targets(i).labels + 1)
        assert np.array_equal(data.counts_of([1]), known.counts_of([0])) if known.classes else True
    if not known.classes:
        return
    wrong = "class9" if format == "label_map" else f"{known.classes[0]}s"
    with pytest.raises(SegkitError) as error:
        build_dataset(spec, [wrong])
    assert known.classes[0] in str(error.value) or wrong in str(error.value)
    assert str(tmp_path) in str(error.value) or "classes" in str(error.value)
