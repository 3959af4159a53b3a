"""Writing of predictions in a thread, while the model predicts the next images."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from segkit.inference.output_files import NamesFiles
from segkit.inference.predicted_image import PredictedImage
from segkit.inference.stream import PredictedBatch
from segkit.utils.errors import counted

WAITING = 2  # batches that may wait for the thread


class Writer(NamesFiles, Protocol):
    """Writes predictions, as a :class:`segkit.results.ResultWriter` does."""

    def add(self, image: PredictedImage) -> None:
        """Adds an image's detections."""

    def close(self) -> list[Path]:
        """Finishes the files and returns their paths."""


@dataclass
class PredictionSummary:
    """Counts and files of a prediction.

    Attributes:
        inputs: number of inputs that are finished: predicted or skipped.
        images: number of images predicted.
        detections: number of detections of each label.
        images_with: number of images with each label.
        skipped: files that could not be read.
        written: files that the writers have written.
        refused: messages of writers that wrote nothing, as for a submission that lacks images.
        seconds: time of the whole prediction.
    """

    inputs: int = 0
    images: int = 0
    detections: Counter[int] = field(default_factory=Counter)
    images_with: Counter[int] = field(default_factory=Counter)
    skipped: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: PredictionSummary) -> None:
        """Adds the counts of another part of the prediction."""
        self.inputs += other.inputs
        self.images += other.images
        self.detections.update(other.detections)
        self.images_with.update(other.images_with)
        self.skipped += other.skipped
        self.seconds += other.seconds

    def table(self, classes: Sequence[str]) -> str:
        """Returns a table with a row for each class."""
        from tabulate import tabulate

        rows: list[list[object]] = [[n, self.detections[k], self.images_with[k]] for k, n in enumerate(classes)]
        rows.append(["all", self.detections.total(), ""])
        return tabulate(
            rows, headers=["class", "detections", f"of {counted(self.images, 'image')} in"], disable_numparse=True
        )


class Ledger(Protocol):
    """Keeps on the disk how far a prediction is, as a ``PredictionState`` does."""

    def finish_batch(self, summary: PredictionSummary) -> None:
        """Records that all writers have finished the inputs that the counts stand for."""


class WritingThread:
    """Adds batches to writers, in order, in a thread.

    A context, at whose end all batches are written.

    Args:
        writers: used by the thread alone until the context ends.
        summary: its counts are those of the batches that are written.
        ledger: None: nothing is recorded.
        start: the time by ``time.perf_counter`` from which ``summary.seconds`` counts.
    """

    def __init__(
        self, writers: Sequence[Writer], summary: PredictionSummary, ledger: Ledger | None, start: float
    ) -> None:
        self._writers, self._summary, self._ledger, self._start = writers, summary, ledger, start
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="segkit-writer")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> WritingThread:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            while self._waiting:
                self._waiting.popleft().result()
        except Exception:
            if error is None:
                raise
        finally:
            self._pool.shutdown(wait=True)

    def write(self, batch: PredictedBatch) -> None:
        """Hands a batch to the thread.

        Waits while too many wait already.

        Raises:
            Exception: what a writer raised for an earlier batch; later ones are not written.
        """
        while len(self._waiting) >= WAITING or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write, batch))

    def _write(self, batch: PredictedBatch) -> None:
        if self._failed:
            return
        try:
            for image in batch.images:
                for writer in self._writers:
                    writer.add(image)
                labels = image.detections.labels.tolist()
                self._summary.images += 1
                self._summary.detections.update(labels)
                self._summary.images_with.update(set(labels))
            self._summary.inputs += batch.inputs
            self._summary.skipped += batch.skipped
            self._summary.seconds = time.perf_counter() - self._start
            if self._ledger is not None and batch.may_stop:
                self._ledger.finish_batch(self._summary)
        except BaseException:
            self._failed = True
            raise
