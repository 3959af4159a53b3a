"""Test transforms: each says how detections are mapped back, and those that cannot be are refused."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import random
from functools import cache

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from segkit.data import Synthetic, build_test_loader, build_transforms
from segkit.data.transforms import (
    Compose,
    GaussianBlur,
    InvertibleCompose,
    Photometric,
    RandomHorizontalFlip,
    RandomRotation,
    Transform,
    geometry,
)
from segkit.data.transforms.invertible import declared_inversion
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import Sample, Targets
from segkit.utils.errors import SegkitError

CASES = [(name, dict(arguments)) for name, cls in TRANSFORM_REGISTRY for arguments in getattr(cls, "examples", ({},))]


class Remembered(Synthetic):
    """Makes each image once: transforms never change a sample in place."""

    def __init__(self, **options):
        super().__init__(**options)
        self.load = cache(self.load)

    def ground_truth(self, index, sample):
        return []


@pytest.fixture(scope="module")
def dataset():
    return Remembered(num_images=4, image_size=(60, 80), seed=0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_every_registered_transform_declares(name, arguments, dataset):
    transform = TRANSFORM_REGISTRY.build({"name": name, **arguments})
    inversion = declared_inversion(transform)
    assert inversion in ("identity", "recorded", "none")
    if inversion == "none":
        with pytest.raises(SegkitError, match=f"^{name} .*cannot be a test transform"):
            build_test_loader(dataset, Compose([RandomHorizontalFlip(), Compose([transform])]))
        return
    chain = InvertibleCompose(transform)
    for seed in range(4):
        sample = dataset.load(seed)
        result = chain(sample, seeded(seed))
        assert torch.equal(result.image, transform(sample, seeded(seed)).image)
        assert result.geometry.size == tuple(result.image.shape[1:])
        assert (inversion == "recorded") or result.geometry == sample.known_geometry
        # Objects of the file are where the record says, but for those that a crop cut.
        expected = result.geometry.boxes_from_file(sample.targets.boxes).float()
        height, width = result.image.shape[1:]
        inside = (expected >= 0).all(1) & (expected <= torch.tensor([width, height] * 2)).all(1)
        left = result.targets.boxes[:, None] - expected[inside]
        if len(left) and inside.any():
            assert (left.abs().amax(2).amin(0) < 1.01).all()


@pytest.mark.parametrize("name", ["RandomAffine", "RandomRotation", "Mosaic", "CopyPaste"])
def test_the_predictor_refuses_them_too(name):
    import segkit
    from segkit.inference.predictor import Predictor

    spec = {"name": name} | ({"size": 9} if name == "Mosaic" else {})
    cfg = segkit.load_config("segkit://quickstart.yaml").with_values({"data.test_transforms": [spec]})
    with pytest.raises(SegkitError, match=f"^{name} .*cannot be a test transform"):
        Predictor(cfg, model=segkit.build_model(cfg, 4))


@pytest.mark.parametrize(
    ("spec", "warned"),
    [
        ({"name": "RandomCrop", "size": 30}, True),
        ({"name": "RandomScaledCrop", "size": 30}, True),
        ({"name": "LargeScaleJitter", "size": 30}, True),
        ({"name": "LargeScaleJitter", "size": 30, "min_scale": 1.0, "max_scale": 1.0}, False),
        ({"name": "RandomHorizontalFlip"}, False),
        ({"name": "PercentileContrast"}, False),
        ({"name": "Resize", "size": 30}, False),
        ({"name": "DarkBackground"}, False),
    ],
)
def test_random_windows_are_told(spec, warned, dataset, caplog):
    build_test_loader(dataset, build_transforms([spec]))
    told = f"data.test_transforms: {spec['name']} crops each image at a random position" in caplog.text
    assert told == warned and bool(caplog.records) == warned


@pytest.mark.parametrize("name", ["GaussianNoise", "ColorJitter", "RandomInvert", "PercentileContrast", "GaussianBlur"])
def test_augmentations_are_told(name, dataset, caplog):
    build_test_loader(dataset, build_transforms([{"name": name, "p": 0.25}]))
    assert f"{name} changes only a random share of the images (p=0.25)" in caplog.text


# Transforms of one's own


def moved(sample, image, boxes, masks):
    targets = Targets(boxes, sample.targets.labels, masks, sample.targets.crowd)
    return dataclasses.replace(sample, image=image, targets=targets)


class Mirror(Transform):
    """As it is written without segkit's functions."""

    def __call__(self, sample, generator):
        width = sample.image.shape[2]
        x0, y0, x1, y1 = sample.targets.boxes.unbind(1)
        boxes = torch.stack([width - x1, y0, width - x0, y1], 1)
        return moved(sample, sample.image.flip(-1), boxes, sample.targets.masks.hflip())


