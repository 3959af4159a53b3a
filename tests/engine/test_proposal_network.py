"""A region proposal network through the whole engine: trained, evaluated with the classes as one, kept, drawn, loaded."""

import json

import pytest

from segkit.config import load_config
from segkit.engine.checkpoint import read_checkpoint
from segkit.engine.hooks.evaluation import choose_metric
from segkit.engine.run import train
from segkit.evaluation.coco import CocoEvaluator
from segkit.inference.predictor import Predictor
from segkit.utils.errors import SegkitError

CONFIG = """
_BASE_: segkit://quickstart.yaml
model:
  name: ProposalNetwork
  backbone: {name: TinyNet, width: 8}
  neck: {name: FPN, out_channels: 16}
  proposal_generator:
    name: RPN
    anchor_generator: {name: AnchorGenerator, sizes: [[8], [12], [16], [24], [32]]}
    head: {name: RPNHead}
  detections_per_image: 150
data:
  train: {format: synthetic, num_images: 4, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 0}
  val: {format: synthetic, num_images: 2, image_size: [64, 64], min_objects: 2, max_objects: 4, seed: 9}
  num_workers: 0
  batch_size: 2
solver:
  optimizer: {name: AdamW, lr: 5e-3}
  schedule: {name: Constant}
train: {iterations: 15, eval_period: 0, checkpoint_period: 0, log_period: 5, device: cpu, best_metric: bbox/AR}
evaluators: [{name: COCO, iou_types: [bbox]}]
"""


def test_evaluating_masks_that_the_model_does_not_predict_is_an_error_before_training(tmp_path):
    (tmp_path / "rpn.yaml").write_text(CONFIG)
    overrides = [f"output_dir={tmp_path / 'run'}", "evaluators=[{name: COCO}]"]
    with pytest.raises(SegkitError, match=r"evaluators\[0\].*predicts no masks.*iou_types: \[bbox\]"):
        train(load_config(tmp_path / "rpn.yaml", overrides))
    assert not list((tmp_path / "run").glob("*.pth"))


def test_a_run(tmp_path):
    (tmp_path / "rpn.yaml").write_text(CONFIG)
    folder = tmp_path / "run"
    metrics = train(load_config(tmp_path / "rpn.yaml", [f"output_dir={folder}"]))
    assert {"bbox/AP", "bbox/AR", "bbox/AR@100"} <= metrics.keys()
    assert not any("star" in name or name.startswith("segm/") for name in metrics)
    assert 0 < metrics["bbox/AR@100"] <= metrics["bbox/AR"]
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert {"loss/rpn_cls", "loss/rpn_box", "loss/total"} <= lines[-1].keys()
    results = json.loads((folder / "inference" / "coco_instances_results.json").read_text())
    assert 0 < len(results) <= 2 * 150 and {r["category_id"] for r in results} == {1}
    best = read_checkpoint(folder / "model_best.pth")
    assert best["evaluation"] == pytest.approx(metrics) and best["hooks"]["BestCheckpoint"]["metric"].startswith(
        "bbox/"
    )
    assert len(list((folder / "inference").glob("*.png"))) == 2
    predictor = Predictor(str(folder / "model_final.pth"), score_threshold=0.0)
    assert predictor.classes == ["object"] and predictor.category_ids == [1]
    found = predictor(sorted((folder / "inference").glob("*.png"))[0])
    assert 0 < len(found) <= 150 and found.mask_probs is None and not found.labels.any()


def test_masks_cannot_be_evaluated(tmp_path):
    (tmp_path / "rpn.yaml").write_text(CONFIG)
    cfg = load_config(tmp_path / "rpn.yaml", [f"output_dir={tmp_path / 'run'}", "evaluators=[{name: COCO}]"])
    with pytest.raises(SegkitError, match=r"predicts no masks.*iou_types: \[bbox\]"):
        train(cfg.with_overrides(["train.iterations=1"]))


def test_the_best_may_be_that_of_the_recall_at_100():
    evaluator = CocoEvaluator(["a", "b"], [1, 2], 1000, class_agnostic=True, iou_types=["bbox"])
    assert choose_metric("bbox/AR@100", [evaluator]) == "bbox/AR@100"
    with pytest.raises(SegkitError, match="no 'bbox/AP-a'"):
        choose_metric("bbox/AP-a", [evaluator])
