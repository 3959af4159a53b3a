"""From a data set, a results file and a shipped configuration to the diagnosis."""

import json

import numpy as np

from segkit.config.loader import load_config
from segkit.data.formats import build_dataset
from segkit.diagnosis.attributes import image_attributes
from segkit.diagnosis.diagnose import diagnose
from segkit.diagnosis.settings import ModelSettings
from segkit.engine.finished_run import finished_run

CONFIGS = "segkit://coco/"


def results_of(dataset, rng, keep):
    """Nearly perfect masks of the objects that ``keep`` chooses, and a few detections that are wrong."""
    listed = []
    for index, image_id in enumerate(dataset.image_ids):
        for item in dataset.ground_truth(index, dataset.load(index)):
            side = float(np.sqrt(item["bbox"][2] * item["bbox"][3]))
            label = item["label"] if rng.random() < 0.95 else (item["label"] + 1) % len(dataset.classes)
            if rng.random() < 0.95 and keep(side, rng):
                listed.append(
                    {
                        "image_id": image_id,
                        "category_id": dataset.category_ids[label],
                        "bbox": item["bbox"],
                        "segmentation": item["segmentation"],
                        "score": float(rng.beta(6, 2)),
                    }
                )
    return listed


def test_anchors_too_large_for_the_data(tmp_path):
    dataset = build_dataset({"format": "synthetic", "num_images": 10, "seed": 3})
    listed = results_of(dataset, np.random.default_rng(0), lambda side, rng: 2 * side >= 64 or rng.random() < 0.2)
    results = tmp_path / "results.json"
    results.write_text(json.dumps(listed))
    run = finished_run("mine", results, dataset)
    sizes = "model.proposal_generator.anchor_generator.sizes=[[64], [96], [128], [192], [256]]"
    scale = "data.test_transforms=[{name: RandomScale, min_scale: 2.0, max_scale: 2.0}]"
    for config, iou_type in (("faster_rcnn_r50_fpn.yaml", "bbox"), ("cascade_mask_rcnn_r50_fpn.yaml", "segm")):
        settings = ModelSettings.from_config(load_config(CONFIGS + config, overrides=[sizes, scale]))
        diagnosis = diagnose(run.overlaps(iou_type), settings, attributes=image_attributes(dataset))
        first = diagnosis.cells[0]
        assert first.kind == "small_for_anchors"
        new = ModelSettings.from_config(settings.config.with_overrides(first.overrides))
        assert new.smallest_anchor < 50
        example = first.examples[0]
        box = run.ground_truth(example.image_id)[example.object]["bbox"]
        assert 2 * np.sqrt(box[2] * box[3]) < 64
