"""torchvision-style data sets: what their pairs may hold."""

from __future__ import annotations

import pickle

import pytest
import torch
from pairs import BOXES, SIZE, Pairs, loaded, masks_of, pair, with_key
from PIL import Image
from torch.utils.data import ConcatDataset, Subset, random_split
from torchvision import tv_tensors
from torchvision.transforms import v2

from segkit.data import Compose, build_test_loader, build_train_loader, from_torchvision
from segkit.data.samplers import ShuffleSampler
from segkit.utils.errors import SegkitError


def test_a_pair_becomes_a_sample():
    image, target = pair(*BOXES, labels=[2, 1], iscrowd=torch.tensor([0, 1]))
    sample = loaded(image, target)
    assert torch.equal(sample.image, image) and sample.size == SIZE and sample.image_id == 0
    assert torch.equal(sample.targets.boxes, target["boxes"])
    assert sample.targets.labels.tolist() == [1, 0] and sample.targets.crowd.tolist() == [False, True]
    assert torch.equal(sample.targets.masks.to_dense(), target["masks"].bool())


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: image.float() / 255,
        lambda image: image.double() / 255,
        lambda image: image.permute(1, 2, 0).numpy(),
        lambda image: (image.float() / 255).permute(1, 2, 0).numpy(),
        lambda image: Image.fromarray(image.permute(1, 2, 0).numpy()),
        tv_tensors.Image,
        lambda image: v2.ToDtype(torch.float32, scale=True)(tv_tensors.Image(image)),
    ],
    ids=["float", "double", "array", "float array", "PIL", "tv_tensor", "v2 float"],
)
def test_images_of_any_form(convert):
    image, target = pair(*BOXES)
    found = loaded(convert(image), target).image
    assert torch.equal(found, image) and type(found) is torch.Tensor and found.dtype == torch.uint8


def test_grey_images_get_three_channels():
    grey = torch.randint(0, 256, (1, *SIZE), dtype=torch.uint8)
    _, target = pair(*BOXES)
    for image in (grey, grey[0], grey[0].numpy(), Image.fromarray(grey[0].numpy())):
        assert torch.equal(loaded(image, target).image, grey.expand(3, -1, -1))


def test_a_pil_image_keeps_the_orientation_of_its_boxes():
    image, target = pair(*BOXES)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture.getexif()[0x0112] = 6
    assert torch.equal(loaded(picture, target).image, image)


def test_values_of_any_form():
    image, target = pair(*BOXES, labels=[1, 2])
    plain = loaded(image, target).targets
    others = {
        "arrays": {key: value.numpy() for key, value in target.items()},
        "lists": {**target, "boxes": [list(map(float, b)) for b in BOXES], "labels": [1, 2]},
        "tv_tensors": {
            "boxes": tv_tensors.BoundingBoxes(
                [[x, y, X - x, Y - y] for x, y, X, Y in BOXES], format="XYWH", canvas_size=SIZE
            ),
            "labels": target["labels"],
            "masks": tv_tensors.Mask(target["masks"].bool()),
        },
    }
    for name, other in others.items():
        found = loaded(image, other).targets
        assert torch.equal(found.boxes, plain.boxes), name
        assert torch.equal(found.labels, plain.labels) and torch.equal(found.masks.bits, plain.masks.bits), name
        assert type(found.boxes) is torch.Tensor


@pytest.mark.parametrize("boxes", [torch.zeros(0), torch.zeros(0, 4)])
@pytest.mark.parametrize("masks", [None, torch.zeros(0, *SIZE), torch.zeros(0)])
def test_images_without_objects(boxes, masks):
    image, _ = pair()
    target = {"boxes": boxes, "labels": torch.zeros(0), **({} if masks is None else {"masks": masks})}
    data = from_torchvision(Pairs([(image, target)]), ["a"])
    sample = data.load(0)
    assert len(sample.targets) == 0 and not sample.targets.lacks_masks
    assert data.label_counts(0) == {} and data.ground_truth(0, sample) == []


def test_a_label_beside_the_only_one():
    with pytest.raises(SegkitError, match=r"expected 1 \(there is one class\)"):
        loaded(*with_key("labels", torch.tensor([1, 2])), classes=["a"])


def test_boxes_without_masks_are_cut_at_the_border():
    image, target = pair((-5, 3, 20, 90))
    del target["masks"]
    sample = loaded(image, target)
    assert sample.targets.masks is None and sample.targets.boxes.tolist() == [[0, 3, 20, 40]]


def test_boxes_of_the_first_pixel_are_not_taken_for_normalized_ones():
    assert loaded(*pair((0, 0, 1, 1))).targets.boxes.tolist() == [[0, 0, 1, 1]]


def test_objects_of_one_pixel_and_of_the_whole_image():
    """torchvision's masks_to_boxes returns a box without area for one pixel; the mask's box replaces it."""
    masks = masks_of((7, 8, 8, 9), (0, 0, 56, 40))
    image, _ = pair()
    target = {"boxes": torch.tensor([[7.0, 8, 7, 8], [0, 0, 55, 39]]), "labels": torch.tensor([1, 1]), "masks": masks}
    data = from_torchvision(Pairs([(image, target)]), ["a"])
    sample = data.load(0)
    assert sample.targets.boxes.tolist() == [[7, 8, 8, 9], [0, 0, 56, 40]] and sample.dropped == 0
    assert [item["bbox"] for item in data.ground_truth(0, sample)] == [[7, 8, 1, 1], [0, 0, 55, 39]]


