"""Affine maps of masks against bilinear sampling of the dense masks, written out; and against what is exact."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segkit.structures import InstanceMasks
from segkit.structures.affine import affine_matrix, inverse, move_hulls, move_points, turned_size

quick = settings(
    deadline=None, derandomize=True, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


def sampled(dense, matrix, size):
    """fp64 [N, H, W]: for each new pixel's centre the bilinear mean of the four old pixels around, 0 outside."""
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing="ij")
    points = move_points(torch.stack([x, y], -1), inverse(matrix)) - 0.5
    low = points.floor().long()
    share = points - low
    padded = torch.nn.functional.pad(dense.double(), (1, 1, 1, 1))
    total = torch.zeros(len(dense), *size, dtype=torch.float64)
    for right in (0, 1):
        for below in (0, 1):
            column = (low[..., 0] + right + 1).clamp(0, padded.shape[2] - 1)
            row = (low[..., 1] + below + 1).clamp(0, padded.shape[1] - 1)
            weight_x = share[..., 0] if right else 1 - share[..., 0]
            weight_y = share[..., 1] if below else 1 - share[..., 1]
            total += padded[:, row, column] * weight_x * weight_y
    return total


def check(masks, matrix, size):
    dense = masks.to_dense()
    moved, rescued = masks.affine(matrix, size)
    result = moved.to_dense()
    assert moved.image_size == size
    assert torch.equal(moved.crop_boxes, InstanceMasks.from_dense(result).crop_boxes)
    certain = 0
    for before, values, after in zip(dense, sampled(dense, matrix, size), result, strict=True):
        best = float(values.max())
        centers = move_points(before.nonzero().flip(1) + 0.5, matrix)
        if best > 0.5 + 1e-4:
            tie = (values - 0.5).abs() < 1e-4
            assert torch.equal(after | tie, (values >= 0.5) | tie)
        elif best < 0.5 - 1e-4 and (best > 2e-3 or bool(_inside(centers, size, 1e-6).any())):
            certain += 1
            assert after.sum() == 1
            if best > 2e-3:  # the largest value
                assert values[after] >= best - 1e-4
            else:  # no sample touches it: the pixel that one of its own falls into
                pixel = after.nonzero()[0].flip(0)
                assert ((centers - pixel >= -1e-6) & (centers - pixel <= 1 + 1e-6)).all(1).any()
        elif best < 5e-4 and not _inside(centers, size, -1e-6).any():
            assert not after.any()
    assert rescued >= certain


def _inside(points, size, margin):
    limit = torch.tensor([size[1], size[0]]) - margin
    return ((points >= margin) & (points < limit)).all(1)


@quick
@given(
    count=st.integers(0, 6),
    old=sizes,
    new=sizes,
    angle=st.floats(-360, 360),
    scale=st.floats(0.1, 4),
    shear=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
    shift=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    seed=st.integers(0, 10**6),
)
def test_equal_to_dense_sampling(draw_objects, count, old, new, angle, scale, shear, shift, seed):
    matrix = affine_matrix(old, new, angle=angle, scale=scale, shear=shear, shift=shift)
    check(InstanceMasks.from_dense(draw_objects(count, *old, seed)), matrix, new)


@pytest.mark.parametrize(("angle", "scale"), [(0.0, 1.0), (30.0, 1.0), (45.0, 0.4), (77.0, 2.5)])
def test_objects_larger_than_a_tile(draw_cells, angle, scale):
    masks = draw_cells(10, (1, 190), (200, 220))
    check(masks, affine_matrix((200, 220), (210, 190), angle=angle, scale=scale, shear=(10, 0)), (210, 190))


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_thousand_objects(draw_cells, scale):
    check(draw_cells(1000, (1, 12), (36, 30)), affine_matrix((36, 30), (30, 25), angle=25, scale=scale), (30, 25))


@pytest.mark.parametrize("k", range(-1, 5))
@pytest.mark.parametrize("size", [(21, 34), (20, 35)])
def test_quarter_turns_are_exact(draw_objects, k, size):
    masks = InstanceMasks.from_dense(draw_objects(12, *size, 3))
    turned = turned_size(size, 90 * k)
    assert turned == (size if k % 2 == 0 else size[::-1])
    moved, rescued = masks.affine(affine_matrix(size, turned, angle=90 * k), turned)
    assert torch.equal(moved.to_dense(), masks.rot90(k).to_dense()) and rescued == 0


@pytest.mark.parametrize("shift", [(3, -4), (0, 50), (-17, 0)])
def test_whole_shifts_are_exact_and_nothing_outside_is_kept(draw_objects, shift):
    dense = draw_objects(20, 20, 30, 1)
    moved, rescued = InstanceMasks.from_dense(dense).affine(affine_matrix((20, 30), (20, 30), shift=shift), (20, 30))
    expected = torch.zeros_like(dense)
    for i, y, x in dense.nonzero().tolist():
        if 0 <= y + shift[1] < 20 and 0 <= x + shift[0] < 30:
            expected[i, y + shift[1], x + shift[0]] = True
    assert torch.equal(moved.to_dense(), expected) and rescued == 0


@pytest.mark.parametrize(("rest", "seen"), [(1e-5, False), (0.01, True)])
def test_an_object_outside_the_image_is_visible_only_by_rounding(rest, seen):
    """Its pixel's centre lies a whole pixel, less the rest, from that of the image's first column."""
    dense = torch.zeros(1, 9, 9, dtype=torch.bool)
    dense[0, 4, 0] = True
    shift = (-1 + rest, 0)
    moved, rescued = InstanceMasks.from_dense(dense).affine(affine_matrix((9, 9), (9, 9), shift=shift), (9, 9))
    assert (moved.areas().tolist(), rescued) == ([int(seen)], int(seen))
    assert not seen or moved.crop_boxes.tolist() == [[0, 4, 1, 5]]


def test_a_ring_around_the_view_is_out_of_view():
    dense = torch.ones(1, 60, 60, dtype=torch.bool)
    dense[:, 10:50, 10:50] = False
    moved, rescued = InstanceMasks.from_dense(dense).affine(affine_matrix((60, 60), (30, 30), angle=10), (30, 30))
    assert moved.areas().tolist() == [0] and rescued == 0


def test_pixels_between_the_samples_stay():
    dense = torch.eye(100, dtype=torch.bool).view(100, 10, 10)
    moved, rescued = InstanceMasks.from_dense(dense).affine(affine_matrix((10, 10), (10, 10), scale=0.1), (10, 10))
    assert moved.areas().tolist() == [1] * 100
    assert rescued >= 90  # a new pixel's centre can only touch four
    assert (moved.crop_boxes[:, 0] - 4.5).abs().max() <= 0.5  # all within one pixel's breadth around the middle


def test_matrices():
    matrix = affine_matrix((20, 40), (30, 50), angle=33, scale=1.7, shear=(10, -20), shift=(2, 3))
    points = torch.rand(9, 2) * 20
    assert torch.allclose(move_points(move_points(points, matrix), inverse(matrix)), points.double())
    assert math.isclose(float(torch.linalg.det(matrix[:, :2])), 1.7**2)  # shearing keeps areas
    assert torch.allclose(move_points(torch.tensor([20.0, 10.0]), matrix), torch.tensor([27.0, 18.0]).double())
    quarter = move_hulls(torch.tensor([[0.0, 0, 40, 10]]), affine_matrix((20, 40), (40, 20), angle=90))
    assert quarter.tolist() == [[0, 0, 10, 40]]
    assert turned_size((100, 100), 45) == (142, 142) and turned_size((7, 9), 180) == (7, 9)
