"""Finds label errors, and writes the list, the crops, the page and the files for correction."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tabulate import tabulate

from segkit.data.writers.image_names import folder_name
from segkit.dataset_tools.gallery.show import Card, render
from segkit.dataset_tools.incomplete import IncompleteFolder
from segkit.dataset_tools.label_errors.correction import CorrectionData
from segkit.dataset_tools.label_errors.crops import SHAPES, card_of, crop_picture, cropped_shapes, pixels_of, window_of
from segkit.dataset_tools.label_errors.files import Row, row_of, write_csv, write_list
from segkit.dataset_tools.label_errors.flagged import FlaggedImages
from segkit.dataset_tools.label_errors.source import Models, read_models, require_images
from segkit.dataset_tools.writing import WrittenData, check_output, make_output, write_splits
from segkit.diagnosis.label_errors import KINDS, LabelError, find_label_errors
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError, counted, did_you_mean
from segkit.utils.images import write_image
from segkit.utils.progress import progress

FORMATS = {
    "coco": "coco",
    "qupath": "geojson",
    "labelme": "labelme",
}  # folder of the files for correction: their format
PAGE_LIMIT = 1000  # errors on the page, which holds their crops
STEM = 60  # characters of an image's name in that of a crop


@dataclass(frozen=True)
class LabelErrorReport:
    """What was found and written.

    Attributes:
        output: the folder.
        errors: those listed, the most probable first.
        found: number of errors found, listed or not.
        notes: sentences about the models.
        written: the files for correction, by folder.
    """

    output: Path
    errors: Sequence[LabelError]
    found: int
    notes: Sequence[str]
    written: dict[str, WrittenData] = field(default_factory=dict)

    def text(self) -> str:
        """The report for the terminal."""
        lines = list(self.notes)
        if not self.errors:
            return "\n".join([*lines, "no probable label errors were found"])
        counts = Counter(error.kind for error in self.errors)
        rows = [(kind, f"{counts[kind]:,}", title) for kind, title in KINDS.items() if counts[kind]]
        listed = f"{len(self.errors):,} of {self.found:,} probable label errors"
        lines.append(f"{listed}{'' if len(self.errors) == self.found else ' (--top lists more)'}:")
        lines.append(tabulate(rows, tablefmt="plain", colalign=("left", "right", "left"), disable_numparse=True))
        lines.append(f"written to {self.output}:")
        files = [
            ("index.html", "the errors with their crops"),
            ("label_errors.csv, .json", "the list"),
            ("crops/", "PNG"),
        ]
        for name, data in self.written.items():
            lost = "".join(f"; lost: {count:,} {what}" for what, count in data.losses.most_common())
            files.append((f"{name}/", f"{FORMATS[name]}, {counted(sum(data.images.values()), 'image')}{lost}"))
        lines.append(tabulate(files, tablefmt="plain", disable_numparse=True))
        return "\n".join(lines)


def label_errors(
    sources: Sequence[str],
    output: str,
    *,
    data: str | None = None,
    format: str | None = None,
    split: str = "val",
    weights: Sequence[str] = (),
    losses: bool = True,
    top: int = 200,
    min_score: float = 0.1,
    kinds: Sequence[str] = (),
    device: str | None = None,
) -> LabelErrorReport:
    """Finds the annotations that are probably wrong and writes them to a new folder.

    Args:
        sources: folders of runs on the same data, or one COCO results file.
        output: a new or empty folder.
        data, format: ground truth of a results file, and its format.
        split: ``train`` or ``val`` of the runs, or a split of ``data``.
        weights: checkpoints of the run; empty: its best one for detections and all that it kept for losses.
        losses: whether to measure the losses of the objects.
        top: number of errors listed at most.
        min_score: errors of a lower score are not listed.
        kinds: keys of ``KINDS`` to list; empty: all.
        device: where the models run; None: the runs' own.
    Raises:
        SegkitError: the models or data cannot be read, or the folder has content.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise SegkitError(
                f"--kind: there is no kind '{kind}'{did_you_mean(kind, KINDS)}", key="kind", choices=KINDS
            )
    check_output(output)
    with tempfile.TemporaryDirectory(prefix="segkit_") as folder:
        models = read_models(
            sources,
            Path(folder),
            data=data,
            format=format,
            split=split,
            weights=weights,
            losses=losses,
            device=device,
        )
        require_images(models.runs[0].dataset, sources[0])
        found = find_label_errors(models.data, object_losses=models.losses, min_score=min_score)
        found = [error for error in found if not kinds or error.kind in kinds]
        report = LabelErrorReport(make_output(output), found[:top], len(found), models.notes)
        _write(report, models)
    return report


def _write(report: LabelErrorReport, models: Models) -> None:
    """Writes all files; a note in the folder says that it is incomplete until then."""
    flagged = FlaggedImages(models.runs[0], report.errors)
    with IncompleteFolder(report.output, len(flagged)) as folder:
        rows: list[Row] = []
        cards: list[tuple[int, Card]] = []
        crops = report.output / "crops"
        crops.mkdir()
        for number in progress(range(len(flagged)), len(flagged), "images drawn"):
            image = flagged[number]
            pixels = flagged.run.dataset.open(image.index).image
            for rank, error in image.errors:
                window = window_of(image, error)
                part, shapes = pixels_of(pixels, window), cropped_shapes(image, error, window)
                stem = folder_name("__".join(PurePosixPath(image.name).with_suffix("").parts))[:STEM]
                name = f"{rank:04d}_{error.kind}_{stem}.png"
                with atomic_write(crops / name) as temporary:
                    write_image(temporary, crop_picture(part, shapes))
                rows.append(row_of(flagged, image, rank, error, models.split, f"crops/{name}"))
                if rank <= PAGE_LIMIT:
                    cards.append((rank, card_of(flagged, image, rank, error, part, shapes)))
            folder.done += 1
        rows.sort(key=lambda row: row.rank)
        write_csv(report.output / "label_errors.csv", rows)
        names = [str(run.path) for run in models.runs]
        write_list(report.output / "label_errors.json", rows, names, models.notes, report.found)
        _write_page(report, models, [card for _, card in sorted(cards, key=lambda pair: pair[0])])
        if rows:
            corrections = CorrectionData(flagged)
            for name, format in FORMATS.items():
                target = report.output / name
                target.mkdir()
                report.written[name] = write_splits({models.split: corrections}, {"format": format}, target, link=True)


def _write_page(report: LabelErrorReport, models: Models, cards: Sequence[Card]) -> None:
    """Writes the page, whose filter by split is a filter by kind here."""
    kinds = [kind for kind in KINDS if any(card.split == kind for card in cards)]
    shown = f"{len(cards):,} of {report.found:,} probable label errors"
    source = f"{models.split} images of {models.runs[0].dataset.describe()}"
    page = render(
        f"{models.runs[0].name}, label errors", source, shown, "", SHAPES, kinds, cards, [], False, groups="kinds"
    )
    with atomic_write(report.output / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
