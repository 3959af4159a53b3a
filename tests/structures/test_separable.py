"""The two ways to gather windows, and the groups that they go in."""

import torch

from segkit.structures.ragged import heights_widths
from segkit.structures.separable import gather_windows, indexed_windows, size_buckets


def test_both_ways_to_gather_are_equal(draw_cells):
    masks = draw_cells(30, (3, 40), (100, 100))
    heights, widths = heights_widths(masks.crop_boxes)
    corner = torch.tensor([1, 2])
    starts = masks.offsets[:-1] + corner[1] * widths + corner[0]
    tall, wide = heights - corner[1], widths - corner[0]
    copied = gather_windows(masks.bits, starts, widths, tall, wide)
    indexed = indexed_windows(masks.bits, starts, widths, *copied.shape[1:])
    for a, b, crop, h, w in zip(copied, indexed, masks.crops(), tall, wide, strict=True):
        assert torch.equal(a[:h, :w], crop[2:, 1:])
        assert torch.equal(b[:h, :w], crop[2:, 1:])


def test_every_item_of_some_area_is_in_one_bucket_within_the_budget():
    heights, widths = torch.randint(0, 90, (2, 500))
    groups = list(size_buckets(heights, widths, 20_000))
    expected = ((heights > 0) & (widths > 0)).nonzero().squeeze(1)
    assert torch.equal(torch.cat(groups).sort().values, expected)
    for group in groups:
        assert len(group) == 1 or len(group) * heights[group].max() * widths[group].max() <= 20_000
    assert list(size_buckets(heights[:0], widths[:0], 9)) == []
