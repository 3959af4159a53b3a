"""Small folders of formats whose objects are pixels of other files, in the layouts that people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from example_parts import SPLITS, H, W, example, names
from pixel_formats import save, save_image, save_json


def labels() -> np.ndarray:
    """A label map of three objects."""
    values = np.zeros((H, W), np.uint16)
    values[2:9, 3:12], values[10:20, 5:25], values[0, 31] = 1, 2, 3
    return values


@example("COCO panoptic", "coco_panoptic", SPLITS)
def panoptic(root: Path) -> None:
    for split, count in SPLITS.items():
        folder = f"panoptic_{split}2017"
        images, annotations = [], []
        for i, name in enumerate(names(count), 1):
            save_image(root / f"{split}2017/{name}.png", seed=i)
            save(
                root / "annotations" / folder / f"{name}.png",
                np.stack([labels(), labels() * 0, labels() * 0], 2).astype(np.uint8),
            )
            images.append({"id": i, "file_name": f"{name}.png", "height": H, "width": W})
            segments = [{"id": k, "category_id": 1, "iscrowd": 0} for k in (1, 2, 3)]
            annotations.append({"image_id": i, "file_name": f"{name}.png", "segments_info": segments})
        category = {"id": 1, "name": "cell", "isthing": 1}
        content = {"images": images, "annotations": annotations, "categories": [category]}
        save_json(root / "annotations" / f"{folder}.json", content)


@example("Cityscapes", "cityscapes", SPLITS)
def cityscapes(root: Path) -> None:
    for split, count in SPLITS.items():
        for i, name in enumerate(names(count)):
            save_image(root / f"leftImg8bit/{split}/ulm/{name}_leftImg8bit.png", seed=i)
            save(root / f"gtFine/{split}/ulm/{name}_gtFine_instanceIds.png", (labels() > 0) * np.uint16(26001))


@example("Data Science Bowl 2018", "mask_folder", {"stage1_train": 2})
def bowl(root: Path) -> None:
    for i, name in enumerate(names(2)):
        one_bowl(root / "stage1_train" / name, name, i)


@example("folders of masks without splits", "mask_folder", {"all": 2})
def bowl_flat(root: Path) -> None:
    for i, name in enumerate(names(2)):
        one_bowl(root / name, name, i)


@example("images and folders of masks", "mask_folder", {"all": 2})
def bowl_sisters(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"images/{name}.png", seed=i)
        for k in (1, 2, 3):
            save(root / f"masks/{name}/{k}.png", (labels() == k) * np.uint8(255))


def one_bowl(folder: Path, name: str, seed: int) -> None:
    save_image(folder / f"images/{name}.png", seed=seed)
    for k in (1, 2, 3):
        save(folder / f"masks/{k:032x}.png", (labels() == k) * np.uint8(255))


@example("Cellpose", "label_pairs", {"all": 2})
def cellpose(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"{name}.tif", seed=i)
        tifffile.imwrite(root / f"{name}_masks.tif", labels())


@example("Cellpose by split", "label_pairs", {"train": 2, "test": 1})
def cellpose_splits(root: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        for i, name in enumerate(names(count)):
            save_image(root / split / f"{name}.png", seed=i)
            save(root / split / f"{name}_masks.png", labels())


def stardist(root: Path, splits: dict[str, int], pattern: str, masks: str) -> None:
    for split, count in splits.items():
        for i, name in enumerate(names(count)):
            save_image(root / pattern.format(split=split, kind="images", name=name), seed=i)
            mask = root / pattern.format(split=split, kind=masks, name=name)
            save(mask, labels())


@example("StarDist", "label_pairs", {"train": 2, "test": 1})
def stardist_splits(root: Path) -> None:
    stardist(root, {"train": 2, "test": 1}, "{split}/{kind}/{name}.tif", "masks")


@example("StarDist of one image a split", "label_pairs", {"train": 1, "val": 1})
def stardist_single(root: Path) -> None:
    stardist(root, {"train": 1, "val": 1}, "{split}/{kind}/{name}.png", "masks")


@example("label maps of another name, one a split", "label_pairs", {"train": 1, "val": 1})
def other_names(root: Path) -> None:
    for split in ("train", "val"):
        save_image(root / split / "images/a.png")
        save(root / split / "masks/a_mask.png", labels())


@example("label maps of one image and two classes a split", "label_pairs", {"train": 1, "val": 1})
def classes_single(root: Path) -> None:
    for split in ("train", "val"):
        save_image(root / split / "images/a.png")
        for name in ("cell", "red cell"):
            save(root / split / f"masks/{name}/a.png", labels())


@example("images and label maps of one image", "label_pairs", {"all": 1})
def pair_single(root: Path) -> None:
    stardist(root, {"": 1}, "{kind}/{name}.png", "labels")


@example("images and label maps by split below", "label_pairs", SPLITS)
def pair_below(root: Path) -> None:
    stardist(root, SPLITS, "{kind}/{split}/{name}.png", "labels")


@example("experiments of two classes (mnfinder)", "label_pairs", {"all": 2})
def mnfinder(root: Path) -> None:
    for i, folder in enumerate(("2022-10-14_U2OS", "2023-05-31_misc")):
        save_image(root / folder / "images/4.png", seed=i)
        save_image(root / folder / "images/4.tif", seed=i)
        for name in ("nucleus", "mn"):
            save(root / folder / f"{name}_masks/4.png", labels())


@example("segkit's label maps", "label_map", SPLITS)
def label_map(root: Path) -> None:
    for split, count in SPLITS.items():
        for i, name in enumerate(names(count)):
            save_image(root / split / name / "image.png", seed=i)
            save(root / split / name / "class1.png", labels())


@example("images alone", "image_folder", {"all": 2})
def images(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"{name}.png", seed=i)
    (root / "README.txt").write_text("pictures")


@example("images alone by split", "image_folder", SPLITS)
def images_splits(root: Path) -> None:
    for split, count in SPLITS.items():
        for i, name in enumerate(names(count)):
            save_image(root / split / f"{name}.png", seed=i)


@example("images in the Zarr format", "image_folder", {"all": 1})
def zarr_images(root: Path) -> None:
    import zarr

    zarr.save_array(root / "a.zarr", np.zeros((1, H, W), np.uint8))


@example("lists of image names", "subset", SPLITS)
def subset(root: Path) -> None:
    inner = root.parent / "whole"
    inner.mkdir()
    stardist(inner, {"": 3}, "{kind}/{name}.png", "masks")
    lists = {"train": ["a.png", "b.png"], "val": ["c.png"]}
    for split, listed in lists.items():
        (root / f"{split}.txt").write_text("\n".join(listed))
    spec = {"format": "label_pairs", "root": str(inner)}
    save_json(root / "splits.json", {"dataset": spec, "splits": {split: f"{split}.txt" for split in lists}})
