"""Fuzzes YOLO, LabelMe, CVAT and VOC data sets: opens mutated files and reads every image.

``python tests/faults/fuzz_tool_formats.py yolo 0 10000`` tries seeds with a limit of 5 s and 1 GB each.
"""

import base64
import functools
import io
import json
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fuzz_annotations import NAMES, NASTY, ODD_VALUES
from mutations import change, deep, mutated_bytes, mutated_text
from PIL import Image

from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError

H, W = 24, 32
SECONDS, BYTES = 5, 1 << 30
FILE_NAMES = [name for name in NAMES if isinstance(name, str) and "\ud800" not in name]
WORDS = [
    "nan", "inf", "-inf", "1e400", "1e308", "-1", "0", "1", "0.5", "1.0000001", "1_0", "0x10", "１", "99999999999999999999",
    "9" * 5000, "", " ", "\0", "é", "a", "-0", "+1", "1.", ".5", "2147483648", "1,2", "1;2", "true", "../../x", "/etc/passwd",
    "900000", "30000", "1000000",
]  # fmt: skip
XML_NASTY = [
    "<!DOCTYPE a>", '<!DOCTYPE a [<!ENTITY b "cccc"><!ENTITY d "&b;&b;">]>', '<!ENTITY x SYSTEM "file:///etc/passwd">',
    "&b;", "&#0;", "&#x110000;", "&amp;", "<![CDATA[", "]]>", "<a>" * 50_000, "<" * 100, "<!--", "-->", "<?x?>", "\0",
    "</object>", "<object>", "<image>", "</image>", '<image id="1">', "<track/>", "<track id='0'/>", "<part>", "</annotation>",
    "<x:y/>", "xmlns:x='y'", "\ufffe", "<a b='c' b='d'/>", "x" * 100_000, "<a " + "b" * 5000 + "='1'/>",
    '<?xml version="1.0" encoding="utf-16"?>', '<?xml version="1.0" encoding="shift_jis"?>',
]  # fmt: skip


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@functools.lru_cache
def image_bytes():
    return png(np.zeros((H, W, 3), np.uint8))


def fresh(folder):
    """An empty folder for one try."""
    path = Path(folder, "x")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def one_word(text, draw, pattern=r"[-\w.]+"):
    """Replaces a word of a text by an odd one."""
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    for match in sorted(draw.sample(found, min(len(found), draw.choice([1, 1, 1, 3]))), key=lambda m: -m.start()):
        text = text[: match.start()] + draw.choice(WORDS) + text[match.end() :]
    return text


def damaged(content, draw):
    """Bytes with a few changed, cut off or repeated."""
    content = bytearray(content)
    for _ in range(draw.choice([1, 1, 4])):
        at = draw.randrange(len(content))
        way = draw.randrange(4)
        if way == 0:
            content[at] = draw.randrange(256)
        elif way == 1:
            del content[at:]
            content += b"\0"
        elif way == 2:
            content[at:at] = draw.randbytes(draw.choice([1, 4, 100]))
        else:
            content[at : at + 4] = draw.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x75\x30"])
    return bytes(content)


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
    content = {
        "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageHeight": H, "imageWidth": W,
        "imageData": base64.b64encode(image_bytes()).decode(),
    }  # fmt: skip
    for _ in range(draw.choice([1, 1, 2])):
        way, shape = draw.randrange(6), draw.choice(shapes)
        if way == 0:
            change(content, draw)
        elif way == 1:
            shape["points"] = draw.choice(
                [[[draw.choice(ODD_VALUES), draw.choice(ODD_VALUES)] for _ in range(3)], deep(100), []]
            )
        elif way == 2:
            shapes[3]["mask"] = base64.b64encode(damaged(png(np.ones((3, 4), bool)), draw)).decode()
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


CVAT = f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>1</id><subset>train</subset><labels><label><name>a</name></label>
<label><name>b</name></label></labels></task></meta>
<image id="0" name="a.png" width="{W}" height="{H}" task_id="1">
<polygon label="a" points="1.0,2.0;10.0,2.0;10.0,12.5" group_id="1" z_order="0"></polygon>
<box label="b" xtl="1.0" ytl="2.0" xbr="12.0" ybr="15.0" rotation="30.0"/>
<mask label="a" rle="1, 2, 4, 1" left="10" top="3" width="4" height="2" group_id="1"/>
<ellipse label="b" cx="10" cy="11" rx="5" ry="4" rotation="10"/><polyline label="a" points="1,2;3,4"/></image>
</annotations>"""


def cvat(draw, root):
    way = draw.randrange(4)
    text = CVAT
    if way == 0:
        text = mutated_text(text, draw, XML_NASTY)
    elif way == 1:
        text = one_word(text, draw, r'(?<==")[^"]*(?=")')
    elif way == 2:
        text = text.replace("a.png", draw.choice(FILE_NAMES).replace("<", "").replace("\0", "&#0;"))
    else:
        numbers = [str(value) for value in ODD_VALUES if isinstance(value, (int, float))]
        text = re.sub(r'(?<==")[\d.]+(?=")', lambda m: draw.choice(numbers) if draw.random() < 0.1 else m[0], text)
    write(root / "annotations.xml", mutated_bytes(text, draw))
    write(root / "images/a.png", image_bytes())
    return {"xml": str(root), "boxes": draw.choice(["box", "mask"])}


VOC = f"""<annotation><folder>x</folder><filename>a.png</filename><size><width>{W}</width><height>{H}</height><depth>3</depth>
</size><segmented>1</segmented>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>15</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
<object><name>dog</name><difficult>1</difficult><bndbox><xmin>15</xmin><ymin>4</ymin><xmax>20</xmax><ymax>9</ymax></bndbox></object>
</annotation>"""


@functools.lru_cache
def voc_masks():
    objects = np.zeros((H, W), np.uint8)
    objects[3:15, 2:12], objects[3:9, 14:20], objects[20:] = 1, 2, 255
    classes = np.select([objects == 1, objects == 2, objects == 255], [8, 12, 255]).astype(np.uint8)
    return png(objects), png(classes)


def voc(draw, root):
    objects, classes = voc_masks()
    text, listed = VOC, "a\n"
    way = draw.randrange(6)
    if way == 0:
        text = mutated_text(text, draw, XML_NASTY)
    elif way == 1:
        text = one_word(text, draw, r"(?<=>)[^<\n]+(?=<)")
    elif way == 2:
        listed = draw.choice(FILE_NAMES) + "\n" if draw.random() < 0.5 else mutated_text("a\na 1\n\n", draw, FILE_NAMES)
    elif way == 3:
        objects = damaged(objects, draw)
    elif way == 4:
        classes = damaged(classes, draw)
    else:
        write(
            root / "labelmap.txt",
            mutated_text("background:0,0,0::\ncat:1,2,3::\ndog:4,5,6::\n", draw, [*WORDS, ":", ","]),
        )
    write(root / "Annotations/a.xml", mutated_bytes(text, draw) if way < 2 else text)
    write(root / "ImageSets/Main/train.txt", listed)
    write(root / "JPEGImages/a.png", image_bytes())
    write(root / "SegmentationObject/a.png", objects)
    write(root / "SegmentationClass/a.png", classes)
    arguments = {"void": draw.choice(["ignore", "background"]), "difficult": draw.choice(["crowd", "object"])}
    return {"root": str(root), **({"split": "train"} if draw.random() < 0.7 else {}), **arguments}


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
