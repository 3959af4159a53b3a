"""Results files have the ids of the data that were evaluated: pycocotools' AP of the file is segkit's own."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segkit.config import load_config
from segkit.data.formats.id_map import id_map_category_ids
from segkit.engine.build import build_evaluators
from segkit.engine.datasets import build_data, val_loader
from segkit.structures.detections import Detections
from segkit.utils.errors import SegkitError

SIZE = (64, 96)


def coco(folder, categories, image_ids, per_image=6, seed=0):
    """Boxes of random classes in images of the given ids; the categories are (id, name)."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": i, "name": n} for i, n in categories]}
    for image_id in image_ids:
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / f"{image_id:g}.png")
        entry = {"id": image_id, "file_name": f"{image_id:g}.png", "height": SIZE[0], "width": SIZE[1]}
        content["images"].append(entry)
        for k in range(per_image):
            x, y, w, h = (int(v) for v in rng.integers([0, 0, 8, 8], [60, 40, 32, 20]))
            corners = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation = {
                "id": len(content["annotations"]) + 1,
                "image_id": image_id,
                "bbox": [x, y, w, h],
                "iscrowd": 0,
            }
            category = categories[k % len(categories)][0]
            content["annotations"].append(
                {**annotation, "category_id": category, "area": w * h, "segmentation": [corners]}
            )
    (folder / "a.json").write_text(json.dumps(content))
    return {"format": "coco", "json": str(folder / "a.json"), "images": str(folder)}


class Model(torch.nn.Module):
    detections_per_image = 100

    def __init__(self, class_agnostic):
        super().__init__()
        self.class_agnostic = class_agnostic


def found_in(sample):
    """The truth as detections, but for the last object, which has a wrong class, and a box too many."""
    boxes = torch.tensor([a["bbox"] for a in sample.annotations])
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([a["label"] for a in sample.annotations])
    labels[-1] = (labels[-1] + 1) % 2
    boxes, labels = torch.cat([boxes, boxes[:1] + 5]), torch.cat([labels, labels[:1]])
    return Detections(
        boxes.float(), torch.linspace(0.9, 0.5, len(boxes)), labels, torch.ones(len(boxes), 28, 28), sample.size
    )


def evaluated(tmp_path, data, *, eval_only=None, class_agnostic=False):
    """The metrics of a run's evaluators on its validation data, and the results file."""
    overrides = [f"data.{key}={json.dumps(value)}" for key, value in data.items()]
    overrides += [f"output_dir={tmp_path / 'out'}", "data.num_workers=0"]
    cfg = load_config("segkit://quickstart.yaml", overrides)
    opened = build_data(cfg, **({} if eval_only is None else {"eval_only": True, **eval_only}))
    evaluators = build_evaluators(cfg, Model(class_agnostic), opened)
    for batch in val_loader(cfg, opened, torch.device("cpu")):
        for evaluator in evaluators:
            evaluator.process(batch, [found_in(sample) for sample in batch.samples])
    metrics = evaluators[0].evaluate()
    return metrics, tmp_path / "out" / "inference" / "coco_instances_results.json"


