"""Two COCO splits without faults, in which tests plant some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from segkit.dataset_tools.check import Report, check_dataset

HEIGHT, WIDTH = 48, 64
SPLITS = ("train", "val")


def square(x: float, y: float, side: float = 8) -> list[list[float]]:
    """A COCO segmentation: the square with a corner at x, y."""
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def annotation(number: int, image_id: int, category_id: int, x: float, y: float, side: float = 8) -> dict:
    """An annotation of a square."""
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "segmentation": square(x, y, side),
        "bbox": [x, y, side, side],
        "area": side * side,
        "iscrowd": 0,
    }


class World:
    """COCO files of two splits, with four images of three squares each.

    Attributes:
        coco: the JSON of each split, to be changed before ``check``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.coco: dict[str, dict] = {}
        for split in SPLITS:
            images, annotations = [], []
            for i in range(4):
                name = f"{split}{i}.png"
                self.draw(name)
                images.append({"id": i + 1, "file_name": name, "height": HEIGHT, "width": WIDTH})
                for k, x in enumerate((5, 20, 40)):
                    annotations.append(annotation(3 * i + k + 1, i + 1, k % 2 + 1, x, 6 + 3 * i))
            categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "nucleus"}]
            self.coco[split] = {"images": images, "annotations": annotations, "categories": categories}

    @property
    def annotations(self) -> list:
        """The annotations of the training."""
        return self.coco["train"]["annotations"]

    @property
    def images(self) -> list:
        """The images of the training."""
        return self.coco["train"]["images"]

    def draw(self, name: str, height: int = HEIGHT, width: int = WIDTH, mode: str = "RGB", **options) -> Path:
        """Writes an image of random pixels, which its name decides."""
        rng = np.random.default_rng(list(name.encode()))
        path = self.root / "images" / name
        path.parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path, **options)
        return path

    def specs(self) -> dict[str, dict]:
        """Writes the JSON files; the spec of each split."""
        specs = {}
        for split, content in self.coco.items():
            file = self.root / f"{split}.json"
            file.write_text(json.dumps(content))
            specs[split] = {"format": "coco", "json": str(file), "images": str(self.root / "images")}
        return specs

    def check(self, **options) -> Report:
        return check_dataset(self.specs(), **{"workers": 0, **options})
