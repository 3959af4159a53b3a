"""The hook that profiles some training steps with ``torch.profiler``."""

from __future__ import annotations

import logging

import torch

from segkit.engine.train_loop import Hook, TrainerBase
from segkit.registry import HOOK_REGISTRY
from segkit.utils import distributed
from segkit.utils.atomic import atomic_write

logger = logging.getLogger(__name__)


@HOOK_REGISTRY.register
class Profiler(Hook):
    """Records some steps with ``torch.profiler``, once in a run.

    A resumed run counts its steps from the first one after the checkpoint. The hook writes
    ``profile/trace_NNNNNNN.json.gz`` (for chrome://tracing or https://ui.perfetto.dev) and
    ``profile/table_NNNNNNN.txt`` with the operators that take most time; the file names have the last recorded step.
    The record reaches from the end of one step to the end of another, with loading, hooks and evaluation. Recording
    slows the run down.

    Args:
        wait: steps before anything is done; the first ones of a run are not like the others.
        warmup: steps then recorded and thrown away, for the profiler's own start costs time.
        active: steps recorded.
        shapes: also tell apart operators by the shapes of their inputs.
        memory: also record what is allocated and freed.
        rows: lines of the table.
    """

    def __init__(
        self,
        *,
        wait: int = 10,
        warmup: int = 2,
        active: int = 5,
        shapes: bool = False,
        memory: bool = False,
        rows: int = 40,
    ) -> None:
        if wait < 0 or warmup < 0 or active < 1 or rows < 1:
            raise ValueError("wait and warmup must be 0 or more, active and rows 1 or more")
        self.wait, self.warmup, self.active = wait, warmup, active
        self.shapes = shapes
        self.memory = memory
        self.rows = rows
        self._profile: torch.profiler.profile | None = None
        self._written = False

    def before_train(self, trainer: TrainerBase) -> None:
        if not distributed.is_main():
            return
        activities = [torch.profiler.ProfilerActivity.CPU]
        if trainer.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profile = torch.profiler.profile(
            activities=activities,
            schedule=torch.profiler.schedule(wait=self.wait, warmup=self.warmup, active=self.active, repeat=1),
            on_trace_ready=lambda profile: self._write(trainer, profile),
            record_shapes=self.shapes,
            profile_memory=self.memory,
        )
        self._profile.start()

    def after_step(self, trainer: TrainerBase) -> None:
        if self._profile is not None:
            self._profile.step()

    def after_train(self, trainer: TrainerBase) -> None:
        if self._profile is None:
            return
        self._profile.stop()  # if the run ends early, the steps recorded so far are written
        self._profile = None
        if not self._written:
            logger.warning(
                "Profiler: nothing was recorded, for the run ended within the %d steps of its wait and warmup",
                self.wait + self.warmup,
            )

    def on_exception(self, trainer: TrainerBase, error: BaseException) -> None:
        self.after_train(trainer)

    def _write(self, trainer: TrainerBase, profile: torch.profiler.profile) -> None:
        folder, name = trainer.output_dir / "profile", f"{trainer.iteration:07d}"
        with atomic_write(folder / f"trace_{name}.json.gz") as temporary:
            profile.export_chrome_trace(str(temporary))
        order = "self_device_time_total" if trainer.device.type == "cuda" else "self_cpu_time_total"
        averages = profile.key_averages(group_by_input_shape=self.shapes)
        with atomic_write(folder / f"table_{name}.txt") as temporary:
            temporary.write_text(averages.table(sort_by=order, row_limit=self.rows), encoding="utf-8")
        self._written = True
        logger.info("profile of the steps up to %d: trace and table are in %s", trainer.iteration, folder)
