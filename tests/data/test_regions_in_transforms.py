"""Ignore regions and unlabelled classes through all transforms."""

import dataclasses

import pytest
import torch

from segkit.data.transforms import CopyPaste, MixingTransform, Mosaic, RandomCrop, geometry
from segkit.data.transforms.base import Compose
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.targets import ALL_CLASSES

H, W = 60, 80
CASES = [
    pytest.param(name, example, id=f"{name}-{i}")
    for name in TRANSFORM_REGISTRY.names()
    if hasattr(TRANSFORM_REGISTRY.get(name), "examples")
    for i, example in enumerate(TRANSFORM_REGISTRY.get(name).examples[:2])
    if not {"min_visibility"} & set(example)
]


def make_sample(label, seed=0):
    """Two objects and two regions with ``label``: an L around the annotated part, and a box without a mask."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.zeros(3, H, W, dtype=torch.bool)
    dense[0, 12:30, 15:40] = True
    dense[1, 35:50, 40:60] = True
    dense[2] = True
    dense[2, 8:, :65] = False
    masks = InstanceMasks.from_dense(dense)
    crowd = torch.tensor([False, False, True])
    targets = Targets(masks.boxes(), torch.tensor([0, 1, label]), masks, crowd)
    box_only = Targets(torch.tensor([[5.0, 40, 25, 55]]), torch.tensor([label]), None, torch.tensor([True]))
    targets = dataclasses.replace(Targets.cat([targets, box_only]), unlabelled=torch.tensor([1, 4]))
    image = torch.randint(0, 255, (3, H, W), dtype=torch.uint8, generator=generator)
    return Sample(image, targets, 1, "a.png", (H, W), None)


def run(name, example, label):
    transform = Compose([TRANSFORM_REGISTRY.build({"name": name, **example}, path="t")])
    return transform(make_sample(label), torch.Generator().manual_seed(3), lambda _: make_sample(label, 1))


@pytest.mark.parametrize(("name", "example"), CASES)
def test_regions_move_as_objects_do(name, example):
    """The same boxes and masks as if the regions were crowds of a class, and the label stays."""
    regions, crowds = run(name, example, ALL_CLASSES).targets, run(name, example, 2).targets
    assert torch.equal(regions.boxes, crowds.boxes) and torch.equal(regions.has_mask, crowds.has_mask)
    assert torch.equal(regions.masks.bits, crowds.masks.bits)
    assert torch.equal(regions.labels == ALL_CLASSES, crowds.labels == 2)
    assert torch.equal(regions.crowd, regions.labels == ALL_CLASSES)
    assert regions.unlabelled.tolist() == [1, 4]


def test_crowds_stay_in_spite_of_min_visibility():
    crowds, regions = make_sample(2), make_sample(ALL_CLASSES)
    for window in ((0, 6, 60, 40), (50, 0, 70, 30)):
        cropped = [geometry.crop(sample, window, min_visibility=0.9).targets for sample in (crowds, regions)]
        assert torch.equal(cropped[0].boxes, cropped[1].boxes) and cropped[0].crowd.sum() == 1
    transform = CopyPaste(p=1.0, min_visibility=1.0)
    for seed in range(3):
        mixed = [
            transform.mix(sample, lambda: make_sample(ALL_CLASSES, 1), torch.Generator().manual_seed(seed)).targets
            for sample in (crowds, regions)
        ]
        assert torch.equal(mixed[0].boxes, mixed[1].boxes) and mixed[0].crowd.sum() == 2


def test_crops_keep_the_rest_of_a_region_and_do_not_count_it():
    sample = make_sample(ALL_CLASSES)
    cropped = geometry.crop(sample, (0, 6, 60, 40), min_visibility=0.9)
    assert cropped.targets.labels.tolist() == [0, ALL_CLASSES] and cropped.dropped == 1  # the second object
    assert int(cropped.targets.masks.areas()[1]) == 2 * 60
    without = geometry.crop(sample, (0, 8, 30, 40), min_visibility=0.0)
    assert without.targets.labels.tolist() == [0] and without.dropped == 1
    generator = torch.Generator().manual_seed(0)
    assert any(RandomCrop(size=20)(sample, generator).dropped < 2 for _ in range(20))


def test_regions_are_not_pasted_but_covered():
    """All objects of the other image are pasted, none of its regions; the covered rest of a region stays."""
    transform = CopyPaste(p=1.0, min_visibility=1.0)
    assert isinstance(transform, MixingTransform)
    dense = torch.zeros(1, H, W, dtype=torch.bool)
    dense[0, 2:40, 50:75] = True  # over the L
    masks = InstanceMasks.from_dense(dense)
    tall = Targets(masks.boxes(), torch.tensor([0]), masks)
    smaller = False
    for seed in range(5):
        other = make_sample(ALL_CLASSES, 1)
        other = dataclasses.replace(other, targets=Targets.cat([other.targets, tall]))
        mixed = transform.mix(make_sample(ALL_CLASSES), lambda: other, torch.Generator().manual_seed(seed))  # noqa: B023
        targets = mixed.targets
        assert (targets.labels == ALL_CLASSES).sum() == 2
        objects = targets[targets.labels != ALL_CLASSES].masks.union()
        assert not (targets[targets.labels == ALL_CLASSES].masks.union() & objects).any()
        assert mixed.dropped <= 2  # of the objects below
        whole = make_sample(ALL_CLASSES).targets.masks.areas()[2]
        smaller |= bool(targets[targets.labels == ALL_CLASSES].masks.areas().max() < whole)
    assert smaller  # a region was covered, and stayed in spite of min_visibility


def test_a_pasted_object_brings_no_unlabelled_class_and_a_mosaic_all():
    first, other = make_sample(ALL_CLASSES), make_sample(ALL_CLASSES, 1)
    other = dataclasses.replace(other, targets=dataclasses.replace(other.targets, unlabelled=torch.tensor([0, 7])))
    generator = torch.Generator().manual_seed(0)
    assert CopyPaste(p=1.0).mix(first, lambda: other, generator).targets.unlabelled.tolist() == [1, 4]
    assert Mosaic(size=64).mix(first, lambda: other, generator).targets.unlabelled.tolist() == [0, 1, 4, 7]


def test_moves_between_devices_keep_everything():
    targets = make_sample(ALL_CLASSES).targets
    for moved in (targets.to("cpu"), targets[[0, 1, 2, 3]], targets[torch.ones(4, dtype=torch.bool)]):
        assert moved.unlabelled.tolist() == [1, 4] and moved.mask_regions == [2] and moved.box_crowds == [3]
    assert targets.to("meta").mask_regions == [2]  # known without reading the device
    assert targets.to("meta").unlabelled.device.type == "cpu"
