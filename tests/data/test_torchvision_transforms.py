"""torchvision's v2 transforms by dotted path: photometric ones change the image, others are refused."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from segkit.data.transforms import Photometric, build_transforms
from segkit.registry import TRANSFORM_REGISTRY
from segkit.structures import InstanceMasks, Targets
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError

V2 = "torchvision.transforms.v2."


def sample(seed=0, size=(40, 56)):
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    dense = torch.zeros(1, *size, dtype=torch.bool)
    dense[0, 5:20, 8:30] = True
    masks = InstanceMasks.from_dense(dense)
    return Sample(image, Targets(masks.boxes(), torch.tensor([0]), masks), 1, "a.png", size, None)


def apply(spec, seed=3):
    return build_transforms([spec])(sample(), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RandomPosterize", {"bits": 3, "p": 1.0}),
        ("RandomSolarize", {"threshold": 100.0, "p": 1.0}),
        ("RandomEqualize", {"p": 1.0}),
        ("JPEG", {"quality": [40, 60]}),
        ("RandomPhotometricDistort", {"p": 1.0}),
        ("RandomChannelPermutation", {}),
        ("GaussianBlur", {"kernel_size": [5, 3], "sigma": [0.5, 2.0]}),
    ],
)
def test_photometric_transforms_change_only_the_image(name, arguments):
    before = sample()
    found = apply({"name": V2 + name, **arguments})
    seed = int(torch.randint(0, 2**62, (), generator=skip_one(torch.Generator().manual_seed(3))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = getattr(v2, name)(**arguments)(before.image)
    assert torch.equal(found.image, expected) and found.image.dtype == torch.uint8 and type(found.image) is torch.Tensor
    assert torch.equal(found.targets.boxes, before.targets.boxes)
    assert torch.equal(found.targets.masks.to_dense(), before.targets.masks.to_dense())
    transform = build_transforms([{"name": V2 + name, **arguments}])
    again = pickle.loads(pickle.dumps(transform))
    assert torch.equal(again(before, torch.Generator().manual_seed(3)).image, found.image)


def skip_one(generator):
    torch.rand((), generator=generator)  # Photometric first draws whether it is applied
    return generator


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": V2 + "RandomHorizontalFlip"}, r"moves pixels.*segkit.* RandomHorizontalFlip"),
        ({"name": V2 + "Resize", "size": [8, 8]}, r"moves pixels.*ResizeShortestEdge"),
        ({"name": V2 + "ElasticTransform"}, r"ElasticTransform moves pixels"),
        ({"name": V2 + "MixUp"}, r"Mosaic or CopyPaste"),
        ({"name": V2 + "RandAugment"}, r"RandAugment refuses an image with boxes"),
        ({"name": V2 + "Grayscale"}, r"into one \[1, 48, 64\] .* keeps shape and type"),
        ({"name": V2 + "ToDtype", "dtype": torch.float32}, r"torch\.float32.* shape and type"),
        ({"name": V2 + "GaussianBlur", "kernel_size": 4}, r"GaussianBlur refuses its arguments: ValueError"),
        ({"name": V2 + "ColorJiter"}, r"did you mean 'torchvision\.transforms\.v2\.ColorJitter'"),
        ({"name": "torchvision.transforms.ColorJitter"}, r"did you mean 'torchvision\.transforms\.v2\.ColorJitter'"),
        ({"name": "RandomPosterize"}, r"torch's own is 'torchvision\.transforms\.v2\.RandomPosterize'"),
    ],
)
def test_geometric_and_mixing_transforms_are_refused(spec, message):
    with pytest.raises(SegkitError, match=message):
        build_transforms([spec])


class Sometimes(v2.Transform):
    """Moves pixels, but not in its first call."""

    calls = 0

    def transform(self, inpt, params):
        self.calls += 1
        return v2.functional.horizontal_flip(inpt) if self.calls > 2 else inpt


class OldStyle(nn.Module):
    def forward(self, image):
        return image


@pytest.fixture
def registered(request):
    def register(component):
        TRANSFORM_REGISTRY.register(component)
        request.addfinalizer(lambda: TRANSFORM_REGISTRY._obj_map.pop(component.__name__, None))

    return register


def test_user_subclasses_of_v2_transform(registered):
    registered(Sometimes)
    transform = build_transforms([{"name": "Sometimes"}])
    with pytest.raises(SegkitError, match=r"Sometimes moves pixels"):
        transform(sample(), torch.Generator())
    registered(OldStyle)
    with pytest.raises(SegkitError, match=r"OldStyle.* does not take a sample"):
        build_transforms([{"name": "OldStyle"}])


def test_threads_do_not_draw_from_each_others_streams():
    """All threads share torch's global generator."""
    transform = build_transforms([{"name": "ColorJitter"}, {"name": "GaussianNoise", "p": 1.0}])
    before = torch.random.get_rng_state()
    alone = [transform(sample(), torch.Generator().manual_seed(seed)).image for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        together = list(
            pool.map(lambda seed: transform(sample(), torch.Generator().manual_seed(seed)).image, range(24))
        )
    assert all(torch.equal(one, two) for one, two in zip(alone, together, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before), "the global state is what it was"


def test_a_photometric_transform_that_changes_the_shape_is_an_error():
    with pytest.raises(SegkitError, match=r"into one \[1, 40, 56\]"):
        Photometric(v2.Grayscale(1), 1.0)(sample(), torch.Generator())
