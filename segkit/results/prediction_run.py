"""A prediction with its output folder: begun, continued, split over processes, finished."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from segkit.inference.frame import Frame, file_of
from segkit.inference.output_files import name_stems
from segkit.inference.predict_files import close_writers, predict_files
from segkit.inference.predictor import Predictor
from segkit.inference.series.linking import Linker
from segkit.inference.shards import Shard
from segkit.inference.writing import PredictionSummary
from segkit.results.base import ResultWriter
from segkit.results.part_files import PartFiles
from segkit.results.prediction_state import PredictionState
from segkit.utils.atomic import atomic_write, remove_leftovers
from segkit.utils.errors import SegkitError, counted
from segkit.utils.file_lock import locked

logger = logging.getLogger(__name__)

PARTS, INFO = ".parts", "prediction_info.json"
WHOLE = Shard(1, 1)


class PredictionRun:
    """Predicts inputs into a folder, by one process or by several.

    It can be interrupted and continued.
    Each shard keeps its state and lines in ``.parts/I_of_N``. The one that is finished last makes the files of all images
    from the lines of all shards, in the order of the inputs, and writes ``prediction_info.json``.

    Args:
        output: the folder; it exists.
        inputs: the file of each name, those of all shards.
        make_writers: makes the writers, which append to the parts that it gets.
        identity: see :class:`segkit.results.prediction_state.PredictionState`; the same for all shards.
        shard: which inputs this process predicts.
        batch_size: number of images that go through the network together; shards begin at its multiples.
        make_linker: makes the linker of each time series; None: objects get no tracks. An interrupted prediction continues
            at the beginning of a series.
    """

    def __init__(
        self,
        output: Path,
        inputs: Mapping[str, Path | Frame],
        make_writers: Callable[[PartFiles], Sequence[ResultWriter]],
        identity: Mapping[str, Any],
        *,
        shard: Shard = WHOLE,
        batch_size: int = 1,
        make_linker: Callable[[], Linker] | None = None,
    ) -> None:
        self.make_linker = make_linker
        self.output, self.shard, self.batch_size = Path(output), shard, batch_size
        self.identity, self.make_writers = dict(identity), make_writers
        self.inputs, self.own_inputs = inputs, shard.part_of(inputs, batch_size)
        self.state = self._state_of(shard)
        self.writers = list(make_writers(self.state.parts))

    def prepare(self, *, resume: bool = False, restart: bool = False) -> PredictionSummary | None:
        """Checks that the folder is free for this prediction.

        It writes nothing.

        Returns:
            The counts of this very prediction if it is finished already and ``resume`` is set; else None.
        Raises:
            SegkitError: the folder holds an unfinished prediction and neither flag is set, or one with other settings.
        """
        if self.state.exists and not restart:
            done = self.state.summary().inputs
            if resume:
                self.state.check_identity()
            elif done or self.state.is_damaged:
                raise SegkitError(
                    f"'{self.output}' holds an unfinished prediction, {done} of {counted(len(self.own_inputs), 'image')} "
                    f"{'(its state is damaged)' if self.state.is_damaged else 'done'}: "
                    "--resume continues it, --restart starts again",
                    value=str(self.output),
                )
        self._check_other_shards(restart=restart)
        finished = self._info() if resume and not self.state.exists else None
        if finished is None or finished["identity"] != json.loads(json.dumps(self.identity)):
            return None
        summary = PredictionSummary(inputs=len(self.inputs), images=finished["images"])
        summary.skipped = [Path(path) for path in finished["skipped"]]
        summary.written = [Path(path) for path in finished["written"]]
        for key in ("detections", "images_with"):
            getattr(summary, key).update({int(k): n for k, n in finished[key].items()})
        return summary

    def run(
        self,
        predictor: Predictor,
        *,
        resume: bool = False,
        skip_unreadable: bool = False,
        readers: int = 2,
        progress: bool = False,
        finish: bool = True,
    ) -> PredictionSummary | None:
        """Predicts this shard's inputs, and finishes the prediction if all other shards are done.

        Args:
            predictor: the model.
            resume: whether to continue what :meth:`prepare` found.
            finish: whether to call :meth:`finish`.
            skip_unreadable, readers, progress: see :func:`segkit.inference.predict_files.predict_files`.
        Returns:
            The counts of all shards with the files written; None: other shards are not done yet.
        Raises:
            SegkitError: as :func:`segkit.inference.predict_files.predict_files` does; what is finished stays on the disk.
        """
        stems = name_stems({name: file_of(source) for name, source in self.inputs.items()}, self.writers)
        if resume and self.state.exists:
            if self.shard.count == 1:  # other shards may be writing
                for folder in (self.output, *(path for path in self.output.iterdir() if path.is_dir())):
                    remove_leftovers(folder)
            summary = self.state.resume()
            logger.info("resumed after %d of %s", summary.inputs, counted(len(self.own_inputs), "image"))
        else:
            self.state.start()
            summary = PredictionSummary()
        try:
            if not self.state.is_complete:
                predict_files(
                    predictor,
                    self.own_inputs,
                    self.writers,
                    batch_size=self.batch_size,
                    readers=readers,
                    skip_unreadable=skip_unreadable,
                    progress=progress,
                    stems={name: stems[name] for name in self.own_inputs},
                    ledger=self.state,
                    summary=summary,
                    make_linker=self.make_linker,
                    close=False,
                    close_on_error=self.shard.count == 1,  # the shards share these files
                )
                self.state.complete(summary)
        except SegkitError as error:
            raise SegkitError(f"{error}{self._next_step()}", key=error.key, value=error.value) from error
        except KeyboardInterrupt:
            if self._next_step():
                logger.warning("the same command with --resume continues")
            raise
        finally:
            self.state.close()
            if not summary.inputs and not self.state.is_complete:
                self.state.remove()  # nothing to continue
        return self.finish() if finish else None

    def finish(self) -> PredictionSummary | None:
        """Makes the files of all images if all shards are done.

        Returns the counts of all shards with the files written; None: other shards are not done yet, or another process
        has made the files.
        """
        lock = self.output / f"{PARTS}.lock"
        with locked(lock):
            states = [self._state_of(Shard(i, self.shard.count)) for i in range(1, self.shard.count + 1)]
            waiting = [state.folder.name for state in states if not state.is_complete]
            if waiting or not (self.output / PARTS).is_dir():
                return None
            summary = PredictionSummary()
            for state in states:
                summary.add(state.summary())
            if not summary.images:
                raise SegkitError(f"none of the {len(self.inputs)} images can be read, so nothing is written")
            folders = [state.folder for state in states]
            self.writers = list(self.make_writers(PartFiles(self.output / PARTS / "all", folders)))
            close_writers(self.writers, summary)
            self._write_info(summary)
            shutil.rmtree(self.output / PARTS)
            with suppress(OSError):  # Windows removes no open file
                lock.unlink()
        return summary

    def _state_of(self, shard: Shard) -> PredictionState:
        identity = self.identity | {"shard": f"{shard.index} of {shard.count}"}
        return PredictionState(self.output / PARTS / f"{shard.index}_of_{shard.count}", identity)

    def _check_other_shards(self, *, restart: bool) -> None:
        """Raises SegkitError if another prediction, or another split of this one, has begun in the folder."""
        for folder in sorted(path for path in (self.output / PARTS).glob("*_of_*") if path != self.state.folder):
            index, _, count = folder.name.partition("_of_")
            if restart and self.shard.count == 1:
                shutil.rmtree(folder)
                continue
            if int(count) != self.shard.count:
                raise SegkitError(
                    f"'{self.output}' holds shard {index} of {count} of an unfinished prediction, not of "
                    f"{self.shard.count}; finish that one with --resume, choose another --output, or remove {folder.parent}",
                    key="--shard",
                )
            other = self._state_of(Shard(int(index), int(count)))
            if other.exists:
                other.check_identity()

    def _next_step(self) -> str:
        return "; --resume continues after it" if self.state.exists and self.state.summary().inputs else ""

    def _info(self) -> dict[str, Any] | None:
        """The information about a finished prediction; None: there is none."""
        try:
            return json.loads((self.output / INFO).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _write_info(self, summary: PredictionSummary) -> None:
        from segkit import __version__

        content = {
            "segkit": __version__,
            "identity": self.identity,
            "images": summary.images,
            "detections": summary.detections,
            "images_with": summary.images_with,
            "seconds": round(summary.seconds, 3),
            "skipped": [str(path) for path in summary.skipped],
            "written": [str(path) for path in summary.written],
            "refused": summary.refused,
        }
        with atomic_write(self.output / INFO) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