def judged(file, results, image_ids=None):
    """pycocotools' box AP of a results file."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(file)
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        if image_ids is not None:
            evaluation.params.imgIds = sorted(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


AB = [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("train_categories", "val_categories", "ids"),
    [
        (AB, [(7, "a"), (9, "b")], {7, 9}),
        (AB, [(2, "a"), (1, "b")], {1, 2}),  # the same numbers, exchanged
        (AB, [(9, "b"), (7, "a")], {7, 9}),
        ([(0, "a"), (5, "b"), (6, "c")], [(6, "b"), (5, "a")], {5, 6}),  # the file lacks a class
        ([(5, "a"), (90, "b")], AB, {1, 2}),
        (AB, [(1.0, "a"), (2e9, "b")], {1, 2 * 10**9}),
    ],
)
@pytest.mark.parametrize("eval_only", [False, True])
def test_validation_data_with_ids_of_their_own(tmp_path, train_categories, val_categories, ids, eval_only):
    data = {"train": coco(tmp_path / "t", train_categories, [1, 2])}
    data["val"] = coco(tmp_path / "v", val_categories, [70, 3, 12.0], seed=1)
    classes, category_ids = ([c[k] for c in sorted(train_categories)] for k in (1, 0))
    checkpoint = {"classes": classes, "category_ids": category_ids} if eval_only else None
    metrics, results = evaluated(tmp_path, data, eval_only=checkpoint)
    assert 0.3 < metrics["bbox/AP"] < 0.95
    assert metrics["bbox/AP"] == pytest.approx(judged(data["val"]["json"], results), abs=1e-9)
    written = json.loads(results.read_text())
    assert {r["category_id"] for r in written} == ids and {r["image_id"] for r in written} == {70, 3, 12}


def test_a_split_of_the_training_data(tmp_path):
    data = {"train": coco(tmp_path / "t", [(3, "b"), (8, "a")], [5, 90, 7, 33]), "val": {"from_train": 0.5}}
    metrics, results = evaluated(tmp_path, data)
    written = json.loads(results.read_text())
    assert {r["category_id"] for r in written} == {3, 8}
    images = {r["image_id"] for r in written}
    assert metrics["bbox/AP"] == pytest.approx(judged(data["train"]["json"], results, images), abs=1e-9)


def test_several_evaluators_and_models_without_classes(tmp_path):
    data = {"train": coco(tmp_path / "t", AB, [1, 2]), "val": coco(tmp_path / "v", [(7, "a"), (9, "b")], [4, 5])}
    both = ["evaluators=[{name: COCO, iou_types: [bbox]}, {name: COCO, iou_types: [segm]}]"]
    cfg = load_config("segkit://quickstart.yaml", [f"data.{k}={json.dumps(v)}" for k, v in data.items()] + both)
    assert [e.category_ids for e in build_evaluators(cfg, Model(False), build_data(cfg))] == [[7, 9], [7, 9]]
    _, results = evaluated(tmp_path, data, class_agnostic=True)
    assert {r["category_id"] for r in json.loads(results.read_text())} <= {7, 9}


def test_classes_in_another_order_are_refused_and_not_mixed_up(tmp_path):
    data = {"train": coco(tmp_path / "t", AB, [1, 2])}
    data["val"] = {**coco(tmp_path / "v", [(7, "a"), (9, "b")], [4]), "classes": ["b", "a"]}
    with pytest.raises(SegkitError, match="the classes are in another order: b, a; expected a, b"):
        evaluated(tmp_path, data)


IMAGES = [{"file_name": "1.png", "id": 4}]


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ({"images": IMAGES, "categories": [{"id": 7, "name": "a"}, {"id": 9, "name": "b"}]}, [7, 9]),
        ({"categories": [{"id": 2, "name": "a"}, {"id": 1, "name": "b"}], "images": IMAGES}, [2, 1]),
        ({"images": IMAGES, "categories": [{"id": n, "name": k} for n, k in enumerate("xbya")]}, [3, 1]),
        ({"images": IMAGES, "annotations": [{"a": 1}], "categories": [{"id": 5.0, "name": "b"}, {"id": 4, "name": "a"}]},
         [4, 5]),
        ({"images": IMAGES}, None),
        ({"images": IMAGES, "categories": []}, None),
        (IMAGES, None),
    ],
)  # fmt: skip
def test_an_id_map_with_categories_has_the_submissions_ids(tmp_path, content, ids):
    (tmp_path / "ids.json").write_text(json.dumps(content))
    assert id_map_category_ids(str(tmp_path / "ids.json"), ["a", "b"]) == ids


def test_an_id_map_whose_categories_are_others(tmp_path):
    (tmp_path / "ids.json").write_text(json.dumps({"images": IMAGES, "categories": [{"id": 1, "name": "cells"}]}))
    message = r"its categories are cells; the model's class 'cell' is not among them; did you mean 'cells'\?"
    with pytest.raises(SegkitError, match=message):
        id_map_category_ids(str(tmp_path / "ids.json"), ["cell"])
