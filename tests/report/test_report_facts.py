"""What the report reads from the files of a run, and what it computes on its own."""

from __future__ import annotations

import numpy as np
import pytest

from segkit.config.loader import load_config
from segkit.evaluation.intervals import Interval
from segkit.evaluation.score_curves import ScoreCurve
from segkit.report.cells import bounds, count, duration, percent, plain
from segkit.report.config_differences import differences_from_defaults
from segkit.report.metrics_lines import MetricsLines, thinned
from segkit.report.run_log import RunLog, read_run_log
from segkit.report.sections.precision_recall import at_threshold, thinned_curve


def test_lines_of_a_resumed_run_replace_earlier_ones():
    lines = MetricsLines(
        [
            {"iteration": 1, "a": 1},
            {"iteration": 3, "a": 3},
            {"iteration": 2, "a": None},
            "x",
            {"a": 5},
            {"iteration": 4, "b": True},
        ]
    )
    x, y = lines.series("a")
    assert x.tolist() == [1, 2] and y[0] == 1 and np.isnan(y[1])
    assert lines.last_iteration == 4 and lines.last("a") is None and lines.last("b") is None
    assert lines.keys == ["iteration", "a", "b"] and len(MetricsLines([])) == 0 and MetricsLines([]).last_iteration == 0


def test_thinned_series_keep_their_ends_and_extremes():
    generator = np.random.default_rng(0)
    x, y = np.arange(5000), generator.normal(size=5000)
    y[1234], y[4000] = 50, -50
    y[10:60] = np.nan
    few_x, few_y = thinned(x, y, 100)
    assert len(few_x) <= 100 and few_x[0] == 0 and few_x[-1] == 4999 and (np.diff(few_x) > 0).all()
    assert {1234, 4000} <= set(few_x.tolist()) and all(
        y[i] == v or np.isnan(v) for i, v in zip(few_x, few_y, strict=True)
    )
    assert thinned(x[:50], y[:50], 100)[0].tolist() == list(range(50))


def test_the_environment_of_the_last_training(tmp_path, caplog):
    text = (
        "2026-01-01 00:00:00 environment\nold  1\n2026-01-01 00:00:01 iter    1/20  epoch 0.1\n"
        "2026-01-02 00:00:00 environment\ntorch        2.14.1\nruns on      cuda:0: NVIDIA\na note on memory\n"
        "2026-01-02 00:00:02 iter   20/20  epoch 1.0\n"
        "2026-01-03 00:00:00 environment\ntorch        2.15.0\nruns on      cpu\n"  # of an evaluation
        "2026-01-03 00:00:09 evaluated 1 image in 2.0 s (model: 0.5 s per image)\n"
    )
    (tmp_path / "log.txt").write_bytes(text.encode() + b"\xff\xfe broken\n")
    log = read_run_log(tmp_path)
    assert dict(log.environment) == {"torch": "2.14.1", "runs on": "cuda:0: NVIDIA", "note": "a note on memory"}
    assert (log.started, log.ended) == ("2026-01-01 00:00:00", "2026-01-03 00:00:09")
    assert log.seconds_per_image == 0.5 and log.evaluated == 1 and log.duration == ""
    assert read_run_log(tmp_path / "nothing") == RunLog()
    (tmp_path / "environment.json").write_text('{"torch": "2.14.2"}')
    assert read_run_log(tmp_path).environment == (("torch", "2.14.2"),)
    (tmp_path / "environment.json").write_text('["torch"')
    assert read_run_log(tmp_path).environment == log.environment and "environment.json is skipped" in caplog.text


def test_differences_from_the_defaults():
    cfg = load_config("segkit://quickstart.yaml", ["train.seed=7", "model.neck.norm=gn"])
    found = {change.key: (change.before, change.now) for change in differences_from_defaults(cfg)}
    assert found["train.seed"] == (42, 7) and found["model.neck.norm"][1] == "gn"
    assert found["solver.clip_norm"][1] == 5.0 and found["model.backbone.name"][1] == "TinyNet"
    assert "output_dir" not in found and "train.log_period" not in found and "model.roi_heads.min_size" not in found
    assert found["data.train_transforms"][1] == [{"name": "RandomHorizontalFlip"}]  # p has its default


def test_a_curve_is_read_at_a_threshold():
    curve = ScoreCurve("a", np.array([0.9, 0.8, 0.5]), np.array([1, 0.5, 2 / 3]), np.array([0.25, 0.25, 0.5]), 0.5)
    assert at_threshold(curve, 0.8)[:2] == (0.5, 0.25) and at_threshold(curve, 0.7)[:2] == (0.5, 0.25)
    assert at_threshold(curve, 0.1)[0] == pytest.approx(2 / 3) and at_threshold(curve, 0.95) is None
    n = 10_000
    long = ScoreCurve("a", np.linspace(1, 0, n), np.linspace(1, 0.1, n), np.linspace(0, 0.9, n), 0.5)
    thresholds, _, recall = thinned_curve(long)
    assert len(thresholds) <= 242 and recall[0] == 0 and recall[-1] == 0.9 and np.abs(np.diff(recall)).max() < 0.02


def test_texts_for_people():
    assert [duration(s) for s in (0.004, 12, 270, 12000)] == ["4 ms", "12 s", "4.5 min", "3 h 20 min"]
    interval = Interval(0.437, 0.41, 0.46)
    assert percent(0.437, interval).small == "[41.0, 46.0]" and percent(None).text == "–"
    assert (
        bounds(Interval(0.4, float("nan"), 0.5)) == ""
        and count(1234).text == "1,234"
        and plain(float("nan")).text == "–"
    )
