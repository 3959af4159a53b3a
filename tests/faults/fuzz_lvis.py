"""Fuzzes LVIS files: opens mutated files and reads every image."""

import copy
import json
import random
from pathlib import Path

from fuzz_annotations import NASTY, ODD_VALUES, STRINGS, H, W, annotations, change_knowingly, doubled_key
from mutations import change, mutated_bytes, mutated_text
from PIL import Image

from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError

URLS = [
    "http://images.cocodataset.org/train2017/1.png", "train2017/1.png", "1.png", "", "/", "http://x/../1.png",
    "http://x/../../1.png", "http://x/..", "file:///etc/passwd", "train2017\\1.png", "http://x/train2017/\0", "//",
    "\ud800/1.png", "http://x/train2017/3.png", "C:/Windows/x", "a/" * 5000, 7, None, [],
]  # fmt: skip
LISTS = ["neg_category_ids", "not_exhaustive_category_ids"]


def lvis_annotations():
    """COCO's annotations without crowds, as LVIS has them."""
    content = copy.deepcopy(annotations())
    for index, image in enumerate(content["images"]):
        url = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
        image |= {"coco_url": url, LISTS[0]: [[3], [], [1, 3]][index], LISTS[1]: [[], [3], []][index]}
    for annotation in content["annotations"]:
        del annotation["iscrowd"]
    for category, frequency in zip(content["categories"], "rf", strict=True):
        category |= {"frequency": frequency, "synset": f"{category['name']}.n.01", "image_count": 2}
    return content


def change_lvis(content, draw):
    """Replaces a value of a key that only LVIS has."""
    kind = draw.choice(["images"] * 3 + ["categories"])
    items = content.get(kind)
    if not isinstance(items, list) or not items or not isinstance(item := draw.choice(items), dict):
        return
    if kind == "categories":
        item[draw.choice(["frequency", "synset", "id"])] = draw.choice(["r", "c", "f", "x", *ODD_VALUES, *STRINGS])
        return
    key = draw.choice(["coco_url", "file_name", *LISTS * 2])
    if key in ("coco_url", "file_name"):
        item[key] = draw.choice(URLS)
        return
    ways = [
        lambda: [draw.choice(ODD_VALUES) for _ in range(draw.choice([0, 1, 3]))],
        lambda: [1, 3] * draw.choice([1, 50_000]),
        lambda: draw.choice(ODD_VALUES),
        lambda: draw.choice(STRINGS),
        lambda: [[3]],
        lambda: {"3": 1},
    ]
    item[key] = draw.choice(ways)()
    if draw.random() < 0.2:
        del item[key]


def try_lvis(seed, folder):
    """Opens a mutated file and reads all images; returns whether it was accepted."""
    draw = random.Random(seed)
    content = lvis_annotations()
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        draw.choice([change_lvis, change_lvis, change_knowingly, change])(content, draw)
    text = json.dumps(content, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.1:
        text = doubled_key(text, draw)
    if draw.random() < 0.2:
        text = mutated_text(text, draw, NASTY)
    folder = Path(folder)
    for i in (1, 2, 5):
        file = folder / "train2017" / f"{i}.png"
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (W, H)).save(file)
    (folder / "lvis.json").write_bytes(mutated_bytes(text, draw))
    spec = {"format": "lvis", "json": str(folder / "lvis.json"), "images": str(folder)}
    if draw.random() < 0.1:
        spec["classes"] = draw.choice([["a", "b"], ["b", "a", "c"], ["a"], [], ["a", "a"]])
    kind = DATASET_FORMAT_REGISTRY.get("lvis")
    kind.recognize(folder / "lvis.json")
    try:
        dataset = DATASET_FORMAT_REGISTRY.build(spec, path="data.train")
        for index in range(len(dataset)):
            sample = dataset.load(index)
            dataset.ground_truth(index, sample)
            unlabelled = sample.targets.unlabelled
            assert ((unlabelled >= 0) & (unlabelled < len(dataset.classes))).all()
            assert (unlabelled.diff() > 0).all()
        assert dataset.summary()
    except SegkitError as error:
        assert str(error)
        return False
    return True
