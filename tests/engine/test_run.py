"""Whole runs on a few drawn images: the parts meet."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from segkit.config import load_config, load_config_dict
from segkit.engine import read_checkpoint
from segkit.engine.run import evaluate_only, train
from segkit.inference import Predictor
from segkit.registry import BACKBONE_REGISTRY
from segkit.utils.errors import SegkitError

TOOL = Path(__file__).parents[2] / "tools" / "train_net.py"
SMALL = [
    "data.train={format: synthetic, num_images: 6, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}",
    "data.val={format: synthetic, num_images: 2, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}",
    "data.num_workers=0", "data.batch_size=2", "model.neck.out_channels=16", "train.iterations=4",
    "train.eval_period=2", "train.checkpoint_period=1", "train.log_period=1", "train.device=cpu",
]  # fmt: skip


def config(folder, *overrides):
    return load_config("segkit://quickstart.yaml", [*SMALL, f"output_dir={folder}", *overrides])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    metrics = train(config(folder))
    return folder, metrics


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_what_is_in_the_folder(run):
    folder, metrics = run
    names = "config.yaml environment.json log.txt metrics.json curves.png curves.svg last_checkpoint inference"
    assert {*names.split(), "model_best.pth", "model_final.pth"} <= {path.name for path in folder.iterdir()}
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["torch"] == torch.__version__.partition("+")[0] and environment["runs on"].startswith("cpu")
    assert "loss/total" in EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    results = json.loads((folder / "inference" / "coco_instances_results.json").read_text())
    assert {"image_id", "category_id", "bbox", "segmentation", "score"} <= results[0].keys()
    assert len(list((folder / "inference").glob("*.png"))) == 2
    lines = records(folder)
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["segm/AP"] == metrics["segm/AP"] and {"lr", "memory_mb", "loss/mask"} <= lines[0].keys()
    log = (folder / "log.txt").read_text()
    for text in ("torchvision", "backbone", "trainable", "peak memory", "curves.png", "metrics.json", "star"):
        assert text in log, text


def test_the_saved_config_is_the_run(run):
    folder, _ = run
    cfg = load_config(folder / "config.yaml")
    assert cfg.data.classes == ("triangle", "cross", "ring", "star")
    state = read_checkpoint(folder / "model_final.pth")
    assert state["classes"] == list(cfg.data.classes)
    assert load_config_dict(state["config"]) == cfg


def test_resuming_repeats_the_run(run, tmp_path):
    folder, _ = run
    for name in ("model_0000002.pth", "metrics.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth\n")
    train(config(tmp_path), resume=True)
    keys = [key for key in records(folder)[-1] if key.startswith(("loss/", "segm/", "bbox/"))]
    assert [[line.get(k) for k in keys] for line in records(tmp_path)] == [
        [line.get(k) for k in keys] for line in records(folder)
    ]
    a, b = (read_checkpoint(f / "model_final.pth")["model"] for f in (folder, tmp_path))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_killed_while_the_last_pictures_are_drawn(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "run")
    before = read_checkpoint(folder / "model_final.pth")
    pictures = {path.name: path.read_bytes() for path in (folder / "inference").glob("*.png")}
    for name in pictures:
        (folder / "inference" / name).unlink()
    assert train(config(folder), resume=True) == run[1]
    assert {path.name: path.read_bytes() for path in (folder / "inference").glob("*.png")} == pictures
    assert "nothing is left to train: 4 iterations are done" in (folder / "log.txt").read_text()
    assert records(folder) == records(run[0])
    after = read_checkpoint(folder / "model_final.pth")
    assert all(torch.equal(value, after["model"][name]) for name, value in before["model"].items())


def test_eval_only(run, monkeypatch):
    folder, metrics = run
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: reads.append(args) or load(*args, **kwargs))
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.*") if path.name != "log.txt"}
    final = train(config(folder), eval_only=True, weights=str(folder / "model_final.pth"))
    assert len(reads) == 1  # for labels and weights
    assert final == pytest.approx(metrics)
    evaluate_only(config(folder))
    assert "model_best.pth" in (folder / "log.txt").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*.*") if path.name != "log.txt"}


def test_the_best_score_thresholds_of_a_run(run, tmp_path, caplog):
    """They are in its checkpoints, and the predictor uses them; without them, as in an older checkpoint, it is an error."""
    folder, metrics = run
    path, image = folder / "model_final.pth", torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    state = read_checkpoint(path)
    saved = state["score_thresholds"]
    assert saved["overall"] == metrics["segm/best_threshold"] and saved["iteration"] == 4
    figures = {path.name for path in (folder / "inference" / "figures").iterdir()}
    assert figures == {
        f"{n}.{s}" for n in ("precision_recall", "f1", "calibration", "confusion") for s in ("png", "svg")
    }
    predictor = Predictor(path, device="cpu", overrides=["predict.score_threshold=best"])
    expected = {name: saved["by_class"].get(name, saved["overall"]) for name in predictor.classes}
    assert predictor.thresholds == pytest.approx(expected) and predictor.score_threshold == "best"
    every = Predictor(path, device="cpu", score_threshold=0)(image)
    lowest = torch.tensor(list(predictor.thresholds.values()))
    assert len(predictor(image)) == int((every.scores >= lowest[every.labels]).sum())
    state["score_thresholds"]["iteration"] = 1
    torch.save(state, tmp_path / "later.pth")
    later = Predictor(tmp_path / "later.pth", score_threshold="best_overall")
    assert set(later.thresholds.values()) == {saved["overall"]}
    assert "found after iteration 1, and its weights are those of iteration 4" in caplog.text
    del state["score_thresholds"]
    torch.save(state, tmp_path / "old.pth")
    with pytest.raises(SegkitError, match=r"old.pth has no best score thresholds"):
        Predictor(tmp_path / "old.pth", score_threshold="best")


def test_all_data_trains_and_starts_from_weights(run, tmp_path):
    folder, _ = run
    cfg = config(tmp_path, "data.val=null", "train.iterations=1")
    with pytest.raises(SegkitError, match=r"--weights starts a new run, --resume continues"):
        train(cfg, weights=str(folder / "model_final.pth"), resume=True)
    assert train(cfg, weights=str(folder / "model_final.pth")) == {}
    assert not (tmp_path / "model_best.pth").exists()
    assert load_config(tmp_path / "config.yaml").train.init_weights == str(folder / "model_final.pth")
    with pytest.raises(SegkitError, match=r"data.val is null"):
        train(cfg, eval_only=True)


@pytest.mark.parametrize("data", [(), ("data.val=null",)])
def test_test_transforms_without_inverse_are_refused_before_the_training(tmp_path, data):
    cfg = config(tmp_path, "data.test_transforms=[{name: RandomRotation}]", *data)
    with pytest.raises(SegkitError, match="RandomRotation cannot be a test transform"):
        train(cfg)
    assert not list(tmp_path.glob("*.pth"))


def test_what_it_started_from_may_be_gone(tmp_path):
    """A checkpoint has all weights: neither resuming nor evaluating needs the backbone's pretrained ones."""
    backbone = {"name": "ConvNeXt", "arch": "atto", "output_norm": False}
    pretrained = tmp_path / "pretrained.pth"
    torch.save(BACKBONE_REGISTRY.build(backbone).state_dict(), pretrained)
    cfg = config(tmp_path / "run", f"model.backbone={ {**backbone, 'weights': str(pretrained)} }", "train.iterations=1")
    metrics = train(cfg)
    pretrained.unlink()
    assert train(cfg, eval_only=True) == pytest.approx(metrics)
    train(cfg.with_overrides(["train.iterations=2"]), resume=True)
    assert read_checkpoint(tmp_path / "run" / "model_final.pth")["iteration"] == 2
    with pytest.raises(SegkitError, match=r"pretrained.pth"):
        train(cfg, restart=True)


