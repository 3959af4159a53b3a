"""Optimizers, parameter groups and learning rate schedules."""

from segkit.solver.optimizers import SGD, Adam, AdamW
from segkit.solver.parameter_groups import parameter_groups
from segkit.solver.schedules import Constant, Cosine, MultiStep, Schedule
from segkit.solver.torch_optimizers import adapt_optimizer
from segkit.solver.torch_schedules import TorchSchedule, adapt_scheduler

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "MultiStep",
    "Schedule",
    "TorchSchedule",
    "adapt_optimizer",
    "adapt_scheduler",
    "parameter_groups",
]
