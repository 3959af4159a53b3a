"""Reading and checking COCO annotations: everything that can be wrong in the JSON is found here, when it is opened."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any, TypeGuard

from segkit.utils.errors import SegkitError, did_you_mean


def read_coco_json(file: Path) -> dict[str, Any]:
    """Read the file and check its outline: "images", "annotations" and "categories" are lists of dicts."""
    try:
        with open(file, encoding="utf-8") as stream:
            content = json.load(stream)
    except (ValueError, OSError) as error:
        raise SegkitError(f"{file}: is not a JSON file ({error})", value=str(file)) from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            have = f"its keys are {', '.join(list(content)[:8])}" if isinstance(content, dict) else "it is no mapping"
            raise SegkitError(f"{file}: is not in the COCO format: there is no list '{key}' ({have})", value=str(file))
        for number, item in enumerate(content[key]):
            if not isinstance(item, dict):
                raise SegkitError(f"{file}: {key}[{number}] is {str(item)[:60]}; expected a mapping")
    return content


def read_categories(
    file: Path, categories: list[dict], classes: list[str] | None
) -> tuple[list[str], list[int], set[str]]:
    """Class names and ids, by ascending id or in the order of ``classes``.

    Returns:
        names, ids, and the names that the file lacks; those get ids above the file's.
    """
    ids: dict[str, int] = {}
    for number, category in enumerate(categories):
        name, category_id = category.get("name"), category.get("id")
        if not isinstance(name, str) or not _is_int(category_id):
            text = str(category)[:100]
            raise SegkitError(f"{file}: categories[{number}] needs an integer 'id' and a 'name'; it is {text}")
        if name in ids or category_id in ids.values():
            raise SegkitError(f"{file}: categories[{number}] repeats the name '{name}' or the id {category_id}")
        ids[name] = category_id
    if classes is None:
        names = sorted(ids, key=lambda name: ids[name])
        return names, [ids[name] for name in names], set()
    unknown = [name for name in ids if name not in classes]
    if unknown:
        raise SegkitError(
            f"{file}: the category '{unknown[0]}' is not among the classes{did_you_mean(unknown[0], classes)}",
            key="classes",
            value=classes,
            choices=classes,
        )
    lacking = [name for name in classes if name not in ids]
    above = max(ids.values(), default=0) + 1
    ids |= {name: above + i for i, name in enumerate(lacking)}
    return list(classes), [ids[name] for name in classes], set(lacking)


def read_images(file: Path, images: list[dict], folder: Path) -> list[dict]:
    """Check the image entries; returns ``{id, file_name, height, width}`` each, and that all files exist."""
    kept: list[dict] = []
    seen: set[int] = set()
    missing: list[str] = []
    for number, image in enumerate(images):
        where = f"{file}: images[{number}]"
        name, image_id = image.get("file_name"), image.get("id")
        if not isinstance(name, str) or not _is_int(image_id):
            raise SegkitError(f"{where} needs an integer 'id' and a 'file_name'; it is {str(image)[:100]}")
        if image_id in seen:
            raise SegkitError(f"{where}: the id {image_id} occurs twice")
        height, width = image.get("height"), image.get("width")
        if not (_is_int(height) and _is_int(width) and height > 0 and width > 0):
            raise SegkitError(f"{where} ('{name}') needs 'height' and 'width', whole numbers above 0")
        if os.path.isabs(name) or ".." in Path(name.replace("\\", "/")).parts:
            raise SegkitError(f"{where}: the file name '{name}' leads out of the folder of images")
        if not (folder / name).is_file():
            missing.append(name)
        seen.add(image_id)
        kept.append({"id": image_id, "file_name": name, "height": height, "width": width})
    if missing:
        raise SegkitError(
            f"{folder}: {len(missing)} of the {len(images)} images of {file} are missing: "
            + ", ".join(missing[:5])
            + (", ..." if len(missing) > 5 else "")
        )
    return kept


def read_annotations(
    file: Path, annotations: list[dict], images: list[dict], label_of: dict[int, int]
) -> tuple[list[list[dict]], Counter[str]]:
    """Check the annotations and sort them by image.

    Returns:
        A list an image (in the order of ``images``) of ``{segmentation, bbox, area, iscrowd, label}``, where bbox and
        area are None if the file has none; and a count of what was left out, by reason.
    """
    place = {image["id"]: i for i, image in enumerate(images)}
    by_image: list[list[dict]] = [[] for _ in images]
    skipped: Counter[str] = Counter()
    for number, annotation in enumerate(annotations):
        where = f"{file}: annotations[{number}]"
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        if not _is_hashable(image_id) or image_id not in place:
            raise SegkitError(f"{where}: there is no image with the id {image_id!r}", value=image_id)
        if not _is_hashable(category_id) or category_id not in label_of:
            raise SegkitError(
                f"{where}: category_id {category_id!r} is none of the file's categories, {_ranges(sorted(label_of))}",
                value=category_id,
            )
        image = images[place[image_id]]
        bbox = _read_bbox(where, annotation.get("bbox"))
        if bbox is not None and (bbox[2] <= 0 or bbox[3] <= 0):
            skipped["objects with a box of no width or height"] += 1
            continue
        size = (image["height"], image["width"])
        segmentation = _read_segmentation(where, annotation.get("segmentation"), size, skipped)
        if segmentation is None:
            continue
        area = annotation.get("area")
        if area is not None and not (_is_number(area) and area >= 0):
            raise SegkitError(f"{where}: 'area' is {area!r}; expected a number, 0 or more")
        iscrowd = annotation.get("iscrowd", 0)
        if iscrowd not in (0, 1):
            raise SegkitError(f"{where}: 'iscrowd' is {iscrowd!r}; expected 0 or 1")
        by_image[place[image_id]].append(
            {
                "segmentation": segmentation,
                "bbox": bbox,
                "area": None if area is None else float(area),
                "iscrowd": int(iscrowd),
                "label": label_of[category_id],
            }
        )
    return by_image, skipped


def _read_bbox(where: str, bbox: Any) -> list[float] | None:
    if bbox is None or bbox == []:
        return None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(v) for v in bbox):
        raise SegkitError(f"{where}: 'bbox' is {str(bbox)[:80]}; expected [x, y, width, height]")
    return [float(v) for v in bbox]


def _read_segmentation(where: str, value: Any, size: tuple[int, int], skipped: Counter[str]) -> Any:
    """Polygons (those with three corners or more) or an RLE dict, checked; None where nothing is left."""
    if value is None or value == []:
        skipped["objects without a segmentation"] += 1
        return None
    if isinstance(value, dict):
        return _read_rle(where, value, size)
    if not isinstance(value, list):
        raise SegkitError(f"{where}: 'segmentation' is {str(value)[:60]}; expected polygons or RLE")
    kept = []
    for polygon in value:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(_is_number(v) for v in polygon):
            raise SegkitError(f"{where}: a polygon is {str(polygon)[:60]}; expected a flat list x, y, x, y, ...")
        if len(polygon) < 6:
            skipped["polygons with fewer than three corners"] += 1
        else:
            kept.append([float(v) for v in polygon])
    if not kept:
        skipped["objects of which no polygon is left"] += 1
    return kept or None


def _read_rle(where: str, rle: dict, size: tuple[int, int]) -> dict:
    counts, rle_size = rle.get("counts"), rle.get("size")
    if not isinstance(rle_size, (list, tuple)) or tuple(rle_size) != size:
        raise SegkitError(f"{where}: the RLE's size is {rle_size}; the image's [height, width] is {list(size)}")
    height, width = size
    if isinstance(counts, list):
        if not all(_is_int(c) and c >= 0 for c in counts) or sum(counts) != height * width:
            raise SegkitError(f"{where}: the RLE's counts do not add up to {height} x {width} pixels")
    elif not isinstance(counts, str):
        raise SegkitError(f"{where}: the RLE's 'counts' is {str(counts)[:60]}; expected a string or a list")
    elif (total := compressed_rle_length(counts)) != height * width:
        raise SegkitError(f"{where}: the RLE's counts are broken: they cover {total} pixels of {height} x {width}")
    return {"size": list(size), "counts": counts}


def compressed_rle_length(counts: str) -> int | None:
    """Number of pixels that COCO's compressed counts cover; None where the string is no such code.

    Checked here because pycocotools trusts the string: a broken one makes it write outside its memory.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 50:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            if len(runs) > 2:  # from the fourth run on, differences to the run before the last are stored
                value += runs[-2]
            if value < 0:
                return None
            runs.append(value)
            value = shift = 0
    return None if shift else sum(runs)


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_hashable(value: Any) -> bool:
    return value.__hash__ is not None


def _ranges(ids: list[int]) -> str:
    return ", ".join(map(str, ids)) if len(ids) <= 10 else f"{len(ids)} ids from {ids[0]} to {ids[-1]}"
