"""torchvision's photometric v2 transforms, and others that derive from ``v2.Transform``, as components."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from segkit.data.transforms.base import Transform
from segkit.data.transforms.photometric import Photometric, global_random, is_geometric, moves_pixels
from segkit.registry import TRANSFORM_REGISTRY
from segkit.utils.components.adapter import component_like
from segkit.utils.errors import SegkitError

PLACE = "torchvision.transforms.v2"


class TorchvisionTransform(Photometric):
    """A v2 transform of the image alone. One that moves pixels is refused: boxes and masks would not move with them.

    Args:
        inner: the transform, with a probability of its own if it has one.
    Raises:
        SegkitError: it changes the shape or dtype of an image, or moves boxes. The constructor tries it once; a random
            transform that moves boxes later raises then.
    """

    def __init__(self, inner: v2.Transform) -> None:
        super().__init__(inner, p=1.0)
        with global_random, torch.random.fork_rng(devices=[]):
            image = torch.arange(3 * 48 * 64).remainder(256).to(torch.uint8).reshape(3, 48, 64)
            self.check(image, self.change(image))

    def change(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[-2:]
        box = torch.tensor([[0.1 * width, 0.2 * height, 0.4 * width, 0.7 * height]])
        boxes = tv_tensors.BoundingBoxes(box, format="XYXY", canvas_size=(height, width))
        name = type(self._inner).__name__
        try:
            changed, moved = self._inner(tv_tensors.Image(image), boxes)
        except Exception as error:  # torchvision says it in many types
            raise SegkitError(f"{name} refuses an image with boxes: {type(error).__name__}: {error}") from error
        if not isinstance(changed, torch.Tensor) or not isinstance(moved, torch.Tensor):
            raise SegkitError(f"{name} makes a {type(changed).__name__} of an image, which is to stay a tensor")
        if moved.shape != box.shape or not torch.equal(moved.as_subclass(torch.Tensor), box):
            raise SegkitError(moves_pixels(name))
        return changed.as_subclass(torch.Tensor)


@TRANSFORM_REGISTRY.adapts(v2.Transform, PLACE)
def adapt_transform(cls: Any) -> Any:
    """A component that makes a :class:`TorchvisionTransform` of ``cls``, with the arguments of ``cls``.

    Raises:
        SegkitError: it moves pixels, or mixes several images.
    """
    if issubclass(cls, Transform):
        return cls
    if is_geometric(cls):
        raise SegkitError(moves_pixels(cls.__name__))
    if cls.__name__ in ("MixUp", "CutMix"):
        raise SegkitError(f"{cls.__name__} mixes the classes of whole images; take Mosaic or CopyPaste")

    def make(**arguments: Any) -> TorchvisionTransform:
        try:
            inner = cls(**arguments)
        except SegkitError:
            raise
        except Exception as error:
            raise SegkitError(f"{cls.__name__} refuses its arguments: {type(error).__name__}: {error}") from error
        return TorchvisionTransform(inner)

    return component_like(make, cls)