def test_empty_masks_are_dropped_and_stay_in_the_ground_truth():
    image, target = pair(*BOXES)
    target["masks"][0] = 0
    data = from_torchvision(Pairs([(image, target)]), ["a"])
    sample = data.load(0)
    assert len(sample.targets) == 1 and sample.dropped == 1 and len(data.ground_truth(0, sample)) == 2
    assert data.training_objects(0) == (1, 0, 1)


def test_labels_with_gaps():
    image, target = pair(*BOXES, labels=[3, 1])
    data = from_torchvision(Pairs([(image, target)]), {1: "person", 3: "car"})
    assert data.classes == ["person", "car"] and data.category_ids == [1, 3]
    assert data.load(0).targets.labels.tolist() == [1, 0] and data.label_counts(0) == {0: 1, 1: 1}


def test_parts_of_a_concatenation_count_their_images_by_themselves():
    parts = [Pairs([pair(*BOXES, image_id=i) for i in range(2)]) for _ in range(2)]
    joined = ConcatDataset(parts)
    whole = from_torchvision(joined, ["a"])
    assert [whole.load(i).image_id for i in range(4)] == [0, 1, 2, 3]
    assert from_torchvision(Subset(joined, [3, 1]), ["a"]).load(0).image_id == 3
    with pytest.raises(SegkitError, match="image_id"):  # ids of a user have to be the targets'
        from_torchvision(joined, ["a"], image_ids=[0, 1, 2, 3]).load(2)


def test_parts_of_a_random_split_keep_their_ids():
    pairs = Pairs([pair(*BOXES, image_id=i) for i in range(4)])
    parts = random_split(pairs, [3, 1], generator=torch.Generator().manual_seed(0))
    ids = [dataset.load(i).image_id for p in parts for dataset in [from_torchvision(p, ["a"])] for i in range(len(p))]
    assert sorted(ids) == [0, 1, 2, 3]


def test_ids_are_the_data_sets():
    pairs = Pairs([pair(*BOXES) for _ in range(4)])
    assert from_torchvision(pairs, ["a"]).image_ids == [0, 1, 2, 3]
    assert from_torchvision(Subset(pairs, [3, 1]), ["a"]).image_ids == [3, 1]
    assert from_torchvision(pairs, ["a"], image_ids=[9, 8, 7, 6]).image_ids == [9, 8, 7, 6]
    pairs.ids = [139, 285, 632, 724]  # as CocoDetection has them
    assert from_torchvision(Subset(pairs, [3, 1]), ["a"]).image_ids == [724, 285]
    pairs.pairs[1][1]["image_id"] = torch.tensor([285])
    data = from_torchvision(pairs, ["a"], image_ids=[139, 285, 632, 724])
    assert data.load(1).image_id == 285
    pairs.pairs[0][1]["image_id"] = torch.tensor([1])
    with pytest.raises(SegkitError, match="139"):
        data.load(0)


def test_counts_and_sizes_without_reading_images():
    class Unread(Pairs):
        def __getitem__(self, index):
            raise AssertionError("read")

        def get_height_and_width(self, index):
            return SIZE

    crowd = torch.tensor([0, 1])
    pairs = [pair(*BOXES, labels=[2, 1], iscrowd=crowd), pair(BOXES[0], labels=[1])]
    data = from_torchvision(Unread(pairs), ["a", "b"], load_target=lambda i: pairs[i][1])
    assert data.object_counts().tolist() == [1, 1] and data.unmasked_counts().tolist() == [0, 0]
    assert data.label_counts(0) == {0: 1, 1: 1} and data.size(1) == SIZE
    assert from_torchvision(Pairs(pairs), ["a", "b"]).object_counts() is None
    with pytest.raises(SegkitError, match=r"load_target\(0\)"):
        from_torchvision(Unread(pairs), ["a"], load_target=lambda i: pairs[i][1]).label_counts(0)


def test_unreadable_files_can_be_skipped():
    class Broken(Pairs):
        def __getitem__(self, index):
            if index == 0:
                raise OSError("truncated")
            return super().__getitem__(index)

    data = from_torchvision(Broken([pair(*BOXES), pair(*BOXES)]), ["a"])
    with pytest.raises(SegkitError, match=r"Broken\[0\].*truncated"):
        data.load(0)


def v2_transforms():
    return v2.Compose(
        [v2.RandomHorizontalFlip(p=1.0), v2.Resize((20, 28)), v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()]
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_data_set_that_applies_v2_transforms_itself(num_workers):
    boxes = tv_tensors.BoundingBoxes(torch.tensor(BOXES), format="XYXY", canvas_size=SIZE)
    image, target = pair(*BOXES)
    pairs = [(tv_tensors.Image(image), {**target, "boxes": boxes, "masks": tv_tensors.Mask(target["masks"])})] * 3
    data = from_torchvision(Pairs(pairs, v2_transforms()), ["a"])
    sampler = ShuffleSampler(num_samples=3, seed=0)
    loader = build_train_loader(data, Compose([]), sampler=sampler, batch_size=2, seed=0, num_workers=num_workers)
    batch = next(iter(loader))
    image, target = v2_transforms()(*pairs[0])
    for found, targets in zip(batch.images, batch.targets, strict=True):
        assert torch.equal(found, image) and found.shape == (3, 20, 28)
        assert torch.equal(targets.masks.to_dense(), target["masks"].bool())
        assert torch.equal(targets.boxes, targets.masks.boxes())
    test_batch = next(iter(build_test_loader(data, Compose([]), num_workers=num_workers)))
    assert len(test_batch.annotations[0]) == 2 and test_batch.sizes == [(20, 28)]


def test_pickling():
    data = pickle.loads(pickle.dumps(from_torchvision(Pairs([pair(*BOXES)]), ["a"])))
    assert len(data.load(0).targets) == 2 and data.summary().count("Pairs") == 1
