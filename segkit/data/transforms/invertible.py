"""Test transforms: only those through which detections can be mapped back to the file, checked at each image."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import torch

from segkit.data.transforms.base import INVERSIONS, Compose, LoadOther, MixingTransform, Transform
from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)

KEY = "data.test_transforms"
HOW_TO_DECLARE = (
    "build it on the functions of segkit.data.transforms.geometry, which record what they do, and set inversion = "
    "'recorded' in its class; or set inversion = 'identity' if every pixel stays in its place"
)
# Two objects, XYXY in parts of the image's sides: no mirroring or turning takes one of them onto itself or the other.
PROBES = ((0.06, 0.34, 0.22, 0.48), (0.70, 0.08, 0.88, 0.24))
MIN_PROBED_SIDE = 16  # pixels: in smaller images rounding is as large as what is looked for


class InvertibleCompose(Compose):
    """Transforms of test images, whose predictions are mapped back to the files.

    Args:
        transforms: applied one after the other. A declared ``inversion`` is trusted, and only the image's size is
            checked. A transform without one is run twice on each image, the second time with known objects (probes),
            whose boxes and pixels have to end where ``sample.geometry`` says.
    Raises:
        SegkitError: a transform has no inverse, or is for training only.
    """

    def __init__(self, transforms: Transform) -> None:
        super().__init__([transforms])
        for transform in self.transforms:
            _check_transform(transform)

    def __call__(self, sample: Sample, generator: torch.Generator, load_other: LoadOther | None = None) -> Sample:
        """The transformed sample, with its geometry.

        Raises:
            SegkitError: a transform moves pixels otherwise than it declares or records.
        """
        sample = dataclasses.replace(sample, geometry=sample.known_geometry)
        for transform in self.transforms:
            sample = _apply(transform, sample, generator)
        return sample


def declared_inversion(transform: Any) -> str:
    """``inversion`` of a transform; that of a base class counts only where ``__call__`` is the base class's too.

    Raises:
        SegkitError: it is none of ``INVERSIONS``.
    """
    found = getattr(transform, "__dict__", {}).get("inversion")
    for cls in type(transform).__mro__:
        if found is not None or ("__call__" in vars(cls) and "inversion" not in vars(cls)):
            break
        found = vars(cls).get("inversion")
    if found is None:
        return "undeclared"
    if found not in INVERSIONS:
        raise SegkitError(
            f"{_name(transform)}: inversion is '{found}', expected one of {', '.join(INVERSIONS)}"
            f"{did_you_mean(str(found), INVERSIONS)}",
            key=KEY,
            value=found,
            choices=INVERSIONS,
        )
    return found


def _check_transform(transform: Any) -> None:
    """SegkitError for a transform that cannot be a test transform, a warning for one that should not be one."""
    name = _name(transform)
    if isinstance(transform, MixingTransform):
        raise SegkitError(f"{name} makes training images of several: it cannot be a test transform", key=KEY)
    inversion = declared_inversion(transform)
    if inversion == "none":
        raise SegkitError(
            f"{name} cannot be a test transform: detections cannot be mapped back through it exactly; test transforms may "
            "resize, flip (RandomHorizontalFlip, RandomVerticalFlip), turn by right angles (RandomQuarterTurn), crop, pad "
            "and change colours",
            key=KEY,
        )
    if inversion == "undeclared":
        logger.warning(
            "%s: %s does not declare whether it moves pixels, so each image goes through it twice to find out; %s",
            KEY, name, HOW_TO_DECLARE,
        )  # fmt: skip
    warning = transform.test_warning() if isinstance(transform, Transform) else ""
    if warning:
        logger.warning("%s: %s %s", KEY, name, warning)


def _apply(transform: Any, sample: Sample, generator: torch.Generator) -> Sample:
    """One transform's result, with its checked geometry."""
    inversion = declared_inversion(transform)
    state = generator.get_state() if inversion == "undeclared" else None
    after = transform(dataclasses.replace(sample), generator)  # a copy, should the transform change it in place
    name, size = f"{sample.file_name or 'an image'}: {_name(transform)}", (after.image.shape[1], after.image.shape[2])
    if after.size != sample.size:
        raise SegkitError(
            f"{name} sets the sample's size to {after.size}; it has to stay that of the file, {sample.size}", key=KEY
        )
    if after.geometry is not None and after.geometry.obstacle:
        raise SegkitError(
            f"{name} applies {after.geometry.obstacle}, through which detections cannot be mapped back exactly: it cannot "
            "be a test transform",
            key=KEY,
        )
    if state is not None:
        return _verified(transform, sample, after, state, name)
    geometry = after.geometry if after.geometry is not None or inversion == "recorded" else sample.geometry
    if geometry is None:
        raise SegkitError(
            f"{name} loses the sample's geometry; return dataclasses.replace(sample, ...) instead of a new Sample",
            key=KEY,
        )
    if geometry.size != size or (inversion == "identity" and geometry != sample.geometry):
        raise SegkitError(
            f"{name} declares inversion = '{inversion}', but its image of {size[0]} x {size[1]} pixels is not the one of "
            f"{geometry.size[0]} x {geometry.size[1]} on record; {HOW_TO_DECLARE}",
            key=KEY,
        )
    return dataclasses.replace(after, geometry=geometry)


