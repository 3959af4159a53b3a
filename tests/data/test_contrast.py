"""The transforms of exposure and polarity."""

import numpy as np
import pytest
import torch

from segkit.data.transforms import DarkBackground, PercentileContrast
from segkit.data.transforms.contrast import stretch
from segkit.structures import Sample, Targets


def _apply(transform, image):
    sample = Sample(image, Targets.empty(tuple(image.shape[1:])), 1, "a", tuple(image.shape[1:]))
    return transform(sample, torch.Generator().manual_seed(0)).image


def test_percentiles_become_black_and_white():
    image = torch.randint(30, 91, (3, 50, 40), dtype=torch.uint8)
    low, high = np.percentile(image.numpy(), [5, 95], method="inverted_cdf")
    exact = np.clip((image.numpy().astype(float) - low) / (float(high) - low) * 255, 0, 255)
    assert np.abs(_apply(PercentileContrast(low=5, high=95), image).numpy() - exact).max() <= 0.5 + 1e-9


def test_exposure_is_normalised_and_hues_stay():
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(3, 64, 64, generator=generator)
    dim, bright = ((scene * top).round().to(torch.uint8) for top in (40, 230))
    first, second = (_apply(PercentileContrast(), image).int() for image in (dim, bright))
    assert (first - second).abs().max() <= 255 / 40 / 2 + 3  # the rounding of the dim image
    tinted = torch.stack([torch.full((8, 8), v, dtype=torch.uint8) for v in (10, 20, 30)])
    assert [int(c[0, 0]) for c in stretch(tinted, 0, 100, 0.01)] == [0, 128, 255]


def test_noise_of_flat_images_is_not_amplified():
    flat = torch.full((3, 9, 9), 77, dtype=torch.uint8)
    assert int(_apply(PercentileContrast(), flat).max()) == 0
    noisy = 77 + torch.randint(0, 2, (3, 99, 99), dtype=torch.uint8)
    assert int(_apply(PercentileContrast(min_range=0.1), noisy).max()) <= 10


def test_light_backgrounds_are_inverted():
    dark = torch.full((3, 20, 20), 20, dtype=torch.uint8)
    dark[:, 5:9, 5:9] = 200
    transform = DarkBackground()
    assert torch.equal(_apply(transform, dark), dark) and torch.equal(_apply(transform, 255 - dark), dark)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PercentileContrast(low=60, high=40), "got 60 and 40"),
        (lambda: PercentileContrast(min_range=0), "min_range"),
        (lambda: DarkBackground(threshold=2), "threshold"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
