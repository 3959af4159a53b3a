"""Whole runs on data whose objects have a box and no mask: all of them, some, none that is evaluated."""

import json
import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.config import load_config
from segkit.data.formats.base import Dataset
from segkit.engine.build import build_evaluators
from segkit.engine.datasets import build_data, train_loader, val_loader
from segkit.engine.dry_run import dry_run
from segkit.engine.missing_masks import check_masks_to_evaluate, count_masks, warn_of_missing_masks
from segkit.engine.replay import batch_to_plain, targets_from_plain
from segkit.engine.run import train
from segkit.evaluation import evaluate
from segkit.modeling.build import build_model
from segkit.registry import DATASET_FORMAT_REGISTRY
from segkit.structures import Batch, InstanceMasks, Sample, Targets
from segkit.utils.errors import SegkitError

BBOX = "evaluators=[{name: COCO, iou_types: [bbox]}]"
TINY = [
    "model.backbone={name: TinyNet, width: 8}", "model.neck={name: FPN, out_channels: 16}", "data.num_workers=0",
    "data.batch_size=2", "data.test_batch_size=2", "train.iterations=1", "train.eval_period=0", "train.checkpoint_period=0",
    "train.log_period=1", "train.device=cpu", "train.precision=fp32",
    "model.proposal_generator.post_nms_top_k=[50, 50]",
]  # fmt: skip
HEADS = [
    "model.roi_heads.batch_size_per_image=16",
    "model.roi_heads.mask_head.conv_dims=[8]",
    "model.roi_heads.box_head.fc_dims=[16]",
]


@pytest.fixture
def boxes(tmp_path):
    """A COCO file of four images with three objects each; ``masked`` numbers of these have a polygon."""

    def write(name="boxes", masked=(), crowds=()):
        rng = np.random.default_rng(0)
        images, annotations = [], []
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
            images.append({"id": i + 1, "file_name": f"{i}.png", "height": 64, "width": 64})
            for k in range(3):
                x, y, w, h = (int(v) for v in rng.integers([0, 0, 8, 8], [40, 40, 30, 30]))
                number = len(annotations)
                one = {
                    "id": number + 1,
                    "image_id": i + 1,
                    "category_id": 1 + k % 2,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                }
                one["segmentation"] = [[x, y, x + w, y, x + w, y + h]] if number in masked else []
                annotations.append({**one, "iscrowd": int(number in crowds)})
        categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
        return f"{{format: coco, json: '{file}', images: '{tmp_path}'}}"

    return write


def config(tmp_path, name, train_data, val_data, *overrides):
    data = [f"data.train={train_data}", f"data.val={val_data}", f"output_dir={tmp_path / 'run'}"]
    heads = [*HEADS, "data.train_transforms=[]", "data.test_transforms=[]"] if "quickstart" in name else []
    return load_config(f"segkit://{name}", [*TINY, *heads, *data, *overrides])


def records(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]


def warnings(caplog):
    texts = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [text for text in texts if "no mask" in text or "has a mask" in text]


