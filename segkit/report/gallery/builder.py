"""Opens the images of a gallery, draws their pictures, and collects what fits into the page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from segkit.data.formats.image_names import image_names
from segkit.diagnosis.findings import Example
from segkit.engine.finished_run import FinishedRun
from segkit.evaluation.coco_matching import IouType
from segkit.evaluation.image_overlaps import ImageOverlaps
from segkit.report.gallery.groups import GalleryGroup, image_score
from segkit.report.gallery.records import Truth, run_record, truth_record
from segkit.report.gallery.scenes import MAX_SIDE, Scene, Window, crop_window, make_scene
from segkit.utils.errors import SegkitError
from segkit.visualization.colors import class_colors, hue_colors

PICTURE_BYTES = 90_000  # of a picture at most, before base64
PICTURE_SHARE = 0.6  # of the bytes of a gallery
ITEM_BYTES = 600  # of a picture's HTML, about
FRAME_BYTES = 20_000  # of the toolbar and the dialogs, about


@dataclass
class Item:
    """One picture of a group."""

    group: int
    image_id: int
    example: Example | None
    scene: Scene | None = None
    focus: Window | None = None


@dataclass
class PageImage:
    """An image of the page and its pictures."""

    name: str
    size: tuple[int, int]
    record: dict[str, Any]
    scenes: dict[Window, Scene] = field(default_factory=dict)


def items_in_turn(groups: Sequence[GalleryGroup]) -> Iterator[Item]:
    """The first item of each group, then the second ones, and so on."""
    listed = [
        [
            Item(
                index, one.image_id if isinstance(one, Example) else int(one), one if isinstance(one, Example) else None
            )
            for one in group.items
        ]
        for index, group in enumerate(groups)
    ]
    for row in zip_longest(*listed):
        yield from (item for item in row if item is not None)


class Builder:
    """Opens the images and draws their scenes."""

    def __init__(self, runs: Sequence[FinishedRun], score_threshold: float) -> None:
        first = runs[0]
        for other in runs[1:]:
            if list(other.dataset.classes) != list(first.dataset.classes):
                raise SegkitError(
                    f"the runs {first.name} and {other.name} have different classes: {', '.join(first.dataset.classes)}; "
                    f"{', '.join(other.dataset.classes)}"
                )
        kind: IouType = "segm" if all(one.has_masks for one in runs) else "bbox"
        self.runs = runs
        self.score_threshold = score_threshold
        self.overlaps = [{image.image_id: image for image in one.overlaps(kind).images} for one in runs]
        self.index_of = {image_id: index for index, image_id in enumerate(first.dataset.image_ids)}
        self.file_names = image_names(first.dataset)
        self.images: dict[int, PageImage] = {}

    def build(self, items: Sequence[Item], max_bytes: int) -> list[Item]:
        """Draws the scene of each item, image by image.

        Returns:
            the items whose image cannot be read.
        """
        by_image: dict[int, list[Item]] = {}
        for item in items:
            by_image.setdefault(item.image_id, []).append(item)
        if unknown := [image_id for image_id in by_image if image_id not in self.index_of]:
            raise SegkitError(f"the run {self.runs[0].name} has no image with the id {unknown[0]}", value=unknown[0])
        share = max_bytes // max(1, len(items))
        lost: list[Item] = []
        for image_id, own in by_image.items():
            try:
                self._draw(image_id, own, share)
            except (SegkitError, OSError):
                lost += own
        return lost

    def _draw(self, image_id: int, items: Sequence[Item], share: int) -> None:
        dataset, index = self.runs[0].dataset, self.index_of[image_id]
        sample = dataset.open(index).with_targets()
        truth = dataset.ground_truth(index, sample) or []
        size = self.overlaps[0][image_id].size
        results = [run.results.get(image_id, ()) if image_id in o else None for run, o in self._pairs()]
        image = PageImage(self.file_names[index], size, self._record(image_id, self.file_names[index], size, truth))
        self.images[image_id] = image
        whole: Window = (0, 0, size[1], size[0])
        has_whole = max(size) <= MAX_SIDE and any(item.example is None for item in items)
        for item in items:
            window = whole
            if item.example is not None:
                item.focus = crop_window(_box(item.example, truth, results[0] or ()) or whole, size)
                window = whole if has_whole else item.focus
            if window not in image.scenes:
                image.scenes[window] = make_scene(
                    sample.image,
                    size,
                    window,
                    truth,
                    results,
                    picture_bytes=min(PICTURE_BYTES, int(share * PICTURE_SHARE * 3 / 4)),
                    max_bytes=share - ITEM_BYTES - _bytes(image.record) // len(items),
                )
            item.scene = image.scenes[window]

    def _pairs(self) -> Iterator[tuple[FinishedRun, dict[int, ImageOverlaps]]]:
        return zip(self.runs, self.overlaps, strict=True)

    def _record(self, image_id: int, name: str, size: tuple[int, int], truth: Truth) -> dict[str, Any]:
        own = truth_record(truth, self.overlaps[0][image_id])
        rows: list[dict[str, Any] | None] = []
        for run, overlaps in self._pairs():
            image = overlaps.get(image_id)
            if image is None:
                rows.append(None)
                continue
            if len(image.object_ids) and int(image.object_ids.max()) >= len(truth):
                raise SegkitError(f"the runs {self.runs[0].name} and {run.name} differ in the ground truth of {name}")
            classes = ["object"] if run.class_agnostic else run.dataset.classes
            ap = image_score(image, classes, self.score_threshold).ap
            rows.append(run_record(image, own["c"], class_agnostic=run.class_agnostic, ap=ap))
        return {"n": name, "s": [size[1], size[0]], "t": own, "r": rows}

    def data(self, items: Sequence[Item], max_bytes: int) -> tuple[dict[str, Any], list[Item]]:
        """The data of the page, and the items that fit into it."""
        images: dict[int, int] = {}
        scenes: dict[tuple[int, Window], int] = {}
        image_rows: list[Any] = []
        scene_rows: list[Any] = []
        item_rows: list[Any] = []
        shown: list[Item] = []
        used = FRAME_BYTES
        for item in items:
            if item.scene is None:
                continue
            image, key = self.images[item.image_id], (item.image_id, item.scene.window)
            scene = item.scene.record(images.get(item.image_id, len(image_rows)))
            extra = (
                ITEM_BYTES
                + (0 if item.image_id in images else _bytes(image.record))
                + (0 if key in scenes else _bytes(scene))
            )
            if used + extra > max_bytes:
                continue
            used += extra
            if item.image_id not in images:
                images[item.image_id] = len(image_rows)
                image_rows.append(image.record)
            if key not in scenes:
                scenes[key] = len(scene_rows)
                scene_rows.append(scene)
            row: dict[str, Any] = {"s": scenes[key]}
            if item.example is not None and item.focus is not None:
                x0, y0, x1, y1 = item.focus
                row |= {"f": [x0, y0, x1 - x0, y1 - y0], "o": item.example.object, "d": item.example.detection}
            item_rows.append(row)
            shown.append(item)
        classes = self.runs[0].dataset.classes
        data = {
            "classes": list(classes),
            "colors": _hex(class_colors(np.arange(len(classes)))),
            "hues": _hex(hue_colors()),
            "threshold": self.score_threshold,
            "runs": [run.name for run in self.runs],
            "images": image_rows,
            "scenes": scene_rows,
            "items": item_rows,
        }
        return data, shown


def _box(example: Example, truth: Truth, results: Truth) -> tuple[float, float, float, float] | None:
    """x0, y0, x1, y1 around the object and the detection of an example; None if it has neither."""
    boxes = [] if example.object is None else [truth[example.object]["bbox"]]
    boxes += [] if example.detection is None else [results[example.detection]["bbox"]]
    if not boxes:
        return None
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[0] + box[2] for box in boxes),
        max(box[1] + box[3] for box in boxes),
    )


def _hex(colors: np.ndarray) -> list[str]:
    """CSS colours of uint8 [N, 3]."""
    return [f"#{color.tobytes().hex()}" for color in colors]


def _bytes(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")))