def test_a_split_of_the_training_data(tmp_path):
    train(config(tmp_path, "data.val={from_train: 0.34}", "train.iterations=1"))
    assert len(list((tmp_path / "inference").glob("*.png"))) == 2
    assert "4 of 6 images" in (tmp_path / "log.txt").read_text()


def test_a_compiled_trunk_trains_alike(run, tmp_path, monkeypatch):
    compiled, compile_module = [], torch.nn.Module.compile

    def eagerly(module):  # captures the graphs as always, without a compiler for what is in them
        compiled.append(type(module).__name__)
        compile_module(module, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", eagerly)
    train(config(tmp_path, "train.compile=true", "train.iterations=1", "data.val=null"))
    assert compiled == ["TinyNet", "FPN"]
    assert records(tmp_path)[0]["loss/total"] == pytest.approx(records(run[0])[0]["loss/total"], rel=1e-4)
    names = [read_checkpoint(folder / "model_final.pth")["model"].keys() for folder in (tmp_path, run[0])]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["train.max_parameters=1000"], r"train.max_parameters: the model has [\d,]+ parameters"),
        (["train.best_metric=segm/PA", "train.iterations=1"], r"train.best_metric: .* 'segm/PA'"),
        (["train.precision=fp16"], r"train.precision: fp16 needs a CUDA GPU"),
        (["data.classes=[a, b]"], r"data.train"),
        (["train.init_weights=/no/such.pth"], r"/no/such.pth"),
        (["solver.optimizer.lr=-1"], r"solver.optimizer"),
        (["solver.schedule.end_lr=5"], r"end_lr"),
        (["model.backbone.trainable_stages=0", "model.backbone.name=NoNet"], r"NoNet"),
    ],
)
def test_mistakes(tmp_path, overrides, message):
    with pytest.raises(SegkitError, match=message):
        train(config(tmp_path, *overrides))


