"""The learning rate of each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segkit.engine.hooks.base import Hook

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


class LearningRate(Hook):
    """Sets each parameter group's learning rate from the trainer's schedule, and logs the largest as ``lr``.

    A group with an ``lr_factor`` follows the schedule of the learning rate without it, times it: ``end_lr``, too, is that
    of the whole.
    """

    def before_train(self, trainer: Trainer) -> None:
        self._base_lrs = [float(group["lr"]) for group in trainer.optimizer.param_groups]

    def before_step(self, trainer: Trainer) -> None:
        for group, base_lr in zip(trainer.optimizer.param_groups, self._base_lrs, strict=True):
            scale = group.get("lr_factor", 1.0)
            if scale == 0:
                continue  # it stays 0
            factor = trainer.schedule.factor(
                trainer.iteration + trainer.epoch_shift,
                trainer.max_iterations + trainer.epoch_shift,
                trainer.iterations_per_epoch,
                base_lr / scale,
                steps=trainer.iteration,
            )
            group["lr"] = base_lr * factor
        trainer.log("lr", max(group["lr"] for group in trainer.optimizer.param_groups))
