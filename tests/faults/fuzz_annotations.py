"""Fuzzes COCO files: opens mutated files and decodes the masks of every image."""

import copy
import functools
import json
import random
import re
from pathlib import Path

from mutations import ODD, change, deep, mutated_bytes, mutated_text
from PIL import Image

from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError

H, W = 48, 64
ODD_VALUES = [
    0, -0.0, -1, 1, 2, 5, 48, 48.0, 48.5, 63.999, 1e6, -1e6, 1e6 + 1, 1e9, 2**31 - 1, 2**31, -(2**31), 2**32, 2**62,
    2**63 - 1, 2**63, -(2**63),
    10**30, 10**400, 1e308, 1e-320, float("nan"), float("inf"), float("-inf"), True, None, "1", [1], {},
]  # fmt: skip
STRINGS = [
    "", "0", "1", "P", "PPP", "P" * 13 + "0", "o" * 7 + "0", "0" * 50_000, "01" * 20_000, "o0" * 20_000,
    "oooooo7" * 500, "é", "\0", "\ud800",
    "x" * 5000, "U<?Q1", "`2", "`P3", " ", "\n", "nan", "[1]", "_" * 9,
]  # fmt: skip
NAMES = [
    "../1.png",
    "/etc/passwd",
    "",
    ".",
    "..",
    "1.png/",
    "./1.png",
    "a\\..\\..\\x",
    "\0",
    "1.png\0",
    "x" * 5000,
    "\ud800",
    "a.json",
    "é.png",
    "2.png",
    3,
    None,
]
NASTY = [
    "NaN", "Infinity", "-Infinity", "-", "+1", "01", "1.", ".5", "1e", "1e999", "1e-999", "1" * 5000, "[" * 100_000,
    '{"a":' * 50_000, "[]", "{}", "null", "'",
    '"', '"\\u', '"\\ud800"', '"\\x"', "\t", ",", ",,", ":", "//", "#", "\x85", '"images": [],',
    '"annotations": [{}],', '"categories": 3,', '"id": 1, "id": 2,', "]}", "}{",
]  # fmt: skip


@functools.lru_cache
def annotations():
    square = [10.0, 10, 40, 10, 40, 40, 10, 40]
    common = {"iscrowd": 0, "area": 900, "bbox": [10, 10, 30, 30]}
    return {
        "info": {"year": 2020},
        "images": [{"id": i, "file_name": f"{i}.png", "height": H, "width": W} for i in (1, 2, 5)],
        "categories": [{"id": 1, "name": "a", "supercategory": "x"}, {"id": 3, "name": "b"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [square], **common},
            {"id": 2, "image_id": 1, "category_id": 3, "segmentation": [square, [1, 2, 3, 4, 5, 6]], **common},
            {"id": 3, "image_id": 2, "category_id": 3, **common, "iscrowd": 1,
             "segmentation": {"size": [H, W], "counts": [100, 20, H * W - 120]}},
            {"id": 4, "image_id": 5, "category_id": 1, **common,
             "segmentation": {"size": [H, W], "counts": "Zb0d0l00000@UO;k05000000fQ2"}},
        ],
    }  # fmt: skip


def polygons(draw):
    """Polygons with odd coordinates: few, many, nested, of odd length."""
    far = draw.choice([10, 100, 1e4, 1e6])
    ways = [
        lambda: [[draw.choice(ODD_VALUES) for _ in range(draw.choice([0, 1, 2, 5, 6, 8,
        9]))] for _ in range(draw.choice([1, 1, 3]))],
        lambda: [[draw.uniform(-far, far) for _ in range(draw.choice([6, 8, 60,
        2000]))] for _ in range(draw.choice([1, 3, 30]))],
        lambda: [[1, 1, 5, 5, 5, draw.choice(ODD_VALUES)]],
        lambda: [[far, -far] * draw.choice([3, 50, 500])],
        lambda: [[far, -far, -far, far] * draw.choice([3, 50, 500])],
        lambda: [[3, 3] * draw.choice([1, 2, 3, 20_000])],
        lambda: [[]] * draw.choice([1, 1000]),
        lambda: deep(draw.choice([1, 3, 200]), [1, 1, 5, 5, 5, 1]),
        lambda: [1, 1, 5, 5, 5, 1],
        lambda: [[str(n) for n in (1, 1, 5, 5, 5, 1)]],
    ]  # fmt: skip
    return draw.choice(ways)()