class SometimesMirror(Mirror):
    def __call__(self, sample, generator):
        return super().__call__(sample, generator) if torch.rand((), generator=generator) < 0.5 else sample


class ImageAlone(Transform):
    """Forgets the objects."""

    def __init__(self, function):
        self.function = function

    def __call__(self, sample, generator):
        return dataclasses.replace(sample, image=self.function(sample.image))


class Turn(Transform):
    def __call__(self, sample, generator):
        side = min(sample.image.shape[1:])
        sample = geometry.crop(sample, (0, 0, side, side))
        boxes = sample.targets.boxes[:, [1, 0, 3, 2]]
        masks = sample.targets.masks.rot90(1).vflip()
        return moved(sample, sample.image.transpose(1, 2).contiguous(), boxes, masks)


class CutBorder(Transform):
    def __call__(self, sample, generator):
        kept = dataclasses.replace(geometry.crop(sample, (4, 4, 70, 50)), geometry=sample.geometry)
        return kept


class Shift(Transform):
    def __call__(self, sample, generator):
        boxes = sample.targets.boxes + torch.tensor([6.0, 0, 6, 0])
        return moved(sample, sample.image.roll(6, -1), boxes, sample.targets.masks)


class LowerRight(Transform):
    """None of the known objects is in view."""

    def __call__(self, sample, generator):
        height, width = sample.image.shape[1:]
        return geometry.crop(sample, (width // 2, height // 2, width, height))


class Corner(LowerRight):
    def __call__(self, sample, generator):
        return dataclasses.replace(super().__call__(sample, generator), geometry=sample.geometry)


class NewSample(Transform):
    """Records, and then loses the record."""

    def __call__(self, sample, generator):
        flipped = geometry.vflip(sample)
        return Sample(flipped.image, flipped.targets, sample.image_id, sample.file_name, sample.size)


class InPlace(Transform):
    def __call__(self, sample, generator):
        sample.image = sample.image.flip(-1)
        return sample


class RecordedInPlace(InPlace):
    """Says so, but its record is not kept."""

    inversion = "recorded"

    def __call__(self, sample, generator):
        sample.geometry = None
        return super().__call__(sample, generator)


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
            assert name == "sometimes" and batch  # such a one passes where it does nothing


class Gray(Transform):
    def __call__(self, sample, generator):
        return dataclasses.replace(sample, image=sample.image.float().mean(0, keepdim=True).byte().expand(3, -1, -1))


class Equalized(Transform):
    def __call__(self, sample, generator):
        return dataclasses.replace(sample, image=F.equalize(sample.image))


class Noise(Transform):
    def __call__(self, sample, generator):
        noise = torch.randint(0, 30, sample.image.shape, generator=generator, dtype=torch.uint8)
        return dataclasses.replace(sample, image=sample.image // 2 + noise)


class Smooth(Transform):
    def __call__(self, sample, generator):
        blurred = avg_pool2d(sample.image.float(), 9, 1, 4)
        return Sample(blurred.byte(), sample.targets, sample.image_id, sample.file_name, sample.size)


class Thumbnail(Transform):
    """A resize of one's own, as the sizes say."""

    def __call__(self, sample, generator):
        size = (30, 32)
        boxes = sample.targets.boxes * torch.tensor([32 / 80, 0.5, 32 / 80, 0.5])
        return moved(sample, F.resize(sample.image, list(size)), boxes, sample.targets.masks.resize(size))


class Centre(Transform):
    """Built on segkit's functions: its window depends on the image."""

    def __call__(self, sample, generator):
        columns = (sample.image[0] > 0).any(0).nonzero().flatten()
        return geometry.pad(geometry.crop(geometry.hflip(sample), (0, 3, int(columns[-1]) // 2 + 30, 55)), (64, 96))


class FromPhotometric(Photometric):
    """Its own ``__call__`` is not the one that Photometric declares for."""

    def __init__(self):
        super().__init__(v2.RandomInvert(p=1.0), 1.0)

    def __call__(self, sample, generator):
        return super().__call__(sample, generator)


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
def test_undeclared_ones_that_are_well_work(name, dataset, caplog):
    transform = GOOD[name]
    loader = build_test_loader(dataset, transform)
    assert caplog.text.count("does not declare whether it moves pixels") == 1
    for index, batch in enumerate(loader):
        [sample] = batch.samples
        plain = transform(dataset.load(index), torch.Generator().manual_seed(0))
        assert sample.geometry.size == tuple(sample.image.shape[1:]) == tuple(plain.image.shape[1:])
        if name != "noise":  # which is that of the loader's own generator
            assert torch.equal(sample.image, plain.image) and torch.equal(sample.targets.boxes, plain.targets.boxes)
        assert sample.geometry.is_resize == (name not in ("centre", "lower right"))


@pytest.mark.parametrize(
    ("declared", "transform", "message"),
    [
        ("identity", Thumbnail, r"Thumbnail declares inversion = 'identity', but .*30 x 32"),
        ("identity", Centre, r"Centre declares inversion = 'identity', but"),
        ("recorded", Thumbnail, r"Thumbnail declares inversion = 'recorded', but .*30 x 32"),
        ("recorded", CutBorder, r"CutBorder declares inversion = 'recorded', but .* 60 x 80"),
        ("recorded", NewSample, r"NewSample loses the sample's geometry; return dataclasses.replace\(sample"),
        ("recorded", RecordedInPlace, r"RecordedInPlace loses the sample's geometry"),
        ("none", Mirror, r"Mirror cannot be a test transform: detections cannot be mapped back"),
        ("recorderd", Mirror, r"Mirror: inversion is 'recorderd', expected .*did you mean 'recorded'"),
    ],
)
def test_declarations_are_held_to(declared, transform, message, dataset):
    class Declared(transform):
        inversion = declared

        def __call__(self, sample, generator):
            return super().__call__(sample, generator)

    Declared.__name__ = transform.__name__
    with pytest.raises(SegkitError, match=message):
        next(iter(build_test_loader(dataset, Declared())))


def test_a_declaration_belongs_to_its_call():
    class Own(RandomHorizontalFlip):
        def __call__(self, sample, generator):
            return sample

    class OwnDeclared(Own):
        inversion = "identity"

    assert declared_inversion(Own()) == "undeclared" and declared_inversion(OwnDeclared()) == "identity"
    assert declared_inversion(GaussianBlur()) == "identity" and declared_inversion(print) == "undeclared"
    for_one = Own()
    for_one.inversion = "recorded"
    assert declared_inversion(for_one) == "recorded"


def test_affine_maps_inside_transforms_of_ones_own(dataset):
    class Shear(Transform):
        inversion = "recorded"

        def __call__(self, sample, generator):
            return RandomRotation(degrees=[10, 20])(sample, generator)

    with pytest.raises(SegkitError, match=r"Shear applies an affine map, through which detections cannot be mapped"):
        next(iter(build_test_loader(dataset, Shear())))


def test_the_files_size_stays(dataset):
    class Forgets(Transform):
        inversion = "recorded"

        def __call__(self, sample, generator):
            return dataclasses.replace(geometry.resize(sample, (30, 40)), size=(30, 40))

    with pytest.raises(SegkitError, match=r"Forgets sets the sample's size to \(30, 40\); .* the file, \(60, 80\)"):
        next(iter(build_test_loader(dataset, Forgets())))


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
    with pytest.raises(AttributeError):  # its own fault stays its own
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


def test_the_wrapper_of_colour_transforms_takes_no_geometric_ones(dataset):
    for inner in (
        v2.RandomHorizontalFlip(p=1.0),
        v2.RandomVerticalFlip(p=1.0),
        v2.CenterCrop(20),
        v2.Compose([v2.ColorJitter(), v2.RandomRotation(20)]),
        v2.ElasticTransform(),
        v2.Resize(20),
    ):
        with pytest.raises(SegkitError, match="moves pixels"):
            Photometric(inner, 1.0)
    smaller = Photometric(lambda image: image[:, :-1], 1.0)
    with pytest.raises(SegkitError, match=r"\[3, 60, 80\] .* into one \[3, 59, 80\]"):
        smaller(dataset.load(0), seeded())


def test_they_pickle_and_work_in_worker_processes(dataset):
    specs = [{"name": "RandomHorizontalFlip"}, {"name": "RandomQuarterTurn"}, {"name": "Resize", "size": [50, 70]}]
    chain = InvertibleCompose(build_transforms(specs))
    again = pickle.loads(pickle.dumps(chain))
    here = [batch.samples[0] for batch in build_test_loader(dataset, chain)]
    there = [batch.samples[0] for batch in build_test_loader(dataset, again, num_workers=1)]
    assert len({sample.geometry for sample in here}) > 1
    for one, other in zip(here, there, strict=True):
        assert one.geometry == other.geometry and torch.equal(one.image, other.image)


def test_nothing_is_added_to_the_log_for_shipped_pipelines(dataset, caplog):
    with caplog.at_level(logging.INFO):
        specs = [{"name": "ResizeShortestEdge", "sizes": [50]}, {"name": "PercentileContrast"}]
        sample = next(iter(build_test_loader(dataset, build_transforms(specs)))).samples[0]
    assert not caplog.records and sample.geometry.is_resize and np.array_equal(sample.geometry.size, (50, 67))


class Held:
    """Flips as a generator of its own says."""

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
def test_a_flip_is_found_whatever_is_random_in_it(dataset, transform):
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
