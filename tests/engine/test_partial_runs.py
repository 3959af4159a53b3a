"""Training and evaluation on partly annotated data, LVIS data, and parsed data that have only boxes."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segkit.config import load_config
from segkit.data import build_dataset
from segkit.data.formats import ImageAnnotation, ObjectAnnotation, ParsedDataset
from segkit.engine.build import build_evaluators
from segkit.engine.datasets import build_data, train_loader, val_loader
from segkit.engine.run import train
from segkit.evaluation import evaluate
from segkit.modeling.build import build_model
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.utils.errors import SegkitError

SIDE, CPU = 64, torch.device("cpu")
TINY = [
    "model.backbone={name: TinyNet, width: 8}", "model.neck={name: FPN, out_channels: 16}", "data.num_workers=0",
    "data.batch_size=2", "train.iterations=1", "train.eval_period=0", "train.checkpoint_period=0", "train.log_period=1",
    "train.device=cpu", "model.proposal_generator.post_nms_top_k=[50, 50]", "model.roi_heads.batch_size_per_image=16",
    "model.roi_heads.mask_head.conv_dims=[8]", "model.roi_heads.box_head.fc_dims=[16]", "data.train_transforms=[]",
]  # fmt: skip


def objects(index):
    """Category and box XYXY of an image's objects."""
    rng = np.random.default_rng(index)
    corners = rng.integers(0, 30, (4, 2))
    boxes = [(*map(float, c), *map(float, c + rng.integers(8, 30, 2))) for c in corners]
    return [("a", boxes[0]), ("b", boxes[1]), ("roi", (0.0, 0.0, 40.0, 64.0)), ("unsure", boxes[2])]


class BoxFiles(ParsedDataset):
    """A parsed format whose objects have only boxes; ``None`` is an ignore region of the format's own."""

    def __init__(self, *, folder, classes=None, category_ids=None):
        images = []
        for i in range(4):
            found = [ObjectAnnotation(name, box) for name, box in objects(i) if name in "ab"]
            found.append(ObjectAnnotation(None, (30.0, 30.0, 60.0, 60.0)))
            images.append(ImageAnnotation(f"{folder}/{i}.png", f"{i}.png", (SIDE, SIDE), found))
        super().__init__(images, ["a", "b"], classes, category_ids, where="boxes")


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    return tmp_path


def coco(folder, **extra):
    """The objects with polygons as a COCO file; ``extra`` are keys of each image."""
    names, annotations = ["a", "b", "roi", "unsure"], []
    for i in range(4):
        for name, (x0, y0, x1, y1) in objects(i):
            item = {"id": len(annotations) + 1, "image_id": i, "category_id": names.index(name) + 1, "iscrowd": 0}
            box = [x0, y0, x1 - x0, y1 - y0]
            polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
            annotations.append({**item, "bbox": box, "area": box[2] * box[3], "segmentation": [polygon]})
    images = [{"id": i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE, **extra} for i in range(4)]
    categories = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
    (folder / "a.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return f"json: '{folder / 'a.json'}', images: '{folder}'}}"


def config(folder, data, *overrides):
    paths = [f"data.train={data}", f"data.val={data}", f"output_dir={folder / 'run'}"]
    return load_config("segkit://quickstart.yaml", [*TINY, *paths, *overrides])


def step_and_metrics(cfg):
    """The losses of a batch, and the metrics of the untrained model, without the rest of a run."""
    data = build_data(cfg)
    model = build_model(cfg, len(data.classes))
    batch = next(iter(train_loader(cfg, data, CPU)))
    losses = model.losses(batch.images, batch.targets)
    torch.stack(list(losses.values())).sum().backward()
    return losses, evaluate(model, val_loader(cfg, data, CPU), build_evaluators(cfg, model, data), CPU)


PARTIAL = ["data.ignore_classes=[unsure]", "data.annotated_region_class=roi", "data.not_exhaustive=[b]"]


def test_a_run_on_partly_annotated_images(folder, caplog):
    data = "{format: coco, " + coco(folder)
    with caplog.at_level(logging.INFO):
        metrics = train(config(folder, data, *PARTIAL))
    assert {"segm/AP", "bbox/AP", "segm/AP-a", "segm/AP-b", "val/loss/cls"} <= metrics.keys()
    assert "segm/AP-roi" not in metrics and "segm/AP-unsure" not in metrics
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "4 of 'unsure' in 4 images are ignore regions" in text and "not annotated everywhere: b" in text
    assert len(list((folder / "run" / "inference").glob("*.png"))) == 4
    # What is evaluated with the checkpoint, a spec or a data set, has the checkpoint's regions.
    spec = {"format": "coco", "json": str(folder / "a.json"), "images": str(folder)}
    for given in (spec, build_dataset(spec)):
        assert segkit.evaluate(folder / "run" / "model_final.pth", given)["segm/AR"] == metrics["segm/AR"]
    with pytest.raises(SegkitError, match="roi"):  # without them the data have other classes
        segkit.evaluate(folder / "run" / "model_final.pth", overrides=["data.annotated_region_class=null"])


def test_lvis_data(folder):
    data = "{format: lvis, " + coco(folder, neg_category_ids=[], not_exhaustive_category_ids=[2])
    losses, metrics = step_and_metrics(config(folder, data, "data.ignore_classes=[unsure]"))
    assert losses["cls"] > 0 and {"segm/AP", "bbox/AP", "val/loss/cls"} <= metrics.keys()


def test_parsed_boxes(folder):
    DATASET_FORMAT_REGISTRY.register(BoxFiles, name="box_files")
    try:
        boxes = ["model.roi_heads.mask_head=null", "evaluators=[{name: COCO, iou_types: [bbox]}]"]
        losses, metrics = step_and_metrics(config(folder, f"{{format: box_files, folder: '{folder}'}}", *boxes))
        data = BoxFiles(folder=str(folder))
    finally:
        del DATASET_FORMAT_REGISTRY._obj_map["box_files"]
    assert "bbox/AP" in metrics and losses["rpn_box"] > 0 and "mask" not in losses
    assert data.object_counts().tolist() == data.unmasked_counts().tolist() == [2] * 4
    truth = data.ground_truth(0, data.load(0))
    assert [(item["label"], item["iscrowd"], item["segmentation"]) for item in truth] == [
        (0, 0, None), (1, 0, None), (-1, 1, None)
    ]  # fmt: skip
    assert data.lost_objects()[0] == 8
