"""Targets, Detections, ImageBatch, Sample and Batch."""

import dataclasses
import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from segkit.structures import Batch, Detections, ImageBatch, InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError


def some_targets(count=4, size=(20, 30)):
    dense = torch.zeros(count, *size, dtype=torch.bool)
    for i in range(count):
        dense[i, i : i + 3, 2 * i : 2 * i + 4] = True
    masks = InstanceMasks.from_dense(dense)
    return Targets(masks.boxes(), torch.arange(count), masks)


def some_detections(count=5, size=(40, 60)):
    low = torch.rand(count, 2) * 20
    boxes = torch.cat([low, low + 15], 1)
    return Detections(boxes, torch.rand(count), torch.arange(count), torch.rand(count, 28, 28), size)


def test_targets_without_objects():
    for empty in (
        Targets(torch.zeros(0), torch.zeros(0)),
        Targets.empty((3, 4)),
        Targets(torch.tensor([]), torch.tensor([])),
    ):
        assert empty.boxes.shape == (0, 4) and len(empty) == 0
        assert empty.labels.dtype == torch.long and empty.crowd.dtype == torch.bool
    assert Targets.empty((3, 4)).masks.image_size == (3, 4)


def test_not_crowd():
    targets = some_targets()
    assert not targets.has_crowd and targets.not_crowd == slice(None)
    moved = targets.to("meta")  # where nothing can be looked at
    assert not moved.has_crowd and moved.not_crowd == slice(None) and not moved.to("meta", non_blocking=True).has_crowd
    targets.crowd[2] = True
    assert targets.has_crowd and targets.not_crowd.tolist() == [0, 1, 3]
    assert targets.to("meta").has_crowd and not targets[:2].has_crowd


def test_targets_choose():
    targets = some_targets()
    targets.crowd[2] = True
    for index in (torch.tensor([2, 0]), [2, 0], torch.tensor([True, False, True, False]), slice(1, 3)):
        chosen = targets[index]
        assert chosen.labels.tolist() == targets.labels[index].tolist()
        assert chosen.crowd.tolist() == targets.crowd[index].tolist()
        assert torch.equal(chosen.boxes, chosen.masks.boxes())
    assert Targets(targets.boxes, targets.labels)[[0]].masks is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": torch.zeros(4, 5)}, r"boxes have shape \[4, 5\], expected \[N, 4\]"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels have shape \[3\], expected \[4\]"),
        ({"labels": torch.zeros(4)}, "labels are torch.float32"),
        ({"crowd": torch.zeros(1, dtype=torch.bool)}, r"crowd have shape \[1\]"),
        ({"masks": InstanceMasks.empty((3, 3))}, "0 masks for 4 boxes"),
        ({"has_mask": torch.ones(3, dtype=torch.bool)}, r"has_mask have shape \[3\]"),
        ({"has_mask": torch.tensor([True, False, True, True])}, "has_mask is False for an object that has a mask"),
    ],
)
def test_targets_that_disagree(change, message):
    targets = some_targets()
    parts = {"boxes": targets.boxes, "labels": targets.labels, "masks": targets.masks, "crowd": targets.crowd}
    with pytest.raises(SegkitError, match=message):
        Targets(**{**parts, **change})


def mixed_targets():
    """Objects 0 and 2 of four have a mask."""
    dense = some_targets().masks.to_dense()
    dense[1::2] = False
    has_mask = torch.tensor([True, False, True, False])
    return Targets(some_targets().boxes, torch.arange(4), InstanceMasks.from_dense(dense), has_mask=has_mask)


def test_which_objects_have_a_mask():
    assert some_targets().has_mask.tolist() == [True] * 4 and not some_targets().lacks_masks
    bare = Targets(some_targets().boxes, torch.arange(4))
    assert bare.has_mask.tolist() == [False] * 4 and bare.lacks_masks
    assert not Targets.empty((3, 4)).lacks_masks and not Targets(torch.zeros(0, 4), torch.zeros(0)).lacks_masks
    mixed = mixed_targets()
    assert mixed.lacks_masks and not mixed[::2].lacks_masks and mixed[[1]].lacks_masks
    assert mixed[torch.tensor([3, 2, 2])].has_mask.tolist() == [False, True, True]
    assert mixed[mixed.has_mask].masks.areas().tolist() == mixed.masks.areas()[[0, 2]].tolist()
    for targets in (some_targets(), bare, mixed):
        moved = targets.to("meta").to("meta", non_blocking=True)  # where nothing can be looked at
        assert moved.lacks_masks == targets.lacks_masks and moved.has_mask.device.type == "meta"
    assert dataclasses.replace(some_targets(), masks=None).has_mask.tolist() == [False] * 4
    some = some_targets()
    some.masks, some.has_mask[1] = mixed.masks, False
    assert some.lacks_masks


def test_targets_side_by_side_keep_the_masks_there_are():
    masked, mixed, bare = some_targets(), mixed_targets(), Targets(some_targets().boxes, torch.arange(4))
    for parts in itertools.product((masked, mixed, bare, Targets.empty((20, 30))), repeat=3):
        together = Targets.cat(parts)
        assert together.has_mask.tolist() == [value for part in parts for value in part.has_mask.tolist()]
        assert together.boxes.tolist() == [box for part in parts for box in part.boxes.tolist()]
        if together.masks is None:
            assert len(together) and not together.has_mask.any()
            continue
        dense = [
            torch.zeros(len(p), 20, 30, dtype=torch.bool) if p.masks is None else p.masks.to_dense() for p in parts
        ]
        assert torch.equal(together.masks.to_dense(), torch.cat(dense))
    assert Targets.cat([bare, bare]).masks is None and Targets.cat([bare, Targets.empty((20, 30))]).masks is None
    assert Targets.cat([Targets(torch.zeros(0, 4), torch.zeros(0)), masked]).masks.image_size == (20, 30)


