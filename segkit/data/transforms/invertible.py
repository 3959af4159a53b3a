"""Test transforms, which have to be invertible: detections are mapped back to the file."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import torch

from segkit.data.transforms.base import INVERSIONS, Compose, LoadOther, MixingTransform, Transform, ready_for
from segkit.data.transforms.probes import MIN_PROBED_SIDE, Replay, boxes_agree, pixels_agree, textured, with_probes
from segkit.structures.image_geometry import ImageGeometry
from segkit.structures.sample import Sample
from segkit.utils.errors import SegkitError, did_you_mean

logger = logging.getLogger(__name__)

KEY = "data.test_transforms"
HOW_TO_DECLARE = (
    "build it on the functions of segkit.data.transforms.geometry, which record their maps, and set inversion = 'recorded' "
    "in its class; or set inversion = 'identity' if no pixel moves"
)


class InvertibleCompose(Compose):
    """Transforms of test images, through which predictions are mapped back to the files.

    Args:
        transforms: applied one after the other. A declared ``inversion`` is trusted, and only the size of the result is
            checked. A transform without one runs twice on each image, the second time with known objects (probes), whose
            boxes and pixels must end where ``sample.geometry`` says.
    Raises:
        SegkitError: a transform has no inverse, or is for training only.
    """

    def __init__(self, transforms: Transform) -> None:
        super().__init__([transforms])
        for transform in self.transforms:
            _check_transform(transform)

    def __call__(self, sample: Sample, generator: torch.Generator, load_other: LoadOther | None = None) -> Sample:
        """Transforms a sample and sets its geometry.

        Raises:
            SegkitError: a transform moves pixels in another way than it declares or records.
        """
        sample = dataclasses.replace(sample, geometry=sample.known_geometry)
        for transform in self.transforms:
            sample = _apply(transform, ready_for(transform, sample), generator)
        return sample.materialised()


def declared_inversion(transform: Any) -> str:
    """The ``inversion`` of a transform.

    The attribute of a base class counts only if ``__call__`` is inherited from there too.

    Raises:
        SegkitError: the attribute is not one of ``INVERSIONS``.
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
    """Raises a SegkitError for a transform that cannot be a test transform.

    It logs a warning for one that should not be.
    """
    name = _name(transform)
    if isinstance(transform, MixingTransform):
        raise SegkitError(f"{name} combines several training images: it cannot be a test transform", key=KEY)
    inversion = declared_inversion(transform)
    if inversion == "none":
        raise SegkitError(
            f"{name} cannot be a test transform: detections cannot be mapped back through it exactly; test transforms may "
            "resize, flip (RandomHorizontalFlip, RandomVerticalFlip), rotate by right angles (RandomQuarterTurn), crop, "
            "pad and change colours",
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
    """Applies one transform and checks the geometry of its result."""
    inversion = declared_inversion(transform)
    replay = Replay(transform, generator) if inversion == "undeclared" else None
    copied = dataclasses.replace(sample)  # in case the transform changes its argument in place
    if replay is not None:
        copied.image = sample.image.clone()
    after = transform(copied, generator)
    name, size = f"{sample.file_name or 'an image'}: {_name(transform)}", (after.image.shape[1], after.image.shape[2])
    if after.size != sample.size:
        raise SegkitError(
            f"{name} sets the sample's size to {after.size}; expected that of the file, {sample.size}", key=KEY
        )
    if after.geometry is not None and after.geometry.obstacle:
        raise SegkitError(
            f"{name} applies {after.geometry.obstacle}, through which detections cannot be mapped back exactly: it cannot "
            "be a test transform",
            key=KEY,
        )
    if replay is not None:
        return _verified(replay, sample, after, name)
    geometry = after.geometry if after.geometry is not None or inversion == "recorded" else sample.geometry
    if geometry is None:
        raise SegkitError(
            f"{name} loses the sample's geometry; return dataclasses.replace(sample, ...) instead of a new Sample",
            key=KEY,
        )
    if geometry.size != size or (inversion == "identity" and geometry != sample.geometry):
        problem = (
            f"its image has {size[0]} x {size[1]} pixels, not the recorded {geometry.size[0]} x {geometry.size[1]}"
        )
        if geometry.size == size:
            problem = "it records that pixels move"
        raise SegkitError(
            f"{name} declares inversion = '{inversion}', but {problem}; {HOW_TO_DECLARE}",
            key=KEY,
        )
    return dataclasses.replace(after, geometry=geometry)


def _verified(replay: Replay, before: Sample, after: Sample, name: str) -> Sample:
    """Finds the geometry of a transform that declares none: the one that the probes confirm.

    Args:
        replay: runs the transform again.
        before: the sample before the transform.
        after: the transformed sample.
        name: of image and transform, for messages.
    Returns:
        ``after`` with that geometry.
    Raises:
        SegkitError: no geometry is confirmed, or the transform fails with the probes.
    """
    recorded = before.known_geometry if after.geometry is None else after.geometry
    size = (after.image.shape[1], after.image.shape[2])
    if min(before.image.shape[1:]) < MIN_PROBED_SIDE and recorded.size == size:  # too small for probes: trust the size
        return dataclasses.replace(after, geometry=recorded)
    base = textured(before)
    probe = with_probes(base)
    try:
        plain = after if base is before else replay(base)
        probed = replay(probe)
    except Exception as error:
        raise SegkitError(
            f"{name} does not declare whether it moves pixels, and fails on the two objects that segkit adds to find out: "
            f"{type(error).__name__}: {error}; {HOW_TO_DECLARE}",
            key=KEY,
        ) from error
    candidates = zip(*(_candidates(before, result) for result in (after, plain, probed)), strict=False)
    for geometry, plain_geometry, probed_geometry in candidates:
        if boxes_agree(probed_geometry, probe, probed) and pixels_agree(plain_geometry, probe, plain, probed):
            return dataclasses.replace(after, geometry=geometry)
    raise SegkitError(
        f"{name} moves pixels or objects without recording it, so that detections cannot be mapped back to the file: "
        f"{HOW_TO_DECLARE}",
        key=KEY,
    )


def _candidates(before: Sample, after: Sample) -> list[ImageGeometry]:
    """Possible geometries of a result: the recorded one, or that before the transform.

    Each is resized if the size of the result differs.
    """
    size = (after.image.shape[1], after.image.shape[2])
    return [g if g.size == size else g.resize(size) for g in (after.geometry, before.geometry) if g is not None]


def _name(transform: Any) -> str:
    """The name of a transform in messages: that of its class, or of the function."""
    return getattr(transform, "__name__", type(transform).__name__)
