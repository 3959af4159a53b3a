"""The trackers' packages, without a network: what each stores, number by number, also of a run that is resumed."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from fakes import make_trainer
from PIL import Image

from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks import Hook, MLflow, Trackio, WandB, Writers

CONFIG = {"model": {"name": "Fake"}, "hooks": [{"name": "Draw"}], "data": {"classes": ["a(1)", "é"]}}


class Draw(Hook):
    """Stands for the hook that draws; logs what is hard to store."""

    def after_step(self, trainer):
        trainer.log("segm/AP-a(1)", math.nan if trainer.iteration < 4 else 0.5)

    def after_train(self, trainer):
        trainer.pictures = [trainer.output_dir / "a.png"]
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(trainer.pictures[0])


class FailAt(Hook):
    def before_step(self, trainer):
        if trainer.iteration == 8:
            raise OSError("fault")


def train_twice(folder, make_tracker):
    """A run that fails after 8 steps and is resumed from 5, as after kill -9."""
    for state in (None, "model_0000005.pth"):
        hooks = [Draw(), *([] if state else [FailAt()]), Writers(3, writers=[make_tracker()])]
        trainer = make_trainer(folder, extra=hooks, state=state and read_checkpoint(folder / state))
        trainer.about["config"] = CONFIG
        if state is None:
            with pytest.raises(OSError, match="fault"):
                trainer.train()
        else:
            trainer.train()
    ids = json.loads((folder / "tracked_runs.json").read_text())
    return next(iter(ids.values()))


def check_lines(folder, found, rename=str):
    """``found`` [(iteration, name, value)] is metrics.json, each value once; times are the first process's."""
    values = {(iteration, name): value for iteration, name, value in found}
    assert len(values) == len(found), "a value is there twice"
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    expected = {(line["iteration"], rename(name)): value for line in lines for name, value in line.items()}
    expected = {key: value for key, value in expected.items() if key[1] != "iteration"}
    assert values.keys() == expected.keys()
    for (iteration, name), value in expected.items():
        if not name.endswith(("_time", "eta_seconds", "memory_mb")):
            np.testing.assert_equal(values[iteration, name], math.nan if value is None else value, err_msg=name)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(key, "http://127.0.0.1:9")  # refuses: a request would fail
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("store", ["file", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_mlflow(tmp_path, monkeypatch, store):
    """Making the tables of a database takes longer than all else together, so that the suite tries a folder."""
    mlflow = pytest.importorskip("mlflow", reason="pip install 'segkit[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    if store == "sqlite":
        pytest.importorskip("sqlalchemy", reason="pip install 'segkit[mlflow]'")
        uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(tracking_uri=uri)
    client.create_experiment("cells", artifact_location=(tmp_path / "artifacts").as_uri())
    run_id = train_twice(tmp_path, lambda: MLflow(experiment="cells", tracking_uri=uri))
    run = client.get_run(run_id)
    history = [m for key in run.data.metrics for m in client.get_metric_history(run_id, key)]
    check_lines(tmp_path, [(m.step, m.key, m.value) for m in history], rename=lambda name: name.replace("(1)", "_1_"))
    assert run.data.params == {"model.name": "Fake", "hooks.0.name": "Draw", "data.classes": "['a(1)', 'é']"}
    assert run.info.status == "FINISHED" and run.info.run_name == tmp_path.name
    files = tmp_path / "artifacts" / run_id / "artifacts"
    assert json.loads((files / "config.json").read_text()) == CONFIG
    assert (files / "pictures/a.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    final = json.loads((files / "checkpoints/model_final.json").read_text())
    assert final["path"] == run.data.tags["checkpoint.final"] == str(tmp_path / "model_final.pth")
    assert final["iteration"] == 12 and final["metrics"]["segm/AP"] == run.data.metrics["segm/AP"]
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_trackio(tmp_path, monkeypatch):
    trackio = pytest.importorskip("trackio", reason="pip install 'segkit[trackio]'")
    from trackio import sqlite_storage

    for module in [m for name, m in sys.modules.items() if name.startswith("trackio") and hasattr(m, "TRACKIO_DIR")]:
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")  # read from the environment on importing
    for module in [m for name, m in sys.modules.items() if name.startswith("trackio") and hasattr(m, "MEDIA_DIR")]:
        monkeypatch.setattr(module, "MEDIA_DIR", tmp_path / "trackio/media")
    name = train_twice(tmp_path, lambda: Trackio(project="cells"))
    logs = sqlite_storage.SQLiteStorage.get_logs("cells", name)
    values = [
        (log["step"], key, value) for log in logs for key, value in log.items() if key not in ("step", "timestamp")
    ]
    check_lines(tmp_path, [value for value in values if not isinstance(value[2], dict)])
    (picture,) = [value for value in values if isinstance(value[2], dict)]
    assert picture[:2] == (12, "pictures/a") and (tmp_path / "trackio/media" / picture[2]["file_path"]).is_file()
    (run,) = trackio.Api().runs("cells")
    assert run.name == name and {key: run.config[key] for key in CONFIG} == CONFIG
    stored = sqlite_storage.SQLiteStorage.get_artifact_manifest("cells", f"{name}-model_final", "latest")
    assert stored["metadata"]["iteration"] == 12 and stored["metadata"]["path"] == str(tmp_path / "model_final.pth")


def test_wandb(tmp_path):
    pytest.importorskip("wandb", reason="pip install 'segkit[wandb]'")
    run_id = train_twice(tmp_path, lambda: WandB(project="cells", mode="offline"))
    folders = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}"))
    records = [record for folder in folders for record in wandb_records(folder)]
    found = [
        (record["history"]["step"]["num"], name, value)
        for record in records if record["type"] == "history"
        for name, value in record["history"]["item"].items() if name[0] != "_"
    ]  # fmt: skip
    picture = {name: value for _, name, value in found if name.startswith("pictures/")}
    check_lines(tmp_path, [(step, name, float(value)) for step, name, value in found if name not in picture])
    assert (folders[-1] / "files" / picture["pictures/a.path"]).read_bytes() == (tmp_path / "a.png").read_bytes()
    assert len(folders) == 2 and {step for step, name, _ in found if name in picture} == {12}
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    final = json.loads(artifacts[-1]["metadata"])
    assert final["iteration"] == 12 and final["path"] == str(tmp_path / "model_final.pth")
    assert "final" in artifacts[-1]["aliases"]
    runs = [record["run"] for record in records if record["type"] == "run"]
    assert {run["run_id"] for run in runs} == {run_id} and runs[0]["project"] == "cells"


def wandb_records(folder):
    """The records of an offline run, from W&B's own reader."""
    from wandb.util import get_core_path

    (file,) = folder.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--json", "--run-file", str(file), os.path.dirname(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
