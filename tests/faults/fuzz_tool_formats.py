"""Fuzzes YOLO, LabelMe, CVAT and VOC data sets: opens mutated files and reads every image.

``python tests/faults/fuzz_tool_formats.py yolo 0 10000`` tries seeds with a limit of 5 s and 1 GB each.
"""

import base64
import json
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fuzz_annotations import NAMES, NASTY, ODD_VALUES
from fuzz_helpers import FILE_NAMES, WORDS, H, W, damaged, fresh, image_bytes, one_word, png, write
from fuzz_xml_formats import cvat, voc
from mutations import change, deep, mutated_bytes, mutated_text

from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError

SECONDS, BYTES = 5, 1 << 30


def yolo(draw, root):
    yaml = "path: .\ntrain: images/train\nval: [images/train]\nnames:\n  0: cat\n  1: dog\nnc: 2\n"
    label = "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.5 0.5 0.25 0.25\n1 0.5 0.5 0.25 0.25 0.9\n0 .1 .2 .3 .4 .5 .6 .7 .8\n"
    listed = "./images/train/a.png\nimages/train/b.png\n"
    if draw.random() < 0.4:
        yaml = yaml.replace("images/train", "list.txt", 1)
    part = draw.choice(["yaml", "label", "label", "list", "names"])
    if part == "yaml":
        nasty = [
            "&a [*a, *a]",
            "!!python/object:os.system x",
            "<<: *x",
            "{" * 5000,
            "- ",
            ": ",
            "\t",
            "names: 3\n",
            *WORDS,
        ]
        yaml = one_word(yaml, draw) if draw.random() < 0.5 else mutated_text(yaml, draw, nasty)
    elif part == "label":
        label = (
            one_word(label, draw, r"[\d.]+")
            if draw.random() < 0.6
            else mutated_text(label, draw, [*WORDS, "1 " * 50_000])
        )
    elif part == "list":
        listed = (
            f"{listed}{draw.choice(FILE_NAMES)}\n" if draw.random() < 0.5 else mutated_text(listed, draw, FILE_NAMES)
        )
    else:
        bad = draw.choice(FILE_NAMES)
        yaml = yaml.replace(
            draw.choice(["images/train", "path: .", "cat"]), draw.choice([bad, json.dumps(bad), "[]", "{}"])
        )
    write(root / "data.yaml", mutated_bytes(yaml, draw) if part == "yaml" else yaml)
    write(root / "list.txt", mutated_bytes(listed, draw) if part == "list" else listed)
    write(root / "labels/train/a.txt", mutated_bytes(label, draw) if part == "label" else label)
    for name in "ab":
        write(root / f"images/train/{name}.png", image_bytes())
    return {"data": str(root)}


def labelme(draw, root):
    mask = base64.b64encode(png(np.ones((3, 4), bool))).decode()
    points = [[1.0, 2.0], [10.0, 2.0], [10.0, 12.0]]
    shapes = [
        {"label": "a", "points": points, "shape_type": "polygon", "group_id": 1, "flags": {}},
        {"label": "a", "points": points[:2], "shape_type": "circle", "group_id": 1, "flags": {}},
        {"label": "b", "points": [[3, 4], [9, 8]], "shape_type": "rectangle", "group_id": None},
        {"label": "b", "points": [[3, 4], [6, 6]], "shape_type": "mask", "mask": mask, "group_id": 1},
    ]
    originals = list(shapes)
    content = {
        "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageHeight": H, "imageWidth": W,
        "imageData": base64.b64encode(image_bytes()).decode(),
    }  # fmt: skip
    for _ in range(draw.choice([1, 1, 2])):
        way, shape = draw.randrange(6), draw.choice(originals)
        if way == 0:
            change(content, draw)
        elif way == 1:
            shape["points"] = draw.choice(
                [[[draw.choice(ODD_VALUES), draw.choice(ODD_VALUES)] for _ in range(3)], deep(100), []]
            )
        elif way == 2:
            originals[3]["mask"] = base64.b64encode(damaged(png(np.ones((3, 4), bool)), draw)).decode()
        elif way == 3:
            key = draw.choice(["imagePath", "imageHeight", "imageWidth", "imageData"])
            content[key] = draw.choice(NAMES if key == "imagePath" else ODD_VALUES)
        elif way == 4:
            shape[draw.choice(["label", "shape_type", "group_id", "mask"])] = draw.choice(
                [*ODD_VALUES, "polygon", "mask", "points"]
            )
        else:
            content["imageData"] = base64.b64encode(damaged(image_bytes(), draw)).decode()
    text = json.dumps(content, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.3:
        text = mutated_text(text, draw, NASTY)
    write(root / "a.json", mutated_bytes(text, draw))
    if draw.random() < 0.6:
        write(root / "a.png", image_bytes())
    return {"root": str(root), "rectangles": draw.choice(["box", "mask"])}


MAKERS = {"yolo": yolo, "labelme": labelme, "cvat": cvat, "voc": voc}


def try_format(format, seed, folder):
    """Opens a mutated data set and reads all images; returns whether it was accepted."""
    draw, root = random.Random(f"{format} {seed}"), fresh(folder)
    spec = {"format": format, **MAKERS[format](draw, root)}
    if draw.random() < 0.1:
        spec["classes"] = draw.choice([["a", "b"], ["cat", "dog"], ["b", "a", "c"], [], ["a", "a"]])
    DATASET_FORMAT_REGISTRY.get(format).recognize(root)  # never an error
    try:
        dataset = DATASET_FORMAT_REGISTRY.build(spec, path="data.train")
        for index in range(len(dataset)):
            assert Path(dataset.image_files()[index]).resolve().is_relative_to(root.resolve()) or format == "yolo"
            targets = dataset.load(index).targets
            assert targets.masks is None or (targets.masks.areas()[targets.has_mask] > 0).all()
            dataset.label_counts(index)
        assert dataset.summary() and dataset.lost_objects()[0] >= 0
    except SegkitError as error:
        assert str(error)
        return False
    return True


def _too_long(number, frame):
    raise TimeoutError(f"more than {SECONDS} s")


def main(format, first, last):
    """Tries the seeds, each within 5 s of processor time and 1 GB; prints the counts and each kind of failure."""
    accepted, failed, longest = 0, {}, (0.0, None)
    with tempfile.TemporaryDirectory() as folder:
        try_format(format, -1, folder)
        signal.signal(signal.SIGALRM, _too_long)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, -1))
        for seed in range(first, last):
            started = time.process_time()
            signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
            try:
                accepted += try_format(format, seed, folder)
            except BaseException as error:
                failed.setdefault(f"{type(error).__name__}: {str(error)[:200]}", seed)
                if isinstance(error, KeyboardInterrupt):
                    break
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            longest = max(longest, (time.process_time() - started, seed))
    print(f"{format}: {last - first} inputs, {accepted} accepted, longest {longest[0]:.2f} s (seed {longest[1]})")
    for problem, seed in failed.items():
        print(f"  seed {seed}: {problem}")
    return not failed and longest[0] < SECONDS


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1], *map(int, sys.argv[2:4])))
