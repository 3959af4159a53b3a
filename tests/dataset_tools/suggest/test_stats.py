"""Statistics against what is known of the data, and their table, JSON and plots."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image
from rectangles import Rectangles, scattered

from segkit.dataset_tools.overlaps import meeting_pairs
from segkit.dataset_tools.stats import intensities
from segkit.dataset_tools.stats.measure import measure
from segkit.dataset_tools.stats.objects import sampled_indices
from segkit.dataset_tools.stats.overlaps import measure_overlaps
from segkit.dataset_tools.stats.plots import write_plots
from segkit.dataset_tools.stats.report import as_dict, as_text
from segkit.dataset_tools.stats.run import LINES, config_lines
from segkit.structures import InstanceMasks, Targets
from segkit.structures.targets import ALL_CLASSES
from segkit.utils.errors import SegkitError


def dense_overlaps(dense):
    """What `measure_overlaps` says of the masks, by brute force."""
    count = len(dense)
    grown = dense.clone()
    for shift, axis in ((1, 1), (-1, 1), (1, 2), (-1, 2)):
        moved = torch.roll(dense, shift, axis)
        edge = 0 if shift == 1 else -1
        moved.select(axis, edge).fill_(False)
        grown |= moved
    touching, iou = torch.zeros(count, dtype=torch.bool), torch.zeros(count)
    for i in range(count):
        for j in range(count):
            if i != j:
                touching[i] |= (grown[i] & dense[j]).any()
                iou[i] = max(iou[i], (dense[i] & dense[j]).sum() / max((dense[i] | dense[j]).sum(), 1))
    return touching.numpy(), iou.numpy()


@pytest.mark.parametrize("seed", range(6))
def test_overlaps_equal_those_of_dense_masks(seed):
    generator = torch.Generator().manual_seed(seed)
    dense = torch.zeros(12, 24, 30, dtype=torch.bool)
    for mask in dense:
        y, x = (int(torch.randint(0, side - 6, (), generator=generator)) for side in (24, 30))
        mask[y : y + 6, x : x + 6] = torch.rand(6, 6, generator=generator) > 0.4
    masks = InstanceMasks.from_dense(dense)
    found = measure_overlaps(Targets(masks.boxes(), torch.zeros(12, dtype=torch.long), masks))
    touching, iou = dense_overlaps(dense)
    assert found.touching.tolist() == touching.tolist() and found.touching.any()
    np.testing.assert_allclose(found.mask_iou, iou, rtol=1e-6)


def test_box_overlaps():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 10], [2, 2, 6, 6], [30, 0, 40, 10], [41, 0, 50, 10]]).float()
    found = measure_overlaps(Targets(boxes, torch.zeros(5, dtype=torch.long)))
    assert found.box_iou.tolist() == pytest.approx([1, 1, 0.16, 0, 0])
    assert found.contained.tolist() == [True, True, True, False, False]
    assert not found.touching.any() and not found.mask_iou.any()  # nothing is known of the masks
    pairs = {tuple(sorted(pair)) for pair in zip(*map(np.ndarray.tolist, meeting_pairs(boxes.numpy())), strict=True)}
    assert pairs == {(0, 1), (0, 2), (1, 2)}
    assert [len(part) for part in meeting_pairs(np.zeros((0, 4)))] == [0, 0]


def test_objects_and_images():
    stats = measure(Rectangles([[(0, 0, 10, 5, 0), (9, 5, 19, 10, 1)], [], [(1, 1, 5, 17, 1)]], size=(32, 48)))
    objects = stats.objects
    assert (stats.images, stats.measured, stats.is_sample, len(objects)) == (3, 3, False, 3)
    assert stats.counts.tolist() == [2, 0, 1] and stats.sizes.tolist() == [[32, 48]] * 3
    assert objects.side.tolist() == pytest.approx([50**0.5, 50**0.5, 8]) and objects.aspect.tolist() == [0.5, 0.5, 4]
    assert objects.area.tolist() == [50, 50, 64] and objects.diameter[2] == pytest.approx((256 / np.pi) ** 0.5)
    assert objects.touching.tolist() == [True, True, False]
    assert stats.class_objects.tolist() == [1, 2] and stats.class_images.tolist() == [1, 2]
    assert stats.appearance.contrast[0] == pytest.approx(180 / 255) and np.isnan(stats.appearance.contrast[1])


class Odd(Rectangles):
    """With a crowd region, an ignore region and an object without area in its first image."""

    def targets(self, index, window=None):
        extra = torch.tensor([[0, 0, 9, 9], [0, 0, 9, 9], [5, 5, 5, 9]]).float()
        more = Targets(extra, torch.tensor([0, ALL_CLASSES, 0]), crowd=torch.tensor([True, True, False]))
        return Targets.cat([super().targets(index), more])


def test_crowds_are_counted_and_not_measured():
    stats = measure(Odd([[(0, 0, 10, 5, 0)]]))
    assert (stats.objects.crowds, stats.objects.ignored, stats.objects.empty, len(stats.objects)) == (1, 1, 1, 1)
    assert "1 ignore region," in as_text(stats) and as_dict(stats)["crowd_regions"] == 1


def test_a_sample_of_a_large_set_is_said():
    data = Rectangles(scattered(30))
    stats = measure(data, max_images=5, max_read=2, seed=3)
    assert stats.measured == 5 and stats.is_sample and stats.intensities.images == 2
    assert "random sample of 5 images" in as_text(stats) and "30 images" in as_text(stats)
    assert (
        sampled_indices(30, 5, 3).tolist() == sampled_indices(30, 5, 3).tolist() != sampled_indices(30, 5, 4).tolist()
    )
    assert sampled_indices(4, 5, 0).tolist() == [0, 1, 2, 3]
    with pytest.raises(SegkitError, match="no images"):
        measure(Rectangles([]))


def test_stored_intensities(tmp_path):
    values = [np.full((8, 8), 40, np.uint8), np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000]
    files = []
    for name, pixels in zip(("a.png", "b.png"), values, strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
        files.append(str(tmp_path / name))
    (tmp_path / "c.png").write_bytes(b"no image")
    data = Rectangles([[], [], []])
    data.image_files = lambda: [*files, str(tmp_path / "c.png")]
    found = intensities.measure_intensities(data, np.arange(3))
    assert (found.images, found.unreadable, dict(found.bits), dict(found.channels)) == (2, 1, {8: 1, 16: 1}, {1: 2})
    assert not found.is_8_bit and found.percentiles[0, [0, -1]].tolist() == [0, 63000]
    assert found.ranges[0] == 0 and found.ranges[1] == pytest.approx(63000, rel=0.01)


def test_large_images_are_not_loaded(monkeypatch):
    monkeypatch.setattr(intensities, "LARGEST", 64 * 64 - 1)
    data = Rectangles(scattered(2))
    assert intensities.measure_appearance(data, np.arange(2)).skipped == 2


@pytest.mark.figures
def test_report_and_plots(tmp_path):
    stats = measure(Rectangles(scattered(3), classes=["cell", "$x_{"]))
    text = as_text(stats)
    assert "cell" in text and "uint8" in text and "channel 2" in text
    content = json.loads(json.dumps(as_dict(stats)))
    assert content["objects"] == 12 and content["quantiles"]["object: box width, px"]["100"] <= 10
    png, svg = write_plots(stats, tmp_path / "plots", "stats_a b")
    assert Image.open(png).size[0] > 1000 and ET.parse(svg).getroot().tag.endswith("svg")
    assert png.name == "stats_a_b.png"
    (tmp_path / "file").write_text("")
    with pytest.raises(SegkitError, match="--plots"):
        write_plots(stats, tmp_path / "file" / "plots", "x")


def test_no_objects():
    stats = measure(Rectangles([[], []]))
    assert "0 objects" in as_text(stats) and as_dict(stats)["shares"] == {}


def test_lines_of_a_configuration_have_reasons():
    data = Rectangles(scattered(12))
    lines = config_lines(data, measure(data), "test")
    comments = lines.comments()
    given = {choice.key for choice in lines if not choice.only_comment}
    assert given <= set(LINES) and {"data.batch_size", "model.roi_heads.detections_per_image"} <= given
    assert all(
        key in comments or any(name.startswith(f"{key}.") for name in comments)
        for key in given - {"data.test_transforms"}
    )


def test_lines_for_many_channels():
    class Channels(Rectangles):
        def load(self, index):
            sample = super().load(index)
            sample.image = sample.image.repeat(2, 1, 1)[:5]
            return sample

    data = Channels(scattered(12))
    lines = config_lines(data, measure(data), "test")
    assert lines["data.channels"] == "all" and lines["data.measure_pixel_stats"] is True
    assert "ColorJitter" not in [spec["name"] for spec in lines["data.train_transforms"]]
