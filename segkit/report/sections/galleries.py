"""Pictures of the worst, the best and random images, and of each kind of error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from segkit.diagnosis.findings import Example
from segkit.report.analysis import ReportOptions, RunAnalysis
from segkit.report.gallery import GALLERY_CSS, GALLERY_JS, GalleryGroup, gallery, image_groups
from segkit.report.sections.base import Section, fill
from segkit.report.sections.errors import gallery_id

MOST_KINDS = 8  # of errors with examples, of a single run
MOST_KINDS_BESIDE = 3  # of each of several runs
MAX_BYTES = 12 << 20  # of all galleries of a page
LABELS_ID = "examples-labels"


@dataclass(frozen=True)
class GallerySection:
    """The section, the ids of its groups, and the gallery's own styles and scripts."""

    section: Section
    ids: frozenset[str] = frozenset()
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()


def section(runs: Sequence[RunAnalysis], options: ReportOptions) -> GallerySection:
    """A gallery of all runs side by side, and of several runs one of each other's examples."""
    first = runs[0]
    parts: list[tuple[Sequence[RunAnalysis], list[GalleryGroup]]] = []
    if options.images:
        whole = image_groups(first.run, options.images, score_threshold=first.threshold, seed=options.seed)
        parts.append((runs, [*whole, *_examples(first, len(runs) > 1, options), *_label_group(first, options)]))
        parts += [([run], groups) for run in runs[1:] if (groups := _examples(run, True, options))]
    shares = MAX_BYTES // max(len(parts), 1)
    fragments = [
        Markup(
            gallery(
                [replace(run.run, name=run.label) for run in own],
                groups,
                score_threshold=own[0].threshold,
                max_bytes=shares,
            )
        )
        for own, groups in parts
        if groups
    ]
    reason = "" if fragments else "no images were asked for" if not options.images else "there are no images"
    titles = [own[0] if len(own) == 1 and len(runs) > 1 else None for own, groups in parts if groups]
    body = fill("gallery.html", parts=list(zip(titles, fragments, strict=True)), absent=reason)
    ids = frozenset(group.id for _, groups in parts for group in groups if group.id)
    lead = "Ground truth beside the detections. The slider sets the score from which detections are drawn."
    made = Section("gallery", "Gallery", "Gallery", body, lead if fragments else "")
    return GallerySection(made, ids, (GALLERY_CSS,), (GALLERY_JS,)) if fragments else GallerySection(made)


def _examples(run: RunAnalysis, several: bool, options: ReportOptions) -> list[GalleryGroup]:
    """The worst examples of the most costly kinds of errors."""
    if run.diagnosis is None:
        return []
    found = [finding for finding in (*run.diagnosis.tide, *run.diagnosis.cells) if finding.count and finding.examples]
    found.sort(key=lambda finding: -finding.lost_ap)
    return [
        GalleryGroup(
            f"{finding.title}, {run.label}" if several else finding.title,
            finding.evidence,
            finding.examples[: options.images],
            gallery_id(run, finding),
        )
        for finding in found[: MOST_KINDS_BESIDE if several else MOST_KINDS]
    ]


def _label_group(run: RunAnalysis, options: ReportOptions) -> list[GalleryGroup]:
    """The annotations that are most probably wrong."""
    items = [Example(error.image_id, error.object, error.detection) for error in run.label_errors[: options.images]]
    text = "The most probable first."
    return [GalleryGroup("Annotations that are probably wrong", text, items, LABELS_ID)] if items else []
