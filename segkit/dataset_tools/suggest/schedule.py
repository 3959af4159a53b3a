"""The length of the training: for the images, and for the time and memory at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from segkit.utils.errors import SegkitError, counted

RESERVE = 0.06  # of the time, since steps later in the training differ from the measured ones
PASSES = 40  # over the images, if no time is given
LEAST_STEPS, MOST_STEPS = 2000, 90_000  # if no time is given
MOST_PASSES = 300  # over the images, if the time allows more
FEWEST_STEPS = 20  # below, nothing is learnt
WARMUP = 100  # iterations
EVALUATION_SHARE = 0.05  # of the time that evaluations before the last one may take
MOST_EVALUATIONS = 10
CHECKPOINTS = 7  # of a run; a thread writes them, and the steps go on
LEAST_PERIOD = 100  # iterations between two checkpoints
EVALUATIONS = 5  # if no time is given
NOT_EVALUATED = "There is nothing to evaluate on."
PICTURES = 8  # that are drawn after the last evaluation


@dataclass(frozen=True)
class RunTimes:
    """Measured seconds of the parts of a run.

    Attributes:
        start: opening and checking the data, building the model, starting the loader.
        step: a step.
        evaluation: evaluating an image.
        end: writing the last checkpoint and the curves.
        memory: bytes that training takes beyond what the process had before.
    """

    start: float
    step: float
    evaluation: float
    end: float
    memory: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Length and periods of a training, and the reasons."""

    iterations: int
    eval_period: int
    checkpoint_period: int
    reason: str
    eval_reason: str


def schedule_without_time(images: int, batch: int, val_images: int, steps: int | None = None) -> Schedule:
    """The schedule if no time is given.

    Args:
        images: training images.
        batch: images a step.
        val_images: images of an evaluation.
        steps: given steps; None: for the number of images.
    """
    if steps is None:
        steps = max(LEAST_STEPS, min(MOST_STEPS, math.ceil(images * PASSES / batch / 100) * 100))
    return Schedule(
        steps,
        math.ceil(steps / EVALUATIONS) if val_images else 0,
        max(LEAST_PERIOD, steps // CHECKPOINTS),
        f"No time was given: {_passes(steps * batch, images)}, {LEAST_STEPS:,} steps at least.",
        f"{EVALUATIONS} evaluations." if val_images else NOT_EVALUATED,
    )


def seconds_for_steps(seconds: float, times: RunTimes, val_images: int) -> float:
    """Seconds of a run of ``seconds`` in which it trains, if it evaluates once, at its end."""
    evaluated = val_images + min(val_images, PICTURES)
    return seconds * (1 - RESERVE) - times.start - evaluated * times.evaluation - times.end


def schedule_within(
    seconds: float,
    times: RunTimes,
    *,
    images: int,
    batch: int,
    val_images: int,
    spent: float = 0.0,
    steps: int | None = None,
) -> Schedule:
    """The schedule that ends within ``seconds``, evaluation and checkpoints included.

    Args:
        seconds: from the start of the command to the end of the run.
        times: measured.
        images: training images.
        batch: images a step.
        val_images: images of an evaluation.
        spent: seconds that are over already.
        steps: given steps; None: as many as fit.
    Raises:
        SegkitError: not even a few steps fit.
    """
    left = seconds - spent
    evaluation = val_images * times.evaluation
    usable = seconds_for_steps(left, times, val_images)
    if steps is None and usable < FEWEST_STEPS * times.step:
        needed = math.ceil((seconds + FEWEST_STEPS * times.step - usable) / 60 + 0.5)
        raise SegkitError(
            f"minutes: {seconds / 60:.3g} is not enough: a step takes {times.step:.2g} s, the evaluation of "
            f"{counted(val_images, 'image')} {evaluation:.0f} s, and the data and the measurements took {spent:.0f} s; give at "
            f"least {needed}",
            key="minutes",
            value=seconds / 60,
        )
    evaluations = 0
    if evaluation > 0:
        time_of_evaluations = min(EVALUATION_SHARE * left, usable / 2)
        evaluations = min(MOST_EVALUATIONS, max(0, math.floor(time_of_evaluations / evaluation)))
        evaluations = evaluations if evaluations > 1 else 0  # a single one, halfway, says little
    fitting = math.floor(usable / times.step) - math.ceil(evaluations * evaluation / times.step)
    reason = (
        f"A step takes {times.step:.2g} s here, the evaluation {evaluation:.0f} s: {fitting:,} steps fit into the "
        f"{left / 60:.3g} minutes that are left ({100 * RESERVE:.0f} % in reserve)."
    )
    most = max(LEAST_STEPS, math.ceil(images * MOST_PASSES / batch))
    if steps is None:
        steps = min(fitting, most)
    if steps < fitting:
        reason += f" {MOST_PASSES} passes over the images, or {LEAST_STEPS:,} steps, are enough."
    else:
        reason += f" That is {_passes(steps * batch, images)}."
    # Rounded up: rounded down, the last of them would come just before the one at the end.
    period = math.ceil(steps / (evaluations + 1)) if evaluations else 0
    share = f"{100 * EVALUATION_SHARE:.0f} % of the time"
    if not val_images:
        eval_reason = NOT_EVALUATED
    elif evaluations:
        eval_reason = f"{evaluations} evaluations before the last one take under {share}."
    else:
        eval_reason = f"Only at the end: more evaluations would take over {share} from the training."
    return Schedule(steps, period, max(LEAST_PERIOD, math.ceil(steps / CHECKPOINTS)), reason, eval_reason)


def _passes(seen: int, images: int) -> str:
    passes = seen / images
    shown = f"{passes:.3g}" if passes < 100 else f"{passes:,.0f}"
    return f"{shown} passes over {counted(images, 'training image')}"


def warmup_of(iterations: int) -> int:
    """Steps of the warm-up: a tenth of short trainings."""
    return min(WARMUP, iterations // 10)
