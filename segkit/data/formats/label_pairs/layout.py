"""Finds how images and label maps are named: in sister folders, or beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from segkit.data.formats.label_pairs.path_patterns import STEM, PathPattern
from segkit.data.formats.recognition.folder_contents import folder_names, scan
from segkit.data.formats.split_names import KINDS
from segkit.utils.images import IMAGE_SUFFIXES

MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")
TIFF = (".tif", ".tiff")
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "raw", "inputs", "input")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "gt", "groundtruth", "ground_truth", "label_maps", "labelmaps")
SPLITS = tuple(KINDS)
CLASS_FOLDER = re.compile(r"(?:(?P<before>.+?)[ _-](?:masks?|labels?)|(?:masks?|labels?)[ _-](?P<after>.+))", re.I)
BESIDE = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg", "_gt", "-masks", "-mask", "-labels", "-label")
PREFIXES = (("img", "mask"), ("image", "mask"), ("img", "label"), ("image", "label"))
PARTS_OF_CELLPOSE = ("_flows", "_cp_outlines", "_outlines", "_cp_output", "_overlay")


@dataclass(frozen=True)
class PairLayout:
    """Patterns of images and label maps, relative to a folder.

    Attributes:
        images: pattern of the images.
        masks: pattern of each class; the key is None if the names do not say a class.
        pairs: number of images with a label map.
    """

    images: str
    masks: dict[str | None, str]
    pairs: int

    def below(self, folder: str) -> PairLayout:
        """The same patterns, relative to a parent folder."""
        masks = {name: f"{folder}/{pattern}" for name, pattern in self.masks.items()}
        return PairLayout(f"{folder}/{self.images}", masks, self.pairs)

    def __str__(self) -> str:
        return " and ".join(dict.fromkeys([self.images, *self.masks.values()]))


def find_layout(root: Path) -> PairLayout | None:
    """The layout of a folder without splits; None if it holds no such pairs."""
    if (layout := find_flat_layout(root)) is not None:
        return layout
    inner = [name for name in folder_names(root) if name.lower() not in SPLITS]
    # Folders of experiments, each with the same layout: a * in place of their names.
    first = next((found for name in inner[:20] if (found := find_flat_layout(root / name)) is not None), None)
    return None if first is None else _counted(root, first.below("*"))


def find_flat_layout(root: Path) -> PairLayout | None:
    """The layout of a folder, folders of experiments not tried."""
    folders = folder_names(root)
    return _in_sister_folders(root, folders) or _in_class_folders(root, folders) or _beside(root)


def find_splits(root: Path) -> dict[str, PairLayout]:
    """The layout of each split of a folder: ``train/images`` or ``images/train``."""
    splits: dict[str, PairLayout] = {}
    for name in _split_names(root):
        if (layout := find_layout(root / name)) is not None:
            splits[name] = layout.below(name)
    if splits:
        return splits
    folders = folder_names(root)
    images = [name for name in folders if name.lower() in IMAGE_FOLDERS]
    masks = [name for name in folders if name.lower() in MASK_FOLDERS]
    for image, mask in product(images, masks):
        for split in _split_names(root / image):
            if (layout := _best_names(root, f"{image}/{split}", f"{mask}/{split}", None)) is not None:
                splits[split] = layout
    return splits


def _split_names(root: Path) -> list[str]:
    """The folders that have the name of a split: training, validation, test."""
    return sorted((n for n in folder_names(root) if n.lower() in SPLITS), key=lambda n: SPLITS.index(n.lower()))


def _in_sister_folders(root: Path, folders: Sequence[str]) -> PairLayout | None:
    """``images/`` or the folder itself, and ``masks/``, whose subfolders may be classes."""
    images = [name for name in folders if name.lower() in IMAGE_FOLDERS] or [""]
    masks = [name for name in folders if name.lower() in MASK_FOLDERS]
    return _largest(
        _best_names(root, image, mask, None)
        or _joined(_best_names(root, image, f"{mask}/{name}", name) for name in folder_names(root / mask))
        for image, mask in product(images, masks)
    )


def _in_class_folders(root: Path, folders: Sequence[str]) -> PairLayout | None:
    """``images/`` and a folder of masks for each class, as ``nucleus_masks/``."""
    image = next((name for name in folders if name.lower() in IMAGE_FOLDERS), "")
    named = {name: match["before"] or match["after"] for name in folders if (match := CLASS_FOLDER.fullmatch(name))}
    return _joined(_best_names(root, image, folder, label) for folder, label in named.items())


def _beside(root: Path) -> PairLayout | None:
    """``NAME_masks.tif`` in the folder of ``NAME.tif``, or ``maskNAME.tif`` in that of ``imgNAME.tif``."""
    tried: list[tuple[str, str]] = []
    for folder in ("", *(f"{name}/" for name in folder_names(root) if name.lower() in IMAGE_FOLDERS)):
        stems = [Path(name).stem for name, _ in scan(root / folder)]
        tried += [(f"{folder}{STEM}.*", f"{folder}{STEM}{e}.*") for e in BESIDE if any(s.endswith(e) for s in stems)]
    tried += [(f"{image}{STEM}.*", f"{mask}{STEM}.*") for image, mask in PREFIXES]
    return _largest(_counted(root, PairLayout(images, {None: masks}, 0)) for images, masks in tried)


def _best_names(root: Path, image: str, mask: str, label: str | None) -> PairLayout | None:
    """The naming of masks in a folder that fits an image: equal names, else one of the usual endings."""
    prefix = f"{image}/" if image else ""
    patterns = (PairLayout(f"{prefix}{STEM}.*", {label: f"{mask}/{STEM}{ending}.*"}, 0) for ending in ("", *BESIDE))
    return next((found for layout in patterns if (found := _counted(root, layout)) is not None), None)


def _largest(layouts: Iterable[PairLayout | None]) -> PairLayout | None:
    """The layout of the most pairs, of equal ones the first."""
    return max((layout for layout in layouts if layout is not None), key=lambda layout: layout.pairs, default=None)


def _joined(layouts: Iterable[PairLayout | None]) -> PairLayout | None:
    """One layout of several classes."""
    parts = [layout for layout in layouts if layout is not None]
    if not parts:
        return None
    masks = {label: pattern for part in parts for label, pattern in part.masks.items()}
    return PairLayout(parts[0].images, masks, max(part.pairs for part in parts))


def _counted(root: Path, layout: PairLayout) -> PairLayout | None:
    """The layout with its number of pairs; None if there is none. Of two files of one stem, the TIFF is the image."""
    masks = {key for text in layout.masks.values() for key in PathPattern(text, root, "masks").files(MASK_SUFFIXES)}
    images = PathPattern(layout.images, root, "images").files(IMAGE_SUFFIXES)
    pairs = [files for key, files in images.items() if key in masks]
    if not pairs:
        return None
    chosen = layout.images
    if layout.images.endswith(".*") and any(len(files) > 1 for files in pairs):
        shared = set.intersection(*({file.suffix for file in files} for files in pairs))
        tiff = sorted(suffix for suffix in shared if suffix.lower() in TIFF)
        chosen = layout.images.removesuffix(".*") + tiff[0] if tiff else chosen
    return PairLayout(chosen, layout.masks, len(pairs))
