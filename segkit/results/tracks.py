"""Writes a table of the tracks of time series."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from segkit.inference.predicted_image import PredictedImage
from segkit.registry import RESULT_WRITER_REGISTRY
from segkit.results.base import ResultWriter
from segkit.results.object_rows import csv_line, plain_text
from segkit.results.part_files import PartFiles
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.utils.table_text import escape_csv

LINES = "tracks"
COLUMNS = ("series", "track", "class", "first_frame", "last_frame", "frames", "missing_frames", "mean_score")


@dataclass
class _Track:
    first: int
    last: int = 0
    frames: int = 0
    score: float = 0.0
    labels: Counter[int] = field(default_factory=Counter)


@RESULT_WRITER_REGISTRY.register(name="tracks")
class TrackResultWriter(ResultWriter):
    """Writes ``tracks.csv``: a row for each track of each time series.

    A row has the track's id, which is that of label maps and tables, its most frequent class (of several the first), its
    first and last frame, in how many frames it is and in how many between them it is not, and its mean score. Memory grows
    with the tracks of one series.

    Args:
        output, classes, category_ids, parts: as of every writer.
    """

    def __init__(self, output: Path, classes: Sequence[str], category_ids: Sequence[int], parts: PartFiles) -> None:
        super().__init__(output, classes, category_ids, parts)
        self.path = self.output / "tracks.csv"

    def add(self, image: PredictedImage) -> None:
        if image.track_ids is None or image.series is None:
            raise SegkitError(
                f"{image.name}: the writer tracks needs a time series; predict with --series", key="--write"
            )
        found = image.detections
        scores = [round(score, 6) for score in found.scores.tolist()]
        line = [image.series, image.frame, image.track_ids.tolist(), found.labels.tolist(), scores]
        self.parts.append(LINES, json.dumps(line))

    def close(self) -> list[Path]:
        with atomic_write(self.path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as table:
            table.write(f"{csv_line(COLUMNS)}\n")
            series, tracks = None, dict[int, _Track]()
            for line in self.parts.lines(LINES):
                name, frame, ids, labels, scores = json.loads(line)
                if name != series:
                    self._write_rows(table, series, tracks)
                    series, tracks = name, {}
                for number, label, score in zip(ids, labels, scores, strict=True):
                    track = tracks.setdefault(number, _Track(frame))
                    track.last, track.frames, track.score = frame, track.frames + 1, track.score + score
                    track.labels[label] += 1
            self._write_rows(table, series, tracks)
        return [self.path]

    def _write_rows(self, table: TextIO, series: str | None, tracks: dict[int, _Track]) -> None:
        for number, track in sorted(tracks.items()):
            name = self.classes[track.labels.most_common(1)[0][0]]
            missing = track.last - track.first + 1 - track.frames
            score = round(track.score / track.frames, 6)
            texts = [escape_csv(plain_text(text)) for text in (series or "", name)]
            row = [texts[0], number, texts[1], track.first, track.last, track.frames, missing, score]
            table.write(f"{csv_line(row)}\n")
