"""torchvision-style data sets: mistakes in pairs and data sets, each one message with index and key."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pairs import BOXES, SIZE, Pairs, loaded, pair, with_key
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from segkit.data import Synthetic, from_torchvision
from segkit.utils.errors import SegkitError

MISTAKES = {
    "label 0": (("labels", torch.tensor([1, 0])), ["labels'][1]", "background"]),
    "label too high": (("labels", torch.tensor([3, 1])), ["labels'][0] is 3", "1 to 2"]),
    "float labels": (("labels", torch.tensor([1.0, 1.0])), ["labels", "float32"]),
    "number of labels": (("labels", torch.tensor([1])), ["labels", "[1]", "[2]"]),
    "shape of boxes": (("boxes", torch.zeros(2, 5)), ["boxes", "[2, 5]", "[N, 4]"]),
    "XYWH": (("boxes", torch.tensor([[5.0, 6, 9, 9], [30, 20, 10, 5]])), ["boxes'][1]", "XYXY"]),
    "NaN": (("boxes", torch.tensor([[5.0, 6, 9, 9], [1, 2, float("nan"), 5]])), ["boxes'][1]", "nan"]),
    "size of masks": (("masks", torch.zeros(2, 10, 20)), ["masks", "10 x 20", "40 x 56"]),
    "number of masks": (("masks", torch.zeros(3, *SIZE)), ["3 masks", "2 boxes"]),
    "dimensions of masks": (("masks", torch.zeros(2, 1, *SIZE)), ["masks", "[2, 1, 40, 56]", "masks[:, 0]"]),
    "probabilities": (("masks", torch.full((2, *SIZE), 0.3)), ["masks", "> 0.5"]),
    "NaN in masks": (("masks", torch.full((2, *SIZE), float("nan"))), ["masks", "NaN"]),
    "normalized": (("boxes", torch.tensor([[0.1, 0, 0.5, 0.3], [0, 0, 1, 1]])), ["boxes", "pixels", "56", "40"]),
    "iscrowd": (("iscrowd", torch.zeros(3)), ["iscrowd", "[3]", "[2]"]),
    "area": (("area", torch.zeros(3)), ["area", "[3]", "[2]"]),
    "text in area": (("area", "large"), ["area", "large"]),
    "None in area": (("area", [None, None]), ["area", "None"]),
    "image_id": (("image_id", 7), ["image_id", "7", "0", "image_ids="]),
    "text": (("image_id", "x.jpg"), ["image_id", "x.jpg"]),
    "rotated": (
        ("boxes", tv_tensors.BoundingBoxes(torch.zeros(2, 5), format="XYWHR", canvas_size=SIZE)),
        ["boxes", "[2, 5]"],
    ),
    "canvas_size": (
        ("boxes", tv_tensors.BoundingBoxes(torch.zeros(2, 4), format="XYXY", canvas_size=(9, 9))),
        ["boxes", "(9, 9)", "(40, 56)"],
    ),
    "mistyped": (("is_crowd", torch.zeros(2)), ["is_crowd", "iscrowd"]),
    "no tensor": (("boxes", "many"), ["boxes", "str"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_of_a_target_name_index_and_key(name):
    (key, value), facts = MISTAKES[name]
    with pytest.raises(SegkitError) as caught:
        loaded(*with_key(key, value))
    assert all(fact in str(caught.value) for fact in ["Pairs[0]", *facts]), caught.value


@pytest.mark.parametrize(("lacking", "other"), [("boxes", "bboxes"), ("boxes", "box"), ("labels", "label")])
def test_missing_keys_name_the_nearest(lacking, other):
    image, target = pair(*BOXES)
    target[other] = target.pop(lacking)
    with pytest.raises(SegkitError, match=f"'{lacking}'.*'{other}'"):
        loaded(image, target)


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (torch.zeros(40, 56, 3, dtype=torch.uint8), ["[40, 56, 3]", "channels are last"]),
        (np.zeros((3, 40, 56), np.uint8), ["[3, 40, 56]", "channels are first"]),
        (torch.zeros(3, 40, 56, dtype=torch.int64), ["int64", "uint8"]),
        (torch.zeros(3, 40, 56) - 1.5, ["-1.5", "Normalize"]),
        (torch.zeros(3, 40, 56) + 200, ["200", "255"]),
        (torch.full((3, 40, 56), float("nan")), ["nan", "0..1"]),
        (torch.zeros(3, 40, 56, dtype=torch.uint16), ["uint16", "65535", "data.channels"]),
        (torch.zeros(4, 40, 56, dtype=torch.uint8), ["[4, 40, 56]", "image[:3]"]),
        (np.zeros((40, 56, 4), np.uint8), ["[40, 56, 4]", "image[..., :3]"]),
        (Image.new("I;16", (56, 40)), ["I;16", "65535"]),
        ("image.png", ["str"]),
    ],
)
def test_mistakes_of_an_image(image, facts):
    _, target = pair(*BOXES)
    with pytest.raises(SegkitError) as caught:
        loaded(image, target)
    assert all(fact in str(caught.value) for fact in ["Pairs[0]", *facts]), caught.value


def test_mistakes_of_the_data_set():
    image, target = pair(*BOXES)
    with pytest.raises(SegkitError, match=r"generator.*map-style"):
        from_torchvision((i for i in [(image, target)]), ["a"])
    with pytest.raises(SegkitError, match=r"Pairs\[0\].*\(image, target\)"):
        from_torchvision(Pairs([(image, target, 1)]), ["a"]).load(0)
    with pytest.raises(SegkitError, match="__background__"):
        from_torchvision(Pairs([(image, target)]), ["__background__", "a"])
    with pytest.raises(SegkitError, match="more than once"):
        from_torchvision(Pairs([(image, target)]), ["a", "a"])
    with pytest.raises(SegkitError, match="list of names"):
        from_torchvision(Pairs([(image, target)]), "a")
    with pytest.raises(SegkitError, match="image_ids"):
        from_torchvision(Pairs([(image, target)]), ["a"], image_ids=[1, 2])


@pytest.mark.parametrize(
    ("dataset", "facts"),
    [
        (Pairs, ["class Pairs", "instance"]),
        (Synthetic(num_images=1), ["Synthetic", "segkit data set already"]),
        (DataLoader(Pairs([pair(*BOXES)])), ["DataLoader", ".dataset"]),
    ],
    ids=["class", "segkit", "loader"],
)
def test_the_hint_for_what_is_no_map_style_data_set(dataset, facts):
    with pytest.raises(SegkitError) as caught:
        from_torchvision(dataset, ["a"])
    assert all(fact in str(caught.value) for fact in facts)
