"""``segkit fit`` and ``segkit dataset stats``: what they print, write and refuse."""

from __future__ import annotations

import json

import pytest
from rectangles import Rectangles, scattered

import segkit
from segkit.cli import fit as command
from segkit.cli.dataset import stats as stats_command
from segkit.data import register_dataset
from segkit.dataset_tools import fit as fitting
from segkit.dataset_tools.fit import FitOptions, fit
from segkit.dataset_tools.source import OpenedData
from segkit.dataset_tools.stats import run as stats_run
from segkit.dataset_tools.suggest import source
from segkit.utils.errors import SegkitError

SMALL = (
    "model.backbone={name: TinyNet, width: 8}", "model.neck={name: FPN, out_channels: 16}", "data.num_workers=0",
    "data.batch_size=1", "train.iterations=2", "train.eval_period=0", "data.train_transforms=[]",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that is recognised as twelve images, in the current directory."""
    data = Rectangles(scattered(12))
    register_dataset("fit_test", lambda: data)
    opened = OpenedData({"all": data}, {"all": {"format": "catalog", "name": "fit_test"}}, "catalog: for the test")
    for module in (source, stats_run):
        monkeypatch.setattr(module, "open_data", lambda path, format, **_: opened)
    monkeypatch.chdir(tmp_path)
    return data


def test_fit_and_resume(folder, capsys, tmp_path, monkeypatch):
    options = FitOptions(data="my_data", minutes=20, overrides=SMALL)
    metrics = fit(options)  # measures real steps
    assert "segm/AP" in metrics
    out = capsys.readouterr().out
    last = out.strip().splitlines()[-1]
    assert last.startswith(f"segm AP {100 * metrics['segm/AP']:.2f}, bbox AP") and last.endswith("output/fit/my_data")
    assert "taken for catalog: for the test" in out and "12 images, 48 objects of 2 classes (a, b)" in out
    file = tmp_path / "output/fit/my_data/suggested.yaml"
    assert str(file.relative_to(tmp_path)) in out and "# " in file.read_text()
    cfg = segkit.load_config(file)
    assert cfg.train.iterations == 2 and cfg.output_dir == "output/fit/my_data"
    assert json.loads((file.parent / "metrics.json").read_text().splitlines()[-1])["iteration"] == 2
    with pytest.raises(SegkitError, match="--restart"):
        fit(options, timer=lambda cfg, seconds: pytest.fail("refused before anything is measured"))
    before = file.read_text()
    resumed = []
    monkeypatch.setattr(
        fitting,
        "train",
        lambda cfg, **settings: resumed.append((cfg.train.iterations, cfg.train.device, settings)) or {},
    )
    more = FitOptions(data="my_data", device="cpu", overrides=("train.iterations=3",))
    fit(more, resume=True, resume_command="again", timer=lambda cfg, seconds: pytest.fail("nothing is suggested again"))
    assert resumed == [(3, "cpu", {"resume": True, "resume_command": "again"})] and file.read_text() == before
    with pytest.raises(SegkitError, match="holds an earlier run"):  # whose configuration a dry run would replace
        fit(FitOptions(data="my_data"), only_try=True)
    assert file.read_text() == before


def test_a_mistake_in_a_value_is_of_the_command_line(folder):
    with pytest.raises(SegkitError, match=r"train\.iteration \(command line\): .* 'train\.iterations'"):
        fit(FitOptions(data="my_data", overrides=("train.iteration=3",)), only_try=True)


def test_dry_run_trains_nothing(folder, tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(fitting, "dry_run", tried.append)
    fit(FitOptions(data="my_data", output="out"), only_try=True)
    assert [cfg.output_dir for cfg in tried] == ["out"] and [p.name for p in (tmp_path / "out").iterdir()] == [
        "suggested.yaml"
    ]


def test_folder_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells.v2").mkdir()
    (tmp_path / "train.json").write_text("")
    for settings, expected in (
        ({"data": "cells.v2/"}, "output/fit/cells.v2"),
        ({"data": "train.json"}, "output/fit/train"),
        ({"data": "x", "output": "out"}, "out"),
        ({"data": "x", "overrides": ("output_dir=there",)}, "there"),
    ):
        assert str(FitOptions(**settings).run_dir) == expected


def test_result_of_boxes_and_of_no_evaluation(tmp_path):
    assert fitting.result({"bbox/AP": 0.12345, "bbox/AP50": 1}, tmp_path).startswith(
        "bbox AP 12.35 on the validation data;"
    )
    assert "nothing was evaluated" in fitting.result({}, tmp_path)


def test_resume_without_a_run(folder):
    with pytest.raises(SegkitError, match=r"--resume: there is no .*suggested\.yaml"):
        fit(FitOptions(data="my_data"), resume=True)


def test_a_run_that_took_longer_is_said(folder, monkeypatch, caplog):
    monkeypatch.setattr(fitting, "train", lambda cfg, **settings: {})
    monkeypatch.setattr(fitting, "suggest", lambda *args, **settings: suggestion)
    from segkit.dataset_tools.suggest.config import suggest

    suggestion = suggest({"format": "synthetic", "num_images": 6})
    fit(FitOptions(data="my_data", minutes=1e-6, output="long"))
    assert "in place of 1e-06" in caplog.text
    caplog.clear()
    fit(FitOptions(data="my_data", minutes=1e6, output="short"))
    assert "in place of" not in caplog.text


def test_arguments(capsys):
    options = command.parse_arguments(["d", "--minutes", "4", "train.seed=1", "data.batch_size=2"])
    assert (options.data, options.minutes, options.opts) == ("d", 4, ["train.seed=1", "data.batch_size=2"])
    for words, text in (
        (["d", "--resume", "--restart"], "--resume and --restart"),
        (["d", "--dry-run", "--resume"], "--resume and --dry-run"),
        (["d", "--minutes", "0"], "--minutes"),
        (["d", "--memory", "-1"], "--memory"),
        (["d", "--minuts", "3"], "--minutes"),
    ):
        with pytest.raises(SystemExit) as ended:
            command.parse_arguments(words)
        assert ended.value.code == 2 and text in capsys.readouterr().err


def test_stats_command(folder, capsys, tmp_path):
    words = ["my_data", "--json", "s.json", "--max-images", "5"]
    stats_command.main(stats_command.parse_arguments(words))
    out = capsys.readouterr().out
    assert "taken for catalog" in out and "random sample of 5" in out and "detections_per_image: 100" in out
    content = json.loads((tmp_path / "s.json").read_text())
    assert content["splits"]["all"]["measured_images"] == 5
    assert content["config"]["values"]["model"]["roi_heads"]["detections_per_image"] == 100
    folder.images = [[]] * 12
    stats_command.main(stats_command.parse_arguments(["my_data"]))
    assert "no lines" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        stats_command.parse_arguments(["my_data", "--max-images", "0"])
