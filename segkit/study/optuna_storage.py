"""Optuna's study of a search: its storage on the disk, samplers and pruners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segkit.engine.hooks.evaluation import to_score
from segkit.study.study_file import Search, StudyFile

STORAGE = "search.sqlite3"  # in the study's folder
SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "halving", "none")


def open_storage(settings: StudyFile, output: Path) -> Any:
    """Returns the study in a folder; makes it if it does not exist.

    Args:
        settings: with a search.
        output: the folder.
    """
    import optuna

    assert settings.search is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{(output / STORAGE).absolute()}",
        study_name="study",
        load_if_exists=True,
        direction="maximize" if to_score(settings.metric, 1.0) > 0 else "minimize",
        pruner=make_pruner(settings.search),
    )


def make_sampler(search: Search, number: int) -> Any:
    """Returns a sampler whose random numbers depend on the search's seed and a number."""
    import optuna

    seed = (search.seed * 1_000_003 + number) % 2**31
    return (
        optuna.samplers.TPESampler(seed=seed) if search.sampler == "tpe" else optuna.samplers.RandomSampler(seed=seed)
    )


def make_pruner(search: Search) -> Any:
    """Returns the pruner.

    ``halving`` is asynchronous successive halving (Li et al. 2020): the better half goes on at the first rung, and again
    each time that the iterations have doubled.
    """
    import optuna

    if search.pruner == "halving" and search.rungs:
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=search.rungs[0], reduction_factor=2)
    return optuna.pruners.MedianPruner() if search.pruner == "median" else optuna.pruners.NopPruner()
