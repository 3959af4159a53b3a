"""A data set without files: four shapes on textured backgrounds, drawn on request."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch

from segkit.data.formats.base import Dataset
from segkit.data.formats.class_names import check_classes
from segkit.data.formats.synthetic.shapes import SHAPES, DrawnShape, draw_shape
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.masks import InstanceMasks
from segkit.structures.sample import Sample
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

TOUCHING = 0.3  # share of the objects that are placed beside or over an earlier one
VISIBLE = 0.5  # share of an object's pixels that later objects must leave visible
TRIES = 40  # positions tried for one object before it is skipped


@DATASET_FORMAT_REGISTRY.register(name="synthetic")
class Synthetic(Dataset):
    """Images of triangles, crosses, rings and stars; each image is a function of (seed, index).

    Sizes, rotations, proportions and colours are random and independent of the class. At least a fifth of the objects
    touch or overlap another one. Later objects hide parts of earlier ones; masks cover the visible pixels only.

    Args:
        num_images: length of the data set.
        image_size: height and width in pixels.
        seed: data sets of different seeds have different images.
        min_objects: fewest objects in an image; there are fewer if they do not fit.
        max_objects: most objects in an image.
        min_size: smallest longer side of an object's box, in pixels, before other objects hide parts of it.
        max_size: largest longer side.
        classes: names for the four shapes, in place of their own.
    """

    def __init__(
        self,
        *,
        num_images: int = 400,
        image_size: tuple[int, int] = (256, 256),
        seed: int = 0,
        min_objects: int = 10,
        max_objects: int = 40,
        min_size: int = 12,
        max_size: int = 60,
        classes: Sequence[str] | None = None,
    ) -> None:
        height, width = (int(side) for side in image_size)
        if num_images < 0 or seed < 0:
            raise SegkitError(f"num_images and seed must be 0 or more; got {num_images} and {seed}")
        if not 0 <= min_objects <= max_objects:
            raise SegkitError(f"expected 0 <= min_objects <= max_objects; got {min_objects} and {max_objects}")
        if not 4 <= min_size <= max_size <= min(height, width):
            raise SegkitError(
                f"expected 4 <= min_size <= max_size <= the image's shorter side, {min(height, width)}; "
                f"got {min_size} and {max_size}"
            )
        self.image_size = (height, width)
        self.seed = seed
        self.object_range = (min_objects, max_objects)
        self.size_range = (min_size, max_size)
        self.classes = list(SHAPES if classes is None else classes)
        check_classes(self.classes, None)
        if len(self.classes) != len(SHAPES):
            raise SegkitError(f"classes: expected {len(SHAPES)} names, for {', '.join(SHAPES)}; got {self.classes}")
        self.category_ids = list(range(1, len(SHAPES) + 1))
        self.image_ids = list(range(1, num_images + 1))

    def load(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rng = self._generator(index)
        objects, labels, label_map = self._draw_objects(rng)
        image = paint(rng, label_map, objects, self.image_size)
        masks = InstanceMasks.from_label_map(label_map)
        # Every object has visible pixels, so that the ids of the label map are 1 to N without gaps.
        assert len(masks) == len(labels), (len(masks), len(labels))
        targets = Targets(masks.boxes(), torch.tensor(labels, dtype=torch.int64), masks)
        name = f"synthetic_{self.seed}_{index:06d}.png"
        return Sample(torch.from_numpy(image), targets, self.image_ids[index], name, self.image_size, None)

    def label_counts(self, index: int) -> dict[int, int]:
        _, labels, _ = self._draw_objects(self._generator(index))
        return {label: labels.count(label) for label in sorted(set(labels))}

    def unmasked_counts(self) -> np.ndarray:
        return np.zeros(len(self), np.int64)  # every object has a mask

    def size(self, index: int) -> tuple[int, int]:
        return self.image_size

    def describe(self) -> str:
        height, width = self.image_size
        few, many = self.object_range
        return f"synthetic data set of seed {self.seed}, {width} x {height} pixels, {few} to {many} objects an image"

    def _generator(self, index: int) -> np.random.Generator:
        """The generator of an image.

        NumPy splits integers into words of 32 bits and concatenates them. The additional 1 keeps a seed of two words from
        sharing images with a smaller seed.
        """
        return np.random.default_rng([self.seed, index, *([1] if self.seed >= 2**32 else [])])

    def _draw_objects(self, rng: np.random.Generator) -> tuple[list[DrawnShape], list[int], np.ndarray]:
        """Chooses and draws the objects of an image.

        Returns:
            Shapes, labels, and the label map int32 ``[H, W]``: 0 is background, object i is i + 1, later objects on top.
        """
        height, width = self.image_size
        count = int(rng.integers(self.object_range[0], self.object_range[1] + 1))
        label_map = np.zeros((height, width), dtype=np.int32)
        objects: list[DrawnShape] = []
        labels: list[int] = []
        areas: list[int] = []  # of the whole objects
        visible: list[int] = []  # areas of the visible parts
        for order in range(count):
            # The touching objects are spread evenly over the count; the first object has nothing to touch.
            touching = bool(objects) and int((order + 1) * TOUCHING) > int(order * TOUCHING)
            label = int(rng.integers(len(SHAPES)))
            size, angle = float(rng.uniform(*self.size_range)), float(rng.uniform(0, 2 * math.pi))
            aspect = float(rng.uniform(0.75, 1.33))
            for attempt in range(TRIES):
                if attempt >= TRIES // 4:  # the image is crowded: a smaller object may still fit
                    size = max(float(self.size_range[0]), size * 0.95)
                if touching:
                    partner = objects[int(rng.integers(len(objects)))]
                    center = _beside(rng, partner, size)
                else:
                    center = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
                apart = not touching and attempt < TRIES // 2  # keep a distance while there is room
                if apart and not _is_free(label_map, center, size * 0.4):
                    continue  # saves drawing a shape that the exact check below would reject
                drawn = draw_shape(SHAPES[label], size, angle, aspect, center, self.image_size)
                under = label_map[drawn.window]
                if (apart and under.any()) or (touching and not _touches(label_map, drawn)):
                    continue
                hidden = np.bincount(under[drawn.mask], minlength=len(objects) + 1)[1:]
                if any(visible[i] - hidden[i] < VISIBLE * areas[i] for i in np.flatnonzero(hidden)):
                    continue
                for i in np.flatnonzero(hidden):
                    visible[i] -= int(hidden[i])
                under[drawn.mask] = len(objects) + 1
                objects.append(drawn)
                labels.append(label)
                areas.append(int(drawn.mask.sum()))
                visible.append(areas[-1])
                break
        return objects, labels, label_map


def paint(
    rng: np.random.Generator, label_map: np.ndarray, objects: list[DrawnShape], size: tuple[int, int]
) -> np.ndarray:
    """Paints an image: textured background, shaded objects, noise.

    Objects are lighter or darker than the background.

    Args:
        rng: source of all randomness.
        label_map: int32 ``[H, W]``, object i is i + 1.
        objects: the shapes.
        size: (H, W).
    Returns:
        uint8 ``[3, H, W]``.
    """
    base = rng.uniform(60, 195)
    image = background(rng, size)
    image += (base + rng.uniform(-14, 14, size=(3, 1, 1))).astype(np.float32)
    sign = 1 if base < 128 else -1  # objects are lighter than a dark background, darker than a light one
    for object_id, drawn in enumerate(objects, start=1):
        rows, columns = drawn.window
        color = base + sign * rng.uniform(55, 110) + rng.uniform(-40, 40, size=(3, 1, 1))
        shade = np.linspace(-1, 1, drawn.mask.shape[1]) * rng.uniform(-14, 14)
        is_visible = label_map[rows, columns] == object_id
        np.copyto(image[:, rows, columns], (color + shade).astype(np.float32), where=is_visible)
    image += rng.standard_normal(size, dtype=np.float32) * np.float32(rng.uniform(2, 7))
    np.clip(image, 0, 255, out=image)
    return image.astype(np.uint8)


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A texture around 0, of clouds of two sizes on a slope; float32 ``[3, H, W]``."""
    height, width = size
    image = np.zeros((3, height, width), dtype=np.float32)
    for cells, amplitude, steep in ((3, 14.0, 16.0), (24, 7.0, 0.0)):
        coarse = rng.standard_normal((3, cells + 1, cells + 1)) * amplitude
        slope = np.linspace(-1, 1, cells + 1)
        coarse += slope * rng.uniform(-steep, steep) + slope[:, None] * rng.uniform(-steep, steep)
        image += _interpolation(height, cells) @ coarse.astype(np.float32) @ _interpolation(width, cells).T
    return image


