"""Intensity rules: percentiles, ranges and windows; and what is measured on a data set."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch

from segkit.data import LabelMap
from segkit.data.intensity import DatasetPercentile, DtypeRange, Percentile, Window
from segkit.data.measuring import pixel_stats
from segkit.registry import INTENSITY_REGISTRY
from segkit.utils.errors import SegkitError
from segkit.utils.images import ImageReader, percentiles
from segkit.utils.images.channels import ChannelImage
from segkit.utils.images.stored_image import StoredImage

RNG = np.random.default_rng(0)


def convert(pixels, rule=None, channels="all", bits=None):
    bits = pixels.dtype.itemsize * 8 if bits is None else bits
    extra = ("unknown",) * (pixels.shape[2] - 1) if pixels.ndim == 3 and pixels.shape[2] != 3 else ()
    image = StoredImage(pixels, "grey" if extra or pixels.ndim == 2 else "rgb", bits, extra=extra)
    return ImageReader(channels=channels, intensity=rule).convert(image, "x.tif")


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 7, 1000, 40000])
def test_percentiles_equal_numpys(kind, count):
    samples = (RNG.normal(0, 1, count) * 100).astype(kind)
    percents = [0, 0.1, 33.3, 50, 99.9, 100]
    assert percentiles(samples, percents) == np.percentile(samples.astype(np.float64), percents).tolist()


@pytest.mark.parametrize(
    "values", [np.repeat([0, 9], 20000), np.r_[np.zeros(30000), np.arange(9999)], np.full(9000, 3)]
)
def test_percentiles_of_samples_that_repeat(values):
    for kind in ("uint16", "float32"):
        samples = values.astype(kind)
        assert percentiles(samples, [0.1, 99.9]) == np.percentile(samples.astype(np.float64), [0.1, 99.9]).tolist()


def test_integers_above_8_bits_keep_their_precision():
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for rule in (None, DtypeRange(), Window(low=0, high=65535), Percentile(low=0, high=100)):
        found = convert(ramp, rule)
        kept = len(np.unique(found.numpy()))
        assert found.dtype == torch.float32 and kept >= (65400 if rule is None else 65536), rule
        assert float(found.min()) == 0 and float(found.max()) == 1


def test_the_default_is_the_percentiles_of_the_image():
    pixels = RNG.integers(0, 5000, (40, 50, 3)).astype(np.uint16)
    low, high = np.percentile(pixels, (0.1, 99.9))
    expected = np.clip((pixels - low) / (high - low), 0, 1)
    for rule in (None, Percentile()):
        found = convert(pixels, rule, channels=None)
        assert np.allclose(found.permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_chosen_channels_have_their_own_percentiles():
    pixels = np.stack([RNG.integers(0, 5000, (40, 50)), RNG.integers(0, 50, (40, 50))], -1).astype(np.uint16)
    each = convert(pixels)
    assert torch.equal(each, convert(pixels, Percentile(per_channel=True))) and float(each[1].max()) == 1
    joint = convert(pixels, Percentile(per_channel=False))
    assert float(joint[1].max()) < 0.02


@pytest.mark.parametrize("rule", [None, Percentile(), DtypeRange()])
def test_8_bits_stay_as_they_are(rule):
    pixels = RNG.integers(50, 90, (6, 7, 3)).astype(np.uint8)
    found = convert(pixels, rule, channels=None)
    assert found.dtype == torch.uint8 and np.array_equal(found.permute(1, 2, 0).numpy(), pixels)


def test_8_bits_are_stretched_if_the_rule_says_so():
    pixels = RNG.integers(50, 90, (6, 7)).astype(np.uint8)
    found = convert(pixels, Percentile(low=0, high=100, stretch_8_bit=True))
    assert found.dtype == torch.float32 and (float(found.min()), float(found.max())) == (0, 1)
    assert torch.allclose(convert(pixels, Window(low=0, high=255))[0], torch.from_numpy(pixels / 255).float())


@pytest.mark.parametrize(
    ("pixels", "rule", "expected"),
    [
        (np.array([[0, 65535]], np.uint16), DtypeRange(), [0, 1]),
        (np.array([[0, 4095]], np.uint16), DtypeRange(bits=12), [0, 1]),
        (np.array([[-32768, 32767]], np.int16), DtypeRange(), [0, 1]),
        (np.array([[0.25, 1.0]], np.float32), DtypeRange(), [0.25, 1]),
        (np.array([[100, 400]], np.int32), Window(low=0, high=200), [0.5, 1]),
        (np.array([[7, 7]], np.uint16), Percentile(), [0, 0]),
        (np.array([[7, 7]], np.uint16), None, [0, 0]),
        (np.array([[-1e308, 1e308]]), None, [0, 1]),
    ],
)
def test_limits(pixels, rule, expected):
    assert convert(pixels, rule).flatten().tolist() == pytest.approx(expected)


def test_a_window_a_channel():
    found = convert(np.full((2, 3, 2), 50, np.uint16), Window(low=[0, 0], high=[100, 200]))
    assert found[:, 0, 0].tolist() == [0.5, 0.25]
    with pytest.raises(SegkitError, match="window for 2 channels, and the image has 4"):
        convert(np.zeros((2, 3, 4), np.uint16), Window(low=[0, 0], high=[100, 200]))


@pytest.mark.parametrize(
    ("pixels", "rule", "facts"),
    [
        (np.array([[0.0, 2.0]]), DtypeRange(), ["from 0 to 2", "window"]),
        (np.array([[5000]], np.uint16), DtypeRange(bits=12), ["up to 5000", "12 bits"]),
        (np.array([[np.nan, 1.0]]), None, ["NaN"]),
        (np.array([[np.inf, 1.0]]), Window(low=0, high=1), ["NaN or infinite"]),
        (np.array([[1]], np.uint16), DatasetPercentile(), ["dataset_percentile", "config.yaml"]),
    ],
)
def test_images_that_do_not_suit_the_rule(pixels, rule, facts):
    with pytest.raises(SegkitError) as error:
        convert(pixels, rule)
    assert all(fact in str(error.value) for fact in facts), error.value


@pytest.mark.parametrize(
    ("spec", "fact"),
    [
        ({"name": "percentile", "low": 60, "high": 40}, "low < high"),
        ({"name": "window", "low": 3, "high": 3}, "low < high"),
        ({"name": "window", "low": [0, 1, 2], "high": [1, 2]}, "one a channel"),
        ({"name": "dtype_range", "bits": 0}, "bits"),
        ({"name": "windows"}, "did you mean 'window'"),
    ],
)
def test_wrong_arguments(spec, fact):
    with pytest.raises(SegkitError, match=fact):
        INTENSITY_REGISTRY.build(spec, path="data.intensity")


def test_percentiles_of_a_data_set_become_a_window():
    images = [RNG.integers(0, high, (30, 40, 2)).astype(np.uint16) for high in (1000, 3000)]
    chosen = [ChannelImage(image, 16, joint=False) for image in images]
    spec = DatasetPercentile(low=1, high=99).measure(chosen)
    together = np.concatenate([image.reshape(-1, 2) for image in images]).astype(float)
    low, high = np.percentile(together, (1, 99), axis=0)
    assert spec == {"name": "window", "low": pytest.approx(low.tolist()), "high": pytest.approx(high.tolist())}
    joint = DatasetPercentile(per_channel=False).measure(chosen)
    assert isinstance(joint["low"], float) and INTENSITY_REGISTRY.build(joint)


def test_pixel_stats(tmp_path):
    pixels = RNG.integers(0, 65536, (3, 20, 30)).astype(np.uint16)
    for i, image in enumerate(pixels):
        (tmp_path / str(i)).mkdir()
        tifffile.imwrite(tmp_path / str(i) / "image.tif", image)
        tifffile.imwrite(tmp_path / str(i) / "class1.tif", np.ones((20, 30), np.uint8))
    data = LabelMap(root=str(tmp_path))
    data.reader = ImageReader(channels=[0], intensity=DtypeRange())
    mean, std = pixel_stats(data)
    assert mean == pytest.approx([pixels.mean() / 65535], abs=1e-5)
    assert std == pytest.approx([pixels.std() / 65535], abs=1e-5)
    inverted, _ = pixel_stats(data, [{"name": "RandomInvert", "p": 1.0}])
    assert inverted == pytest.approx([1 - mean[0]], abs=1e-5), "as the model sees them"
