"""Detections with ready RLEs: nothing is decoded before masks are read, and all forms of RLE are checked."""

import pytest
import torch
from pycocotools import mask as mask_api

from segkit.structures.detections import Detections
from segkit.structures.masks import InstanceMasks
from segkit.structures.rle_dicts import compressed_rles
from segkit.utils.errors import SegkitError

SIZE = (9, 11)


def dense(count=5, seed=0):
    masks = torch.rand(count, *SIZE, generator=torch.Generator().manual_seed(seed)) < 0.5
    masks[-1] = False
    return masks


def encoded(count=5):
    return InstanceMasks.from_dense(dense(count)).to_rle()


def found(boxes=True):
    rles = encoded()
    given = torch.rand(5, 4) if boxes else None
    return Detections.from_rle(rles, torch.arange(5) / 10, torch.arange(5), SIZE, given)


def test_rles_are_passed_on(monkeypatch):
    monkeypatch.setattr(InstanceMasks, "from_rle", lambda *arguments: pytest.fail("decoded"))
    detections = found()
    assert detections.to_rle() == encoded() and detections.has_masks and len(detections) == 5
    chosen = detections[torch.tensor([3, 0])]
    assert chosen.to_rle() == [encoded()[3], encoded()[0]]
    assert detections[detections.scores > 0.15].to_rle() == encoded()[2:]
    assert detections[1:3].to_rle() == encoded()[1:3]
    assert detections.to("cpu").to_rle() == encoded()


def test_masks_are_decoded_when_they_are_read():
    detections = found()
    assert torch.equal(detections.masks.to_dense(), dense())
    assert torch.equal(detections[[4, 1]].masks.to_dense(), dense()[[4, 1]])
    larger = detections.resized((18, 22))
    assert larger.masks.image_size == (18, 22) and larger.to_rle()[0]["size"] == [18, 22]
    assert found().resized(SIZE).to_rle() == encoded()


def test_boxes_of_masks():
    assert torch.equal(found(boxes=False).boxes, InstanceMasks.from_dense(dense()).boxes())


def test_masks_are_encoded_once():
    detections = Detections.from_masks(InstanceMasks.from_dense(dense()), torch.ones(5), torch.zeros(5).long())
    assert detections.to_rle() is detections.to_rle() and detections.to_rle() == encoded()
    probs = Detections(torch.tensor([[1.0, 1, 5, 5]]), torch.ones(1), torch.zeros(1).long(), torch.ones(1, 4, 4), SIZE)
    assert probs.to_rle() is probs.to_rle() and probs[:0].to_rle() == []


def test_other_forms_become_compressed():
    rles = encoded()
    uncompressed = [mask_api.frPyObjects({"size": list(SIZE), "counts": [10, 5, 84]}, *SIZE)]
    forms = [
        {"size": SIZE, "counts": rles[0]["counts"].encode()},  # bytes, and a tuple for the size
        {"size": list(SIZE), "counts": [10, 5, 84]},
        {"size": list(SIZE), "counts": [10.0, 2, 0, 3, 84]},  # a run without pixels
    ]
    expected = [rles[0], *[{"size": list(SIZE), "counts": uncompressed[0]["counts"].decode()}] * 2]
    assert compressed_rles(forms, SIZE) == expected
    # A compressed string with a run without pixels: 10, 2, 0, 3, 84 with differences from the fourth count on.
    odd = {"size": list(SIZE), "counts": ":201d2"}
    assert mask_api.area(odd) == 5
    assert compressed_rles([rles[1], odd], SIZE) == [rles[1], expected[1]]
    assert compressed_rles([], SIZE) == []


@pytest.mark.parametrize(
    ("rle", "fact"),
    [
        ([[1, 2, 3, 4]], "expected an RLE"),
        ({"size": [9, 11]}, "'size' and 'counts'"),
        ({"size": [11, 9], "counts": [99]}, r"size \[11, 9\], expected \[9, 11\]"),
        ({"size": None, "counts": [99]}, "size None"),
        ({"size": [9, 11], "counts": [98]}, "98 pixels"),
        ({"size": [9, 11], "counts": [100, -1]}, "-1"),
        ({"size": [9, 11], "counts": None}, "counts are None"),
        ({"size": [9, 11], "counts": "~~"}, "not a compressed RLE"),
    ],
)
def test_malformed_rles(rle, fact):
    with pytest.raises(SegkitError, match=rf"objects\[1\].*{fact}"):
        Detections.from_rle([encoded()[0], rle], torch.ones(2), torch.zeros(2).long(), SIZE, torch.zeros(2, 4))


def test_a_mask_for_each_score():
    with pytest.raises(SegkitError, match="5 masks for 4 scores"):
        Detections.from_rle(encoded(), torch.ones(4), torch.zeros(4).long(), SIZE)
