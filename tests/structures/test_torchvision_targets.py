"""torchvision's dictionaries to targets and detections and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.structures import (
    Detections,
    InstanceMasks,
    Targets,
    detections_from_torchvision,
    detections_to_torchvision,
    targets_from_torchvision,
    targets_to_torchvision,
)
from segkit.utils.errors import SegkitError
from segkit.visualization import draw_detections

SIZE = (13, 17)


def random_targets(count, seed, masks, partly=False):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * 20 - 3
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    dense = torch.rand(count, *SIZE, generator=generator) < torch.rand(count, 1, 1, generator=generator)
    if count:
        dense[0] = False
        dense[0, 4, 5] = True  # one pixel
        dense[-1] = True  # the whole image
    has_mask = torch.rand(count, generator=generator) < 0.5 if partly else torch.ones(count, dtype=torch.bool)
    dense &= has_mask[:, None, None]
    labels = torch.randint(0, 90, (count,), generator=generator)
    crowd = torch.rand(count, generator=generator) < 0.3
    if not masks:
        return Targets(boxes, labels, None, crowd)
    return Targets(boxes, labels, InstanceMasks.from_dense(dense), crowd, has_mask)


def equal(a, b):
    assert torch.equal(a.boxes, b.boxes) and torch.equal(a.labels, b.labels) and torch.equal(a.crowd, b.crowd)
    assert torch.equal(a.has_mask, b.has_mask) and (a.masks is None) == (b.masks is None)
    if a.masks is not None:
        assert torch.equal(a.masks.bits, b.masks.bits) and torch.equal(a.masks.crop_boxes, b.masks.crop_boxes)
        assert a.masks.image_size == b.masks.image_size


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 5), seed=st.integers(0, 10**6), masks=st.booleans(), partly=st.booleans())
def test_targets_come_back_as_they_were(count, seed, masks, partly):
    targets = random_targets(count, seed, masks, partly)
    back = targets_to_torchvision(targets)
    equal(targets_from_torchvision(back, SIZE), targets)
    again = targets_to_torchvision(targets_from_torchvision(back, SIZE))
    assert again.keys() == back.keys() and all(torch.equal(again[key], back[key]) for key in back)


def test_what_the_dictionary_holds():
    dense = torch.zeros(2, *SIZE, dtype=torch.bool)
    dense[0, 2:4, 3:8] = True
    boxes = torch.tensor([[3.0, 2, 8, 4], [1, 1, 3, 4]])
    targets = Targets(boxes, torch.tensor([0, 2]), InstanceMasks.from_dense(dense), None, torch.tensor([True, False]))
    found = targets_to_torchvision(targets)
    assert found["labels"].tolist() == [1, 3] and found["area"].tolist() == [10, 6]
    assert found["masks"].dtype == torch.uint8 and torch.equal(found["masks"].bool(), dense)
    assert found["iscrowd"].tolist() == [0, 0] and found["has_mask"].tolist() == [True, False]


def test_labels_with_gaps_go_both_ways():
    targets = Targets(torch.tensor([[0.0, 0, 1, 1]] * 3), torch.tensor([2, 0, 1]))
    found = targets_to_torchvision(targets, [1, 44, 90])
    assert found["labels"].tolist() == [90, 1, 44]
    assert targets_from_torchvision(found, SIZE, [1, 44, 90]).labels.tolist() == [2, 0, 1]
    with pytest.raises(SegkitError, match=r"labels'\]\[2\] is 44; expected one of 1, 90"):
        targets_from_torchvision(found, SIZE, [1, 90])


def test_detections_both_ways():
    dense = torch.zeros(2, *SIZE, dtype=torch.bool)
    dense[0, 2:4, 3:8] = True
    masks = InstanceMasks.from_dense(dense)
    detections = Detections.from_masks(masks, torch.tensor([0.9, 0.5]), torch.tensor([3, 0]))
    found = detections_to_torchvision(detections)
    assert found["labels"].tolist() == [4, 1] and found["masks"].shape == (2, 1, *SIZE)
    assert torch.equal(found["masks"][:, 0], dense.float())
    back = detections_from_torchvision(found, SIZE)
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(back, name), getattr(detections, name))
    assert torch.equal(back.masks.bits, masks.bits) and back.to_rle() == masks.to_rle()
    assert "masks" not in detections_to_torchvision(
        Detections(*(found[k] for k in ("boxes", "scores", "labels")), None, SIZE)
    )


def test_probabilities_are_cut_at_the_threshold():
    found = {
        "boxes": torch.tensor([[0.0, 0, 17, 13]]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([1.0]),
        "masks": torch.linspace(0, 1, 13 * 17).view(1, 1, *SIZE),
    }
    assert torch.equal(detections_from_torchvision(found, SIZE).masks.to_dense(), found["masks"][0] >= 0.5)
    higher = detections_from_torchvision(found, SIZE, mask_threshold=0.7)
    assert torch.equal(higher.masks.to_dense(), found["masks"][0] >= 0.7)
    del found["scores"]
    with pytest.raises(SegkitError, match="'scores'"):
        detections_from_torchvision(found, SIZE)


def test_ready_masks_stay_with_their_detections():
    dense = torch.zeros(3, *SIZE, dtype=torch.bool)
    for i in range(3):
        dense[i, i, : i + 1] = True
    found = Detections.from_masks(InstanceMasks.from_dense(dense), torch.tensor([0.9, 0.5, 0.1]), torch.zeros(3).long())
    assert found.has_masks and torch.equal(found[[2, 0]].masks.to_dense(), dense[[2, 0]])
    assert torch.equal(found.to("cpu").masks.to_dense(), dense)
    assert found.resized((26, 34)).masks.image_size == (26, 34) and found.resized(SIZE).masks is found.masks
    with pytest.raises(SegkitError, match="2 masks for 3 scores"):
        Detections.from_masks(InstanceMasks.from_dense(dense[:2]), torch.ones(3), torch.zeros(3).long())


def test_own_keys_are_not_read():
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0), "image": "x.png", "task": 3, "mask_path": "m.png"}
    assert len(targets_from_torchvision(target, SIZE)) == 0
    with pytest.raises(SegkitError, match=r"'mask'.*'masks'"):
        targets_from_torchvision({**target, "mask": torch.zeros(0, *SIZE)}, SIZE)


def test_ready_masks_are_drawn():
    dense = torch.zeros(1, *SIZE, dtype=torch.bool)
    dense[0, 2:9, 3:12] = True
    masked = Detections.from_masks(InstanceMasks.from_dense(dense), torch.ones(1), torch.zeros(1).long())
    boxed = Detections(masked.boxes, masked.scores, masked.labels, None, SIZE)
    image = torch.full((3, *SIZE), 90, dtype=torch.uint8)
    assert (draw_detections(image, masked, ["a"]) != draw_detections(image, boxed, ["a"])).any()
