"""Rotation and affine maps of image, masks and boxes, compared with torchvision and with exact results."""

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from segkit.data.transforms import RandomAffine, RandomRotation, geometry
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.structures.affine import affine_matrix, turned_size
from segkit.utils.errors import SegkitError

BILINEAR = InterpolationMode.BILINEAR


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("k", range(4))
def test_quarter_turns_with_expand_are_rot90(color_sample, k):
    turned = RandomRotation(degrees=[90 * k, 90 * k], expand=True)(color_sample, seeded())
    expected = geometry.rot90(color_sample, k)
    assert torch.equal(turned.image, expected.image)
    assert torch.equal(turned.targets.boxes, expected.targets.boxes)
    assert torch.equal(turned.targets.masks.to_dense(), expected.targets.masks.to_dense())
    assert (turned.dropped, turned.rescued) == (0, 0)


@pytest.mark.parametrize("angle", [17.0, -140.0, 45.0])
@pytest.mark.parametrize("expand", [True, False])
def test_image_is_rotated_as_by_torchvision(color_sample, angle, expand):
    theirs = F.rotate_image(color_sample.image, angle, interpolation=BILINEAR, expand=expand)
    size = tuple(theirs.shape[1:])
    ours = geometry.affine(color_sample, affine_matrix((61, 83), size, angle=angle), size).image
    if expand:  # torchvision's image may be one line larger
        assert all(0 <= a - b <= 1 for a, b in zip(size, turned_size((61, 83), angle), strict=True))
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_image_is_mapped_as_by_torchvision(color_sample):
    # torchvision rotates clockwise and shears x in the other direction.
    ours = geometry.affine(
        color_sample, affine_matrix((61, 83), (61, 83), angle=-30, scale=1.3, shear=(-11, 0), shift=(5, -3)), (61, 83)
    )
    theirs = F.affine_image(color_sample.image, 30.0, [5.0, -3.0], 1.3, [11.0, 0.0], interpolation=BILINEAR)
    assert (ours.image.int() - theirs.int()).abs().max() <= 1


def disk_sample(x, y, radius=12, size=(90, 120)):
    """One bright disk on black, its centre at x, y."""
    rows, columns = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    dense = ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)[None]
    masks = InstanceMasks.from_dense(dense)
    return Sample(dense.to(torch.uint8) * 250, Targets(masks.boxes(), torch.tensor([0]), masks), 1, "a", size)


def center_of(weights):
    rows, columns = torch.meshgrid(*(torch.arange(side) + 0.5 for side in weights.shape), indexing="ij")
    return torch.stack([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["RandomRotation", "RandomAffine", "expand"])
def test_a_bright_object_stays_under_its_mask(name, seed):
    sample = disk_sample(70.5, 40.0)
    if name == "expand":
        transform = RandomRotation(degrees=180, expand=True)
    else:
        transform = TRANSFORM_REGISTRY.build({"name": name, "degrees": 40})
    result = transform(sample, seeded(seed))
    mask = result.targets.masks.to_dense()[0]
    wrong = mask != (result.image[0] >= 125)
    assert ((result.image[0][wrong].float() - 125).abs() <= 1).all()  # 0.5, except for rounding
    assert (center_of(result.image[0].float()) - center_of(mask.float())).abs().max() < 0.15
    box = result.targets.boxes[0]
    assert (center_of(mask.float()) - (box[:2] + box[2:]) / 2).abs().max() < 1
    assert torch.equal(box, InstanceMasks.from_dense(mask[None]).boxes()[0])


def test_affine_maps_a_point_as_documented():
    # Counterclockwise by 30 degrees about the centre (60, 45): from 20 to the right, up by 10.
    result = geometry.affine(disk_sample(80, 45), affine_matrix((90, 120), (90, 120), angle=30), (90, 120))
    expected = torch.tensor([60 + 20 * math.cos(math.pi / 6), 45 - 20 * 0.5])
    assert (center_of(result.image[0].float()) - expected).abs().max() < 0.02


def test_boxes_without_masks_are_the_corners_hull():
    sample = disk_sample(60, 45)
    bare = Targets(torch.tensor([[50.0, 35, 70, 55], [0, 0, 10, 10]]), torch.tensor([0, 1]))
    bare = Sample(sample.image, bare, 1, "a", (90, 120))
    turned = geometry.affine(bare, affine_matrix((90, 120), (90, 120), angle=45), (90, 120))
    half = 10 * math.sqrt(2)
    assert torch.allclose(turned.targets.boxes[:1], torch.tensor([[60 - half, 45 - half, 60 + half, 45 + half]]))
    moved = geometry.affine(bare, affine_matrix((90, 120), (90, 120), shift=(-55, 0)), (90, 120))
    assert moved.targets.boxes.tolist() == [[0, 35, 15, 55]] and moved.dropped == 1
    assert moved.targets.labels.tolist() == [0] and moved.targets.masks is None


def test_fill_colour_blends_at_the_border():
    image = torch.full((3, 4, 4), 200, dtype=torch.uint8)
    sample = Sample(image, Targets.empty((4, 4)), 1, "a", (4, 4))
    moved = geometry.affine(sample, affine_matrix((4, 4), (4, 4), shift=(1.5, 0)), (4, 4), fill=[10, 200, 0]).image
    assert moved[:, 0].tolist() == [[10, 105, 200, 200], [200] * 4, [0, 100, 200, 200]]
    with pytest.raises(SegkitError, match="fill: 2 values for the 3 channels"):
        geometry.affine(sample, affine_matrix((4, 4), (4, 4)), (4, 4), fill=[1, 2])
    with pytest.raises(SegkitError, match="fill: 2 values for the 3 channels"):
        geometry.pad(sample, (5, 5), fill=[1, 2])


def test_dropped_and_rescued_objects_are_counted():
    dense = torch.zeros(3, 40, 40, dtype=torch.bool)
    dense[0, 0, 0] = True  # leaves
    dense[1, 17, 10:30] = True  # falls between the samples, which are at 15.5 and 18.5
    dense[2, 10:30, 10:30] = True
    masks = InstanceMasks.from_dense(dense)
    sample = Sample(
        torch.zeros(1, 40, 40, dtype=torch.uint8), Targets(masks.boxes(), torch.arange(3), masks), 1, "", (40, 40)
    )
    result = geometry.affine(sample, affine_matrix((40, 40), (10, 10), scale=1 / 3), (10, 10))
    assert result.targets.labels.tolist() == [1, 2]
    assert (result.dropped, result.rescued) == (1, 1)
    assert torch.equal(result.targets.boxes, result.targets.masks.boxes())


def test_p_zero_changes_nothing(color_sample):
    for cls in (RandomRotation, RandomAffine):
        assert cls(p=0)(color_sample, seeded()) is color_sample


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (RandomRotation, {"degrees": -5}, "degrees: expected one number from 0 on, or"),
        (RandomRotation, {"degrees": [1, 2, 3]}, "degrees: expected"),
        (RandomRotation, {"fill": 256}, "fill: expected one value from 0 to 255, or one a channel; got 256"),
        (RandomRotation, {"p": 2}, "p: expected a probability"),
        (RandomAffine, {"translate": 1.5}, "translate: expected shares of the image's sides, 0 to 1; got 1.5"),
        (RandomAffine, {"translate": [0.1]}, "translate: expected"),
        (RandomAffine, {"shear": 60}, "shear: expected angles within -45 and 45"),
        (RandomAffine, {"min_scale": 0}, "0 < min_scale <= max_scale"),
    ],
)
def test_mistakes(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)
