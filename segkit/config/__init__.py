"""Configurations: typed sections, specs of components, and the origin of every value."""

from __future__ import annotations

from segkit.config.loader import load_config, load_config_dict
from segkit.config.period import Period
from segkit.config.schema import Config, DataConfig, PlanesConfig, PredictConfig, SolverConfig, SplitConfig, TrainConfig
from segkit.config.spec import Spec
from segkit.config.typecheck import Bounds

__all__ = [
    "Bounds",
    "Config",
    "DataConfig",
    "Period",
    "PlanesConfig",
    "PredictConfig",
    "SolverConfig",
    "Spec",
    "SplitConfig",
    "TrainConfig",
    "load_config",
    "load_config_dict",
]
