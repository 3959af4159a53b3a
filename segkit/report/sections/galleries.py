"""Pictures of the worst, the best and random images, and of each kind of error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segkit.report.analysis import ReportOptions, RunAnalysis
from segkit.report.sections.base import Section, fill


@dataclass(frozen=True)
class GallerySection:
    """The section, the ids of its groups, and the gallery's own styles and scripts."""

    section: Section
    ids: frozenset[str] = frozenset()
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()


def section(runs: Sequence[RunAnalysis], options: ReportOptions) -> GallerySection:
    """The galleries of all runs."""
    return GallerySection(Section("gallery", "Gallery", "Gallery", fill("gallery.html")))
