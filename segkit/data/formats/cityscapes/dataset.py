"""Cityscapes: street scenes with instance PNGs or polygons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from segkit.data.formats.cityscapes.labels import CLASSES, IDS, INSTANCE_CLASSES, NOT_EVALUATED, PER_CLASS
from segkit.data.formats.cityscapes.polygons import draw_instance_ids
from segkit.data.formats.label_map_file import read_label_map
from segkit.data.formats.objects import TrainingObjects, training_objects
from segkit.data.formats.pixel_dataset import PixelDataset
from segkit.data.formats.recognition import Recognition
from segkit.data.formats.recognition.folder_contents import folder_names
from segkit.data.packed_list import PackedList
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures.label_maps import cut_labels
from segkit.structures.masks import InstanceMasks
from segkit.structures.targets import ALL_CLASSES, Targets
from segkit.utils.errors import SegkitError, did_you_mean, first_few
from segkit.utils.images import is_image_name
from segkit.utils.images.listing import is_system_file
from segkit.utils.paths import local_path

IMAGES = "leftImg8bit"
ENDINGS = {"pixels": "instanceIds.png", "polygons": "polygons.json"}
SPLITS = ("train", "val", "test", "train_extra")


@DATASET_FORMAT_REGISTRY.register(name="cityscapes")
class Cityscapes(PixelDataset):
    """Cityscapes' images with their instances, from the instance PNGs or the polygons.

    The files are ``ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and ``ROOT/gtFine/SPLIT/CITY/*_gtFine_instanceIds.png``
    or ``*_gtFine_polygons.json``. Polygons are drawn in their order, later ones over earlier ones, by Pillow, as
    Cityscapes' own scripts do: both sources have the same pixels. Only classes with instances are read. Regions of several
    objects (``cargroup``; ids below 1000) are crowd regions; ``caravan`` and ``trailer``, which the benchmark ignores, are
    ignore regions unless they are among the classes.

    Args:
        root: the folder that holds ``leftImg8bit`` and the annotations.
        split: ``train``, ``val``, ...
        annotations: folder of the annotations: ``gtFine`` or ``gtCoarse``.
        source: read the instance PNGs (``pixels``) or the ``polygons``; None: the PNGs if there are any.
        classes: some of the ten classes with instances; by default the eight that the benchmark evaluates.
        category_ids: the id of each class; by default Cityscapes' (24 for ``person``).
    Raises:
        SegkitError: files are missing, or a class is not one with instances.
    """

    exclusive = True
    expected = (
        "leftImg8bit/SPLIT/CITY/*_leftImg8bit.png and gtFine/SPLIT/CITY/*_gtFine_instanceIds.png or *_polygons.json"
    )

    def __init__(
        self,
        *,
        root: str,
        split: str = "train",
        annotations: str = "gtFine",
        source: Literal["pixels", "polygons"] | None = None,
        classes: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> None:
        self.root = local_path(root, "Cityscapes folder", kind="folder")
        names = list(CLASSES if classes is None else classes)
        for name in names:
            if name not in INSTANCE_CLASSES:
                raise SegkitError(
                    f"classes: Cityscapes has no instances of '{name}'{did_you_mean(name, INSTANCE_CLASSES)}",
                    key="classes",
                    value=name,
                )
        for key, name, parent in (
            ("annotations", annotations, self.root),
            ("split", split, self.root / IMAGES),
            ("split", split, self.root / annotations),
        ):
            if name not in folder_names(parent):
                raise SegkitError(
                    f"{parent}: there is no folder '{name}'{did_you_mean(name, folder_names(parent))}",
                    key=key,
                    value=name,
                )
        pairs, self._missing = find_pairs(self.root, split, annotations, source)
        if not pairs:
            expected = " or ".join(f"*_{annotations}_{ENDINGS[s]}" for s in ([source] if source else ENDINGS))
            raise SegkitError(
                f"{self.root / annotations / split}: no image of {IMAGES}/{split} has a file {expected}"
                + (f"; the first is {self._missing[0]}" if self._missing else ""),
                key="split",
            )
        self._pairs = PackedList(pairs)
        self._label_of_id = {IDS[name]: label for label, name in enumerate(names)}
        self._ignored = [IDS[name] for name in NOT_EVALUATED if name not in names]
        ids = [IDS[name] for name in names] if category_ids is None else category_ids
        super().__init__(len(pairs), names, ids, f"Cityscapes {annotations}/{split} in {self.root}")

    @classmethod
    def recognize(cls, path: Path) -> Recognition | None:
        if not path.is_dir() or not (path / IMAGES).is_dir():
            return None
        annotations = next((name for name in ("gtFine", "gtCoarse") if (path / name).is_dir()), None)
        if annotations is None:
            return None
        spec = {"format": "cityscapes", "root": str(path.absolute())} | (
            {} if annotations == "gtFine" else {"annotations": annotations}
        )
        splits = {
            name: {**spec, "split": name}
            for name in SPLITS
            if (path / IMAGES / name).is_dir() and (path / annotations / name).is_dir()
        }
        return Recognition.of_splits(splits, f"the folders {IMAGES} and {annotations}")

    def image_file(self, index: int) -> Path:
        return self.root / self._pairs[index][0]

    def name(self, index: int) -> str:
        return self._pairs[index][0]

    def read_targets(self, index: int, size: tuple[int, int]) -> Targets:
        path = self.root / self._pairs[index][1]
        ids = draw_instance_ids(path, size) if path.suffix == ".json" else read_label_map(path, size)
        kinds_kept = [*self._label_of_id, *self._ignored]
        # Group regions have the number of the class, objects that times 1000 and their own number added.
        present = np.unique(ids).astype(np.int64)
        kept_ids = present[np.isin(np.where(present >= PER_CLASS, present // PER_CLASS, present), kinds_kept)]
        values, bits, crop_boxes = cut_labels(ids, kept_ids)
        masks = InstanceMasks(bits, crop_boxes, size)
        kinds = [int(value) // PER_CLASS if value >= PER_CLASS else int(value) for value in values]
        labels = torch.tensor([self._label_of_id.get(kind, ALL_CLASSES) for kind in kinds], dtype=torch.int64)
        crowd = torch.tensor([value < PER_CLASS for value in values.tolist()], dtype=torch.bool) | (
            labels == ALL_CLASSES
        )
        return Targets(masks.boxes(), labels, masks, crowd)

    def count_labels(self, index: int) -> np.ndarray:
        targets = self.read_targets(index, self.size(index))
        return np.bincount(targets.labels[targets.labels >= 0].numpy(), minlength=len(self.classes)).astype(np.int32)

    def training_objects(self, index: int) -> TrainingObjects:
        return training_objects(self.read_targets(index, self.size(index)))

    def notes(self) -> list[str]:
        if not self._missing:
            return []
        return [f"{len(self._missing)} images have no annotation file and are skipped: {first_few(self._missing, 3)}"]


def find_pairs(root: Path, split: str, annotations: str, source: str | None) -> tuple[list[tuple[str, str]], list[str]]:
    """Images with their annotation files, relative to the root, and the images that have none."""
    pairs: list[tuple[str, str]] = []
    missing: list[str] = []
    for city in folder_names(root / IMAGES / split):
        names = (path.name for path in (root / IMAGES / split / city).iterdir())
        for image in sorted(name for name in names if is_image_name(name) and not is_system_file(name)):
            stem = Path(image).stem.removesuffix(f"_{IMAGES}")
            tried = [source] if source is not None else list(ENDINGS)
            files = [f"{annotations}/{split}/{city}/{stem}_{annotations}_{ENDINGS[kind]}" for kind in tried]
            found = next((file for file in files if (root / file).is_file()), None)
            name = f"{IMAGES}/{split}/{city}/{image}"
            if found is None:
                missing.append(name)
            else:
                pairs.append((name, found))
    return pairs, missing
