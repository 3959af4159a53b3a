"""The command ``segkit``: picks the subcommand and runs it.

The module of the subcommand alone is imported, so that ``--help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

import segkit
from segkit.cli.parser import choose
from segkit.utils.cli import run_cli

# A subcommand is a module with `parse_arguments(words, prog)` and `main(options)`, which returns None or the exit status.
MODULES = {
    "train": "segkit.cli.train",
    "eval": "segkit.cli.evaluate",
    "compare": "segkit.cli.compare",
    "predict": "segkit.cli.predict",
    "report": "segkit.cli.report",
    "dataset": "segkit.cli.dataset.main",
    "fit": "segkit.cli.fit",
    "study": "segkit.cli.study",
    "config": "segkit.cli.config",
    "analyze": "segkit.cli.analyze",
    "benchmark": "segkit.cli.benchmark",
    "doctor": "segkit.cli.doctor",
    "completion": "segkit.cli.completion",
}
COMMANDS = {
    "train": "train a model from a configuration file, or continue a run",
    "eval": "evaluate a run's best model, a checkpoint, or a results file",
    "compare": "compare evaluated runs: which is better, by how much, on which images",
    "predict": "predict images with a checkpoint: pictures, a COCO file, a submission",
    "report": "write one HTML file about a run, or several side by side",
    "dataset": "check, convert, measure, show, split and tile data sets of any format",
    "fit": "train on a folder: derive the configuration from the data, write it, train",
    "study": "train the runs that one file describes, and write their tables",
    "config": "list and show configurations, their keys, the components, the JSON schema",
    "analyze": "parameters, FLOPs, time and memory of a model",
    "benchmark": "time and memory beside other libraries",
    "doctor": "check the installation and the GPUs",
    "completion": "print a script that completes these commands in bash and zsh",
}
ALIASES = {"evaluate": "eval"}
# What people type who come from other tools; the error suggests the command.
OTHER_NAMES = {
    "train_net": "train",
    "segment": "train",
    "test": "eval",
    "val": "eval",
    "diff": "compare",
    "infer": "predict",
    "inference": "predict",
    "demo": "predict",
    "describe_config": "config",
    "analyze_model": "analyze",
    "analyse": "analyze",
    "bench": "benchmark",
    "html": "report",
    "visualize": "report",
    "data": "dataset",
    "datasets": "dataset",
    "auto": "fit",
    "sweep": "study",
    "tune": "study",
    "ablation": "study",
    "checks": "doctor",
    "collect_env": "doctor",
}
EXAMPLES = """
segkit dataset check my_data
segkit fit my_data --minutes 40
segkit train --config-file segkit://quickstart.yaml
segkit predict images/ --weights output/quickstart/model_final.pth --output predictions
segkit report output/quickstart
segkit config list
"""


def main(words: Sequence[str]) -> object:
    """Runs the subcommand that the words name; returns its exit status, None for 0."""
    name, rest = choose(
        COMMANDS,
        [ALIASES.get(word, word) for word in words[:1]] + list(words[1:]),
        prog="segkit",
        description="Instance segmentation: train, evaluate and predict with Mask R-CNN and its relatives.",
        examples=EXAMPLES,
        version=f"segkit {segkit.__version__}",
        other_names=OTHER_NAMES,
    )
    module = importlib.import_module(MODULES[name])
    return module.main(module.parse_arguments(rest, f"segkit {name}"))


def run() -> NoReturn:
    """The console script: ends the process with the exit status."""
    run_cli(lambda: main(sys.argv[1:]))
