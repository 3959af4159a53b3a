"""Keys of MMDetection and torchvision: their tables lead to keys that exist, and error messages use them."""

from __future__ import annotations

import inspect

import pytest
import torchvision.models.detection as detection

from segkit.config import load_config
from segkit.config.detectron2_names import DETECTRON2_NAMES
from segkit.config.foreign_names import MMDETECTION_NAMES, TORCHVISION_NAMES, VALUE_NOTES, foreign_key
from segkit.config.schema import Config
from segkit.config.specs import section_fields, section_of
from segkit.config.suggestions import known_keys
from segkit.utils.errors import SegkitError


@pytest.fixture(autouse=True)
def components():
    """In place of the conftest's: the registries as they are."""


@pytest.fixture(scope="module")
def known():
    """The keys of configurations that between them have every component the tables speak of."""
    words = ["model.backbone={name: ResNet}", "solver.optimizer={name: SGD, lr: 0.1}"]
    words += [f"data.{part}={{format: coco, json: a.json, images: a}}" for part in ("train", "val")]
    cfg = load_config("segkit://quickstart.yaml", words)
    keys = known_keys(Config, cfg._tree(), section_fields, section_of)
    return keys | {"evaluators.0.iou_types"}


@pytest.mark.parametrize("names", [MMDETECTION_NAMES, TORCHVISION_NAMES], ids=["mmdetection", "torchvision"])
def test_names_lead_to_keys_that_exist(names, known):
    assert {old: new for old, new in names.items() if new not in known and not new.startswith(";")} == {}
    assert not [old for old in names if old in known - {new for new in names.values() if "mask_head" in new}]


def test_torchvision_names_are_arguments_of_torchvision():
    builders = (detection.FasterRCNN, detection.MaskRCNN, detection.maskrcnn_resnet50_fpn)
    arguments = {name for builder in builders for name in inspect.signature(builder).parameters}
    assert set(TORCHVISION_NAMES) <= arguments | {"size_divisible"}
    skipped = {"self", "backbone", "kwargs", "progress"}
    assert arguments - skipped <= set(TORCHVISION_NAMES)


def test_notes_belong_to_names():
    assert set(VALUE_NOTES) <= {*DETECTRON2_NAMES, *MMDETECTION_NAMES, *TORCHVISION_NAMES}


@pytest.mark.parametrize(
    ("word", "fact"),
    [
        ("optim_wrapper={optimizer: {lr: 1}}", "'solver.optimizer.lr'"),
        ("train_cfg.max_epochs=3", "'train.epochs'"),
        ("work_dir=x", "'output_dir'"),
        ("load_from=x", "'train.init_weights'"),
        ("resume=true", "--resume"),
        ("model.type=MaskRCNN", "'model.name'"),
        ("model.roi_head={type: StandardRoIHead}", "'model.roi_heads'"),
        ("box_score_thresh=0.1", "'model.roi_heads.score_threshold'"),
        ("model.roi_heads.box_score_thresh=0.1", "'model.roi_heads.score_threshold'"),
        ("model.proposal_generator.rpn_nms_thresh=0.1", "'model.proposal_generator.nms_threshold'"),
        ("num_classes=3", "'data.classes'"),
        ("box_bg_iou_thresh=0.1", "fg_iou_threshold"),
    ],
)
def test_messages_name_the_key_here(word, fact):
    with pytest.raises(SegkitError) as raised:
        load_config("segkit://quickstart.yaml", [word])
    assert fact in str(raised.value) and "\n" not in str(raised.value)


def test_a_key_that_cannot_be_set_here_is_not_proposed():
    assert foreign_key("model.backbone.depth") == "model.backbone.arch"
    with pytest.raises(SegkitError) as raised:
        load_config("segkit://quickstart.yaml", ["model.backbone.depth=50"])  # a TinyNet has depths, and no arch
    assert "'depths'" in str(raised.value) and "arch" not in str(raised.value)


def test_a_key_in_the_wrong_section_is_no_argument_of_torchvision():
    for word, fact in (("min_size=800", "'data.test_transforms'"), ("model.neck.min_size=1", "FPN has no argument")):
        with pytest.raises(SegkitError) as raised:
            load_config("segkit://quickstart.yaml", [word])
        assert fact in str(raised.value)
    assert "transforms" not in str(raised.value)
