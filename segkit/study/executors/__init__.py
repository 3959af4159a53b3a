"""Executors: where the processes of a study's runs are started.

The import registers those that a study file can name.
"""

from segkit.study.executors.base import EXECUTORS, Executor, Job, Process
from segkit.study.executors.local import LocalExecutor
from segkit.study.executors.ray import RayExecutor
from segkit.study.executors.slurm import SlurmExecutor

__all__ = ["EXECUTORS", "Executor", "Job", "LocalExecutor", "Process", "RayExecutor", "SlurmExecutor"]
