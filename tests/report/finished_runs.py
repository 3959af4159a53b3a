"""Makes the folder of a run that was evaluated, without training it."""

from __future__ import annotations

import json
import random
from pathlib import Path

from segkit.config.loader import load_config
from segkit.engine.datasets import build_data

LOG = """2026-01-02 03:04:05 environment
segkit       0.1.0
torch        2.14.1
runs on      cpu: 2 threads, 2 processors
2026-01-02 03:04:06 model GeneralizedRCNN
2026-01-02 03:04:07 iter 1/40  epoch 0.2
2026-01-02 03:05:00 evaluated 6 images in 3.0 s (model: 0.250 s per image)
2026-01-02 03:05:01 done in 0:00:56, peak memory 321 MB
"""
TINY = [
    "data.num_workers=0", "data.train.num_images=3", "data.val.num_images=4", "data.train.image_size=[64, 64]",
    "data.val.image_size=[64, 64]", "data.train.max_objects=11", "data.val.max_objects=11", "train.iterations=40",
    "data.batch_size=2",
]  # fmt: skip


def make_run(folder: Path, *overrides: str, missed: float = 0.2, masks: bool = True, seed: int = 0) -> Path:
    """A folder with ``config.yaml``, results, metrics and a log; the share ``missed`` of the objects is not found."""
    (folder / "inference").mkdir(parents=True)
    cfg = load_config("segkit://quickstart.yaml", [*TINY, f"output_dir={folder}", *overrides])
    (folder / "config.yaml").write_text(cfg.to_yaml())
    dataset = build_data(cfg, eval_only=True).val
    generator, results = random.Random(seed), []
    for index, image_id in enumerate(dataset.image_ids):
        for item in dataset.ground_truth(index, dataset.open(index).with_targets()):
            if generator.random() < missed:
                continue
            label = item["label"] if generator.random() > 0.1 else 0
            one = {
                "image_id": image_id,
                "category_id": dataset.category_ids[label],
                "bbox": [value + generator.random() for value in item["bbox"]],
                "score": round(generator.uniform(0.3, 1), 4),
            }
            results.append(one | ({"segmentation": item["segmentation"]} if masks else {}))
    (folder / "inference/coco_instances_results.json").write_text(json.dumps(results))
    lines = []
    for iteration in range(1, 41):
        loss = 3 / iteration + generator.random() / 5
        line = {"iteration": iteration, "epoch": iteration / 4, "loss/total": loss, "loss/<mask>": loss / 2}
        line |= {"lr": 0.01, "step_time": 0.2, "data_time": 0.02, "memory_mb": 300.0}
        if iteration % 20 == 0:
            line |= {"val/loss/total": loss * 1.2, "segm/AP": iteration / 80, "bbox/AP": iteration / 70}
        lines.append(json.dumps(line))
    (folder / "metrics.json").write_text("\n".join(lines) + '\n{"iteration": 41, "lo')  # cut off by a kill
    (folder / "log.txt").write_text(LOG)
    return folder
