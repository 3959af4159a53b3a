"""``segkit.train`` and ``segkit.evaluate``: any form of configuration and data, the same results as the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_util

import segkit
from segkit.data import Compose, Synthetic, from_torchvision
from segkit.engine import Trainer
from segkit.evaluation import evaluate_predictions
from segkit.structures import targets_to_torchvision
from segkit.utils.errors import SegkitError

CLASSES = ["triangle", "cross", "ring", "star"]
SMALL = {
    "model.backbone": {"name": "TinyNet", "width": 8},
    "model.neck.out_channels": 16,
    "model.roi_heads.box_head.fc_dims": [32],
    "model.roi_heads.mask_head.conv_dims": [8],
    "data.num_workers": 0,
    "data.batch_size": 2,
    "train.iterations": 2,
    "train.log_period": 1,
    "train.device": "cpu",
}


class Shapes:
    """Synthetic images as a torchvision-style data set."""

    def __init__(self, seed=0, count=4):
        self.source = Synthetic(num_images=count, seed=seed, image_size=(96, 112), max_objects=12, classes=CLASSES)

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        sample = self.source.load(index)
        return sample.image, {**targets_to_torchvision(sample.targets), "image_id": index}


def pairs(seed=0):
    return from_torchvision(Shapes(seed), CLASSES)


def write_coco(folder: Path, shapes: Shapes) -> dict[str, str]:
    folder.mkdir()
    images, annotations = [], []
    for i in range(len(shapes)):
        image, target = shapes[i]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "height": 96, "width": 112})
        for box, label, mask in zip(target["boxes"].tolist(), target["labels"].tolist(), target["masks"], strict=True):
            rle = mask_util.encode(np.asfortranarray(mask.numpy()))
            x0, y0, x1, y1 = box
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": i, "category_id": label, "iscrowd": 0,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "area": float(mask.sum()),
                    "segmentation": {"size": [96, 112], "counts": rle["counts"].decode()},
                }
            )  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))
    return {"format": "coco", "json": str(folder / "coco.json"), "images": str(folder)}


def lines(folder):
    records = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [
        {key: value for key, value in r.items() if key.startswith(("loss/", "val/", "bbox/", "segm/"))} for r in records
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run on pairs of (image, target): its folder, and what ``segkit.train`` returned."""
    folder = tmp_path_factory.mktemp("run") / "pairs"
    overrides = {**SMALL, "output_dir": str(folder)}
    metrics = segkit.train("segkit://quickstart.yaml", overrides=overrides, train_data=pairs(), val_data=pairs(9))
    return folder, metrics


def test_pairs_train_and_evaluate_as_the_same_data_in_coco_json(run, tmp_path):
    folder, metrics = run
    train, val = write_coco(tmp_path / "train", Shapes()), write_coco(tmp_path / "val", Shapes(9))
    overrides = {**SMALL, "output_dir": str(tmp_path / "coco"), "data.train": train, "data.val": val}
    expected = segkit.train("segkit://quickstart.yaml", overrides=overrides)
    assert metrics == expected and "segm/AP" in metrics and "bbox/AP" in metrics
    assert lines(folder) == lines(tmp_path / "coco") and lines(folder)[0]["loss/mask"] > 0
    name = "inference/coco_instances_results.json"
    assert json.loads((folder / name).read_text()) == json.loads((tmp_path / "coco" / name).read_text())


def test_a_run_resumes_with_the_same_data_objects(run):
    folder, _ = run
    overrides = {**SMALL, "output_dir": str(folder), "train.iterations": 3}
    arguments = {"train_data": pairs(), "val_data": pairs(9)}
    with pytest.raises(SegkitError, match="resume"):
        segkit.train("segkit://quickstart.yaml", overrides=overrides, **arguments)
    segkit.train("segkit://quickstart.yaml", overrides=overrides, resume=True, **arguments)
    assert len([line for line in lines(folder) if "loss/total" in line]) == 3


def test_evaluate_a_checkpoint(run, tmp_path):
    folder, metrics = run
    weights = folder / "model_final.pth"
    found = segkit.evaluate(weights, pairs(9), losses=True, output_dir=tmp_path)
    again = segkit.evaluate(str(weights), losses=True)  # the data.val of its configuration, which is still registered
    assert found == again and found.keys() == metrics.keys()
    results = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert results and {"image_id", "category_id", "bbox", "segmentation", "score"} <= results[0].keys()
    other = segkit.evaluate(weights, pairs(5), overrides=["evaluators=[{name: COCO, iou_types: [bbox]}]"])
    assert "bbox/AP" in other and "segm/AP" not in other and "val/loss/total" not in other
    with pytest.raises(SegkitError, match="lacks"):
        segkit.evaluate(weights, from_torchvision(Shapes(), ["a", "b", "c", "d"]))


def test_evaluate_a_model(run):
    weights = run[0] / "model_final.pth"
    model = segkit.Predictor(weights).model.train()
    expected = segkit.evaluate(weights, pairs(9))
    assert segkit.evaluate(model, pairs(9)) == expected and model.training
    assert segkit.evaluate(model, pairs(9), transforms=[], batch_size=2).keys() == expected.keys()
    cfg = segkit.load_config("segkit://quickstart.yaml", ["train.device=cpu"])
    assert segkit.evaluate(model, pairs(9), config=cfg) == expected
    with pytest.raises(SegkitError, match="needs a data set"):
        segkit.evaluate(model)
    with pytest.raises(SegkitError, match="4"):
        segkit.evaluate(model, from_torchvision([(torch.zeros(3, 8, 8), {})], ["a"]))
    with pytest.raises(SegkitError, match="from_torchvision"):
        segkit.evaluate(model, Shapes())


