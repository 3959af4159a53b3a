"""RLE against pycocotools on dense masks."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycocotools

from segkit.structures import InstanceMasks
from segkit.structures.rle import MAX_GROUPS, covered_pixels, parse_strings, write_strings
from segkit.utils.errors import SegkitError

quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def reference(dense):
    rles = pycocotools.encode(np.asfortranarray(dense.permute(1, 2, 0).numpy().astype(np.uint8)))
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode()} for rle in rles]


def uncompressed(dense):
    result = []
    for image in dense:
        flat = np.concatenate([[0], image.numpy().T.reshape(-1).astype(int), [2]])
        edges = np.flatnonzero(np.diff(flat) != 0)
        counts = np.diff(np.concatenate([[0], edges])).tolist()
        result.append({"size": list(image.shape), "counts": counts})
    return result


@quick
@given(count=st.integers(1, 8), height=st.integers(1, 30), width=st.integers(1, 30), seed=st.integers(0, 10**6))
def test_equal_to_pycocotools(draw_objects, count, height, width, seed):
    dense = draw_objects(count, height, width, seed)
    masks = InstanceMasks.from_dense(dense)
    rles = reference(dense)
    assert masks.to_rle() == rles
    for given_rles in (rles, uncompressed(dense), [{**rle, "counts": rle["counts"].encode()} for rle in rles]):
        decoded = InstanceMasks.from_rle(given_rles)
        assert torch.equal(decoded.to_dense(), dense)
        assert torch.equal(decoded.crop_boxes, masks.crop_boxes)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (5, 4)])
def test_every_small_corner(size):
    height, width = size
    pixels = torch.eye(height * width, dtype=torch.bool).view(-1, height, width)
    blank = torch.zeros(1, *size, dtype=torch.bool)
    dense = torch.cat([pixels, ~pixels, blank, ~blank])
    assert InstanceMasks.from_dense(dense).to_rle() == reference(dense)
    assert torch.equal(InstanceMasks.from_rle(reference(dense)).to_dense(), dense)


def test_large_image_size(draw_cells):
    masks = draw_cells(20, (1, 90), (700, 900))
    assert masks.to_rle() == reference(masks.to_dense())


def test_mixed_and_unusual_counts():
    rles = [
        {"size": [2, 3], "counts": [0, 2, 0, 2, 2, 0]},  # runs of no pixels
        {"size": [2, 3], "counts": [6]},
        {"size": (2, 3), "counts": [0, 6]},
        *reference(torch.tensor([[[1, 0, 0], [0, 1, 0]]], dtype=torch.bool)),
    ]
    dense = InstanceMasks.from_rle(rles).to_dense().int().tolist()
    assert dense == [[[1, 1, 0], [1, 1, 0]], [[0] * 3] * 2, [[1] * 3] * 2, [[1, 0, 0], [0, 1, 0]]]


@quick
@given(
    st.lists(
        st.lists(st.integers(0, 2**24 - 1) | st.integers(0, 2**31), min_size=1, max_size=12), min_size=1, max_size=6
    )
)
def test_strings_there_and_back(lists):
    counts, lengths = np.concatenate(lists).astype(np.int64), np.array([len(one) for one in lists])
    strings = write_strings(counts, lengths)
    decoded = parse_strings(strings)
    assert np.array_equal(decoded[0], counts) and np.array_equal(decoded[1], lengths)
    for one, string in zip(lists, strings, strict=True):
        if max(one) < 2**24:  # pycocotools has room for five characters a count, and writes beyond it without asking
            theirs = pycocotools.frPyObjects({"size": [1, 1], "counts": one}, 1, 1)["counts"]
            assert string == theirs.decode()


def test_no_objects():
    assert len(InstanceMasks.from_rle([], size=(3, 4))) == 0
    assert InstanceMasks.from_rle([], size=(3, 4)).image_size == (3, 4)
    with pytest.raises(SegkitError, match="needs the argument size"):
        InstanceMasks.from_rle([])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([3, 2], r"objects\[1\]: RLE counts add up to 5 pixels, but the size \[2, 3\] has 6"),
        ([8, -2], r"objects\[1\]"),
        ("", r"objects\[1\]: not a compressed RLE"),
        ("5\x01", r"objects\[1\]: not a compressed RLE"),
        ("o", r"objects\[1\]: not a compressed RLE"),  # "more follow", but nothing does
        ("9", r"objects\[1\]: RLE counts add up to"),
        ("é", r"objects\[1\]"),
    ],
)
def test_broken_counts(counts, message):
    with pytest.raises(SegkitError, match=message):
        InstanceMasks.from_rle([{"size": [2, 3], "counts": [6]}, {"size": [2, 3], "counts": counts}])


def test_differing_sizes():
    rles = [{"size": [2, 3], "counts": [6]}, {"size": [3, 2], "counts": [6]}]
    with pytest.raises(SegkitError, match=r"objects\[1\]: RLE of size \[3, 2\], expected \[2, 3\]"):
        InstanceMasks.from_rle(rles)
    with pytest.raises(SegkitError, match=r"objects\[0\]"):
        InstanceMasks.from_rle(rles[:1], size=(4, 4))


def covered_slowly(string):
    """Decodes one character after the other; -1 for an invalid code."""
    runs, value, shift = [], 0, 0
    for character in string:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift >= 5 * MAX_GROUPS:
            return -1
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= 1 << shift if code & 16 else 0
            value += runs[-2] if len(runs) > 2 else 0
            runs.append(value)
            value = shift = 0
    return -1 if shift or not runs or min(runs) < 0 else sum(runs)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(st.text(st.sampled_from("0123456789@IOPZ_`oqé/ "), max_size=9), max_size=8))
def test_covered_pixels_of_anything(strings):
    assert covered_pixels(strings).tolist() == [covered_slowly(string) for string in strings]
    for string in strings:
        if covered_slowly(string) >= 0:
            assert covered_slowly(string) == parse_strings([string])[0].sum()


def test_covered_pixels_of_masks(draw_cells):
    strings = [rle["counts"] for rle in draw_cells(20, (1, 40), (70, 90)).to_rle()]
    assert covered_pixels(strings).tolist() == [70 * 90] * 20
    assert covered_pixels([*strings[:2], strings[2][:-1] + "\x01", strings[3]]).tolist() == [6300, 6300, -1, 6300]
    # Sums that leave 64 bits and come back would pass for whole.
    assert covered_pixels(["o" * 12 + "0"]).tolist() == [-1]
