"""MLflow: runs in a database file of this machine or on a tracking server."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from segkit.engine.checkpoint import SavedCheckpoint
from segkit.engine.hooks.trackers.base import Connection, TrackedRun, Tracker
from segkit.registry import WRITER_REGISTRY

LINE = "epoch"  # the metric that is in every line; it is sent last, so that a line that has it is complete
MOST_METRICS, MOST_PARAMS, LONGEST_PARAM = 1000, 100, 6000  # in one call, and characters of a value
NAME = re.compile(r"[^\w\-. :/]", flags=re.ASCII)  # what a metric's name cannot hold


@WRITER_REGISTRY.register
class MLflow(Tracker):
    """Writes to MLflow: to a local database, or to a tracking server.

    Args:
        experiment: the run's experiment.
        run_name: None: the name of the run's folder.
        tracking_uri: ``sqlite:///mlflow.db``, ``http://...``; None: ``MLFLOW_TRACKING_URI`` of the environment, or
            ``mlflow.db`` in the current folder. A password belongs into ``MLFLOW_TRACKING_PASSWORD``.
    """

    title, package, extra = "MLflow", "mlflow", "mlflow"

    def __init__(
        self,
        *,
        experiment: str = "segkit",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        upload_checkpoints: bool = False,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(upload_checkpoints=upload_checkpoints, timeout=timeout)
        self.experiment = experiment
        self.run_name = run_name
        self.tracking_uri = tracking_uri
        self._client: Any = None

    @property
    def target(self) -> str:
        return self.experiment if self.tracking_uri is None else f"{self.experiment} {_plain(self.tracking_uri)}"

    def load(self) -> None:
        import mlflow
        from mlflow import entities
        from mlflow.exceptions import MlflowException

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # a warning for each attempt to connect
        self._mlflow, self._entities, self._error = mlflow, entities, MlflowException

    def connect(self, run: TrackedRun) -> Connection:
        self._client = self._mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        resumed = self._resumed(run)
        self._id = resumed or self._created(run)
        self._send_config(run.config)
        history = self._client.get_metric_history(self._id, LINE) if resumed else []
        last = max((metric.step for metric in history), default=0)
        uri = self._mlflow.get_tracking_uri() if self.tracking_uri is None else self.tracking_uri
        return Connection(self._id, last, f"run {self._id} of experiment {self.experiment!r} in {_plain(uri)}")

    def _resumed(self, run: TrackedRun) -> str | None:
        """Returns the id of the run if MLflow has it still, and marks it as running."""
        if run.tracker_id is None:
            return None
        try:
            found = self._client.get_run(run.tracker_id)
        except self._error as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if found.info.lifecycle_stage == "deleted":
            return None
        self._client.update_run(run.tracker_id, status="RUNNING")
        return run.tracker_id

    def _created(self, run: TrackedRun) -> str:
        experiment = self._client.get_experiment_by_name(self.experiment)
        number = self._client.create_experiment(self.experiment) if experiment is None else experiment.experiment_id
        tags = {"mlflow.source.name": "segkit", "segkit.folder": str(run.folder)}
        return self._client.create_run(number, run_name=self.run_name or run.name, tags=tags).info.run_id

    def _send_config(self, config: Mapping[str, Any]) -> None:
        """Sends keys as parameters, which cannot change in a resumed run, and the present values as a file."""
        known = self._client.get_run(self._id).data.params
        values = {key: str(value)[:LONGEST_PARAM] for key, value in flat(config).items()}
        params = [self._entities.Param(NAME.sub("_", k), v) for k, v in values.items() if NAME.sub("_", k) not in known]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[first : first + MOST_PARAMS])
        self._client.log_dict(self._id, dict(config), "config.json")

    def send_line(self, iteration: int, metrics: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        names = unique_names(sorted(metrics, key=LINE.__eq__))
        values = [self._entities.Metric(names[key], metrics[key], now, iteration) for key in names]
        for first in range(0, len(values), MOST_METRICS):
            self._client.log_batch(self._id, metrics=values[first : first + MOST_METRICS])

    def send_checkpoint(self, saved: SavedCheckpoint, *, upload: bool) -> None:
        about = {"path": str(saved.path.absolute()), "iteration": saved.iteration, "metrics": saved.metrics}
        self._client.log_dict(self._id, about, f"checkpoints/{saved.path.stem}.json")
        self._client.set_tag(self._id, f"checkpoint.{saved.path.stem.removeprefix('model_')}", about["path"])
        if upload:
            self._client.log_artifact(self._id, str(saved.path), "checkpoints")

    def send_picture(self, iteration: int, name: str, path: Path) -> None:
        self._client.log_artifact(self._id, str(path), os.path.dirname(name) or None)

    def finish(self) -> None:
        self._client.set_terminated(self._id, status="FINISHED" if self.finished else "KILLED")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a nested configuration by dotted keys; lists are values, except lists of mappings."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            value = {str(i): item for i, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def unique_names(names: Iterable[str]) -> dict[str, str]:
    """Returns MLflow's name for each of ``names``; one that becomes equal gets a number."""
    found: dict[str, str] = {}
    for name in names:
        plain = base = NAME.sub("_", name)
        number = 2
        while plain in found.values():
            plain, number = f"{base}_{number}", number + 1
        found[name] = plain
    return found


def _plain(uri: str) -> str:
    """A tracking URI without user and password."""
    return re.sub(r"//[^/@]*@", "//", uri)
