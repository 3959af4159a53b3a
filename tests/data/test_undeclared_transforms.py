"""Transforms without a declared inversion: probes find out whether they move pixels without recording it."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F
from user_transforms import (
    Centre,
    Corner,
    CutBorder,
    Equalized,
    FromPhotometric,
    Gray,
    ImageAlone,
    InPlace,
    LowerRight,
    Mirror,
    NewSample,
    Noise,
    Remembered,
    Shift,
    Smooth,
    SometimesMirror,
    Thumbnail,
    Turn,
    seeded,
)

from segkit.data import build_test_loader, build_transforms
from segkit.data.transforms import (
    Compose,
    InvertibleCompose,
    RandomHorizontalFlip,
    Transform,
)
from segkit.structures import Sample, Targets
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def dataset():
    return Remembered(num_images=4, image_size=(60, 80), seed=0)


def plain_function(sample, generator):
    return Mirror()(sample, generator)


UNRECORDED = {
    "mirror": Mirror(),
    "sometimes": SometimesMirror(),
    "transpose": Turn(),
    "border": CutBorder(),
    "shift": Shift(),
    "corner": Corner(),
    "new sample": NewSample(),
    "function": plain_function,
    "in place": InPlace(),
    "image alone, mirrored": ImageAlone(lambda image: image.flip(-1)),
    "image alone, turned upside down": ImageAlone(lambda image: image.flip(-2)),
    "image alone, half a turn": ImageAlone(lambda image: image.flip(-1, -2)),
    "image alone, cropped": ImageAlone(lambda image: image[:, 10:, 5:]),
    "image alone, padded": ImageAlone(lambda image: F.pad(image, [8, 8, 0, 0])),
    "image alone, shifted": ImageAlone(lambda image: image.roll(20, -1)),
}


@pytest.mark.parametrize("name", UNRECORDED)
def test_unrecorded_moves_are_found_out(name, dataset, caplog):
    loader = build_test_loader(dataset, Compose([build_transforms([{"name": "Resize", "size": [64, 90]}])]))
    assert len(list(loader)) == 4
    loader = build_test_loader(dataset, Compose([RandomHorizontalFlip(), UNRECORDED[name]]))
    assert "does not declare whether it moves pixels" in caplog.text
    with pytest.raises(SegkitError, match=r"(?s)moves pixels or objects without recording it.*'identity'"):
        for batch in loader:
            assert name == "sometimes" and batch  # an image that it does not flip passes


GOOD = {
    "gray": Gray(),
    "equalized": Equalized(),
    "noise": Noise(),
    "smooth": Smooth(),
    "thumbnail": Thumbnail(),
    "centre": Centre(),
    "lower right": LowerRight(),
    "from Photometric": FromPhotometric(),
    "function": lambda sample, generator: sample,
    "black": ImageAlone(torch.zeros_like),
    "threshold": ImageAlone(lambda image: (image > 100).byte() * 255),
    "channels": ImageAlone(lambda image: image[[2, 0, 1]]),
}


@pytest.mark.parametrize("name", GOOD)
def test_correct_undeclared_transforms_work(name, dataset, caplog):
    transform = GOOD[name]
    loader = build_test_loader(dataset, transform)
    assert caplog.text.count("does not declare whether it moves pixels") == 1
    for index, batch in enumerate(loader):
        [sample] = batch.samples
        plain = transform(dataset.load(index), torch.Generator().manual_seed(0))
        assert sample.geometry.size == tuple(sample.image.shape[1:]) == tuple(plain.image.shape[1:])
        if name != "noise":  # which the loader draws from another generator
            assert torch.equal(sample.image, plain.image) and torch.equal(sample.targets.boxes, plain.targets.boxes)
        assert sample.geometry.is_resize == (name not in ("centre", "lower right"))


def test_a_failure_with_the_known_objects_is_explained(dataset):
    class Named(Transform):
        def __call__(self, sample, generator):
            return dataclasses.replace(sample, image=sample.image + sum(sample.targets.names))

    class Labelled(Transform):
        def __call__(self, sample, generator):
            if len(sample.targets) == 2:
                raise KeyError("two")
            return sample

    with pytest.raises(SegkitError, match=r"Labelled does not declare .*KeyError: 'two'; build it on"):
        next(iter(build_test_loader(dataset, Labelled())))
    with pytest.raises(AttributeError):  # a defect of the transform itself is not wrapped
        next(iter(build_test_loader(dataset, Named())))


def test_the_second_run_draws_the_same_and_leaves_the_generator(dataset):
    class Draws(Transform):
        def __call__(self, sample, generator):
            drawn.append(float(torch.rand((), generator=generator)))
            return sample

    transform, drawn = Draws(), []
    generator = seeded(3)
    InvertibleCompose(transform)(dataset.load(0), generator)
    after = float(torch.rand((), generator=generator))
    generator = seeded(3)
    assert drawn == [float(torch.rand((), generator=generator))] * 2
    assert after == float(torch.rand((), generator=generator))


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (15, 15), (16, 16), (17, 400)])
def test_small_images(size):
    image = torch.zeros(3, *size, dtype=torch.uint8)
    sample = Sample(image, Targets.empty(size), 1, "a.png", size)
    assert InvertibleCompose(Gray())(sample, seeded()).geometry.is_resize
    with pytest.raises(SegkitError, match="without recording it"):
        InvertibleCompose(ImageAlone(lambda image: F.pad(image, [1, 1, 3, 2])))(sample, seeded())
    if min(size) >= 16:
        for transform in (Mirror(), ImageAlone(lambda image: image.flip(-1)), ImageAlone(lambda image: image.flip(-2))):
            with pytest.raises(SegkitError, match="without recording it"):
                InvertibleCompose(transform)(sample, seeded())


class Held:
    """Flips at random, by a generator of its own."""

    def __init__(self):
        self.generator = np.random.default_rng(1)

    def __call__(self, sample, generator):
        return flipped(sample) if self.generator.random() < 0.5 else sample


class Counted:
    """Flips every second image."""

    def __init__(self):
        self.count = 0

    def __call__(self, sample, generator):
        self.count += 1
        return flipped(sample) if self.count % 2 else sample


def flipped(sample):
    return dataclasses.replace(sample, image=sample.image.flip(-1))


def of_image(change):
    return lambda sample, generator: dataclasses.replace(sample, image=change(sample.image))


def noisy(image, noise):
    return (image.float() + 20 * noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(
    "transform",
    [
        of_image(lambda image: image.flip(-1) if random.random() < 0.5 else image),
        of_image(lambda image: image.flip(-1) if np.random.rand() < 0.5 else image),
        of_image(lambda image: image.flip(-1) if torch.rand(()) < 0.5 else image),
        Held(),
        Counted(),
        of_image(lambda image: F.equalize(image.flip(-1))),
        of_image(lambda image: noisy(image.flip(-1), torch.randn(image.shape))),
    ],
    ids=["python", "numpy", "torch", "held", "counted", "equalized", "noisy"],
)
def test_a_flip_is_found_in_a_transform_with_other_random_steps(dataset, transform):
    sample, refused = dataset.load(0), 0
    for _ in range(8):
        try:
            found = InvertibleCompose(transform)(sample, seeded())
        except SegkitError as error:
            refused += "moves pixels" in str(error)
        else:
            assert torch.equal(found.image, sample.image)
    assert refused


@pytest.mark.parametrize(
    "change",
    [
        F.equalize,
        lambda image: noisy(image, torch.randn(image.shape)),
        lambda image: noisy(image, torch.from_numpy(np.random.randn(*image.shape))),
        lambda image: F.gaussian_blur(image, [31, 31], [9.0, 9.0]),
        lambda image: ((image.float() - image.min()) / (image.max() - image.min() + 1e-6) * 255).to(torch.uint8),
        lambda image: ((image > image.float().mean()) * 255).to(torch.uint8),
        lambda image: image.bitwise_xor_(255),  # in place
    ],
    ids=["equalize", "torch noise", "numpy noise", "blur", "stretch", "threshold", "in place"],
)
@pytest.mark.parametrize("content", ["scene", "white"])
def test_changes_of_colour_are_no_false_alarm(dataset, change, content):
    sample = dataset.load(0)
    if content == "white":
        sample = dataclasses.replace(sample, image=torch.full_like(sample.image, 255))
    before = sample.image.clone()
    found = InvertibleCompose(of_image(change))(sample, seeded())
    assert found.geometry == sample.known_geometry
    assert torch.equal(sample.image, before)


def test_the_second_run_leaves_the_global_generators(dataset):
    def draws():
        return random.random(), np.random.rand(), float(torch.rand(()))

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    InvertibleCompose(lambda sample, generator: (draws(), sample)[1])(dataset.load(0), seeded())
    found = draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    draws()
    assert found == draws()