@functools.lru_cache(maxsize=16)
def _interpolation(side: int, cells: int) -> np.ndarray:
    """Interpolation weights ``[side, cells + 1]`` of the grid points for each pixel.

    They are smoothed, so that the grid is not visible.
    """
    position = np.arange(side) * (cells / side)
    cell = position.astype(np.int64)
    part = position - cell
    part = part * part * (3 - 2 * part)
    weights = np.zeros((side, cells + 1), dtype=np.float32)
    weights[np.arange(side), cell] = 1 - part
    weights[np.arange(side), cell + 1] = part
    return weights


def _beside(rng: np.random.Generator, partner: DrawnShape, size: float) -> tuple[float, float]:
    """A random centre at which an object of ``size`` probably touches the partner."""
    height, width = partner.mask.shape
    reach = rng.uniform(0.45, 0.85) * (max(height, width) + size) / 2
    angle = rng.uniform(0, 2 * math.pi)
    return partner.x + width / 2 + reach * math.cos(angle), partner.y + height / 2 + reach * math.sin(angle)


def _is_free(label_map: np.ndarray, center: tuple[float, float], reach: float) -> bool:
    """Whether no object has pixels within ``reach`` of ``center``, in x and in y."""
    x, y = center
    around = label_map[max(int(y - reach), 0) : int(y + reach) + 1, max(int(x - reach), 0) : int(x + reach) + 1]
    return not around.any()


def _touches(label_map: np.ndarray, drawn: DrawnShape) -> bool:
    """Whether a pixel of the shape lies on an object's pixel or is one of its four neighbours."""
    height, width = drawn.mask.shape
    grown = np.zeros((height + 2, width + 2), dtype=bool)
    grown[1:-1, 1:-1] = drawn.mask
    grown[:-2, 1:-1] |= drawn.mask
    grown[2:, 1:-1] |= drawn.mask
    grown[1:-1, :-2] |= drawn.mask
    grown[1:-1, 2:] |= drawn.mask
    top, left = max(drawn.y - 1, 0), max(drawn.x - 1, 0)
    around = label_map[top : drawn.y + height + 1, left : drawn.x + width + 1]
    cut = grown[top - drawn.y + 1 :, left - drawn.x + 1 :][: around.shape[0], : around.shape[1]]
    return bool((around[cut] != 0).any())
