"""torchvision's v2 transforms as components, if they do not move pixels."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from segkit.data.transforms.base import Transform
from segkit.data.transforms.photometric import Photometric, global_random, is_geometric, moves_pixels_message
from segkit.registry import TRANSFORM_REGISTRY
from segkit.utils.components.adapter import component_like
from segkit.utils.errors import SegkitError

MODULE = "torchvision.transforms.v2"


class TorchvisionTransform(Photometric):
    """A v2 transform of the image.

    One that moves pixels is refused, because boxes and masks would not move with them.

    Args:
        inner: the v2 transform, which may have a probability of its own.
    Raises:
        SegkitError: the transform changes the shape or dtype of an image, or moves boxes. The constructor tries it once;
            a random transform that moves boxes later raises the error then.
    """

    def __init__(self, inner: v2.Transform) -> None:
        super().__init__(inner, p=1.0)
        self._try_on(3)

    def check_channels(self, count: int) -> None:
        try:
            self._try_on(count)
        except SegkitError as error:
            raise SegkitError(f"{error}; the images have {count} channels") from error

    def _try_on(self, channels: int) -> None:
        """Raises a SegkitError if the transform changes shape or dtype of an image, or moves boxes."""
        image = torch.arange(channels * 48 * 64).remainder(256).to(torch.uint8).reshape(channels, 48, 64)
        with global_random, torch.random.fork_rng(devices=[]):
            self.check(image, self.change(image))

    def change(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        box = torch.tensor([[0.1 * width, 0.2 * height, 0.4 * width, 0.7 * height]])
        boxes = tv_tensors.BoundingBoxes(box, format="XYXY", canvas_size=(height, width))
        name = type(self._inner).__name__
        try:
            changed, moved = self._inner(tv_tensors.Image(image), boxes)
        except Exception as error:  # torchvision raises errors of many types
            raise SegkitError(f"{name} refuses an image with boxes: {type(error).__name__}: {error}") from error
        if not isinstance(changed, torch.Tensor) or not isinstance(moved, torch.Tensor):
            raise SegkitError(f"{name} turns an image into a {type(changed).__name__}; expected a tensor")
        if moved.shape != box.shape or not torch.equal(moved.as_subclass(torch.Tensor), box):
            raise SegkitError(moves_pixels_message(name))
        return changed.as_subclass(torch.Tensor)


@TRANSFORM_REGISTRY.adapts(v2.Transform, MODULE)
def adapt_transform(cls: Any) -> Any:
    """Makes a component of a v2 class; it returns a :class:`TorchvisionTransform`.

    The component has the arguments of ``cls``.

    Raises:
        SegkitError: the class moves pixels, or mixes several images.
    """
    if issubclass(cls, Transform):
        return cls
    if is_geometric(cls):
        raise SegkitError(moves_pixels_message(cls.__name__))
    if cls.__name__ in ("MixUp", "CutMix"):
        raise SegkitError(f"{cls.__name__} mixes labels of whole images, not objects; use Mosaic or CopyPaste")

    def make(**arguments: Any) -> TorchvisionTransform:
        try:
            inner = cls(**arguments)
        except SegkitError:
            raise
        except Exception as error:
            raise SegkitError(f"{cls.__name__} refuses its arguments: {type(error).__name__}: {error}") from error
        return TorchvisionTransform(inner)

    return component_like(make, cls)
