"""Small folders of formats with boxes and outlines, in the layouts that people have."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from example_parts import SPLITS, H, W, example, names
from pixel_formats import save_image, save_json

SQUARE = [[3, 3], [12, 3], [12, 9], [3, 9]]
FEATURE = {
    "type": "Feature",
    "geometry": {"type": "Polygon", "coordinates": [[*SQUARE, SQUARE[0]]]},
    "properties": {"objectType": "annotation", "classification": {"name": "cell"}},
}


def coco(file: Path, files: list[str], **others: object) -> None:
    annotation = {
        "image_id": 1, "category_id": 1, "bbox": [3, 3, 9, 6], "area": 54, "iscrowd": 0,
        "segmentation": [[value for point in SQUARE for value in point]],
    }  # fmt: skip
    content = {
        "images": [{"id": i, "file_name": name, "height": H, "width": W} for i, name in enumerate(files, 1)],
        "annotations": [{"id": 1, **annotation}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    save_json(file, {**content, **others})


@example("COCO 2017", "coco", SPLITS)
def coco_2017(root: Path) -> None:
    for split, count in SPLITS.items():
        for i, name in enumerate(names(count)):
            save_image(root / f"{split}2017/{name}.png", seed=i)
        coco(root / f"annotations/instances_{split}2017.json", [f"{name}.png" for name in names(count)])


@example("COCO 2017 with panoptic files and captions", "coco", SPLITS)
def coco_download(root: Path) -> None:
    coco_2017(root)
    coco(root / "annotations/captions_train2017.json", ["a.png"], annotations=[{"image_id": 1, "caption": "x"}])
    for split in SPLITS:
        segment = {"image_id": 1, "file_name": "a.png", "segments_info": []}
        coco(root / f"annotations/panoptic_{split}2017.json", ["a.png"], annotations=[segment])
        save_image(root / f"annotations/panoptic_{split}2017/a.png")


@example("Roboflow's COCO", "coco", {"train": 2, "valid": 1})
def roboflow_coco(root: Path) -> None:
    for split, count in (("train", 2), ("valid", 1)):
        for i, name in enumerate(names(count)):
            save_image(root / f"{split}/{name}.png", seed=i)
        coco(root / f"{split}/_annotations.coco.json", [f"{name}.png" for name in names(count)])


@example("LVIS", "lvis", SPLITS)
def lvis(root: Path) -> None:
    for split, count in SPLITS.items():
        images = []
        for i, name in enumerate(names(count), 1):
            save_image(root / f"{split}2017/{name}.png", seed=i)
            images.append(
                {"id": i, "coco_url": f"http://x/{split}2017/{name}.png", "height": H, "width": W,
                 "neg_category_ids": [], "not_exhaustive_category_ids": []}
            )  # fmt: skip
        category = {"id": 1, "name": "cell", "frequency": "f", "synset": "cell.n.01"}
        coco(root / f"lvis_v1_{split}.json", [], images=images, categories=[category])


def yolo_labels(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("0 0.1 0.1 0.4 0.1 0.4 0.4\n0 0.5 0.5 0.8 0.5 0.8 0.8 0.5 0.8\n")


@example("YOLO with data.yaml", "yolo", SPLITS)
def yolo(root: Path) -> None:
    yolo_bare(root)
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames:\n  0: cell\n")


@example("YOLO without data.yaml", "yolo", SPLITS)
def yolo_bare(root: Path) -> None:
    for split, count in SPLITS.items():
        for i, name in enumerate(names(count)):
            save_image(root / f"images/{split}/{name}.png", seed=i)
            yolo_labels(root / f"labels/{split}/{name}.txt")
    (root / "classes.txt").write_text("cell\n")


@example("YOLO of one folder", "yolo", {"all": 2})
def yolo_flat(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"images/{name}.png", seed=i)
        yolo_labels(root / f"labels/{name}.txt")
    (root / "classes.txt").write_text("cell\n")


@example("Roboflow's YOLO", "yolo", SPLITS)
def roboflow_yolo(root: Path) -> None:
    for split, count in (("train", 2), ("valid", 1)):
        for i, name in enumerate(names(count)):
            save_image(root / f"{split}/images/{name}.png", seed=i)
            yolo_labels(root / f"{split}/labels/{name}.txt")
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cell']\n")
    (root / "README.roboflow.txt").write_text("exported")


def labelme_file(image: Path, seed: int = 0) -> None:
    save_image(image, seed=seed)
    shape = {"label": "cell", "points": SQUARE, "group_id": None, "shape_type": "polygon", "flags": {}}
    content = {"version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": image.name, "imageData": None}
    save_json(image.with_suffix(".json"), {**content, "imageHeight": H, "imageWidth": W})


@example("LabelMe", "labelme", {"all": 2})
def labelme(root: Path) -> None:
    for name in names(2):
        labelme_file(root / f"{name}.png")


@example("LabelMe by split", "labelme", SPLITS)
def labelme_splits(root: Path) -> None:
    for split, count in SPLITS.items():
        for name in names(count):
            labelme_file(root / f"{split}/{name}.png")


@example("LabelMe beside other JSON files", "labelme", {"all": 2})
def labelme_others(root: Path) -> None:
    labelme(root)
    save_json(root / "Config.json", {"version": 3})
    save_json(root / "0.json", [])


@example("LabelMe beside a stray JSON file", "labelme", SPLITS)
def labelme_stray(root: Path) -> None:
    labelme_splits(root)
    save_json(root / "b.json", {})


@example("CVAT", "cvat", {"all": 2})
def cvat(root: Path) -> None:
    items = []
    for i, name in enumerate(names(2)):
        save_image(root / f"images/{name}.png", seed=i)
        points = ";".join(f"{x},{y}" for x, y in SQUARE)
        shape = f'<polygon label="cell" points="{points}" occluded="0" z_order="0"></polygon>'
        items.append(f'<image id="{i}" name="{name}.png" width="{W}" height="{H}">{shape}</image>')
    meta = "<meta><task><labels><label><name>cell</name></label></labels></task></meta>"
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{meta}{''.join(items)}</annotations>")


def voc_xml(name: str) -> str:
    box = "<bndbox><xmin>4</xmin><ymin>4</ymin><xmax>12</xmax><ymax>9</ymax></bndbox>"
    size = f"<size><width>{W}</width><height>{H}</height><depth>3</depth></size>"
    return (
        f"<annotation><filename>{name}.png</filename>{size}<object><name>cell</name>"
        f"<difficult>0</difficult>{box}</object></annotation>"
    )


@example("VOC", "voc", SPLITS)
def voc(root: Path) -> None:
    top, first = root / "VOCdevkit/VOC2012", 0
    for folder in ("Annotations", "ImageSets/Main"):
        (top / folder).mkdir(parents=True)
    for split, count in SPLITS.items():
        own = [f"{split}_{name}" for name in names(count)]
        for name in own:
            save_image(top / f"JPEGImages/{name}.png", seed=(first := first + 1))
            (top / f"Annotations/{name}.xml").write_text(voc_xml(name))
        (top / f"ImageSets/Main/{split}.txt").write_text("\n".join(own))


@example("images beside XML files of VOC", "voc", {"all": 2})
def voc_flat(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"{name}.png", seed=i)
        (root / f"{name}.xml").write_text(voc_xml(name))


@example("QuPath", "geojson", {"all": 2})
def qupath(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"{name}.tif", seed=i)
        save_json(root / f"{name}.geojson", {"type": "FeatureCollection", "features": [FEATURE]})


@example("QuPath by split", "geojson", SPLITS)
def qupath_splits(root: Path) -> None:
    for split, count in SPLITS.items():
        for i, name in enumerate(names(count)):
            save_image(root / split / f"images/{name}.png", seed=i)
            save_json(root / split / f"annotations/{name}.geojson", [FEATURE])


def roi() -> bytes:
    from roifile import ImagejRoi

    return ImagejRoi.frompoints(np.array(SQUARE)).tobytes()


@example("ImageJ", "imagej_rois", {"all": 2})
def imagej(root: Path) -> None:
    for i, name in enumerate(names(2)):
        save_image(root / f"{name}.tif", seed=i)
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            archive.writestr("1.roi", roi())


@example("ImageJ's RoiSet.zip and its image", "imagej_rois", {"all": 1})
def imagej_set(root: Path) -> None:
    save_image(root / "a.tif")
    with zipfile.ZipFile(root / "RoiSet.zip", "w") as archive:
        archive.writestr("1.roi", roi())
