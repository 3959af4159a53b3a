"""Transforms of float images and of any number of channels: as for uint8 RGB, or one clear error."""

from __future__ import annotations

import itertools

import pytest
import torch

from segkit.data.transforms import Compose, Photometric, geometry
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError

CASES = [(name, dict(arguments)) for name, cls in TRANSFORM_REGISTRY for arguments in getattr(cls, "examples", ({},))]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]
every_transform = pytest.mark.parametrize(("name", "arguments"), CASES, ids=IDS)
RGB_ONLY = {"ColorJitter": "set saturation: 0", "RandomGrayscale": "remove the transform"}


def sample_of(image, file="a"):
    height, width = image.shape[1:]
    dense = torch.zeros(2, height, width, dtype=torch.bool)
    dense[0, 4:20, 6:30] = dense[1, 22:34, 10:40] = True
    masks = InstanceMasks.from_dense(dense)
    targets = Targets(masks.boxes().float(), torch.tensor([0, 1]), masks)
    return Sample(image, targets, 0, file, (height, width))


def random_image(channels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, 40, 48), generator=generator, dtype=torch.uint8)


def apply(name, arguments, images, seed=3):
    transform = TRANSFORM_REGISTRY.build({"name": name, **arguments})
    others = itertools.cycle([sample_of(image, str(i)) for i, image in enumerate(images)])
    return Compose([transform])(next(others), torch.Generator().manual_seed(seed), lambda _: next(others))


@every_transform
def test_float_images_are_transformed_as_uint8_ones(name, arguments):
    image = random_image(3)
    if name in ("RandomAutocontrast", "RandomAdjustSharpness", "PercentileContrast", "GaussianNoise"):
        image = image // 4 + 60  # rounding is not amplified
    expected = apply(name, arguments, [image])
    found = apply(name, arguments, [image.float() / 255])
    assert found.image.dtype == torch.float32 and float(found.image.min()) >= 0 and float(found.image.max()) <= 1
    assert torch.equal(found.targets.boxes, expected.targets.boxes)
    tolerance = 6 if name == "ColorJitter" else 1.6  # uint8 is rounded after each of four steps
    if name != "GaussianNoise":  # v2 draws other numbers for other types
        assert float((found.image * 255 - expected.image.float()).abs().max()) <= tolerance


@every_transform
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(name, arguments, channels):
    transform = TRANSFORM_REGISTRY.build({"name": name, **arguments})
    if name in RGB_ONLY:
        with pytest.raises(SegkitError, match=rf"{name}.*have {channels}.*{RGB_ONLY[name]}"):
            transform.check_channels(channels)
        transform.check_channels(3)
        arguments = {"saturation": 0.0} if name == "ColorJitter" else None
    if arguments is None:
        return
    TRANSFORM_REGISTRY.build({"name": name, **arguments}).check_channels(channels)
    image = random_image(channels)
    found = apply(name, arguments, [image])
    assert len(found.image) == channels and found.image.dtype == torch.uint8
    if not isinstance(transform, Photometric):  # each channel moves as if it were alone
        alone = apply(name, arguments, [image[-1:]])
        assert torch.equal(found.image[-1:], alone.image)


@pytest.mark.parametrize("name", ["DarkBackground", "PercentileContrast"])
@pytest.mark.parametrize("scale", [1, 255])
def test_contrast_of_each_channel(name, scale):
    light, dark = random_image(1) // 8 + 220, random_image(1, 1) // 8
    both = torch.cat([light, dark])
    both = both if scale == 1 else both.float() / 255
    found = apply(name, {}, [both]).image
    for k in range(2):
        assert torch.equal(found[k : k + 1], apply(name, {}, [both[k : k + 1]]).image)
    if name == "DarkBackground":
        assert torch.equal(found[1], both[1]) and float(found[0].float().mean()) < float(both[0].float().mean())


@pytest.mark.parametrize(("name", "arguments"), [("Mosaic", {"size": 40, "fill": 255}), ("CopyPaste", {"p": 1.0})])
def test_mixing_uint8_with_float(name, arguments):
    eight, deep = random_image(2), random_image(2, 1).float() / 255
    whole = apply(name, arguments, [eight.float() / 255, deep])
    for images in ([eight, deep], [eight.float() / 255, deep]):
        mixed = apply(name, arguments, images)
        assert mixed.image.dtype == torch.float32 and torch.allclose(mixed.image, whole.image, atol=1e-6)
    with pytest.raises(SegkitError, match="images of 2 and 3 channels cannot be combined"):
        apply(name, arguments, [eight, random_image(3)])


def test_fill_of_float_images():
    padded = geometry.pad(sample_of(torch.zeros(2, 40, 48)), (50, 60), [255, 51])
    assert padded.image[:, -1, -1].tolist() == pytest.approx([1, 0.2])