CPU = torch.device("cpu")
SMALL = [
    "model.backbone={name: TinyNet}", "model.neck.out_channels=16", "train.init_weights=null",
    "data.train_transforms=[{name: RandomHorizontalFlip}, {name: Resize, size: 64}]",
    "data.test_transforms=[{name: Resize, size: 80}]",
]  # fmt: skip
BOX_HEAD = ["model.roi_heads.box_head={name: FastRCNNHead, fc_dims: [16]}"]
SHIPPED = {
    "coco/faster_rcnn_r50_fpn.yaml": BOX_HEAD,
    "coco/faster_rcnn_r50_fpn_giou.yaml": ["model.roi_heads.box_head.fc_dims=[16]"],
    "coco/cascade_rcnn_r50_fpn.yaml": [f"model.roi_heads.box_heads.{i}.fc_dims=[16]" for i in range(3)],
    "coco/detectron2_faster_rcnn_r50_fpn.yaml": BOX_HEAD,
    "coco/torchvision_faster_rcnn_r50_fpn.yaml": BOX_HEAD,
    "coco/torchvision_faster_rcnn_r50_fpn_v2.yaml": BOX_HEAD,
    "coco/rpn_r50_fpn.yaml": [],
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_box_detectors_learn_from_boxes_and_are_evaluated(tmp_path, boxes, caplog, name):
    cfg = config(tmp_path, name, boxes(), boxes(), *SMALL, *SHIPPED[name])
    data = build_data(cfg)
    model = build_model(cfg, 2)
    batch = next(iter(train_loader(cfg, data, CPU)))
    losses = model.losses(batch.images, batch.targets)
    assert losses["rpn_box"] > 0 and "mask" not in losses
    torch.stack(list(losses.values())).sum().backward()
    metrics = evaluate(model, val_loader(cfg, data, CPU), build_evaluators(cfg, model, data), CPU)
    assert {"bbox/AP", "bbox/AR", "val/loss/rpn_box"} <= metrics.keys() and not any("segm" in key for key in metrics)
    with caplog.at_level(logging.WARNING):
        warn_of_missing_masks(model, data.train)
    assert warnings(caplog) == []  # there is no mask head to miss them


def test_a_run_of_boxes_alone(tmp_path, boxes):
    name = "coco/faster_rcnn_r50_fpn.yaml"
    metrics = train(config(tmp_path, name, boxes(), boxes(), *SMALL, *SHIPPED[name]))
    assert {"bbox/AP", "bbox/AR"} <= metrics.keys() and metrics["val/loss/box"] > 0
    assert records(tmp_path)[0]["loss/rpn_box"] > 0 and len(list((tmp_path / "run" / "inference").glob("*.png"))) == 4


NO_MASK = "none of the 12 training objects has a mask: the mask head does not train; set model.roi_heads.mask_head=null"


@pytest.mark.parametrize(
    ("masked", "crowds", "warning"),
    [
        ((), (), NO_MASK),
        (
            (0, 1, 2, 3, 7),
            (),
            r"7 of 12 training objects have no mask, first in \S+1.png, \S+2.png, \S+3.png: the mask head does",
        ),
        ((0, 1, 2, 3, 7), (5, 6, 7), "5 of 9 training objects have no mask"),
        (range(11), (), r"1 of 12 training objects have no mask, first in \S+3.png: "),
        (range(11), (11,), None),
        (range(12), (), None),
    ],
)
@pytest.mark.parametrize("mask_head", [True, False])
def test_objects_without_a_mask_are_a_warning_for_a_mask_head(
    tmp_path, boxes, caplog, masked, crowds, warning, mask_head
):
    data = build_data(config(tmp_path, "quickstart.yaml", boxes("some", masked, crowds), "null"))
    model = build_model(load_config("segkit://quickstart.yaml", TINY), 2)
    if not mask_head:
        model.roi_heads.mask_head = None
    with caplog.at_level(logging.WARNING):
        warn_of_missing_masks(model, data.train)
    found = warnings(caplog)
    assert len(found) == (warning is not None and mask_head)
    assert not found or re.match(warning, found[0])


def test_a_mask_head_trains_on_the_masks_there_are(tmp_path, boxes, caplog):
    data, val = boxes("some", [0, 1, 2, 3, 7]), boxes("val", range(7))
    overrides = ["train.ema_decay=0.9", "train.accumulate=2", "train.iterations=2"]
    with caplog.at_level(logging.WARNING):
        metrics = train(config(tmp_path, "quickstart.yaml", data, val, *overrides))
    of_training, of_evaluation = warnings(caplog)
    assert of_training.startswith("7 of 12 training objects") and of_evaluation.startswith("5 of 12 objects evaluated")
    assert max(record.get("loss/mask", 0) for record in records(tmp_path)) > 0
    assert {"segm/AP", "bbox/AP", "val/loss/mask"} <= metrics.keys()


def test_masks_cannot_be_evaluated_without_any(tmp_path, boxes):
    whole, none = boxes("all", range(12)), boxes("none")
    message = (
        r"data\.val: none of the 12 validation objects has a mask, so 'segm' cannot be evaluated; set evaluators=\[\{"
    )
    for function in (train, dry_run):
        with pytest.raises(SegkitError, match=message):
            function(config(tmp_path, "quickstart.yaml", whole, none))
    assert not list((tmp_path / "run").glob("*.pth"))
    metrics = train(config(tmp_path, "quickstart.yaml", whole, none, BBOX), restart=True)
    assert "bbox/AP" in metrics and metrics["val/loss/mask"] == 0
    with pytest.raises(SegkitError, match=message):
        train(config(tmp_path, "quickstart.yaml", whole, none), eval_only=True)


def test_a_dry_run_whose_first_batch_has_no_masks(tmp_path, boxes, caplog):
    some = boxes("some", [9, 10, 11])  # of the last image
    cfg = config(tmp_path, "quickstart.yaml", some, some)
    first = next(iter(train_loader(cfg, build_data(cfg), CPU)))
    assert not any(t.has_mask.any() for t in first.targets) and sum(map(len, first.targets)) == 6
    with caplog.at_level(logging.INFO):
        dry_run(cfg)
    assert "mask 0.0000" in caplog.text and "dry run done" in caplog.text


@pytest.mark.parametrize("transforms", ["[{name: Mosaic, size: 64}]", "[{name: CopyPaste, p: 1.0}]"])
def test_mixing_images_with_and_without_masks(tmp_path, boxes, transforms):
    some = boxes("some", [0, 1, 2, 3, 7])
    cfg = config(tmp_path, "quickstart.yaml", some, "null", f"data.train_transforms={transforms}")
    model = build_model(cfg, 2)
    batches = [batch for batch, _ in zip(train_loader(cfg, build_data(cfg), CPU), range(4), strict=False)]
    assert {kind for batch in batches for t in batch.targets for kind in t.has_mask.tolist()} == {True, False}
    for batch in batches:
        assert all(torch.isfinite(loss) for loss in model.losses(batch.images, batch.targets).values())


def test_pasting_without_any_mask_is_a_mistake(tmp_path, boxes):
    none = boxes()
    paste = "data.train_transforms=[{name: RandomHorizontalFlip}, {name: CopyPaste}]"
    with pytest.raises(
        SegkitError, match=r"CopyPaste.*none of the 12 training objects has a mask.*data.train_transforms"
    ):
        train(config(tmp_path, "quickstart.yaml", none, "null", paste))


class Boxes(Dataset):
    """A format of a user's own, of boxes: of the images from ``first`` on the objects have masks."""

    def __init__(self, *, first: int = 99, count: int = 4) -> None:
        self.classes, self.category_ids = ["a", "b"], [1, 2]
        self.image_ids, self.first, self.loaded = list(range(count)), first, 0

    def load(self, index):
        self.loaded += 1
        size = (64, 64)
        boxes = torch.tensor([[4.5, 3, 20, 30], [30, 30, 60, 50 + index % 9]])
        dense = torch.zeros(2, *size, dtype=torch.bool)
        dense[0, 3:30, 5:20], dense[1, 30:50, 30:60] = True, True
        masks = InstanceMasks.from_dense(dense) if index >= self.first else None
        image = torch.full((3, *size), index, dtype=torch.uint8)
        return Sample(image, Targets(boxes, torch.tensor([0, 1]), masks), index, f"{index}.png", size)

    def label_counts(self, index):
        return {0: 1, 1: 1}


@pytest.fixture
def own_format():
    DATASET_FORMAT_REGISTRY.register(name="boxes_of_my_own")(Boxes)
    yield "{format: boxes_of_my_own}"
    del DATASET_FORMAT_REGISTRY._obj_map["boxes_of_my_own"]


@pytest.mark.parametrize("mask_head", [True, False])
def test_a_format_of_ones_own_without_masks(tmp_path, own_format, caplog, mask_head):
    overrides = [BBOX, *([] if mask_head else ["model.roi_heads.mask_head=null"])]
    cfg = config(tmp_path, "quickstart.yaml", own_format, own_format, *overrides)
    with caplog.at_level(logging.WARNING):
        metrics = train(cfg)
    assert {"bbox/AP", "val/loss/box", "val/loss/total"} <= metrics.keys()
    found = warnings(caplog)
    assert len(found) == mask_head and all("none of the 8 training objects has a mask" in text for text in found)
    with pytest.raises(SegkitError, match="none of the 8 validation objects has a mask"):
        train(config(tmp_path, "quickstart.yaml", own_format, own_format), restart=True)


@pytest.mark.parametrize(
    ("dataset", "unmasked", "objects", "images", "loaded"),
    [
        (Boxes(first=0, count=50), 0, 40, 20, 20),
        (Boxes(first=3, count=6).subset([3, 0, 4, 1]), 4, 8, None, 0),  # the first object has a mask, others have none
        (Boxes(first=1, count=4), 2, 8, None, 4),
        (Boxes(count=5), 10, 10, None, 5),
        (Boxes(count=50), 40, 40, 20, 20),
        (Boxes(first=10, count=50), 20, 40, 20, 20),
        (Boxes(first=3, count=50).subset([4, 5]), 0, 4, 2, 0),
    ],
)
def test_data_that_does_not_know_is_looked_at(dataset, unmasked, objects, images, loaded):
    counts = count_masks(dataset)
    assert (counts.unmasked, counts.objects) == (unmasked, objects)
    if unmasked:
        assert counts.images == images
    assert counts.none_has_a_mask == (unmasked == objects and images is None)
    assert not loaded or dataset.loaded == loaded
    if images == 20 and unmasked:
        assert "of the first 20 images" in counts.text("training")


def test_to_evaluate_masks_data_is_read_until_there_is_one():
    for first, loaded in ((0, 1), (30, 31), (49, 50)):
        dataset = Boxes(first=first, count=50)
        check_masks_to_evaluate(dataset, [{"name": "COCO"}])
        assert dataset.loaded == loaded
    with pytest.raises(SegkitError, match="none of the 100 validation objects has a mask"):
        check_masks_to_evaluate(Boxes(count=50), [{"name": "COCO", "iou_types": ["segm"]}])
    check_masks_to_evaluate(Boxes(count=50), [{"name": "COCO", "iou_types": ["bbox"]}])


def test_a_batch_file_keeps_which_objects_have_masks():
    whole = Boxes(first=0).load(0)
    bare = Boxes().load(1)
    mixed = Targets.cat([whole.targets, bare.targets])
    plain = batch_to_plain(Batch([whole, bare, Sample(bare.image, mixed, 2, "2.png", (64, 64))]))
    again = targets_from_plain(plain["targets"])
    assert [t.has_mask.tolist() for t in again] == [[True] * 2, [False] * 2, [True, True, False, False]]
    assert again[1].masks is None and torch.equal(again[2].masks.bits, mixed.masks.bits)
