"""COCO results of an image to detections, with checks that name the position in the file."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from segkit.structures.detections import Detections
from segkit.structures.rle_dicts import compressed_rles
from segkit.utils.errors import SegkitError, did_you_mean, first_few


class ImageResults(NamedTuple):
    """COCO results of one image.

    Attributes:
        results: dictionaries with ``category_id``, ``score``, ``bbox`` (XYWH) and ``segmentation`` (RLE), one or both.
        positions: of each in its file, for messages.
    """

    results: list[Mapping[str, Any]]
    positions: list[int]


class FileResults(list[dict[str, Any]]):
    """Some of the COCO results of a file.

    Attributes:
        positions: of each in the file, for messages.
    """

    def __init__(self, results: Iterable[dict[str, Any]], positions: Sequence[int]) -> None:
        super().__init__(results)
        self.positions = positions


def results_by_image(results: Iterable[Mapping[str, Any]], image_ids: Iterable[int]) -> dict[int, ImageResults]:
    """Groups results by their image.

    Args:
        results: of all images.
        image_ids: of the images that there are.
    Raises:
        SegkitError: an unknown ``image_id``.
    """
    known, found = set(image_ids), dict[int, ImageResults]()
    strange: list[tuple[int, Any]] = []
    results = list(results) if not isinstance(results, FileResults) else results
    positions = results.positions if isinstance(results, FileResults) else range(len(results))
    for position, one in zip(positions, results, strict=True):
        image_id = one["image_id"]
        if isinstance(image_id, bool) or not isinstance(image_id, Hashable) or image_id not in known:
            strange.append((position, image_id))
            continue
        of_image = found.setdefault(image_id, ImageResults([], []))
        of_image.results.append(one)
        of_image.positions.append(position)
    if strange:
        position, image_id = strange[0]
        kind = "" if isinstance(image_id, int) else f" (a {type(image_id).__name__})"
        listed = first_few([str(one) for one in sorted(known)])
        hint = "; all ids are strange: is the file of another split?" if not found else ""
        raise SegkitError(
            f"results[{position}]: the data set has no image with the image id {image_id!r}{kind} ({len(strange)} such "
            f"results); the {len(known)} images' ids are {listed}{hint}",
            key="image_id", value=image_id,
        )  # fmt: skip
    return found


def detections_from_results(
    found: ImageResults, size: tuple[int, int], category_ids: Sequence[int], *, scores_in_range: bool = False
) -> Detections:
    """Converts one image's COCO results; RLEs are checked and not decoded.

    Args:
        found: the results.
        size: (H, W) of the image.
        category_ids: of each label.
        scores_in_range: whether scores must be in 0..1; otherwise any finite number is one.
    Raises:
        SegkitError: a category id that is not among these; a score or a box that is not finite; a box without a place in
            the image; an RLE that is malformed or of another size; the same detection twice; boxes or masks in a part of
            the results only. The message has the position.
    """
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    labels, scores, boxes, rles = [], [], [], []
    seen: dict[tuple[Any, ...], int] = {}
    for one, position in zip(found.results, found.positions, strict=True):
        where = f"results[{position}]"
        labels.append(_label(one, label_of, where))
        scores.append(_score(one, where, scores_in_range))
        box, rle = one.get("bbox"), one.get("segmentation")
        if box is not None:
            boxes.append(_corners(box, size, where))
        if rle is not None:
            rles.append(_rle(rle, where))
        same = (labels[-1], scores[-1], tuple(box or ()), str(rle["counts"]) if rle is not None else None)
        if (first := seen.setdefault(same, position)) != position:
            raise SegkitError(f"{where} repeats results[{first}]: the same class, score, box and mask", value=position)
    for key, read in (("bbox", boxes), ("segmentation", rles)):
        if len(read) not in (0, len(labels)):
            raise SegkitError(f"{len(read)} of the {len(labels)} results have '{key}'; expected all or none", key=key)
    if labels and not boxes and not rles:
        keys = [key for key in found.results[0] if key not in ("image_id", "category_id", "score")]
        hint = did_you_mean("bbox", keys)
        raise SegkitError(f"results[{found.positions[0]}] has neither 'bbox' nor 'segmentation'{hint}", key="bbox")
    label_tensor = torch.tensor(labels, dtype=torch.long)
    score_tensor = torch.tensor(scores, dtype=torch.float32)
    box_tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) if boxes or not rles else None
    if not rles:
        assert box_tensor is not None
        return Detections(box_tensor, score_tensor, label_tensor, None, size)
    try:
        return Detections.from_rle(rles, score_tensor, label_tensor, size, box_tensor)
    except SegkitError:
        _raise_broken(rles, found.positions, size)
        raise


def _label(one: Mapping[str, Any], label_of: Mapping[int, int], where: str) -> int:
    category_id = one.get("category_id")
    if isinstance(category_id, bool) or not isinstance(category_id, Hashable) or category_id not in label_of:
        listed = first_few([str(known_id) for known_id in label_of], 20)
        raise SegkitError(
            f"{where} has the category_id {category_id!r}; the data set's are {listed}",
            key="category_id", value=category_id,
        )  # fmt: skip
    return label_of[category_id]  # type: ignore[index]


def _score(one: Mapping[str, Any], where: str, in_range: bool) -> float:
    score = one.get("score")
    try:
        value = math.nan if isinstance(score, str | bool) else float(score)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or (in_range and not 0 <= value <= 1):
        expected = "a number in 0..1" if in_range else "a finite number"
        raise SegkitError(f"{where} has the score {score!r}; expected {expected}", key="score", value=score)
    return value


def _corners(box: Any, size: tuple[int, int], where: str) -> list[float]:
    """XYXY of a box XYWH."""
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError):
        x = y = width = height = math.nan
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise SegkitError(
            f"{where}: bbox is {box!r:.80}; expected [x, y, width, height] in pixels", key="bbox", value=box
        )
    if x > size[1] or y > size[0] or x + width < 0 or y + height < 0:
        raise SegkitError(
            f"{where}: bbox {box!r:.80} lies outside of its image, which is {size[1]} x {size[0]} pixels large; expected "
            "[x, y, width, height] in pixels of the image file",
            key="bbox", value=box,
        )  # fmt: skip
    return [x, y, x + width, y + height]


def _rle(rle: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(rle, Mapping) or not {"size", "counts"} <= rle.keys():
        kind = "polygons" if isinstance(rle, list) else f"{rle!r:.60}"
        raise SegkitError(
            f"{where}: segmentation is {kind}; expected an RLE {{'size': [height, width], 'counts': ...}}",
            key="segmentation",
        )
    return rle


def _raise_broken(rles: Sequence[Mapping[str, Any]], positions: Sequence[int], size: tuple[int, int]) -> None:
    """Raises the error of the first RLE that is malformed, with its position."""
    for rle, position in zip(rles, positions, strict=True):
        try:
            compressed_rles([rle], size)
        except SegkitError as error:
            problem = str(error).removeprefix("objects[0]: ")
            raise SegkitError(f"results[{position}]: {problem}", key="segmentation", value=position) from None
