"""The examples run as they are printed in the docs, from another directory, and print what they promise."""

import importlib.util
import json
from pathlib import Path

import pytest
from script_process import run_script

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples"
# What each prints, beside its log.
PRINTS = {
    "mask_head": ["'mask': ", "masks of (28, 28)"],
    "other_framework": ["torchvision's model", "triangle", "a results file", "100.00"],
    "own_dataset": ["segm", "AP-disc"],
    "own_hook": ['"share/mask": 0.'],
    "own_loop": ["step 7: rpn_cls", "detections in an image of", "mask "],
    "timm_backbone": ["'stage1': (64, 4)", "'stage4': (512, 32)", "detections"],
}


def test_each_example_is_tested():
    assert sorted(file.stem for file in FOLDER.glob("*.py")) == sorted(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_an_example(name, tmp_path):
    if name == "timm_backbone" and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: pip install timm")
    result = run_script(FOLDER / f"{name}.py", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    for text in PRINTS[name]:
        assert text in result.stdout, result.stdout


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_is_short_and_says_what_it_shows(name):
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith('"""') and lines[0].endswith('"""') and len(lines) <= 60


def test_extending(tmp_path):
    """A custom backbone, transform and hook train through `imports:`; the checkpoint alone predicts."""
    config = FOLDER / "extending/train.yaml"
    options = [
        "train.iterations=2",
        "train.report=false",
        "train.log_period=1",
        "data.train.num_images=8",
        "data.val.num_images=2",
    ]
    options += ["data.num_workers=0", "hooks=[{name: WeightNorm, period: 1}]", f"output_dir={tmp_path / 'out'}"]
    result = run_script(ROOT / "tools/train_net.py", "--config-file", config, *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.json").read_text().splitlines()]
    assert any(line.get("weight_norm", 0) > 0 for line in lines)
    image = next((tmp_path / "out/inference").glob("*.png"))
    weights = tmp_path / "out/model_final.pth"
    arguments = ["--weights", weights, image, "--output", tmp_path / "predicted"]
    result = run_script(ROOT / "tools/predict.py", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "predicted").rglob("*.png"))
