"""Writes one mask file for each object."""

from __future__ import annotations

import numpy as np

from segkit.data.writers.base import WritableImage
from segkit.data.writers.image_names import split_root
from segkit.data.writers.label_maps import ClassFolderWriter, writable_objects
from segkit.registry import DATASET_WRITER_REGISTRY
from segkit.structures.ragged import arrays
from segkit.utils.images import write_image


@DATASET_WRITER_REGISTRY.register(name="mask_folder")
class MaskFolderWriter(ClassFolderWriter):
    """Writes ``NAME/images/NAME.*`` and ``NAME/masks/0001.png``, one mask an object.

    Several classes are ``NAME/masks/CLASS/0001.png``. The format ``mask_folder`` reads them. Masks may overlap. The layout
    holds no crowd regions and no objects without a mask; ``losses`` counts them.
    """

    def write(self, image: WritableImage) -> None:
        stem = self._names.stem(image)
        folder = split_root(self.output, image.split) / stem
        self.save_image(image, folder / "images" / f"{stem}.png")
        (folder / "masks").mkdir(parents=True, exist_ok=True)  # empty: an image without objects
        targets = writable_objects(image.targets, self.losses)
        if targets.masks is None:
            return
        page = np.zeros(image.size, np.uint8)
        boxes, crops = targets.masks.crop_boxes.tolist(), arrays(targets.masks.bits, targets.masks.crop_boxes)
        digits = max(4, len(str(len(boxes))))
        prefix = "mask" if stem.isdecimal() else ""  # the file of a mask with the image's name would be its label map
        for i, (label, (x0, y0, x1, y1), crop) in enumerate(zip(targets.labels.tolist(), boxes, crops, strict=True)):
            page[y0:y1, x0:x1] = crop * np.uint8(255)
            write_image(folder / "masks" / self._folders[label] / f"{prefix}{i + 1:0{digits}}.png", page)
            page[y0:y1, x0:x1] = 0
