"""Each rule at its edges: what it chooses, and that the reason has the numbers it follows from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rectangles import Rectangles, scattered

from segkit.dataset_tools.stats.intensities import Appearance, Intensities
from segkit.dataset_tools.stats.measure import measure
from segkit.dataset_tools.suggest import appearance, crowding, memory, scale, validation
from segkit.dataset_tools.suggest.facts import objects_in_crop
from segkit.dataset_tools.suggest.name_groups import find_name_groups
from segkit.dataset_tools.suggest.schedule import RunTimes, schedule_within, schedule_without_time, warmup_of
from segkit.utils.errors import SegkitError

SIZES = np.full((1, 2), 256)
ONE = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    "side, zoom", [(12.5, 1.75), (22, 1), (21.9, 1), (18, 1.25), (1, 4), (50, 1), (96, 1), (192, 0.5), (1e4, 0.0)]
)
def test_zoom_of_one_object(side, zoom):
    found, reason = scale.zoom_of(np.array([side]))
    assert found == (zoom or 1.0) and f"{side:.3g}" in reason


def test_zoom_keeps_the_small_among_large_objects():
    sides = np.array([16.0] * 10 + [400.0] * 90)
    zoom, reason = scale.zoom_of(sides)
    assert zoom == pytest.approx(0.75) and zoom * 16 >= scale.LEAST_SIDE and "12 pixels" in reason


def test_zoom_is_limited_by_memory():
    found = scale.choose_scale(np.array([10.0]), ONE, np.array([[1000, 1000]]), most_pixels=2.25e6)
    assert found.zoom == 1.5 and "memory" in found.reason
    found = scale.choose_scale(np.array([10.0]), ONE, np.array([[40_000, 40_000]]), most_pixels=1e7)
    assert found.zoom == 1 and "segkit dataset tile" in found.reason and "1,600,000,000" in found.reason


def test_images_whose_objects_grow_get_one_shorter_side():
    sizes = np.array([[200, 300], [400, 600], [800, 1200], [1600, 2400]] * 5)
    image = np.arange(20)
    found = scale.choose_scale(sizes.min(1) / 10.0, image, sizes, 1e9)
    assert found.edge is not None and found.edge % 32 == 0
    np.testing.assert_allclose(found.factors(sizes) * sizes.min(1), found.edge)
    fixed = scale.choose_scale(np.full(20, 30.0), image, sizes, 1e9)
    assert fixed.edge is None and fixed.factors(sizes).tolist() == [1.0] * 20


def test_crop():
    assert scale.choose_crop(np.array([20.0]), np.array([[512, 512]]), 256)[0] == 256
    assert scale.choose_crop(np.array([150.0]), np.array([[900, 900]]), 256)[0] == 320  # 150 * 1.37 * 1.5
    assert scale.choose_crop(np.array([2000.0]), np.array([[4000, 4000]]), 256)[0] == 512  # twice the usual at most
    assert scale.choose_crop(np.array([20.0]), np.array([[70, 70]]), 256)[0] == 96  # no larger than the images
    assert scale.choose_crop(np.array([5.0]), np.array([[8, 8]]), 256)[0] == 64


@pytest.mark.parametrize("side, first", [(1, 8), (8, 8), (12.9, 16), (35, 32), (60, 64)])
def test_anchors_begin_at_the_small_objects(side, first):
    sizes, reason = scale.choose_anchors(np.array([side]))
    assert sizes == [[first * 2**k] for k in range(5)] and f"{first} on" in reason


def test_aspect_ratios():
    assert scale.choose_aspect_ratios(np.array([1.0]))[0] == [0.5, 1.0, 2.0]
    ratios, reason = scale.choose_aspect_ratios(np.array([4.0] * 20))
    assert ratios == [0.25, 0.5, 1.0, 2.0, 4.0] and "elongated" in reason
    assert scale.choose_aspect_ratios(np.array([0.01] * 20))[0][-1] == 8


def test_detections():
    assert crowding.choose_detections(np.array([1]))[0] == 100
    assert crowding.choose_detections(np.array([1000]))[0] == 1000
    assert crowding.choose_detections(np.array([1001]))[0] == 1050
    crowded = np.r_[np.full(9999, 20), 5000]  # an outlier does not raise the limit of all
    found, reason = crowding.choose_detections(crowded)
    assert found == 100 and "5,000" in reason


def test_proposals():
    assert crowding.choose_proposals(400, 30, cuda=False)[0] == [500, 1000]
    assert crowding.choose_proposals(1000, 400, cuda=False)[0] == [1600, 2500]
    assert crowding.choose_proposals(100, 1, cuda=True)[0] == [2000, 1000]
    assert objects_in_crop(np.array([100]), np.array([[512, 512]]), 256) == 25
    assert objects_in_crop(np.array([100]), np.array([[100, 100]]), 256) == 100


def test_sampler():
    equal = np.full((100, 2), 64)
    assert crowding.choose_sampler(np.array([100]), 100, equal) is None  # one class
    assert crowding.choose_sampler(np.array([60, 50]), 100, equal) is None
    spec, reason = crowding.choose_sampler(np.array([99, 1]), 100, equal)
    assert spec == {"name": "RepeatFactorSampler", "threshold": 0.6} and "1 %" in reason
    assert crowding.choose_sampler(np.r_[100, np.full(99, 1)], 100, equal)[0]["threshold"] == 0.012
    varied = np.array([[64, 64]] * 80 + [[256, 256]] * 20)
    assert crowding.choose_sampler(np.array([100]), 100, varied)[0]["area_power"] == 0.75
    huge = np.array([[64, 64]] * 80 + [[6400, 6400]] * 20)
    assert crowding.choose_sampler(np.array([100]), 100, huge)[0]["area_power"] == 0.5


def test_batch():
    assert memory.choose_batch(256, 16e9, "cpu")[:2] == (4, 1)
    assert memory.choose_batch(512, 80e9, "cuda")[:2] == (16, 1)
    batch, accumulate, reason = memory.choose_batch(256, 1e9, "cpu", (4, 2e9))
    assert (batch, accumulate) == (1, 4) and "measured" in reason and "0.5 GB" in reason
    assert memory.choose_batch(256, 16e9, "cpu", (4, 1e8), most=2)[:2] == (2, 2)
    assert memory.free_memory(torch.device("cpu")) > 1e6


def test_validation():
    own = validation.OwnValidation("val", {"format": "coco", "json": "val.json"}, 50)
    assert validation.choose_validation(100, own)[0] == own.spec == validation.choose_validation(100, own, most=50)[0]
    part, reason = validation.choose_validation(100, own, most=8)
    assert part == {"format": "subset", "dataset": own.spec, "count": 8, "seed": validation.SEED}
    assert "8 random images of the 50" in reason
    assert validation.choose_validation(1, None)[0] is None
    for images, share in ((2, 0.25), (20, 0.25), (21, 0.2), (463, 0.1), (5000, 0.05), (10**6, 0.02)):
        assert validation.choose_validation(images, None)[0]["from_train"] == share
    few, reason = validation.choose_validation(1000, None, most=20)
    assert few["from_train"] == 0.02 and "in the time" in reason
    assert validation.choose_validation(10**6, None, most=1)[0]["from_train"] > 0
    assert validation.choose_train_split(["val", "Train"]) == "Train" and validation.choose_train_split(["a"]) == "a"
    assert validation.choose_val_split(["test", "valid"]) == "valid" and validation.choose_val_split(["test"]) is None


def test_groups_by_names():
    plates = find_name_groups([f"d/plate{p}_well{w}.png" for p in range(6) for w in range(4)])
    assert (plates.count, plates.largest, plates.example) == (6, 4, "d/plate0")
    val, reason = validation.choose_validation(24, None, plates)
    assert val["group"] == plates.pattern and "6 groups" in reason
    val, reason = validation.choose_validation(24, None, replace(plates, largest=12))
    assert "group" not in val and "set a group" in reason
    tiles = replace(plates, pattern="(.*)", count=2, largest=12, needed=True)
    assert validation.choose_validation(24, None, tiles, tiled=True)[0] == {
        "from_train": 0.5,
        "seed": 42,
        "group": "(.*)",
    }
    part, reason = validation.choose_validation(24, None, tiles, 6, tiled=True)
    assert part == {"from_train": 0.2, "seed": 42} and "too high" in reason
    assert validation.choose_validation(24, None, None, tiled=True)[0] is None
    folders = find_name_groups([f"p{p}_{k}/image.tif" for p in (1, 2) for k in range(5)])
    assert (folders.count, folders.example) == (2, "p1")
    for names in (
        [f"{k:05d}.png" for k in range(12)],
        [f"p{k}_1.png" for k in range(12)],
        [],
        ["x1_1.png", "y.png"] * 9,
    ):
        assert find_name_groups(names) is None


TIMES = RunTimes(start=10, step=1, evaluation=2, end=5)


def test_schedule_fits_into_the_time():
    found = schedule_within(2400, TIMES, images=400, batch=4, val_images=40)
    spent = 10 + 5 + 40 * 2 + 8 * 2 + found.iterations
    assert 0.9 * 2400 < spent < 2400 and found.eval_period == 0 and "2,145 steps" in found.reason
    more = schedule_within(2400, RunTimes(10, 1, 0.5, 5), images=400, batch=4, val_images=40)
    evaluations = -(-more.iterations // more.eval_period)
    assert evaluations > 4 and 15 + 20 * evaluations + 4 + more.iterations < 2400
    assert more.eval_reason.startswith("6 evaluations")


def test_schedule_ends_when_it_is_enough():
    found = schedule_within(24_000, TIMES, images=1, batch=4, val_images=0)
    assert found.iterations == 2000 and found.eval_period == 0 and "nothing" in found.eval_reason
    assert "1 training image." not in found.reason and "enough" in found.reason


def test_too_short_a_time():
    with pytest.raises(SegkitError, match=r"minutes: 1 is not enough.*40 images.*took 30 s; give at least 4$"):
        schedule_within(60, TIMES, images=400, batch=4, val_images=40, spent=30)
    with pytest.raises(SegkitError, match=r"minutes: 1 is not enough.*give at least 5$"):
        schedule_within(60, TIMES, images=400, batch=4, val_images=40, spent=90)  # longer than the minutes


def test_evaluations_leave_time_for_steps():
    long_start = RunTimes(start=400, step=1, evaluation=0.5, end=0)
    found = schedule_within(600, long_start, images=400, batch=4, val_images=20)
    assert found.iterations > 20 and found.eval_period > 0


def test_given_steps_set_the_periods():
    found = schedule_within(2400, RunTimes(10, 1, 0.5, 5), images=400, batch=4, val_images=40, steps=70)
    assert (found.iterations, found.eval_period, found.checkpoint_period) == (70, 10, 100)
    assert schedule_within(1, TIMES, images=400, batch=4, val_images=40, steps=5).iterations == 5  # as it was asked for
    assert schedule_without_time(400, 4, 40, 50).eval_period == 10


def test_schedule_without_time():
    assert schedule_without_time(1, 4, 0).iterations == 2000 and schedule_without_time(1, 4, 0).eval_period == 0
    assert schedule_without_time(417, 4, 46).iterations == 4200
    assert schedule_without_time(10**6, 4, 1).iterations == 90_000
    assert warmup_of(2200) == 100 and warmup_of(50) == 5


def look(count, median=0.1, contrast=0.5, low=0.0, high=1.0, top=0.0):
    values = [np.broadcast_to(np.asarray(v, float), count) for v in (median, low, high, contrast)]
    return Appearance(*values, np.ones(count, bool), np.broadcast_to(np.asarray(top, float), count))


def test_polarity_has_to_agree_with_the_contrast():
    median = np.array([0.1] * 80 + [0.9] * 20)
    contrast = np.array([0.5] * 80 + [-0.5] * 20)
    assert "20 %" in appearance.mixed_polarity(look(100, median, contrast), True)
    assert appearance.mixed_polarity(look(100, median, contrast), False) is None  # photographs stay
    assert appearance.mixed_polarity(look(100, median, 0.5), True) is None  # light objects on light background
    assert appearance.mixed_polarity(look(100, 0.1, 0.5), True) is None
    assert appearance.mixed_polarity(look(4, [0.1, 0.9] * 2, [0.5, -0.5] * 2), True) is None


def test_exposure():
    assert appearance.varied_exposure(look(10, high=0.9)) is None
    assert "5 times" in appearance.varied_exposure(look(20, high=[0.2, 1.0] * 10))
    assert appearance.varied_exposure(look(1, high=0.2)) is None
    assert appearance.varied_exposure(look(10, high=0.0)) is None


def test_intensity():
    def found(bits, ranges):
        return Intensities(2, 0, None, dict.fromkeys(bits, 1), None, None, None, None, None, np.array(ranges))

    assert appearance.choose_intensity(found([16], [900.0, 1000.0]))[0] == {"name": "dataset_percentile"}
    assert appearance.choose_intensity(found([16], [100.0, 1000.0]))[0] == {"name": "percentile"}
    assert appearance.choose_intensity(found([16], [900.0]))[0] == {"name": "percentile"}
    assert appearance.choose_intensity(found([8, 16], [255.0, 900.0]))[0]["stretch_8_bit"] is True


class Sky(Rectangles):
    """With a light upper half."""

    def load(self, index):
        sample = super().load(index)
        sample.image[:, : sample.image.shape[1] // 2] //= 2
        sample.image[:, : sample.image.shape[1] // 2] += 120
        return sample


def test_orientation():
    free = appearance.judge_orientation(measure(Rectangles(scattered(40, side=12))))
    assert free.free and "40" not in free.reason
    upright = appearance.judge_orientation(measure(Sky(scattered(40, side=12))))
    assert not upright.free and "upper half" in upright.reason
    tall = [[(x, y, x + 4, y + 12, 0) for x, y, *_ in image] for image in scattered(40, side=12)]
    assert "taller than wide" in appearance.judge_orientation(measure(Rectangles(tall))).reason
    low = [[(x, 40, x + 8, 48, 0) for x, *_ in image] for image in scattered(40, side=12)]
    assert "below" in appearance.judge_orientation(measure(Rectangles(low))).reason


def test_orientation_of_few_images():
    grey = measure(Rectangles([[(20, 20, 40, 40, 0)]]))
    assert appearance.judge_orientation(grey).free
    assert not appearance.judge_orientation(measure(Sky([[(20, 20, 40, 40, 0)]]))).free
    assert "1 image is too few" in appearance.judge_orientation(grey).reason
