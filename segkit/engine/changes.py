"""What a resumed run does otherwise than the one that wrote its checkpoint, and what that means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from segkit.utils.errors import SegkitError

NO_CHANGE = "changes nothing of what is learnt"
# The first pattern that the key begins with tells; keys end at a dot or at their end.
MEANINGS = (
    (r"output_dir", "the run goes on here; what the other folder holds stays there"),
    (r"data\.(train|val)\.category_ids", "results carry these ids from here on"),
    (
        r"data\.train",
        "the steps to come learn from this data; epochs done stay done, the next is counted in its images",
    ),
    (r"data\.val", "evaluations from here on are of this data; the next is the first to be compared for the best"),
    (
        r"data\.batch_size",
        "holds for the steps to come; with train.epochs, epochs done stay done; with train.iterations, steps",
    ),
    (r"data\.(train_transforms|sampler|unreadable|aspect_ratio_grouping)", "holds for the steps to come"),
    (r"data\.test_transforms", "holds for the evaluations to come; the next is the first to be compared for the best"),
    (r"data\.test_batch_size", "holds for the evaluations to come"),
    (r"data\.num_workers", NO_CHANGE),
    (r"model\.", "the weights go on in a model built like this"),
    (r"solver\.optimizer\.lr", "the schedule scales this rate from the next step on"),
    (r"solver\.optimizer\.name", "another optimizer begins anew, without moments"),
    (r"solver\.optimizer", "holds from the next step on"),
    (r"solver\.schedule", "the rate goes on where this schedule is at the present iteration"),
    (r"solver\.base_batch_size", "the rates are scaled anew from the next step on"),
    (r"solver\.(layer_decay|parameters)", "the groups are made anew; each parameter keeps its moments"),
    (r"solver\.clip_(norm|value)", "holds for the steps to come"),
    (
        r"train\.accumulate",
        "holds for the steps to come; with train.epochs, epochs done stay done; with train.iterations, steps",
    ),
    (r"train\.ema_decay", "the average goes on at this rate; a new one begins with the present weights; null ends it"),
    (r"train\.skip_nonfinite", "holds for the steps to come; those left out before count"),
    (r"train\.(best_min_gain|early_stopping)", "holds for the evaluations to come"),
    (r"train\.(epochs|iterations)", "the end moves; a schedule that ends with the run is where the new length has it"),
    (r"train\.seed", "the steps to come draw otherwise: this is not the run that would have been"),
    (r"train\.(precision|device|deterministic|compile)", "the same training, rounded otherwise from here on"),
    (r"train\.best_metric", "the best so far is of the other metric: the next evaluation is the first to compare"),
    (r"train\.(eval_period|eval_losses)", "holds for the evaluations to come"),
    (
        r"train\.(checkpoint_period|keep_checkpoints|keep_every|log_period|max_parameters|distributed_timeout)",
        NO_CHANGE,
    ),
    (r"train\.init_weights", "is not looked at: the weights are the checkpoint's"),
    (r"predict", "holds for the pictures to come"),
    (r"evaluators", "holds for the evaluations to come; the next is the first to be compared for the best"),
    (r"hooks", "hooks that are new begin anew, those that are gone are forgotten"),
    (r"imports(_from)?", "other modules are imported"),
)
_MEASURES = re.compile(r"(data\.val|data\.test_transforms|evaluators)(\.|$)")
_COMPARING = ("BestCheckpoint", "EarlyStopping")  # classes of hooks that keep the best value so far


@dataclass(frozen=True)
class Change:
    """One key that differs; ``was`` and ``now`` are plain values, None where there is none."""

    key: str
    was: Any
    now: Any

    @property
    def meaning(self) -> str:
        """What it does to the run, in a sentence."""
        for pattern, meaning in MEANINGS:
            if re.match(rf"({pattern})" + ("" if pattern.endswith(r"\.") else r"(\.|$)"), self.key):
                return meaning
        return "holds from here on"


def config_changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The keys at which two configurations of plain values differ, in the order of the second.

    Keys that one of them does not have at all are left out where the other has null: an older segkit did not know them.
    """
    return list(_differences(was, now, ""))


def changes_table(changes: Sequence[Change]) -> str:
    """A line a change."""
    rows = [(change.key, _short(change.was), _short(change.now), change.meaning) for change in changes]
    return tabulate(rows, headers=["key", "was", "is", "what that means"], disable_numparse=True)


def without_incomparable(state: Mapping[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """A checkpoint's state that holds no best value so far where evaluations measure something else now."""
    if not any(_MEASURES.match(change.key) for change in changes):
        return dict(state)
    classes = state.get("hook_classes", {})
    hooks = {name: kept for name, kept in state["hooks"].items() if classes.get(name, name) not in _COMPARING}
    return {**state, "hooks": hooks}


def check_classes(state: Mapping[str, Any], classes: Sequence[str], path: object) -> None:
    """SegkitError where a checkpoint was trained on other classes; it names them."""
    theirs = list(state.get("classes") or classes)
    if theirs == list(classes):
        return
    missing = [name for name in theirs if name not in classes]
    added = [name for name in classes if name not in theirs]
    details = [
        f"only in the checkpoint: {', '.join(missing)}" if missing else "",
        f"only in the data: {', '.join(added)}" if added else "",
        "" if missing or added else f"in another order: {', '.join(theirs)} against {', '.join(classes)}",
    ]
    difference = "; ".join(detail for detail in details if detail)
    raise SegkitError(
        f"'{path}' was trained on {len(theirs)} classes, the data has {len(classes)} ({difference}). "
        "To start from its weights with new predictors, set train.init_weights to it"
    )


def _differences(was: Any, now: Any, path: str) -> list[Change]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        found: list[Change] = []
        for key in [*now, *(key for key in was if key not in now)]:
            found += _differences(was.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if was == now else [Change(path, was, now)]


def _short(value: Any, limit: int = 40) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
