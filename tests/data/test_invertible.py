"""Test transforms: each declares how detections are mapped back; transforms without an inverse are refused."""

from __future__ import annotations

import dataclasses
import logging
import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from user_transforms import (
    Centre,
    CutBorder,
    Mirror,
    NewSample,
    RecordedInPlace,
    Remembered,
    Thumbnail,
    seeded,
)

from segkit.data import build_test_loader, build_transforms
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
from segkit.utils.errors import SegkitError

CASES = [(name, dict(arguments)) for name, cls in TRANSFORM_REGISTRY for arguments in getattr(cls, "examples", ({},))]


@pytest.fixture(scope="module")
def dataset():
    return Remembered(num_images=4, image_size=(60, 80), seed=0)


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
        # The objects are where the recorded geometry maps those of the file, except for objects that a crop cut.
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
def test_random_crops_are_warned_of(spec, warned, dataset, caplog):
    build_test_loader(dataset, build_transforms([spec]))
    is_warned = f"data.test_transforms: {spec['name']} crops each image at a random position" in caplog.text
    assert is_warned == warned and bool(caplog.records) == warned


@pytest.mark.parametrize("name", ["GaussianNoise", "ColorJitter", "RandomInvert", "PercentileContrast", "GaussianBlur"])
def test_augmentations_are_warned_of(name, dataset, caplog):
    build_test_loader(dataset, build_transforms([{"name": name, "p": 0.25}]))
    assert f"{name} changes only a random share of the images (p=0.25)" in caplog.text


# Declarations of user transforms


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
def test_wrong_declarations_are_errors(declared, transform, message, dataset):
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


def test_test_transforms_work_in_worker_processes(dataset):
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
