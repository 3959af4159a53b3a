"""Fuzzes the readers of label maps, mask folders, Cityscapes and COCO panoptic.

Each function writes a small data set with a mutation that its seed chooses, recognises and reads it, and returns whether
it was accepted. Anything but a SegkitError is a fault.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from fuzz_files import (
    NAMES,
    ODD_VALUES,
    SQUARE,
    H,
    W,
    cleaned,
    damaged,
    labels,
    mutated_json,
    odd_mask,
    packed,
    points,
    put,
    read_all,
)
from mutations import change

PATTERNS = [
    "{stem}.*", "{stem}", "*", "**", "{stem}{stem}", "masks", "../{stem}", "*/{stem}.png", "[", "(.*", "{stem}\\", "{stem}*.*",
]  # fmt: skip


def try_label_pairs(seed, folder):
    draw = random.Random(seed)
    folder = cleaned(Path(folder) / "pairs", "images/a.png")
    name = draw.choice(
        ["masks/a.png", "masks/a.tif", "masks/a.npy", "images/a_masks.png", "labels/a_cp_masks.tif", "masks/c/a.png"]
    )
    put(folder / name, odd_mask(draw))
    if draw.random() < 0.1:
        put(folder / draw.choice(["images/a_seg.npy", "images/b.png", "masks/b.tif", "images/a.tif"]), odd_mask(draw))
    spec = {"format": "label_pairs", "root": str(folder)}
    for key, values in (
        ("images", PATTERNS), ("masks", [*PATTERNS, {"a": "masks", "b": "{stem}"}, {}]),
        ("split", ["images", "..", "", "train"]), ("colors", [True]), ("components", [True]), ("connectivity", [4, 5]),
        ("classes", [[], ["a"], ["object", "b"]]),
    ):  # fmt: skip
        if draw.random() < (0.5 if key in ("colors", "components") else 0.06):
            spec[key] = draw.choice(values)
    return read_all(spec, folder, seed % 8 == 0)


def try_mask_folder(seed, folder):
    draw = random.Random(seed)
    folder = cleaned(Path(folder) / "bowl", draw.choice(["a/images/a.png", "images/a.png"]))
    masks = folder / ("a/masks" if (folder / "a").exists() else "masks/a")
    for name in ("1.png", "c/2.png", "3.tif")[: draw.choice([1, 2, 3])]:
        put(masks / name, odd_mask(draw) if draw.random() < 0.7 else packed(labels().astype(np.uint8)))
    if draw.random() < 0.1:
        put(folder / draw.choice(["a/images/b.png", "b/images/b.png", "images/b.png"]), odd_mask(draw))
    spec = {"format": "mask_folder", "root": str(folder)}
    if draw.random() < 0.1:
        spec[draw.choice(["split", "class_name"])] = draw.choice(["a", "..", "", "c", "x" * 300])
    return read_all(spec, folder, seed % 8 == 0)


CITY_LABELS = ("car", "cargroup", "person", "sky", "caravan", "license plate")
CITY = {"imgHeight": H, "imgWidth": W, "objects": [{"label": name, "polygon": SQUARE} for name in CITY_LABELS]}


def change_city(content, draw):
    if draw.random() < 0.1:
        content[draw.choice(["imgHeight", "imgWidth"])] = draw.choice(ODD_VALUES)
    elif isinstance(content.get("objects"), list) and content["objects"]:
        item = draw.choice(content["objects"])
        if isinstance(item, dict):
            key = draw.choice(["polygon", "polygon", "label", "deleted"])
            item[key] = (
                points(draw) if key == "polygon" else draw.choice(["car", "group", "carsgroup", "", 3, None, "sky"])
            )


def try_cityscapes(seed, folder):
    draw = random.Random(seed)
    folder = cleaned(Path(folder) / "city", "leftImg8bit/train/ulm/u_leftImg8bit.png")
    truth = folder / "gtFine" / "train" / "ulm"
    if draw.random() < 0.4:
        values = (labels().astype(np.int32) * 12_000).astype(np.uint16)
        put(
            truth / "u_gtFine_instanceIds.png", damaged(packed(values), draw) if draw.random() < 0.6 else odd_mask(draw)
        )
    else:
        put(truth / "u_gtFine_polygons.json", mutated_json(CITY, draw, change_city))
    spec = {"format": "cityscapes", "root": str(folder)}
    if draw.random() < 0.1:
        key = draw.choice(["split", "annotations"])
        spec[key] = draw.choice(["..", "", "train/ulm", "gtFine", ".", "\0", "x" * 300])
    return read_all(spec, folder, seed % 8 == 0)


PANOPTIC = {
    "images": [{"id": 1, "file_name": "a.png", "height": H, "width": W}],
    "annotations": [
        {"image_id": 1, "file_name": "a.png", "segments_info": [
            {"id": 1, "category_id": 1, "iscrowd": 0}, {"id": 2, "category_id": 2, "iscrowd": 0},
            {"id": 300, "category_id": 3, "iscrowd": 1},
        ]}
    ],
    "categories": [{"id": i, "name": "xabc"[i], "isthing": i % 2} for i in (1, 2, 3)],
}  # fmt: skip


def change_panoptic(content, draw):
    kind = draw.choice(["images", "annotations", "categories", "segments", "segments", "segments"])
    try:
        items = content["annotations"][0]["segments_info"] if kind == "segments" else content[kind]
        item = draw.choice(items)
        key = draw.choice([*item, "iscrowd"])
        item[key] = draw.choice(NAMES if key in ("file_name", "name") else [*ODD_VALUES, 2, 3, 300, 2**24, 2**24 - 1])
    except (KeyError, TypeError, IndexError, ValueError):
        change(content, draw)


def try_coco_panoptic(seed, folder):
    draw = random.Random(seed)
    folder = cleaned(Path(folder) / "panoptic", "train/a.png")
    rgb = np.stack([labels() & 255, labels() >> 8, labels() * 0], -1).astype(np.uint8)
    bad_pixels = draw.random() < 0.3
    data = packed(rgb)
    if bad_pixels:
        data = damaged(data, draw) if draw.random() < 0.6 else odd_mask(draw)
    put(folder / "panoptic_train" / "a.png", data)
    text = json.dumps(PANOPTIC).encode() if bad_pixels else mutated_json(PANOPTIC, draw, change_panoptic)
    put(folder / "panoptic_train.json", text)
    spec = {"format": "coco_panoptic", "json": str(folder / "panoptic_train.json"), "images": str(folder / "train")}
    if draw.random() < 0.1:
        spec["classes"] = draw.choice([["a", "c"], ["c", "a", "z"], ["a"], []])
    return read_all(spec, folder, seed % 8 == 0)
