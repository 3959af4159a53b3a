"""Prediction on a Ray cluster, by actors that hold the model.

Ray Data (``ray.data.Dataset.map_batches`` with a class) hands the shards to the actors. The output folder, the inputs and the
weights must be on a file system that all nodes share. A shard whose node is lost is continued by another actor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

from segkit.inference.shards import Shard
from segkit.inference.writing import PredictionSummary
from segkit.results.prediction_run import PredictionRun
from segkit.utils.errors import SegkitError
from segkit.utils.optional_packages import require

SHARDS_PER_WORKER = 4  # so that a slow one does not keep the others waiting


class Job(Protocol):
    """What is loaded once in each actor, as :class:`segkit.cli.predict_job.PredictJob`."""

    options: Any
    predictor: Any
    inputs: Any

    def run_of(self, shard: Shard) -> PredictionRun:
        """The prediction of a shard."""


class ShardPredictor:
    """An actor: loads the job, and predicts the shards that Ray Data hands to it."""

    def __init__(self, make_job: Callable[[], Job], count: int) -> None:
        self.job, self.count = make_job(), count

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Predicts the shards of the batch; an error becomes a message, so that the others go on."""
        messages = []
        for index in batch["shard"].tolist():
            try:
                self._predict(Shard(index, self.count))
                messages.append("")
            except SegkitError as error:
                messages.append(str(error))
        return {"shard": batch["shard"], "message": messages}

    def _predict(self, shard: Shard) -> None:
        options = self.job.options
        self.job.run_of(shard).run(
            self.job.predictor,
            resume=True,
            skip_unreadable=options.skip_unreadable,
            readers=options.readers,
            finish=False,
        )


def predict_with_ray(
    make_job: Callable[[], Job],
    job: Job,
    *,
    workers: int | None = None,
    address: str | None = None,
    resume: bool = False,
    restart: bool = False,
) -> PredictionSummary:
    """Predicts the inputs of a job in shards, and finishes the prediction.

    Args:
        make_job: makes the job in an actor; pickled.
        job: the same, of this process, which finishes.
        workers: number of actors; None: one for each GPU of the cluster, else 1.
        address: of the cluster; None: Ray is started on this machine.
        resume: whether to continue an interrupted prediction.
        restart: whether to start again in a folder that holds one.
    Returns:
        The counts of all shards.
    Raises:
        SegkitError: Ray is not installed or cannot be reached, or a shard has failed; the others are finished then.
    """
    require("ray", "ray", "--ray")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SegkitError(f"--ray: Ray cannot be reached: {error}", key="--ray") from error
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers = workers or max(1, gpus)
        count = min(len(job.inputs), workers * SHARDS_PER_WORKER)
        runs = [job.run_of(Shard(i, count)) for i in range(1, count + 1)]
        for run in runs:
            if (finished := run.prepare(resume=resume, restart=restart)) is not None:
                return finished
            if restart or not resume:
                run.state.remove()
        shards = ray.data.from_items([{"shard": i} for i in range(1, count + 1)], override_num_blocks=count)
        done = shards.map_batches(
            ShardPredictor,
            fn_constructor_args=(make_job, count),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if gpus else 0,
            num_cpus=1,
        ).take_all()
        failed = [f"shard {row['shard']} of {count}: {row['message']}" for row in done if row["message"]]
        if failed:
            raise SegkitError("; ".join(failed))
        summary = runs[-1].finish()
        assert summary is not None, "a shard is not complete"
        return summary
    finally:
        if started:
            ray.shutdown()
