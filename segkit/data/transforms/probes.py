"""Finding out where a transform moves pixels: it runs a second time, on the same image with two known objects (probes)."""

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

# Two objects, XYXY in parts of the image's sides: no mirroring or turning takes one of them onto itself or the other.
PROBES = ((0.06, 0.34, 0.22, 0.48), (0.70, 0.08, 0.88, 0.24))
MAX_OFFSET = 0.3  # parts of a probe's side by which its change may be off, as where a threshold hides a part of it
MIN_PROBED_SIDE = 16  # pixels: in smaller images rounding is as large as what is looked for


class Replay:
    """A transform's run on other samples, with all that is random in it as it is in the run that follows.

    That is the generator passed, the global ones of torch, NumPy and Python, and what the transform itself holds. All are
    left as they are after that run.
    """

    def __init__(self, transform: Callable, generator: torch.Generator) -> None:
        try:
            self._transform = copy.deepcopy(transform)
        except Exception:  # what cannot be copied, as a lock, is rarely random
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
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def _set_global_states(states: tuple[Any, Any, torch.Tensor]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


def textured(sample: Sample) -> Sample:
    """The sample with another image where its own is of one colour, of which a stretch or threshold may make anything."""
    if not sample.image.numel() or int(sample.image.amin()) != int(sample.image.amax()):
        return sample
    texture = torch.randint(64, 192, sample.image.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return dataclasses.replace(sample, image=texture)


def with_probes(sample: Sample) -> Sample:
    """The sample with two known objects of labels 0 and 1 in place of its own, their pixels black or white."""
    height, width = sample.image.shape[1:]
    boxes = (torch.tensor(PROBES) * torch.tensor([width, height, width, height])).round()
    image, dense = sample.image.clone(), torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for number, (x0, y0, x1, y1) in enumerate(boxes.long().tolist()):
        dense[number, y0:y1, x0:x1] = True
        patch = image[:, y0:y1, x0:x1]
        patch[:] = 0 if patch.float().mean() > 127.5 else 255
    masks = InstanceMasks.from_dense(dense)
    return dataclasses.replace(sample, image=image, targets=Targets(boxes, torch.arange(len(boxes)), masks))


def explains(geometry: ImageGeometry, probe: Sample, probed: Sample) -> bool:
    """Whether the remaining probes are where the geometry says; without any, whether none is in view."""
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
    # Boxes drawn anew around the masks are off by a pixel.
    return bool((expected[labels] - probed.targets.boxes).abs().amax() <= 1.5 * max(1.0, float(zoom)))


def moves_pixels_along(geometry: ImageGeometry, probe: Sample, after: Sample, probed: Sample) -> bool:
    """Whether pixels changed where the probes should be, and not beside these places.

    The two runs differ by the probes' pixels alone. A transform of colours may let them disappear, as a threshold does,
    blur them, or change other pixels too, as a stretch to the image's range does, but these less.
    """
    if probed.image.shape != after.image.shape:
        return True  # the window depends on what is in the image
    if torch.equal(probed.image, after.image):
        return True
    places = [_place(probed.image, after.image, box) for box in probe_boxes(geometry, probe).tolist()]
    seen = [place for place in places if place is not None]
    clear = [offset for inside, around, offset in seen if inside > 1.2 * around + 1]
    beside = any(around > 2 * inside + 8 and offset > 0.5 for inside, around, offset in seen)
    return not seen or (bool(clear) and max(clear) <= MAX_OFFSET and not beside)


def _place(probed: torch.Tensor, after: torch.Tensor, box: list[float]) -> tuple[float, float, float] | None:
    """How much an image changed in a probe's box, how much around it, and how far off the centre the change is.

    Args:
        probed, after: images [C, H, W].
    Returns:
        means of the change, and the offset in parts of the box's sides; None for a box that is partly out of view.
    """
    height, width = after.shape[1:]
    x0, y0, x1, y1 = (round(edge) for edge in box)
    w, h = x1 - x0, y1 - y0
    if min(w, h) < 3 or x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return None
    # As far to each side, or what blurring does at the image's border would count on one side alone.
    x, y = min(x0, width - x1, w // 2), min(y0, height - y1, h // 2)
    window = slice(None), slice(y0 - y, y1 + y), slice(x0 - x, x1 + x)
    change = (probed[window].float() - after[window].float()).abs().mean(0)
    inside = float(change[y : y + h, x : x + w].mean())
    around = (float(change.sum()) - inside * w * h) / max(change.numel() - w * h, 1)
    if min(w, h) < 6:  # too few pixels to find a centre, or to tell a filter's margin from its middle
        return inside, around / 4, 0.0
    more = (change - min(around, float(change.mean()))).clamp(min=0)
    total = max(float(more.sum()), 1e-9)
    rows, columns = torch.arange(len(more)) + 0.5, torch.arange(more.shape[1]) + 0.5
    off_x = abs(float((more.sum(0) * columns).sum()) / total - more.shape[1] / 2)
    off_y = abs(float((more.sum(1) * rows).sum()) / total - len(more) / 2)
    return inside, around, max((off_x - 1) / w, (off_y - 1) / h)  # by a pixel anything may be off


def probe_boxes(geometry: ImageGeometry, probe: Sample) -> torch.Tensor:
    """fp64 [N, 4]: the probes' boxes in an image of that geometry, not clipped."""
    origin = probe.known_geometry
    return geometry.boxes_from_file(origin.boxes_to_file(origin.upright_boxes(probe.targets.boxes)))