def _verified(transform: Callable, before: Sample, after: Sample, state: torch.Tensor, name: str) -> Sample:
    """``after`` with a geometry that the probes confirm, for a transform that declares none.

    Args:
        state: of the generator before the transform's run.
        name: of image and transform, for messages.
    Raises:
        SegkitError: the probes are elsewhere, or the transform fails with them.
    """
    recorded = before.known_geometry if after.geometry is None else after.geometry
    size = (after.image.shape[1], after.image.shape[2])
    if min(before.image.shape[1:]) < MIN_PROBED_SIDE and recorded.size == size:  # the size alone can be looked at
        return dataclasses.replace(after, geometry=recorded)
    probe = _with_probes(before)
    try:
        probed = transform(dataclasses.replace(probe), torch.Generator().set_state(state))
    except Exception as error:
        raise SegkitError(
            f"{name} does not declare whether it moves pixels, and with the two objects that are to show it, it ends with "
            f"{type(error).__name__}: {error}; {HOW_TO_DECLARE}",
            key=KEY,
        ) from error
    candidates = list(zip(_candidates(before, after), _candidates(before, probed), strict=False))
    for geometry, of_probe in candidates:
        if _explains(of_probe, probe, probed) and _moves_pixels_along(geometry, probe, after, probed):
            return dataclasses.replace(after, geometry=geometry)
    raise SegkitError(
        f"{name} moves pixels or objects in a way that is not on record, so that detections cannot be mapped back to the "
        f"file: {HOW_TO_DECLARE}",
        key=KEY,
    )


def _candidates(before: Sample, after: Sample) -> list[ImageGeometry]:
    """What a transform may have done: what it recorded, or nothing; and a resize where the size differs from that."""
    size = (after.image.shape[1], after.image.shape[2])
    return [g if g.size == size else g.resize(size) for g in (after.geometry, before.geometry) if g is not None]


def _with_probes(sample: Sample) -> Sample:
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


def _explains(geometry: ImageGeometry, probe: Sample, probed: Sample) -> bool:
    """Whether the remaining probes are where the geometry says; without any, whether none is in view."""
    labels = probed.targets.labels
    if not bool(((labels >= 0) & (labels < len(PROBES))).all()):
        return False
    sides = probe.targets.boxes[:, 2:] - probe.targets.boxes[:, :2]
    expected = _probe_boxes(geometry, probe)
    zoom = ((expected[:, 2:] - expected[:, :2]) / sides).amax()
    x0, y0, x1, y1 = (float(edge) for edge in geometry.visible)
    expected = expected.clamp(min=expected.new_tensor([x0, y0] * 2), max=expected.new_tensor([x1, y1] * 2))
    if not len(labels):
        return bool((expected[:, 2:] - expected[:, :2] < 2).any(1).all())
    # Boxes drawn anew around the masks are off by a pixel.
    return bool((expected[labels] - probed.targets.boxes).abs().amax() <= 1.5 * max(1.0, float(zoom)))


def _moves_pixels_along(geometry: ImageGeometry, probe: Sample, after: Sample, probed: Sample) -> bool:
    """Whether pixels changed mostly where the probes should be, or one of the probes changed by half or more.

    The two runs differ by the probes' pixels alone. A transform of colours may let them disappear, as a threshold does,
    or change others too, as a stretch to the image's range does, but it does not change these others alone.
    """
    if probed.image.shape != after.image.shape:
        return True  # the window depends on what is in the image
    changed = (probed.image != after.image).any(0)
    inside = 0
    for x0, y0, x1, y1 in _probe_boxes(geometry, probe).round().long().clamp(min=0).tolist():
        patch = changed[y0:y1, x0:x1]
        inside += int(patch.sum())
        if patch.numel() and 2 * int(patch.sum()) >= patch.numel():
            return True
    return 2 * inside >= int(changed.sum())


def _probe_boxes(geometry: ImageGeometry, probe: Sample) -> torch.Tensor:
    """fp64 [N, 4]: the probes' boxes in an image of that geometry, not clipped."""
    origin = probe.known_geometry
    return geometry.boxes_from_file(origin.boxes_to_file(origin.upright_boxes(probe.targets.boxes)))


def _name(transform: Any) -> str:
    """What to call a transform in a message: its class, or a function's own name."""
    return getattr(transform, "__name__", type(transform).__name__)
