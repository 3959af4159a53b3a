"""Finds out how a transform moves pixels, by running it on two known objects (probes)."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets

# Boxes of the probes, XYXY as shares of the image's sides. No flip or rotation maps a probe to itself or to the other.
PROBES = ((0.06, 0.34, 0.22, 0.48), (0.70, 0.08, 0.88, 0.24))
MAX_CENTER_ERROR = 0.3  # of a changed region, as a share of the probe's side: a threshold may hide a part of a probe
MIN_PROBED_SIDE = 16  # pixels: in smaller images, rounding errors are as large as the movements to be found


class Replay:
    """Runs a transform again with the random state that it had when this object was made.

    The random state comprises the generator argument, the global generators of torch, NumPy and Python, and the state of
    the transform itself. A replay does not change any of them.
    """

    def __init__(self, transform: Callable, generator: torch.Generator) -> None:
        try:
            self._transform = copy.deepcopy(transform)
        except Exception:  # a part that cannot be copied, such as a lock, is rarely random
            self._transform = transform
        self._generator, self._globals = generator.get_state(), _global_states()

    def __call__(self, sample: Sample) -> Sample:
        after = _global_states()
        _set_global_states(self._globals)
        try:
            return self._transform(dataclasses.replace(sample), torch.Generator().set_state(self._generator))
        finally:
            _set_global_states(after)


def _global_states() -> tuple[Any, Any, torch.Tensor]:
    """States of the global generators of Python, NumPy and torch."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_global_states(states: tuple[Any, Any, torch.Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def textured(sample: Sample) -> Sample:
    """The sample, with a random texture if its image has one colour.

    Contrast transforms change an image of one colour arbitrarily.
    """
    if not sample.image.numel() or float(sample.image.amin()) != float(sample.image.amax()):
        return sample
    texture = torch.randint(64, 192, sample.image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return dataclasses.replace(sample, image=texture / 255 if sample.image.is_floating_point() else texture)


def with_probes(sample: Sample) -> Sample:
    """The sample with the two probes, labels 0 and 1, in place of its objects.

    Their pixels are black or white.
    """
    height, width = sample.image.shape[1:]
    boxes = (torch.tensor(PROBES) * torch.tensor([width, height, width, height])).round()
    image, dense = sample.image.clone(), torch.zeros(len(boxes), height, width, dtype=torch.bool)
    white = 1 if image.is_floating_point() else 255
    for i, (x0, y0, x1, y1) in enumerate(boxes.long().tolist()):
        dense[i, y0:y1, x0:x1] = True
        patch = image[:, y0:y1, x0:x1]
        patch[:] = 0 if patch.float().mean() > white / 2 else white
    masks = InstanceMasks.from_dense(dense)
    return dataclasses.replace(sample, image=image, targets=Targets(boxes, torch.arange(len(boxes)), masks))


def boxes_agree(geometry: ImageGeometry, probe: Sample, probed: Sample) -> bool:
    """Whether the probes' boxes are where the geometry maps them.

    If the result has no probes, whether the geometry maps them out of the image.

    Args:
        geometry: a possible geometry of the result.
        probe: the sample with probes.
        probed: the result of the transform for it.
    """
    labels = probed.targets.labels
    if not bool(((labels >= 0) & (labels < len(PROBES))).all()):
        return False
    sides = probe.targets.boxes[:, 2:] - probe.targets.boxes[:, :2]
    expected = probe_boxes(geometry, probe)
    zoom = ((expected[:, 2:] - expected[:, :2]) / sides).amax()
    x0, y0, x1, y1 = (float(edge) for edge in geometry.visible)
    expected = expected.clamp(min=expected.new_tensor([x0, y0] * 2), max=expected.new_tensor([x1, y1] * 2))
    if not len(labels):
        return bool((expected[:, 2:] - expected[:, :2] < 2).any(1).all())
    # Boxes that a transform computes from masks differ by up to a pixel.
    return bool((expected[labels] - probed.targets.boxes).abs().amax() <= 1.5 * max(1.0, float(zoom)))


def pixels_agree(geometry: ImageGeometry, probe: Sample, after: Sample, probed: Sample) -> bool:
    """Whether the probes changed the image where the geometry maps them, and only there.

    The two runs differ only in the probes' pixels. A colour transform may hide a probe (a threshold), blur it, or change
    other pixels as well, but less (a stretch to the image's range).

    Args:
        geometry: a possible geometry of the results.
        probe: the sample with probes.
        after: the result of the transform without probes.
        probed: the result with probes.
    """
    if probed.image.shape != after.image.shape:
        return True  # the transform crops depending on the content
    if torch.equal(probed.image, after.image):
        return True
    changes = [_change_at(probed.image, after.image, box) for box in probe_boxes(geometry, probe).tolist()]
    in_view = [change for change in changes if change is not None]
    clear = [error for inside, around, error in in_view if inside > 1.2 * around + 1]
    beside = any(around > 2 * inside + 8 and error > 0.5 for inside, around, error in in_view)
    return not in_view or (bool(clear) and max(clear) <= MAX_CENTER_ERROR and not beside)


def _change_at(probed: torch.Tensor, after: torch.Tensor, box: list[float]) -> tuple[float, float, float] | None:
    """Change of an image in a probe's box and around it, and its distance from the centre.

    Args:
        probed, after: images [C, H, W] with and without probes.
        box: XYXY of the probe in these images.
    Returns:
        The two means, and the distance as a share of the box's sides; None for a box that is partly out of view.
    """
    height, width = after.shape[1:]
    x0, y0, x1, y1 = (round(edge) for edge in box)
    w, h = x1 - x0, y1 - y0
    if min(w, h) < 3 or x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return None
    # A symmetric window: at the image's border, blurring would otherwise count on one side only.
    x, y = min(x0, width - x1, w // 2), min(y0, height - y1, h // 2)
    window = slice(None), slice(y0 - y, y1 + y), slice(x0 - x, x1 + x)
    scale = 255 if after.is_floating_point() else 1
    change = (probed[window].float() - after[window].float()).abs().mean(0) * scale
    inside = float(change[y : y + h, x : x + w].mean())
    around = (float(change.sum()) - inside * w * h) / max(change.numel() - w * h, 1)
    if min(w, h) < 6:  # too few pixels to locate a centre, or to separate a filter's margin from the probe
        return inside, around / 4, 0.0
    excess = (change - min(around, float(change.mean()))).clamp(min=0)
    total = max(float(excess.sum()), 1e-9)
    rows, columns = torch.arange(len(excess)) + 0.5, torch.arange(excess.shape[1]) + 0.5
    error_x = abs(float((excess.sum(0) * columns).sum()) / total - excess.shape[1] / 2)
    error_y = abs(float((excess.sum(1) * rows).sum()) / total - len(excess) / 2)
    return inside, around, max((error_x - 1) / w, (error_y - 1) / h)  # tolerate one pixel


def probe_boxes(geometry: ImageGeometry, probe: Sample) -> torch.Tensor:
    """Boxes of the probes in an image of that geometry, not clipped; fp64 [N, 4]."""
    origin = probe.known_geometry
    return geometry.boxes_from_file(origin.boxes_to_file(origin.upright_boxes(probe.targets.boxes)))
