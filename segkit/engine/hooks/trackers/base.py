"""The base of all trackers: a thread sends, so that no tracker stops or slows a training."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import queue
import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from segkit.engine.checkpoint import METRICS, TRACKED_RUNS, SavedCheckpoint
from segkit.engine.hooks.base import Writer
from segkit.engine.hooks.logging import is_pending
from segkit.engine.train_loop import TrainerBase
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import MissingPackage, SegkitError
from segkit.utils.logging import failure_warned

logger = logging.getLogger(__name__)
START_SECONDS = 20.0  # that the training waits for the tracker before its first step
RETRY_SECONDS = 60.0  # between two attempts to connect
MOST_WAITING = 1000  # lines, checkpoints and pictures that wait for a slow tracker; more are dropped and counted
LINES, CHECKPOINTS, PICTURES = "lines of metrics", "checkpoints", "pictures"
EARLIER_LINES = "lines of metrics of earlier processes"  # counted by the thread, the others by the training
_FILE_LOCK = threading.Lock()  # of the file with the ids, which several trackers' threads write


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is shown of a run.

    Attributes:
        folder: the run's folder.
        name: the folder's name, for lists of runs.
        config: the whole configuration, as plain values.
        tracker_id: the tracker's id of the run, if an earlier process of the run has sent something to it.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    tracker_id: str | None


@dataclass(frozen=True)
class Connection:
    """A run as the tracker has it.

    Attributes:
        tracker_id: the tracker's id of the run, by which a resumed run finds it.
        last_iteration: of the last line of metrics that the tracker has; 0: it has none. None: unknown, and taken for
            the iteration that the run resumes from.
        place: where the user finds the run, for the log.
    """

    tracker_id: str
    last_iteration: int | None
    place: str


class Tracker(Writer):
    """A writer whose calls to an experiment tracker happen in a thread of its own.

    The training hands over what there is to send, and goes on. The first failure is a warning; at the end the log counts
    what is missing. When a run is resumed, the lines after the last one that the tracker has are read from
    ``metrics.json``. Lines that it has are not sent a second time: of a step that was repeated after a crash, the tracker
    shows the first value.

    A subclass imports its package in :meth:`load` and calls it in the methods from :meth:`connect` on, which may raise
    anything and take any time.

    Args:
        upload_checkpoints: whether the files of the best and the final model are uploaded. Otherwise the tracker gets
            path, iteration and metrics of each checkpoint.
        timeout: seconds that the run waits at its end for what has not been sent.
    """

    title: ClassVar[str]  # of the tracker, in messages
    package: ClassVar[str]  # what is imported
    extra: ClassVar[str]  # of segkit's installation

    def __init__(self, *, upload_checkpoints: bool, timeout: float) -> None:
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise SegkitError(f"timeout is 0 or more seconds, got {timeout}", key="timeout", value=timeout)
        if not is_installed(self.package):
            raise MissingPackage(f"{self.title} needs the package {self.package}: pip install 'segkit[{self.extra}]'")
        self.upload_checkpoints = upload_checkpoints
        self.timeout = timeout
        self.finished = False  # whether the run came to its end; set before `finish`
        self._stored = 0  # iteration of the last line that the tracker has
        self._start = 0  # iteration of the last line of earlier processes of this run
        self._given: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._first_error: str | None = None

    @property
    @abstractmethod
    def target(self) -> str:
        """The project in the tracker; in another project the run has another id."""

    @abstractmethod
    def load(self) -> None:
        """Imports the package."""

    @abstractmethod
    def connect(self, run: TrackedRun) -> Connection:
        """Starts or resumes the run in the tracker, and sends the configuration."""

    @abstractmethod
    def send_line(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Sends one line of metrics; values may be NaN."""

    @abstractmethod
    def send_checkpoint(self, saved: SavedCheckpoint, *, upload: bool) -> None:
        """Sends path, iteration and metrics of a checkpoint, with ``upload`` the file too."""

    @abstractmethod
    def send_picture(self, iteration: int, name: str, path: Path) -> None:
        """Sends an image file; ``name`` is unique within the run, as ``pictures/0001``."""

    @abstractmethod
    def finish(self) -> None:
        """Ends the run in the tracker; ``finished`` says whether it came to its end."""

    def abandon(self) -> None:
        """Called if the thread has not ended in time: removes what else would hold up the process."""

    def open(self, trainer: TrainerBase) -> None:
        self._start = trainer.iteration - is_pending(self, trainer)
        self._queue: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._closing, self._ready = threading.Event(), threading.Event()
        folder = trainer.output_dir.absolute()
        run = TrackedRun(folder, folder.name, trainer.about.get("config", {}), self._saved_ids(folder).get(self._key))
        self._thread = threading.Thread(target=self._work, args=(run,), name=f"tracker {self.title}", daemon=True)
        # In this thread: a loader process that is forked during an import could wait for its lock forever.
        loaded = self._attempt("import", self.load)
        if loaded:
            self._thread.start()
            if not self._ready.wait(START_SECONDS):
                logger.warning("%s: no answer within %g s; the training begins without it", self.title, START_SECONDS)

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        self._hand_over(LINES, partial(self._send_new_line, dict(record)))

    def write_checkpoint(self, trainer: TrainerBase, saved: SavedCheckpoint) -> None:
        upload = self.upload_checkpoints and saved.path.name in ("model_best.pth", "model_final.pth")
        self._hand_over(CHECKPOINTS, partial(self.send_checkpoint, saved, upload=upload))

    def write_pictures(self, trainer: TrainerBase, pictures: Sequence[Path]) -> None:
        named = {f"pictures/{path.stem}": path for path in pictures}
        curves = trainer.output_dir / "curves.png"
        if curves.is_file():
            named["curves"] = curves
        iteration = trainer.iteration
        for name, path in named.items():
            self._hand_over(PICTURES, partial(self.send_picture, iteration, name, path))

    def close(self, trainer: TrainerBase) -> None:
        self.finished = trainer.done
        self._closing.set()
        self._queue.put(None)
        if self._thread.ident is not None:  # it was started
            self._thread.join(self.timeout)
            if self._thread.is_alive():
                with suppress(Exception):
                    self.abandon()
        missing = [f"{count} of {self._given[what]} {what}" for what, count in self._missing().items()]
        waited = f", which did not answer within {self.timeout:g} s" if self._thread.is_alive() else ""
        reason = f"; the first error: {self._first_error}" if self._first_error else ""
        if missing:
            logger.warning("%s%s: could not be sent: %s%s", self.title, waited, ", ".join(missing), reason)
        elif waited:
            logger.warning("%s%s: all was handed over, and the end of the run was not confirmed", self.title, waited)

    def _missing(self) -> dict[str, int]:
        return {what: given - self._sent[what] for what, given in dict(self._given).items() if given > self._sent[what]}

    def _hand_over(self, what: str, send: Callable[[], None]) -> None:
        self._given[what] += 1
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put((what, send))

    def _work(self, run: TrackedRun) -> None:
        """The thread: connects, sends what earlier processes could not, then what comes, and ends the run."""
        while not (connected := self._attempt("connecting", partial(self._connect, run))):
            self._ready.set()
            if self._closing.is_set():
                break
            self._closing.wait(RETRY_SECONDS)
        self._ready.set()
        if not connected:
            return
        self._attempt(METRICS, partial(self._catch_up, run.folder))
        while (item := self._queue.get()) is not None:
            what, send = item
            self._sent[what] += self._attempt(f"sending {what}", send)
        self._attempt("the end of the run", self.finish)

    def _attempt(self, what: str, call: Callable[[], None]) -> bool:
        """Whether ``call`` succeeded; the first failure is a warning."""
        try:
            call()
        except Exception as error:  # any failure of a tracker
            if self._first_error is None:
                text = (str(error).strip() or type(error).__name__).splitlines()[0]
                self._first_error = f"{type(error).__name__}: {text}"
                logger.warning("%s: %s failed (%s); the training goes on", self.title, what, self._first_error)
            return False
        return True

    def _connect(self, run: TrackedRun) -> None:
        connection = self.connect(run)
        if connection.tracker_id != run.tracker_id:
            with failure_warned(TRACKED_RUNS), _FILE_LOCK:
                ids = {**self._saved_ids(run.folder), self._key: connection.tracker_id}
                with atomic_write(run.folder / TRACKED_RUNS) as temporary:
                    temporary.write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")
        self._stored = self._start if connection.last_iteration is None else connection.last_iteration
        logger.info("%s: %s", self.title, connection.place)

    @property
    def _key(self) -> str:
        return f"{type(self).__name__} {self.target}"

    @staticmethod
    def _saved_ids(folder: Path) -> dict[str, str]:
        """Returns the ids that earlier processes of the run have saved; empty if the file is damaged."""
        try:
            ids = json.loads((folder / TRACKED_RUNS).read_text(encoding="utf-8"))
            return {str(key): str(value) for key, value in ids.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def _catch_up(self, folder: Path) -> None:
        """Sends the lines of earlier processes that the tracker lacks."""
        for line in saved_lines(folder / METRICS, self._start):
            if line["iteration"] > self._stored:
                self._given[EARLIER_LINES] += 1
                self._sent[EARLIER_LINES] += self._attempt(
                    f"sending {EARLIER_LINES}", partial(self._send_new_line, line)
                )

    def _send_new_line(self, line: Mapping[str, float]) -> None:
        iteration = int(line["iteration"])
        if iteration > self._stored:
            self.send_line(iteration, {name: value for name, value in line.items() if name != "iteration"})
            self._stored = iteration


def saved_lines(path: Path, last_iteration: int) -> Iterator[dict[str, float]]:
    """Yields the lines of a metrics file up to an iteration; a null is NaN.

    Later lines are not read: they may be written meanwhile.
    """
    if last_iteration <= 0 or not path.is_file():
        return
    with open(path, encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            if line["iteration"] > last_iteration:
                return
            yield {name: math.nan if value is None else value for name, value in line.items()}


def is_installed(package: str) -> bool:
    """Whether a package is installed; it is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # a folder of that name has no origin, as W&B's ./wandb
