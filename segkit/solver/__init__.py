"""Optimizers, parameter groups and learning rate schedules."""

from segkit.solver.optimizers import SGD, Adam, AdamW
from segkit.solver.parameter_groups import parameter_groups
from segkit.solver.schedules import Constant, Cosine, MultiStep, Schedule

__all__ = ["SGD", "Adam", "AdamW", "Constant", "Cosine", "MultiStep", "Schedule", "parameter_groups"]
