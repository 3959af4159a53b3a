"""The keys under ``train``: length, precision, evaluation, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from segkit.config.help import Help
from segkit.config.period import Period
from segkit.config.typecheck import Bounds
from segkit.utils.errors import SegkitError

EVERY_EPOCH = Period(1, "epoch")
NEVER = Period(0)
DISTRIBUTED_TIMEOUT = 1800.0  # seconds


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig:
    """``train.early_stopping``: the end of a run that no longer improves."""

    patience: Annotated[
        int, Bounds(1), Help("number of consecutive evaluations without an improvement that end the run")
    ] = 5
    metric: Annotated[
        str | None, Help("the metric that must improve, as val/loss/total (lower is better); null: train.best_metric")
    ] = None
    min_gain: Annotated[
        float, Bounds(0), Help("an improvement is a gain of more than this over the best so far (AP is in 0..1)")
    ] = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """``train``: length, precision, evaluation and checkpoints of the run."""

    epochs: Annotated[
        int | None, Bounds(1), Help("passes over the data; iterations is the alternative, the later setting wins")
    ] = 20
    iterations: Annotated[int | None, Bounds(1), Help("optimizer steps, as the alternative to epochs")] = None
    accumulate: Annotated[
        int,
        Bounds(1),
        Help("batches per step, whose gradients are averaged: a larger batch in the memory of a smaller one"),
    ] = 1
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], Help("precision of the network; fp16 uses a loss scaler. Boxes stay fp32")
    ] = "fp32"
    seed: Annotated[int, Bounds(0), Help("seed of weights, batches and augmentation")] = 42
    deterministic: Annotated[bool, Help("use deterministic kernels only: slower, but two runs agree to the bit")] = (
        False
    )
    compile: Annotated[
        bool,
        Help("torch.compile backbone and neck: minutes at the start and for each new image size, then faster steps"),
    ] = False
    device: Annotated[str, Help("'auto' (CUDA if available), 'cpu', 'cuda', 'cuda:1', 'mps'")] = "auto"
    eval_period: Annotated[Period, Help("interval between evaluations: 500 or '1 epoch'; 0: only at the end")] = (
        EVERY_EPOCH
    )
    eval_losses: Annotated[
        bool, Help("also compute the validation losses (val/loss/...), in the same pass over the images")
    ] = True
    ema_decay: Annotated[
        float | None,
        Bounds(0, 1, open_low=True, open_high=True),
        Help(
            "decay of the exponential moving average (EMA) of the weights, over about the last 1 / (1 - this) steps; the "
            "EMA weights are evaluated and, from checkpoints, used to predict; null: no EMA"
        ),
    ] = None
    skip_nonfinite: Annotated[
        int,
        Bounds(0),
        Help(
            "how many steps with NaN or infinite losses or gradients a run skips; one more ends it. "
            "Above 0, each step waits for the GPU"
        ),
    ] = 0
    checkpoint_period: Annotated[Period, Help("interval between checkpoints; 0: only at the end")] = EVERY_EPOCH
    keep_checkpoints: Annotated[
        int | None,
        Bounds(1),
        Help("number of latest periodic checkpoints that stay; null: all. Best and final always stay"),
    ] = 3
    keep_every: Annotated[Period, Help("checkpoints at multiples of this stay too, as '10 epochs'; 0: none")] = NEVER
    log_period: Annotated[int, Bounds(1), Help("iterations between two lines of the log and of metrics.json")] = 20
    best_metric: Annotated[
        str,
        Help("validation metric that selects model_best.pth: val/loss/... by the lowest value, others by the highest"),
    ] = "segm/AP"
    best_min_gain: Annotated[
        float, Bounds(0), Help("model_best.pth is replaced only if best_metric gains more than this (AP is in 0..1)")
    ] = 0.0
    early_stopping: Annotated[
        EarlyStoppingConfig | None,
        Help("end the run when evaluations no longer improve: {patience: 5}; null: never"),
    ] = None
    init_weights: Annotated[
        str | None,
        Help(
            "weights to start from, of a whole model or a backbone: a file, a URL, or a name of torchvision's weights"
        ),
    ] = None
    distributed_timeout: Annotated[
        float,
        Bounds(0, 2**31, open_low=True),
        Help(
            "seconds that a process waits for a slow one (compiling, evaluating, loading); a process that died is noticed "
            "at once"
        ),
    ] = DISTRIBUTED_TIMEOUT
    report: Annotated[
        bool,
        Help("write report.html in the run's folder after the training, if there are validation data (segkit report)"),
    ] = True
    max_parameters: Annotated[
        int | None, Bounds(1), Help("a model with more parameters is an error; null: no limit")
    ] = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.iterations is None):
            raise SegkitError("train: set one of train.epochs and train.iterations", key="train.epochs")

    def total_iterations(self, iterations_per_epoch: int) -> int:
        """Returns the length of the run in iterations."""
        if self.iterations is not None:
            return self.iterations
        assert self.epochs is not None
        return self.epochs * iterations_per_epoch