def test_no_checkpoint_to_evaluate(tmp_path):
    with pytest.raises(SegkitError, match=r"--eval-only: there is no checkpoint"):
        train(config(tmp_path), eval_only=True)


def test_a_checkpoint_of_other_classes(run, tmp_path):
    state = read_checkpoint(run[0] / "model_0000001.pth")
    state["classes"] = ["cell", *state["classes"]]
    torch.save(state, tmp_path / "model_0000001.pth")
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth\n")
    with pytest.raises(SegkitError, match=r"5 classes, the data has 4 \(only in the checkpoint: cell\)"):
        train(config(tmp_path), resume=True)


def tool(*arguments):
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)


def test_a_clusters_sigterm_ends_with_75_and_says_how_to_go_on(tmp_path):
    """Slurm sends it to the loader's processes, too."""
    overrides = [*SMALL, f"output_dir={tmp_path}", "train.iterations=100000", "data.num_workers=1"]
    arguments = ["--config-file", "segkit://quickstart.yaml", "--restart", *overrides]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen([sys.executable, str(TOOL), *arguments], **pipes)
    for line in process.stdout:
        if "iter " in line:
            break
    os.killpg(process.pid, signal.SIGTERM)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 75 and "Traceback" not in out + err, out + err
    assert "to go on from iteration" in out and out.rstrip().splitlines()[-1].endswith(" --resume")
    assert "interrupted by SIGTERM" in err and "--restart" not in out
    assert read_checkpoint(tmp_path / (tmp_path / "last_checkpoint").read_text().strip())["iteration"] >= 1


def test_help_does_not_import_torch():
    done = subprocess.run([sys.executable, "-X", "importtime", str(TOOL), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--eval-only" in done.stdout
    assert "torch" not in done.stderr


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        ([], 2, "--config-file is needed"),
        (["--config-file", "no_such.yaml"], 1, "no_such.yaml"),
        (["--config-file", "segkit://quickstart.yaml", "train.epochs", "3", "--resume", "train.sead"], 1, "train.sead"),
    ],
)
def test_mistakes_on_the_command_line(arguments, status, message):
    done = tool(*arguments)
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr


def test_flags_after_overrides():
    import importlib.util

    spec = importlib.util.spec_from_file_location("train_net", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    options = module.parse_arguments(["a.b", "1", "--config-file", "f.yaml", "c=d", "--resume", "e", "-1"])
    assert options.opts == ["a.b", "1", "c=d", "e", "-1"] and options.resume and options.config_file == "f.yaml"