def rle(draw, size):
    """An RLE with invalid counts, or an invalid size, or of another size than its image."""
    area = H * W
    counts = [
        lambda: [], lambda: [area], lambda: [0, area], lambda: [0] * 50_000 + [area], lambda: [area + 1], lambda: [-5,
        area + 5],
        lambda: [2**62, 2**62, 2**63, area], lambda: [2**64 - 5, 5, area], lambda: [1.0, area - 1], lambda: [True,
        area - 1], lambda: [[area]],
        lambda: [draw.choice(ODD_VALUES) for _ in range(draw.choice([1, 2, 5]))], lambda: draw.choice(STRINGS),
        lambda: draw.choice(STRINGS),
        lambda: "".join(chr(draw.randint(48, 111)) for _ in range(draw.choice([1, 5, 30]))),
        lambda: mutated_text(annotations()["annotations"][3]["segmentation"]["counts"], draw, STRINGS),
        lambda: [1, 1] * (area // 2), lambda: draw.choice(ODD),
    ]  # fmt: skip
    sizes = [
        size,
        size,
        size,
        [W, H],
        [H],
        [H, W, 1],
        [float(H), float(W)],
        [0, 0],
        [-H, -W],
        [1, area],
        [draw.choice(ODD_VALUES), draw.choice(ODD_VALUES)],
    ]
    if draw.random() < 0.1:
        return {"size": [side := draw.choice([1000, 46340, 2**31 - 1]), side], "counts": [side * side]}
    return {"size": draw.choice(sizes), "counts": draw.choice(counts)()}


def change_knowingly(content, draw):
    """Replaces a value by an invalid or nearly invalid one of its kind."""
    kind = draw.choice(["images", "categories"] + ["annotations"] * 8)
    items = content.get(kind)
    if not isinstance(items, list) or not items or not isinstance(item := draw.choice(items), dict):
        return
    if kind == "images":
        key = draw.choice(["id", "file_name", "height", "width"])
        item[key] = draw.choice(NAMES if key == "file_name" else ODD_VALUES)
        if draw.random() < 0.2:  # another size than the image's, with an RLE of that size
            item["height"] = item["width"] = side = draw.choice([1000, 46340, 2**31 - 1])
            for one in content.get("annotations") or []:
                if isinstance(one, dict) and one.get("image_id") == item.get("id"):
                    one["segmentation"] = {"size": [side, side], "counts": [side, side * side - side]}
    elif kind == "categories":
        item[draw.choice(["id", "name"])] = draw.choice([*ODD_VALUES, *STRINGS])
    else:
        key = draw.choice(["segmentation"] * 6 + ["bbox", "area", "iscrowd", "image_id", "category_id", "id"])
        if key == "segmentation":
            item[key] = rle(draw, [H, W]) if draw.random() < 0.5 else polygons(draw)
        elif key == "bbox":
            item[key] = [draw.choice(ODD_VALUES) for _ in range(draw.choice([4, 4, 4, 3, 5, 0]))]
        else:
            item[key] = draw.choice(ODD_VALUES)


def doubled_key(text, draw):
    """Repeats a key in one of the mappings of a JSON."""
    found = list(re.finditer(r'"(\w+)": ("[^"]*"|[\d.]+|\[[^][]*\])', text))
    if not found:
        return text
    one, other = draw.choice(found), draw.choice(found)
    return text[: one.end()] + f', "{one[1]}": {other[2]}' + text[one.end() :]


def try_annotations(seed, folder):
    """Opens a mutated file and reads all images; returns whether it was accepted."""
    draw = random.Random(seed)
    content = copy.deepcopy(annotations())
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        if draw.random() < 0.8:
            change_knowingly(content, draw)
        else:
            change(content, draw)
    text = json.dumps(content, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.1:
        text = doubled_key(text, draw)
    if draw.random() < 0.2:
        text = mutated_text(text, draw, NASTY)
    folder = Path(folder)
    for i in (1, 2, 5):
        if not (folder / f"{i}.png").exists():
            Image.new("RGB", (W, H)).save(folder / f"{i}.png")
    (folder / "a.json").write_bytes(mutated_bytes(text, draw))
    spec = {"format": "coco", "json": str(folder / "a.json"), "images": str(folder)}
    if draw.random() < 0.1:
        spec["classes"] = draw.choice([["a", "b"], ["b", "a", "c"], ["a"], [], ["a", "a"]])
    try:
        dataset = DATASET_FORMAT_REGISTRY.build(spec, path="data.train")
        for index in range(len(dataset)):
            sample = dataset.load(index)
            dataset.ground_truth(index, sample)
            dataset.label_counts(index)
            assert (sample.targets.masks.areas() > 0).all()
        assert dataset.summary()
    except SegkitError as error:
        assert str(error)
        return False
    return True
