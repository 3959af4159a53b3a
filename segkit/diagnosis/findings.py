"""What a diagnosis finds: errors of a kind, their cost, examples, and what to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """An object or a detection, or both, of an image.

    Attributes:
        image_id: the file's id.
        object: position in the image's ground truth; None without an object.
        detection: position among the image's results; None without a detection.
    """

    image_id: int
    object: int | None
    detection: int | None


@dataclass(frozen=True)
class Finding:
    """Errors of one kind.

    Attributes:
        kind: its name, as ``merged``.
        title: one line for people.
        lost_ap: how much higher the AP would be without these errors, in 0..1.
        share: ``lost_ap`` by the sum of that of all findings of its family.
        count: number of objects or detections concerned.
        evidence: a sentence with the figures that support the advice; empty without advice.
        advice: a sentence that says what to change; empty if nothing is known to help.
        overrides: the changes as ``KEY=VALUE``, for the command line.
        examples: the worst ones first.
    """

    kind: str
    title: str
    lost_ap: float
    share: float
    count: int
    evidence: str = ""
    advice: str = ""
    overrides: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Slice:
    """Metrics of a part of the data.

    Attributes:
        group: by what the data are divided, as ``size``.
        name: the part, as ``small``.
        images: images with such objects or of this part.
        objects: objects of this part.
        metrics: by name, as ``AP``; None where there is nothing to measure.
    """

    group: str
    name: str
    images: int
    objects: int
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class Diagnosis:
    """All findings about a model on a data set.

    Attributes:
        ap: the AP of the whole data.
        tide: TIDE's kinds, the most costly first.
        cells: the kinds of errors of cells and of settings, the most costly first.
        slices: metrics of parts of the data.
    """

    ap: float
    tide: tuple[Finding, ...]
    cells: tuple[Finding, ...]
    slices: tuple[Slice, ...]