def test_evaluate_a_function():
    """Ground truth as predictions of torchvision's form: the metrics are perfect; empty answers find nothing."""
    data = pairs(9)
    answers = {data.load(i).image.sum().item(): Shapes(9)[i][1] for i in range(len(data))}

    def perfect(images):
        targets = [answers[image.sum().item()] for image in images]
        return [{**t, "scores": torch.ones(len(t["labels"])), "masks": t["masks"][:, None].float()} for t in targets]

    metrics = segkit.evaluate(perfect, data, batch_size=3)
    assert metrics["segm/AP"] == metrics["bbox/AP"] == pytest.approx(1.0)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "scores": torch.zeros(0)}
    assert segkit.evaluate(lambda images: [nothing] * len(images), data)["bbox/AP"] == 0
    with pytest.raises(SegkitError, match="0 for 1"):
        segkit.evaluate(lambda images: [], data)
    with pytest.raises(SegkitError, match="data set"):
        segkit.evaluate(perfect)
    with pytest.raises(SegkitError, match="output_dir"):
        segkit.evaluate(perfect, data, output_dir="results")
    with pytest.raises(SegkitError, match="expected a checkpoint"):
        segkit.evaluate(3, data)


def test_evaluate_predictions_of_a_results_file(run, tmp_path):
    """The results file of a run has the run's metrics of COCO."""
    folder, _ = run
    metrics = segkit.evaluate(folder / "model_final.pth", pairs(9), output_dir=tmp_path)
    file = tmp_path / "coco_instances_results.json"
    found = evaluate_predictions(file, pairs(9))
    others = {"F1", "precision", "recall", "best_threshold", "ECE"}  # of PrecisionRecall
    of_coco = {k: v for k, v in metrics.items() if k.partition("/")[2].partition("-")[0] not in others}
    assert {k: pytest.approx(v, abs=1e-6) for k, v in found.items()} == of_coco
    content = json.loads(file.read_text())
    boxes = [{key: value for key, value in one.items() if key != "segmentation"} for one in content]
    assert evaluate_predictions(boxes, pairs(9))["bbox/AP"] == pytest.approx(metrics["bbox/AP"], abs=1e-6)
    for change, fact in (({"image_id": 77}, "77"), ({"category_id": 9}, "category_id 9")):
        with pytest.raises(SegkitError, match=fact):
            evaluate_predictions([{**boxes[0], **change}], pairs(9))
    with pytest.raises(SegkitError, match="evaluate_predictions"):
        segkit.evaluate(file, pairs(9))
    with pytest.raises(SegkitError, match=r"2 .* 4 images"):
        evaluate_predictions([{}, {}], pairs(9))


def test_any_form_of_configuration(tmp_path):
    seen = []
    cfg = segkit.load_config("segkit://quickstart.yaml", ["train.device=cpu"])
    from segkit.config.sources import as_config

    for source in (cfg, cfg.to_dict(), "segkit://quickstart.yaml"):
        for overrides in (
            {"train.device": "cpu", "solver.clip_norm": None},
            ["train.device=cpu", "solver.clip_norm=null"],
        ):
            seen.append(as_config(source, overrides))
    assert all(found == seen[0] for found in seen) and seen[0].solver.clip_norm is None
    for wrong in (3, None):
        with pytest.raises(SegkitError, match="expected a Config"):
            segkit.train(wrong)
    with pytest.raises(SegkitError, match="not the text"):
        segkit.train(cfg, overrides="train.epochs=1")
    with pytest.raises(SegkitError, match="from_torchvision"):
        segkit.train(cfg, train_data=Shapes())
    with pytest.raises(SegkitError, match="config="):
        torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "w.pth")
        segkit.evaluate(tmp_path / "w.pth", pairs())


def test_an_own_trainer_on_pairs(tmp_path):
    """The parts by hand: loader, Trainer, two steps."""
    from segkit.data import ShuffleSampler, build_train_loader
    from segkit.modeling import TinyNet
    from segkit.solver import Constant

    data = pairs()
    sampler = ShuffleSampler(num_samples=len(data), seed=0)
    loader = build_train_loader(data, Compose([]), sampler=sampler, batch_size=2, seed=0, num_workers=2)
    model = segkit.mask_rcnn(TinyNet(width=8), 4, fpn_channels=16, mask_conv_dims=(8,), fc_dims=(16,))
    trainer = Trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.01), Constant(), loader,
        max_iterations=2, iterations_per_epoch=2, output_dir=tmp_path,
    )  # fmt: skip
    trainer.train()
    assert trainer.iteration == 2 and torch.isfinite(trainer.losses["total"])


def test_train_data_without_val_data_names_both(tmp_path):
    one = from_torchvision(Shapes(), [*CLASSES, "circle"])  # the configuration's data.val draws four classes
    with pytest.raises(SegkitError, match=r"data\.val.*val_data.*'data\.val': None"):
        segkit.train(
            "segkit://quickstart.yaml", overrides={**SMALL, "output_dir": str(tmp_path / "run")}, train_data=one
        )


@pytest.mark.parametrize(("name", "instead"), [("eval_only", "segkit.evaluate"), ("resume_command", "resume=True")])
def test_former_arguments_of_train_name_what_replaces_them(name, instead):
    with pytest.raises(SegkitError, match=f"'{name}'.*{instead}"):
        segkit.engine.train("segkit://quickstart.yaml", **{name: True})


def test_evaluating_a_predictor_warns_of_its_threshold(run, caplog):
    folder, _ = run
    predictor = segkit.Predictor.load(folder / "model_final.pth", device="cpu")
    segkit.evaluate(predictor, pairs(1))
    assert f"at least {predictor.score_threshold}" in caplog.text
