"""The hook that calls the writers, and the writers that every run has."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from segkit.engine.checkpoint import METRICS
from segkit.engine.hooks.base import Writer
from segkit.engine.train_loop import Hook, TrainerBase
from segkit.registry import HOOK_REGISTRY, WRITER_REGISTRY, SlotList
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write
from segkit.utils.errors import SegkitError
from segkit.utils.logging import failure_warned

logger = logging.getLogger(__name__)


@HOOK_REGISTRY.register
class Writers(Hook):
    """Reads the metrics every ``period`` iterations, and passes them to its writers.

    It also does so after the first iteration, which shows at once how long a step takes, after each evaluation, and at
    the end. Checkpoints that were saved since are passed on then, pictures at the end. A ``Writers`` hook in a
    configuration adds its writers to the default ones.

    Args:
        period: iterations between two lines (``train.log_period``).
        writers: in the order in which they are called.
    """

    def __init__(self, period: int, *, writers: Annotated[Sequence[Writer], SlotList(WRITER_REGISTRY)] = ()) -> None:
        self.period = period
        self.writers = list(writers)
        self._open: list[Writer] = []
        self._checkpoints = 0  # how many of the trainer's the writers have

    def before_train(self, trainer: TrainerBase) -> None:
        for writer in self.writers if distributed.is_main() else []:
            writer.open(trainer)
            self._open.append(writer)

    def after_step(self, trainer: TrainerBase) -> None:
        iteration = trainer.iteration
        evaluated = trainer.evaluated_at == iteration
        if iteration % self.period == 0 or iteration == 1 or evaluated or trainer.done:
            record = trainer.read_metrics()
            for writer in self._open:
                writer.write(trainer, record)
            self._write_checkpoints(trainer)

    def after_train(self, trainer: TrainerBase) -> None:
        self._write_checkpoints(trainer)
        if trainer.pictures:
            for writer in self._open:
                writer.write_pictures(trainer, trainer.pictures)
        self._close(trainer)

    def on_exception(self, trainer: TrainerBase, error: BaseException) -> None:
        self._write_checkpoints(trainer)
        self._close(trainer)

    def _write_checkpoints(self, trainer: TrainerBase) -> None:
        for saved in trainer.checkpoints[self._checkpoints :]:
            for writer in self._open:
                writer.write_checkpoint(trainer, saved)
            self._checkpoints += 1

    def _close(self, trainer: TrainerBase) -> None:
        while self._open:
            self._open.pop().close(trainer)


def is_pending(writer: Writer, trainer: TrainerBase) -> bool:
    """Whether a resumed run will call the writer's hook once more for the current iteration."""
    return any(
        isinstance(hook, Writers) and any(own is writer for own in hook.writers)
        for name, hook in trainer.named_hooks().items()
        if name in trainer.pending
    )


@WRITER_REGISTRY.register
class ConsoleWriter(Writer):
    """Writes one line to the log."""

    def __init__(self) -> None:
        pass

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        logger.info(console_line(record, trainer.max_iterations))


def console_line(record: Mapping[str, float], max_iterations: int) -> str:
    """Formats metrics for the log: ``iter 120/500  epoch 2.4  eta 0:03:12  loss 1.234 ...``"""
    width = len(str(max_iterations))
    parts = [f"iter {int(record['iteration']):{width}d}/{max_iterations}", f"epoch {record['epoch']:.1f}"]
    if "eta_seconds" in record:
        parts.append(f"eta {timedelta(seconds=round(record['eta_seconds']))}")
    if "loss/total" in record:
        losses = {name.removeprefix("loss/"): value for name, value in record.items() if name.startswith("loss/")}
        total = losses.pop("total")
        parts.append(f"loss {total:.4f} (" + " ".join(f"{name} {value:.4f}" for name, value in losses.items()) + ")")
    labels = {"lr": "lr {:.2e}", "grad_norm": "norm {:.2f}", "data_time": "data {:.3f} s", "step_time": "step {:.3f} s"}
    parts += [text.format(record[name]) for name, text in labels.items() if name in record]
    if "memory_mb" in record:
        parts.append(f"mem {record['memory_mb']:.0f} MB")
    return "  ".join(parts)


@WRITER_REGISTRY.register
class JsonWriter(Writer):
    """Writes ``metrics.json``: one JSON object on each line.

    A resumed run first removes the lines of iterations that it will repeat.
    """

    def __init__(self) -> None:
        self._file: Any = None

    def open(self, trainer: TrainerBase) -> None:
        path = trainer.output_dir / METRICS
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            # If the writers will run again for this iteration, its line may exist already.
            cut_lines(path, trainer.iteration - is_pending(self, trainer))
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  # closed in close()

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        plain = {name: value if math.isfinite(value) else None for name, value in record.items()}
        self._file.write(json.dumps(plain) + "\n")
        self._file.flush()

    def close(self, trainer: TrainerBase) -> None:
        self._file.close()


def cut_lines(path: Path, last_iteration: int) -> None:
    """Removes the lines of a metrics file after ``last_iteration``.

    They may be damaged by a crash (half a line, or the blocks of zeros of a power cut); the run writes them again.

    Raises:
        SegkitError: a line before one that stays is damaged.
    """
    kept: list[str] = []
    bad: list[tuple[int, str]] = []
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            stays = json.loads(line)["iteration"] <= last_iteration
        except (ValueError, TypeError, KeyError):
            bad.append((number, line))
            continue
        if stays and bad:
            number, line = bad[0]
            raise SegkitError(
                f"{path}, line {number}: is no line of metrics ({line[:40]!r}); remove it to go on", value=line
            )
        if stays:
            kept.append(line + "\n")
    if bad:
        logger.warning("%s: removed its end from line %d on, which is unfinished or damaged", path, bad[0][0])
    if "".join(kept) != text:
        with atomic_write(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


@WRITER_REGISTRY.register
class TensorBoardWriter(Writer):
    """Writes TensorBoard events to the run's folder.

    TensorBoard hides the events of steps that a resumed run repeats.
    """

    def __init__(self) -> None:
        self._board: Any = None

    def open(self, trainer: TrainerBase) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        # As in metrics.json: an interrupted writer may have written this iteration already, and writes it once more.
        purge = trainer.iteration + (not is_pending(self, trainer)) if trainer.iteration else None
        self._board = SummaryWriter(str(trainer.output_dir), purge_step=purge)

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        iteration = int(record["iteration"])
        for name, value in record.items():
            if name != "iteration":
                self._board.add_scalar(name, value, iteration)

    def write_pictures(self, trainer: TrainerBase, pictures: Sequence[Path]) -> None:
        with failure_warned("TensorBoard's pictures"):
            for path in pictures:
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                self._board.add_image(f"pictures/{path.stem}", pixels, trainer.iteration, dataformats="HWC")

    def close(self, trainer: TrainerBase) -> None:
        self._board.close()


@WRITER_REGISTRY.register
class CurvesWriter(Writer):
    """Draws ``curves.png`` from ``metrics.json`` after each evaluation and at the end, then as ``curves.svg`` too.

    It comes after :class:`JsonWriter`, which writes the file.
    """

    def __init__(self) -> None:
        pass

    def write(self, trainer: TrainerBase, record: Mapping[str, float]) -> None:
        if trainer.evaluated_at == trainer.iteration or trainer.done:
            from segkit.visualization.curves import plot_curves  # matplotlib is slow to import

            with failure_warned("curves.png"):
                names = ["curves.png", "curves.svg"] if trainer.done else ["curves.png"]
                plot_curves(trainer.output_dir / METRICS, *(trainer.output_dir / name for name in names))