def test_targets_move():
    moved = some_targets().to("cpu", non_blocking=True)
    assert len(moved) == len(moved.masks) == 4 and moved.boxes.dtype == torch.float32


def test_detections_resized():
    found = some_detections()
    twice = found.resized((80, 180))
    assert torch.allclose(twice.boxes, found.boxes * torch.tensor([3.0, 2, 3, 2]))
    assert twice.size == (80, 180) and twice.mask_probs is found.mask_probs
    assert twice.masks.image_size == (80, 180) and found.masks.image_size == (40, 60)


def test_detections_masks_are_pasted_once(monkeypatch):
    found = some_detections()
    masks = found.masks
    assert found.masks is masks and len(masks) == 5
    assert found.to_rle() == masks.to_rle()
    monkeypatch.setattr("segkit.structures.detections.paste_masks", None)
    chosen = found[found.scores.argsort()[:2]].to("cpu")
    assert torch.equal(chosen.masks.to_dense(), masks[found.scores.argsort()[:2]].to_dense())


def test_detections_without_masks_or_objects():
    found = Detections(torch.zeros(0), torch.zeros(0), torch.zeros(0, dtype=torch.long), None, (4, 5))
    assert found.boxes.shape == (0, 4) and found.masks is None and len(found[[]]) == 0
    assert found.resized((8, 9)).size == (8, 9)
    with pytest.raises(SegkitError, match="mask"):
        found.to_rle()
    empty = Detections(
        torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 28, 28), (4, 5)
    )
    assert empty.to_rle() == [] and empty.masks.image_size == (4, 5)


def test_detections_that_disagree():
    with pytest.raises(SegkitError, match=r"scores have shape \[2\], expected \[1\]"):
        Detections(torch.zeros(1, 4), torch.zeros(2), torch.zeros(1), None, (4, 5))
    with pytest.raises(SegkitError, match="mask_probs"):
        Detections(torch.zeros(1, 4), torch.zeros(1), torch.zeros(1), torch.zeros(2, 28, 28), (4, 5))


def test_image_batch():
    images = [torch.full((3, 10, 40), 1.0), torch.full((3, 33, 5), 2.0)]
    batch = ImageBatch.from_images(images, divisor=32, pad_value=-1)
    assert batch.tensor.shape == (2, 3, 64, 64) and batch.sizes == [(10, 40), (33, 5)] and len(batch) == 2
    assert torch.equal(batch.tensor[0, :, :10, :40], images[0]) and torch.equal(batch.tensor[1, :, :33, :5], images[1])
    assert (batch.tensor[0, :, 10:] == -1).all() and (batch.tensor[0, :, :, 40:] == -1).all()
    assert ImageBatch.from_images([images[0]], divisor=1).tensor.shape == (1, 3, 10, 40)
    assert batch.to("cpu").sizes == batch.sizes


def test_image_batch_mistakes():
    with pytest.raises(SegkitError, match="at least one"):
        ImageBatch.from_images([])
    with pytest.raises(SegkitError, match=r"images\[1\]"):
        ImageBatch.from_images([torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)])
    with pytest.raises(SegkitError, match=r"images\[0\].*\[4, 4\]"):
        ImageBatch.from_images([torch.zeros(4, 4)])


def some_sample(number):
    image = torch.full((3, 20 + number, 30), number, dtype=torch.uint8)
    return Sample(image, some_targets(number, (20 + number, 30)), number, f"{number}.png", (40, 60))


def test_batch():
    batch = Batch.collate([some_sample(0), some_sample(3)])
    assert len(batch) == 2 and batch.image_ids == [0, 3] and batch.file_names == ["0.png", "3.png"]
    assert batch.sizes == [(40, 60)] * 2 and batch.annotations == [None, None]
    assert [len(targets) for targets in batch.targets] == [0, 3]
    assert [tuple(image.shape) for image in batch.images] == [(3, 20, 30), (3, 23, 30)]
    assert batch.to("cpu").image_ids == batch.image_ids
    assert "3.png" in repr(batch)


def test_batches_come_from_worker_processes():
    loader = DataLoader([some_sample(i) for i in range(4)], batch_size=2, num_workers=1, collate_fn=Batch.collate)
    batches = list(loader)
    assert [batch.image_ids for batch in batches] == [[0, 1], [2, 3]]
    expected = some_targets(3, (23, 30))
    assert torch.equal(batches[1].targets[1].masks.to_dense(), expected.masks.to_dense())


@pytest.mark.gpu
def test_batches_on_cuda():
    batch = Batch([some_sample(2)]).pin_memory()
    assert batch.images[0].is_pinned() and batch.targets[0].masks.bits.is_pinned()
    there = batch.to("cuda", non_blocking=True)
    assert there.images[0].is_cuda and there.targets[0].masks.bits.is_cuda and there.targets[0].crowd.is_cuda
    found = some_detections().to("cuda")
    assert found.masks.device.type == "cuda" and len(found.resized((10, 10)).to_rle()) == 5
