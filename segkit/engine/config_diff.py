"""Compares a run's configuration with that of its checkpoint, key by key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

NO_EFFECT = "no effect on what is trained"
NEXT_STEP = "applies from the next step on"
NEXT_EVALUATION = "applies from the next evaluation on"
NEW_COMPARISON = "applies from the next evaluation on, the first to be compared for the best"
NEW_DATA = "applies from the next step on; the next evaluation is the first to be compared for the best"
INCOMPARABLE = (NEW_COMPARISON, NEW_DATA)  # metrics before and after such a change
STEP_SIZE = "applies from the next step on; with train.epochs, epochs done stay done; with train.iterations, steps"
# The first pattern that matches a prefix of the dotted key applies; the prefix ends at a dot or at the key's end.
MEANINGS = (
    (r"output_dir", "the run continues in this directory; the files in the other one stay there"),
    (r"data\.train\.category_ids", "results carry these ids from now on"),
    (r"data\.train", "applies from the next step on; epochs done stay done, the next one has as many images as this data"),
    (r"data\.val", NEW_COMPARISON),
    (r"data\.batch_size", STEP_SIZE),
    (r"data\.(train_transforms|sampler|unreadable|aspect_ratio_grouping)", NEXT_STEP),
    (r"data\.test_transforms", NEW_COMPARISON),
    (r"data\.(channels|intensity|planes|ignore_classes|annotated_region_class|not_exhaustive)", NEW_DATA),
    (r"data\.test_batch_size", NEXT_EVALUATION),
    (r"data\.(num_workers|cache|cache_gb)", NO_EFFECT),
    (r"data\.measure_pixel_stats", "no effect: mean and deviation are the checkpoint's"),
    (r"model\.", "the weights continue in a model with this setting"),
    (r"solver\.optimizer\.lr", "the schedule scales this rate from the next step on"),
    (r"solver\.optimizer\.name", "another optimizer starts without moments"),
    (r"solver\.optimizer", NEXT_STEP),
    (r"solver\.schedule", "the rate is what this schedule has at the current iteration"),
    (r"solver\.base_batch_size", "the rates are scaled by the new ratio from the next step on"),
    (r"solver\.(layer_decay|parameters)", "the parameter groups change; each parameter keeps its moments"),
    (r"solver\.clip_(norm|value)", NEXT_STEP),
    (r"train\.accumulate", STEP_SIZE),
    (r"train\.ema_decay", "the EMA continues with this decay; a new one starts from the current weights; null ends it"),
    (r"train\.skip_nonfinite", "applies from the next step on; steps skipped before count"),
    (r"train\.(best_min_gain|early_stopping)", NEXT_EVALUATION),
    (r"train\.(epochs|iterations)", "the end moves; a schedule that ends with the run is stretched to the new length"),
    (r"train\.seed", "steps from now on draw other random numbers: this is not the run that would have been"),
    (r"train\.(precision|device|deterministic|compile)", "the same training, with other rounding from now on"),
    (r"train\.best_metric", "the best value so far is another metric's: the next evaluation is the first to compare"),
    (r"train\.(eval_period|eval_losses)", NEXT_EVALUATION),
    (r"train\.(checkpoint_period|keep_checkpoints|keep_every|log_period|report|max_parameters|distributed_timeout)", NO_EFFECT),
    (r"train\.init_weights", "no effect: the weights are the checkpoint's"),
    (r"predict", "applies to the pictures from now on"),
    (r"evaluators", NEW_COMPARISON),
    (r"hooks", "new hooks start without a state; the states of removed hooks are dropped"),
    (r"writers", NO_EFFECT),
    (r"imports(_from)?", "other modules are imported"),
)  # fmt: skip
OTHERWISE = "applies from now on"


@dataclass(frozen=True)
class ConfigChange:
    """One key that differs; ``before`` and ``now`` are plain values, None for a missing key."""

    key: str
    before: Any
    now: Any

    @property
    def meaning(self) -> str:
        """The effect of the change on the run, as the end of a sentence."""
        for pattern, meaning in MEANINGS:
            if re.match(rf"({pattern})" + ("" if pattern.endswith(r"\.") else r"(\.|$)"), self.key):
                return meaning
        return OTHERWISE


def config_diff(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[ConfigChange]:
    """Returns the keys in which two plain configurations differ, in the order of the second.

    A key that only one of them has, with the value null, is no difference: the other one's segkit did not have the key.
    """
    return list(_differences(before, now, ""))


def diff_table(changes: Sequence[ConfigChange]) -> str:
    """Formats the changes for the log, one line each."""
    rows = [(change.key, _short(change.before), _short(change.now), change.meaning) for change in changes]
    return tabulate(rows, headers=["key", "before", "now", "meaning"], disable_numparse=True)


def _differences(before: Any, now: Any, path: str) -> list[ConfigChange]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        found: list[ConfigChange] = []
        for key in [*now, *(key for key in before if key not in now)]:
            found += _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if before == now else [ConfigChange(path, before, now)]


def _short(value: Any, limit: int = 40) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
