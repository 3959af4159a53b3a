"""What is said about settings that explain missed objects, and what to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from segkit.diagnosis import prescriptions
from segkit.diagnosis.findings import Finding
from segkit.diagnosis.ranking import Ranking
from segkit.diagnosis.unexplained import Unexplained, count_of, percent

FEWEST_AT_LIMIT = 3  # images with the same, largest number of detections that show a limit which is not known


@dataclass(frozen=True)
class Blame:
    """A setting that explains missed objects.

    Attributes:
        errors: those that are left.
        kind: of the finding.
        share: float64 [M], by how much the setting explains that an object is missed.
        acting: bool [M], the objects that the setting acts on.
        compared: bool [M], the objects whose rates of misses are compared: those of images below the limit of detections.
    """

    errors: Unexplained
    kind: str
    share: np.ndarray
    acting: np.ndarray
    compared: np.ndarray

    def rates(self) -> tuple[str, str]:
        """The share of missed objects among those that the setting acts on, and among the others."""
        compared = self.compared if (self.compared & self.acting).any() else np.ones_like(self.compared)
        first, second = (
            percent(float((self.errors.objects & one).sum()), float(one.sum()))
            for one in (compared & self.acting, compared & ~self.acting)
        )
        return first, second

    def finding(self, title: str, evidence: str, advice: str, overrides: tuple[str, ...]) -> Finding:
        """The finding with this title and text."""
        return divided(self.errors, self.kind, title, self.share, evidence, advice, overrides)


def divided(
    errors: Unexplained,
    kind: str,
    title: str,
    share: np.ndarray,
    evidence: str,
    advice: str,
    overrides: tuple[str, ...],
) -> Finding:
    """A finding about shares (float64 [M]) of missed objects, whose oracle finds them."""
    table = errors.table
    rows = np.flatnonzero(share > 0)
    # The largest object first among those of equal shares.
    examples = table.examples(objects=rows, cost=share[rows] + 1e-12 * table.object_areas[rows])
    gain = table.gain(table.mended_ap(recovered=share))
    return Finding(kind, title, gain, 0.0, round(float(share.sum())), evidence, advice, overrides, examples)


def limit_of(errors: Unexplained) -> int | None:
    """Returns the limit of detections per image.

    Without a setting it is the largest number, if several images have it.
    """
    if errors.settings.detections_per_image is not None:
        return errors.settings.detections_per_image
    counts = np.array([len(image.scores) for image in errors.table.data.images])
    objects = np.array([len(image.object_labels) for image in errors.table.data.images])
    if not len(counts) or (counts == counts.max()).sum() < FEWEST_AT_LIMIT:
        return None
    return int(counts.max()) if (objects > counts.max()).any() else None


def at_limit(table: Ranking, limit: int | None) -> np.ndarray:
    """Which images have as many detections as the limit allows: bool [images]."""
    counts = np.array([len(image.scores) for image in table.data.images], np.int64)
    return counts >= limit if limit is not None else np.zeros(len(counts), bool)


def _detection_limit(blame: Blame) -> Finding:
    table, limit = blame.errors.table, limit_of(blame.errors)
    densest = int(np.bincount(table.object_images).max())
    full = int(at_limit(table, limit).sum())
    known = blame.errors.settings.detections_per_image is not None
    return blame.finding(
        "objects cut off by the limit of detections per image",
        f"{count_of(full, 'image')} of {len(table.data.images):,} {'has' if full == 1 else 'have'} {limit} detections, "
        f"{'the limit' if known else 'the most of all images'}; {percent(blame.share.sum(), blame.errors.lost)} of the missed "
        f"objects are in them beyond the rate of other images. The densest image has {densest:,} objects.",
        "Allow more detections per image than the densest image has objects.",
        prescriptions.higher_detection_limit(blame.errors.settings, densest),
    )


def _small_for_anchors(blame: Blame) -> Finding:
    low, high = np.quantile(blame.errors.seen_sides, [0.1, 0.99])
    smallest = blame.errors.settings.smallest_anchor or 0.0
    return _anchors(blame, ("smaller", "smallest", "under"), smallest, (float(low), float(high)))


def _large_for_anchors(blame: Blame) -> Finding:
    settings = blame.errors.settings
    low, high = np.quantile(blame.errors.seen_sides, [0.1, 0.999])
    ends = (min(float(low), settings.smallest_anchor or np.inf), float(high))
    return _anchors(blame, ("larger", "largest", "over"), settings.largest_anchor or 0.0, ends)


def _anchors(blame: Blame, words: tuple[str, str, str], anchor: float, ends: tuple[float, float]) -> Finding:
    errors = blame.errors
    missed = errors.objects & blame.acting
    than, which, beyond = words
    acting, others = blame.rates()
    return blame.finding(
        f"objects {than} than the {which} anchor",
        f"{percent(int(missed.sum()), errors.lost)} of the missed objects are {than} than {anchor:g} px, the {which} anchor, "
        f"as the model sees them (half of them are {beyond} {np.median(errors.seen_sides[missed]):.0f} px); {acting} of such "
        f"objects are missed, {others} of the others.",
        f"Use anchors from {ends[0]:.0f} to {ends[1]:.0f} px, the sizes of the objects.",
        prescriptions.anchors_for(errors.settings, *ends),
    )


def _tile_seam(blame: Blame) -> Finding:
    errors = blame.errors
    acting, others = blame.rates()
    side = float(np.quantile(errors.table.object_boxes[:, 2:].max(axis=1), 0.95))
    overlap = errors.settings.tile_overlap
    return blame.finding(
        "objects cut by the border of a tile",
        f"{acting} of the objects at the border of a tile are missed, {others} of the others; tiles share "
        f"{overlap if overlap is not None else 'an unknown number of'} pixels, 19 of 20 objects are up to {side:.0f} px long.",
        "Let tiles share as many pixels as objects are long, and skip objects of which a tile shows less than half.",
        prescriptions.larger_tile_overlap(errors.settings, side),
    )


BLAMED: Mapping[str, Callable[[Blame], Finding]] = {
    "detection_limit": _detection_limit,
    "small_for_anchors": _small_for_anchors,
    "large_for_anchors": _large_for_anchors,
    "tile_seam": _tile_seam,
}
