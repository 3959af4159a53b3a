"""The evaluator LVIS equals hotcoco's LVISEval, and cases worked by hand."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segkit.data.formats import Synthetic
from segkit.dataset_tools.evaluate_results import evaluate_results
from segkit.engine.build import build_evaluators
from segkit.engine.datasets import RunData
from segkit.evaluation import LvisEvaluator
from segkit.evaluation.build import build_from_specs
from segkit.structures.detections import Detections
from segkit.structures.sample import Batch
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

from . import helpers
from .helpers import problem, run, sample

CLASSES = ["ant", "bee", "cat", "dog", "eel"]
FREQUENCIES = ["r", "c", "f", "f", None]
SIZE = (100, 120)


def detections(boxes, scores, labels, size):
    rles = [helpers.rle_of(box, size)[0] for box in boxes]
    found = Detections.from_rle(
        rles,
        torch.tensor(scores),
        torch.tensor(labels, dtype=torch.int64),
        size,
        torch.tensor(boxes, dtype=torch.float32),
    )
    found.rles = found.to_rle()
    return found


def federated(seed, images=10, ties=True):
    """Batches without crowds, and the LVIS file of them: each image knows three of five classes or more."""
    rng = np.random.default_rng(seed)
    batches, entries, annotations = [], [], []
    for number, (batch, [found]) in enumerate(problem(seed, images, num_classes=len(CLASSES), ties=ties), 1):
        one = dataclasses.replace(batch.samples[0], image_id=number)  # hotcoco takes no negative ids
        truth = [{**item, "iscrowd": 0} for item in one.annotations]
        shown = {item["label"] for item in truth}
        absent = [k for k in range(len(CLASSES)) if k not in shown and rng.random() < 0.5]
        partly = [k for k in sorted(shown) if rng.random() < 0.4]
        unlabelled = [k for k in range(len(CLASSES)) if k in partly or (k not in shown and k not in absent)]
        targets = dataclasses.replace(Targets.empty(one.size), unlabelled=torch.tensor(unlabelled, dtype=torch.int64))
        changed = dataclasses.replace(one, annotations=truth, targets=targets)
        known = detections(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), one.size)
        batches.append((Batch([changed]), [known]))
        entries.append(
            {
                "id": one.image_id, "height": one.size[0], "width": one.size[1],
                "neg_category_ids": [k + 1 for k in absent], "not_exhaustive_category_ids": [k + 1 for k in partly],
            }
        )  # fmt: skip
        for item in truth:
            shape = {key: item[key] for key in ("bbox", "area", "segmentation", "iscrowd")}
            annotation = {"id": len(annotations) + 1, "image_id": one.image_id, "category_id": item["label"] + 1}
            annotations.append({**annotation, **shape})
    categories = [
        {"id": k + 1, "name": name, "frequency": FREQUENCIES[k] or "f", "image_count": 1}
        for k, name in enumerate(CLASSES)
    ]
    return batches, {"images": entries, "annotations": annotations, "categories": categories}


def lvis_results(batches, iou_type):
    """Results without the box for masks, so that a detection's area is its mask's."""
    results = []
    for batch, [found] in batches:
        rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), found.rles, strict=True)
        for (x0, y0, x1, y1), score, label, rle in rows:
            shape = {"segmentation": rle} if iou_type == "segm" else {"bbox": [x0, y0, x1 - x0, y1 - y0]}
            results.append({"image_id": batch.image_ids[0], "category_id": label + 1, "score": score, **shape})
    return results


@pytest.mark.parametrize("limit", [7, 300])
@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_equals_hotcoco(iou_type, limit):
    hotcoco = pytest.importorskip("hotcoco")
    batches, file = federated(5)
    truth = hotcoco.COCO(file)
    found = hotcoco.LVISResults(truth, lvis_results(batches, iou_type), max_dets=limit)
    peer = hotcoco.LVISeval(truth, found, iou_type)
    peer.run()
    expected = peer.get_results()
    evaluator = LvisEvaluator(
        CLASSES, 300, frequencies=[f or "f" for f in FREQUENCIES], iou_type=iou_type, detections_per_image=limit
    )
    values = run(evaluator, batches)
    names = {"AP", "AP50", "AP75", "APs", "APm", "APr", "APc", "APf", "AR@300", "ARs@300", "ARm@300"} & expected.keys()
    assert len(names) >= 9
    for name in names:
        own = values.get(f"lvis_{iou_type}/{name.removesuffix('@300')}", -1.0)
        assert own == pytest.approx(expected[name], abs=1e-12), name
    assert (
        0.05 < values[f"lvis_{iou_type}/AP"] < 0.95 and values[f"lvis_{iou_type}/AP"] != values[f"lvis_{iou_type}/APf"]
    )


def image(objects, found, unlabelled=()):
    """One image: objects (box, label), detections (box, score, label)."""
    one = sample(1, SIZE, [(box, label, False) for box, label in objects])
    targets = dataclasses.replace(Targets.empty(SIZE), unlabelled=torch.tensor(list(unlabelled), dtype=torch.int64))
    boxes, scores, labels = zip(*found, strict=True) if found else ((), (), ())
    return [(Batch([dataclasses.replace(one, targets=targets)]), [detections(boxes, scores, labels, SIZE)])]


BOX, OTHER, FAR = [0, 0, 20, 20], [40, 40, 60, 60], [80, 0, 100, 20]


@pytest.mark.parametrize(
    ("unlabelled", "ap"),
    [
        ((), 1 / 2),  # one of two true detections of 'ant' has a false one before it: precision 1/2 at every recall
        ((0,), 1.0),  # 'ant' is annotated in part: its unmatched detection does not count
        ((1,), 1 / 2),
    ],
)
def test_classes_annotated_in_part(unlabelled, ap):
    found = [(FAR, 0.9, 0), (BOX, 0.8, 0), (OTHER, 0.7, 1)]  # the bee is no object of this image
    values = run(LvisEvaluator(CLASSES, 100), image([(BOX, 0)], found, unlabelled))
    assert values["lvis_segm/AP"] == pytest.approx(ap)
    assert values["lvis_segm/AR"] == 1.0


def test_the_limit_is_of_all_classes_together():
    found = [(FAR, 0.9, 2), (OTHER, 0.8, 1), (BOX, 0.7, 0)]
    batches = image([(BOX, 0)], found)
    assert run(LvisEvaluator(CLASSES, 100, detections_per_image=2), batches)["lvis_segm/AP"] == 0.0
    assert run(LvisEvaluator(CLASSES, 100, detections_per_image=3), batches)["lvis_segm/AP"] == pytest.approx(1)


def test_frequencies_and_classes():
    batches = image([(BOX, 0), (OTHER, 1), (FAR, 4)], [(BOX, 0.9, 0), (FAR, 0.5, 4)])
    values = run(LvisEvaluator(CLASSES, 100, frequencies=FREQUENCIES, per_class=True), batches)
    assert values["lvis_segm/AP"] == pytest.approx(2 / 3)
    assert values["lvis_segm/APr"] == pytest.approx(1) and values["lvis_segm/APc"] == 0.0
    assert "lvis_segm/APf" not in values  # no object of 'cat' or 'dog'
    assert values["lvis_segm/AP50-ant"] == pytest.approx(1) and values["lvis_segm/AP-bee"] == 0.0
    assert "lvis_segm/AP-cat" not in values


def test_class_agnostic_detections_have_no_frequencies():
    batches = image([(BOX, 3)], [(BOX, 0.9, 0)])
    values = run(LvisEvaluator(CLASSES, 100, True, frequencies=FREQUENCIES), batches)
    assert values["lvis_segm/AP"] == pytest.approx(1) and "lvis_segm/APf" not in values


def test_no_objects_and_wrong_arguments(caplog):
    assert run(LvisEvaluator(CLASSES, 100), image([], [(BOX, 0.9, 0)])) == {}
    assert "no objects" in caplog.text
    with pytest.raises(SegkitError, match="detections_per_image"):
        LvisEvaluator(CLASSES, 100, detections_per_image=0)
    with pytest.raises(SegkitError, match="no masks"):
        LvisEvaluator(CLASSES, 100, predicts_masks=False, iou_type="segm")


def test_frequencies_come_from_the_builder():
    [built] = build_from_specs(
        [{"name": "LVIS"}], classes=CLASSES, category_ids=range(5), max_detections=10, frequencies=FREQUENCIES
    )
    assert built.frequencies == FREQUENCIES


def test_a_file_of_lvis_with_results(tmp_path):
    """Frequencies and the classes that each image is annotated for come from the annotation file."""
    batches, file = federated(8, images=4, ties=False)
    (tmp_path / "val2017").mkdir()
    for entry in file["images"]:
        entry["file_name"] = f"val2017/{entry['id']}.png"
        Image.new("RGB", (entry["width"], entry["height"])).save(tmp_path / entry["file_name"])
    for category, frequency in zip(file["categories"], FREQUENCIES, strict=True):
        category["frequency"] = frequency or "c"
    (tmp_path / "lvis_v1_val.json").write_text(json.dumps(file))
    (tmp_path / "results.json").write_text(json.dumps(lvis_results(batches, "segm")))
    spec = {"name": "LVIS", "detections_per_image": 20}
    metrics, table = evaluate_results(str(tmp_path / "results.json"), str(tmp_path), evaluators=[spec])
    known = [frequency or "c" for frequency in FREQUENCIES]
    expected = run(LvisEvaluator(CLASSES, 300, frequencies=known, detections_per_image=20), batches)
    assert {"lvis_segm/APr", "lvis_segm/APc", "lvis_segm/APf"} < expected.keys()
    assert metrics == {name: pytest.approx(value, abs=1e-12) for name, value in expected.items()}
    assert "APr" in table


def test_the_engine_passes_frequencies_on(tmp_path):
    val = Synthetic(num_images=1, image_size=(64, 64), seed=0)
    val.frequencies = ["r", "f", "c"]
    data = RunData(None, val, val.classes, val.category_ids)
    cfg = segkit.load_config("segkit://quickstart.yaml", ["evaluators=[{name: LVIS}]", f"output_dir={tmp_path}"])
    [built] = build_evaluators(cfg, torch.nn.Identity(), data)
    assert built.frequencies == ["r", "f", "c"]
