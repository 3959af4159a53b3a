"""The worked examples run as their first lines say, from another directory."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(arguments, cwd):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_extending(tmp_path):
    """A custom backbone, transform and hook train through `imports:`; the checkpoint alone predicts."""
    config = ROOT / "examples/extending/train.yaml"
    options = ["train.iterations=2", "train.log_period=1", "data.train.num_images=8", "data.val.num_images=2"]
    options += ["data.num_workers=0", "hooks=[{name: WeightNorm, period: 1}]", f"output_dir={tmp_path / 'out'}"]
    result = run([ROOT / "tools/train_net.py", "--config-file", config, *options], tmp_path)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.json").read_text().splitlines()]
    assert any(line.get("weight_norm", 0) > 0 for line in lines)
    image = next((tmp_path / "out/inference").glob("*.png"))
    weights = tmp_path / "out/model_final.pth"
    result = run([ROOT / "tools/predict.py", "--weights", weights, image, "--output", tmp_path / "predicted"], tmp_path)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "predicted").rglob("*.png"))


def test_library(tmp_path):
    result = run([ROOT / "examples/library.py", 2], tmp_path)
    assert result.returncode == 0, result.stderr
    assert "step 1: loss" in result.stdout and "detections in an image of" in result.stdout
