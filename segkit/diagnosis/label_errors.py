"""Annotations that are probably wrong, ranked by the detections and losses of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segkit.diagnosis.claims import Claims
from segkit.diagnosis.label_evidence import (
    AS_ONE,
    AS_SEVERAL,
    BADLY_DRAWN,
    DUPLICATE,
    HIGH_LOSS,
    MATCHED,
    MISSING,
    NEVER_FOUND,
    OTHER_CLASS,
    Evidence,
    duplicates,
    never_found,
)
from segkit.diagnosis.loss_ranks import LossRanks
from segkit.diagnosis.run_statistics import run_statistics, touched
from segkit.diagnosis.same_images import TOLERANCE
from segkit.evaluation.image_overlaps import DatasetOverlaps, ImageOverlaps
from segkit.evaluation.overlaps import box_overlaps
from segkit.utils.errors import SegkitError

KINDS = {
    MISSING: "a confident detection without an annotation",
    NEVER_FOUND: "an annotation that no detection touches",
    OTHER_CLASS: "a confident detection of another class",
    BADLY_DRAWN: "an outline that the detections do not confirm",
    AS_ONE: "several objects annotated as one",
    AS_SEVERAL: "one object annotated as several",
    DUPLICATE: "an object annotated twice",
    HIGH_LOSS: "an object whose loss stays high",
}
TELLING = (DUPLICATE, AS_ONE, AS_SEVERAL, OTHER_CLASS, BADLY_DRAWN, NEVER_FOUND, HIGH_LOSS)  # the most telling first
CONFIRMED_BY_LOSS = (NEVER_FOUND, OTHER_CLASS)
NEARLY = 0.7  # of the highest score, from which a more telling kind names the error


@dataclass(frozen=True)
class LabelError:
    """An annotation that is probably wrong, or missing.

    Attributes:
        kind: a key of ``KINDS``.
        image_id: the file's id.
        object: position in the image's ground truth; None for a missing annotation.
        detection: position among the image's results, of the first model; None if no single detection speaks against it.
        score: 0..1, by which the list is ranked.
        reason: a sentence with the figures.
    """

    kind: str
    image_id: int
    object: int | None
    detection: int | None
    score: float
    reason: str


def find_label_errors(
    data: DatasetOverlaps | Sequence[DatasetOverlaps],
    *,
    object_losses: Mapping[int, np.ndarray] | None = None,
    min_score: float = 0.1,
    limit: int | None = None,
) -> list[LabelError]:
    """Ranks the annotations that are probably wrong, the most probable first.

    Detections are trusted as far as they are right: a detection's confidence is the precision of detections of its class at
    its score, measured on the same data. As in confident learning (Northcutt et al. 2021) a model is thus compared with its
    own usual confidence and not with a fixed threshold. The kinds for boxes are those of ObjectLab (Tkachenko et al. 2023):
    overlooked, badly located and swapped; the kinds of touching objects, duplicates and losses (Schubert et al. 2024) are
    added. Each score is about a probability, so that all kinds are one list:

    - ``missing_annotation``: confidence, times the share of the detection that no annotation covers, less in images of which
      the model finds little that is annotated;
    - ``never_found``: w / (w + (1 - w) s), where s is the share of the objects of that class, size and image that no
      detection touches, and w = 0.03 the share of annotations that is assumed to be wrong (Bayes' rule);
    - ``other_class``: confidence, times 1 - the confidence of the detections of the annotated class;
    - ``badly_drawn``: confidence, times (u - IoU) / (u - 0.3), where u is the usual IoU of such objects;
    - ``annotated_as_one``, ``annotated_as_several``: confidence of the detections, times the share they cover;
    - ``duplicate``: the middle of the bounds of the IoU of the two annotations;
    - ``high_loss``: the same with s the share of the objects of the class with a higher loss, times
      1 - exp(-(loss - median of the class)); loss and share are medians over the checkpoints.

    The scores of the kinds that detections claim are multiplied by w / (w + (1 - w) c), where c is the sum of the other
    scores of the kind by the number of annotations: a model that often merges neighbours, say, is no witness against their
    annotations. For ``missing_annotation`` w is larger if more is missing beside the tenth of the detections of the highest
    scores: there a model errs least, so that what is left without an annotation is the annotators' share.

    With losses, the scores of ``never_found`` and ``other_class`` are means of the score above and that of the loss, which
    such errors raise for certain; the loss then does not count again. An annotation is listed once, with the highest score
    of its kinds. Its kind is the most telling one of those with nearly that score: touching objects and duplicates before
    classes, these before outlines, and losses last.

    Ignore regions, crowd regions and classes that are not annotated everywhere in an image are never listed.

    Args:
        data: overlaps of one model, or of several models or checkpoints on the same images. Of several the scores are
            averaged, and detections are those of the first.
        object_losses: by image id, float [R, G]: the losses of R checkpoints for each of the G entries of the image's ground
            truth; NaN if an entry has none, as a region. None: no losses.
        min_score: errors of a lower score are not listed.
        limit: length of the list at most; None: all.
    Raises:
        SegkitError: the data of several models have different images, classes or annotations.
    """
    runs = [data] if isinstance(data, DatasetOverlaps) else list(data)
    _check_same(runs)
    found_objects = [np.any([touched(image) for image in images], axis=0) for images in _by_image(runs)]
    usual = [run_statistics(run, found_objects) for run in runs]
    claims = [Claims(run, own) for run, own in zip(runs, usual, strict=True)]
    losses = None if object_losses is None else LossRanks(runs[0], object_losses)
    found: list[LabelError] = []
    for images, touched_objects in zip(_by_image(runs), found_objects, strict=True):
        evidence = _evidence(images, claims)
        if all(len(image.scores) < run.max_detections for image, run in zip(images, runs, strict=True)):
            evidence += never_found(images[0], usual[0], touched_objects)  # a full list may lack them
        rows = [] if losses is None else losses.evidence(images[0])
        found += [one for one in _listed(images[0], evidence, rows, runs[0].classes) if one.score >= min_score]
        if limit is not None and len(found) > 10_000 + 2 * limit:  # a million objects do not stay in memory
            found = _ranked(found)[:limit]
    return _ranked(found)[:limit]


def _by_image(runs: Sequence[DatasetOverlaps]) -> Iterator[tuple[ImageOverlaps, ...]]:
    """Each image as all runs have it."""
    return zip(*(run.images for run in runs), strict=True)


def _ranked(found: list[LabelError]) -> list[LabelError]:
    """The most probable error first; of equal ones, in the order of images and objects."""
    return sorted(
        found,
        key=lambda one: (
            -one.score,
            one.image_id,
            -1 if one.object is None else one.object,
            -1 if one.detection is None else one.detection,
        ),
    )


def _check_same(runs: Sequence[DatasetOverlaps]) -> None:
    """Raises SegkitError if the data differ in images, classes or annotations."""
    if not runs:
        raise SegkitError("label errors need the overlaps of one model or more, found none", key="data")
    first = runs[0]
    for i, other in enumerate(runs[1:], start=1):
        if list(other.classes) != list(first.classes):
            raise SegkitError(
                f"data[{i}] has the classes {', '.join(other.classes[:12])}, data[0] has {', '.join(first.classes[:12])}",
                key="data",
            )
        ids = [[image.image_id for image in run.images] for run in (first, other)]
        if ids[0] != ids[1]:
            strange = sorted(set(ids[0]) ^ set(ids[1]))
            raise SegkitError(
                f"data[{i}] has other images than data[0], as {strange[:1]}: evaluate all models on the same split",
                key="data",
            )
        for one, two in zip(first.images, other.images, strict=True):
            same = np.array_equal(one.object_ids, two.object_ids) and np.array_equal(
                one.object_labels, two.object_labels
            )
            if not same or not np.allclose(one.object_boxes, two.object_boxes, rtol=0.0, atol=TOLERANCE):
                raise SegkitError(
                    f"data[{i}]: the image {one.image_id} has other annotations than in data[0]", key="data"
                )


def _evidence(images: Sequence[ImageOverlaps], claims: Sequence[Claims]) -> list[Evidence]:
    """The evidence of all models about one image; scores are means over the models."""
    each = [own.of(image) for image, own in zip(images, claims, strict=True)]
    found = list(duplicates(images[0]))
    missing = [[one for one in evidence if one.kind == MISSING] for evidence in each]
    for one in missing[0]:
        support = [_support(images[0], one, *others) for others in zip(images[1:], missing[1:], strict=True)]
        found.append(Evidence(MISSING, -1, one.detection, (one.score + sum(support)) / len(images), one.facts))
    by_object: dict[tuple[str, int], list[Evidence]] = {}
    for k, evidence in enumerate(each):
        for one in evidence:
            if one.kind != MISSING:
                mine = one if k == 0 else Evidence(one.kind, one.object, -1, one.score, one.facts)
                by_object.setdefault((one.kind, one.object), []).append(mine)
    for (kind, o), group in by_object.items():
        score = sum(one.score for one in group) / len(images)
        found.append(Evidence(kind, o, group[0].detection, score, group[0].facts))
    return found


def _support(image: ImageOverlaps, one: Evidence, other: ImageOverlaps, evidence: Sequence[Evidence]) -> float:
    """The score of the missing annotation that another model reports at the same place; 0 without."""
    if not evidence:
        return 0.0
    boxes = other.boxes[[two.detection for two in evidence]]
    common = box_overlaps(image.boxes[one.detection][None], boxes)
    return max((evidence[d].score for d in common.detections[common.ious >= MATCHED].tolist()), default=0.0)


def _listed(
    image: ImageOverlaps, evidence: Sequence[Evidence], losses: Sequence[Evidence], classes: Sequence[str]
) -> list[LabelError]:
    """One entry for each annotation and each missing one."""
    groups: dict[int, list[Evidence]] = {}
    found = [_entry(image, one, one.score, _reason(image, one, classes)) for one in evidence if one.kind == MISSING]
    for one in [*evidence, *losses]:
        if one.kind != MISSING:
            groups.setdefault(one.object, []).append(one)
    for group in groups.values():
        best, weighed = _with_loss(group)
        ordered = sorted(weighed, key=lambda one: (one.score < NEARLY * best, TELLING.index(one.kind), -one.score))
        reasons = [_reason(image, one, classes) for one in ordered if one is ordered[0] or one.score >= 0.5]
        found.append(_entry(image, ordered[0], best, "; ".join(reasons)))
    return found


def _with_loss(group: Sequence[Evidence]) -> tuple[float, Sequence[Evidence]]:
    """The score of an annotation, and its evidence with the scores that the loss has changed."""
    of_loss = next((one.score for one in group if one.kind == HIGH_LOSS), None)
    if of_loss is None or not any(one.kind in CONFIRMED_BY_LOSS for one in group):
        return max(one.score for one in group), group
    group = [replace(one, score=(one.score + of_loss) / 2) if one.kind in CONFIRMED_BY_LOSS else one for one in group]
    return max(one.score for one in group if one.kind != HIGH_LOSS), group


def _entry(image: ImageOverlaps, one: Evidence, score: float, reason: str) -> LabelError:
    o = None if one.object < 0 else int(image.object_ids[one.object])
    return LabelError(one.kind, image.image_id, o, None if one.detection < 0 else one.detection, score, reason)


def _reason(image: ImageOverlaps, one: Evidence, classes: Sequence[str]) -> str:
    """The sentence about one piece of evidence."""
    shown = "another model's detection"
    if one.detection >= 0:
        shown = f"{classes[image.labels[one.detection]]} with score {image.scores[one.detection]:.2f}"
    annotated = "" if one.object < 0 else classes[image.object_labels[one.object]]
    if one.kind == MISSING:
        return f"detected: {shown}, where nothing is annotated"
    if one.kind == NEVER_FOUND:
        return f"no detection touches it, of any score; {100 * one.facts[0]:.1f} % of the others like it are found"
    if one.kind == OTHER_CLASS:
        return f"annotated as {annotated}, detected: {shown}, IoU {one.facts[0]:.2f}"
    if one.kind == BADLY_DRAWN:
        return f"detected: {shown}, with IoU {one.facts[0]:.2f} where {one.facts[1]:.2f} is usual"
    if one.kind == AS_ONE:
        return (
            f"{one.facts[0]:.0f} detections lie in it and cover {100 * one.facts[1]:.0f} % of it; the surest: {shown}"
        )
    if one.kind == AS_SEVERAL:
        return f"one detection ({shown}) covers {one.facts[0]:.0f} annotations, which fill {100 * one.facts[1]:.0f} % of it"
    if one.kind == DUPLICATE:
        first = int(image.object_ids[int(one.facts[0])])
        return f"shows the object of annotation {first} again: their IoU is {one.facts[1]:.2f} to {one.facts[2]:.2f}"
    loss, rank, high, checkpoints = one.facts
    return (
        f"its loss is {loss:.2f}, above that of {100 * rank:.0f} % of the {annotated} objects, and high in {high:.0f} of "
        f"{checkpoints:.0f} checkpoint{'s' * (checkpoints != 1)}"
    )
