"""torchvision's names, class order and COCO ids, and errors for weights that do not fit."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights, detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import segkit
from segkit.modeling.layers.preprocessing import IMAGENET_MEAN
from segkit.modeling.weights import torchvision_detection
from segkit.modeling.weights.arithmetic import differences
from segkit.modeling.weights.coco_names import coco_80, coco_names
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.utils.errors import SegkitError

K = 4
CONFIG = "segkit://coco/torchvision_mask_rcnn_r50_fpn.yaml"


def build(num_classes: int = K, config: str = CONFIG, overrides: tuple[str, ...] = ("model.backbone.arch=18",)):
    with skip_pretrained():
        return segkit.build_model(segkit.load_config(config, list(overrides)), num_classes).eval()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    return detection.MaskRCNN(backbone, K + 1).state_dict()


@pytest.fixture(scope="module")
def path(state, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tv.pth"
    torch.save(state, path)
    return str(path)


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in torchvision's published file, which is older than the code."""
    old = {}
    for name, tensor in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for part in ("inner_blocks", "layer_blocks"):
            for i in range(4):
                name = name.replace(f"{part}.{i}.0.", f"{part}.{i}.")
        for i in range(4):
            name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        old[name] = tensor
    return old


def test_both_generations_of_names(state):
    new = torchvision_detection.convert(state, "new", K).state
    old = torchvision_detection.convert(old_names(state), "old", K).state
    assert set(old) == set(new)
    assert {n for n in old if "num_batches" not in n} == set(build().state_dict())
    with torch.device("meta"):
        backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
        theirs = detection.MaskRCNN(backbone, K + 1)
    theirs.load_state_dict(old_names(state), strict=False, assign=True)  # torchvision agrees they are old
    assert all(torch.equal(tensor, state[name]) for name, tensor in theirs.state_dict().items())


def test_background_moves_to_the_end():
    bias = torch.arange(5.0)
    converted = torchvision_detection.convert(
        {
            "roi_heads.box_predictor.cls_score.bias": bias,
            "roi_heads.box_predictor.bbox_pred.bias": torch.arange(20.0),
            "roi_heads.mask_predictor.mask_fcn_logits.bias": bias,
        },
        "x",
        4,
    )
    assert converted.state["roi_heads.box_head.classifier.bias"].tolist() == [1, 2, 3, 4, 0]
    assert converted.state["roi_heads.box_head.deltas.bias"].tolist() == list(range(4, 20))
    assert converted.state["roi_heads.mask_head.predictor.bias"].tolist() == [1, 2, 3, 4]
    assert set(converted.changed) == set(converted.state)


@pytest.mark.parametrize("num_classes", [80, 90])
def test_coco_ids_without_a_class_are_dropped_for_80_classes(num_classes):
    names = coco_names()
    converted = torchvision_detection.convert(
        {
            "roi_heads.box_predictor.cls_score.bias": torch.arange(91.0),
            "roi_heads.box_predictor.bbox_pred.bias": torch.arange(364.0),
        },
        "x",
        num_classes,
    )
    kept = converted.state["roi_heads.box_head.classifier.bias"].long().tolist()
    assert len(kept) == num_classes + 1 and kept[-1] == 0
    assert len(converted.state["roi_heads.box_head.deltas.bias"]) == 4 * num_classes
    if num_classes == 80:
        assert [names[i] for i in kept[:-1]] == converted.classes == coco_80()
        assert coco_80()[0] == "person" and coco_80()[-1] == "toothbrush" and "N/A" not in coco_80()


def test_eps_is_folded():
    """COCO_V1's batch norms run with eps 0 in torchvision."""
    state = {
        f"backbone.bn1.{k}": torch.rand(8) * 1e-4 + 1e-6 for k in ("weight", "bias", "running_mean", "running_var")
    }
    x = torch.randn(2, 8, 3, 3)

    def normalised(eps: float) -> Tensor:  # written out: torch 2.11's own refuses an eps of 0
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (state[f"backbone.bn1.{n}"][:, None, None] for n in names)
        return (x - mean) / (var + eps).sqrt() * weight + bias

    expected = normalised(0.0)
    assert not torch.allclose(normalised(1e-5), expected, rtol=1e-2)
    assert torchvision_detection.fold_eps(state) == ["backbone.bn1.weight"]
    assert torch.allclose(normalised(1e-5), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("name", "yes"), [
    ("https://x.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", True),
    ("MaskRCNN_ResNet50_FPN_Weights.COCO_V1", True),
    ("FasterRCNN_ResNet50_FPN_Weights.DEFAULT", True),
    ("MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1", False),
    ("maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", False),
])  # fmt: skip
def test_eps_is_folded_for_the_first_versions_alone(name, yes):
    assert bool(torchvision_detection.EPS_0_FILES.search(name)) is yes


@pytest.mark.parametrize(("override", "message"), [
    ("model.roi_heads.mask_head.aligned=true", r"roi_heads\.mask_head: aligned is true \(torchvision: false\)"),
    ("model.roi_heads.box_head.sampling_ratio=0", r"roi_heads\.box_head: sampling_ratio is 0 \(torchvision: 2\)"),
    ("model.neck.top_block=p6p7", r"neck: top_block is p6p7 \(torchvision: maxpool\)"),
    ("model.proposal_generator.anchor_generator.rounded=false", r"anchor_generator: rounded is false"),
    ("model.proposal_generator.anchor_generator.whole_strides=false", r"anchor_generator: whole_strides is false"),
    ("model.proposal_generator.anchor_generator.offset=0.5", r"anchor_generator: offset is 0\.5 \(torchvision: 0\)"),
    ("model.proposal_generator.smooth_l1_beta=0", r"proposal_generator: smooth_l1_beta is 0 \(torchvision: 0\.1111"),
    ("model.roi_heads.box_head.box_weights=[1, 1, 1, 1]", r"box_head: box_weights is \[1.*\(torchvision: \[10"),
    ("model.pixel_mean=[0.5, 0.5, 0.5]", r"model: pixel_mean is \[0\.5, 0\.5, 0\.5\] \(torchvision: \[0\.485"),
])  # fmt: skip
def test_other_settings_raise(override, message, state):
    overrides = ["model.backbone.arch=18", override]
    if "p6p7" in override:
        overrides.append("model.proposal_generator.anchor_generator.sizes=[[32],[64],[128],[256],[512],[999]]")
    cfg = segkit.load_config(CONFIG, overrides)
    with torch.device("meta"), skip_pretrained():
        model = segkit.build_model(cfg, K)
    model.pixel_mean = torch.tensor([0.5] * 3 if "pixel_mean" in override else IMAGENET_MEAN)  # meta has no values
    weights = torchvision_detection.convert(state, "x", K)
    assert re.search(message, "; ".join(differences(model, weights)))


def test_other_settings_raise_for_prediction_and_warn_for_training(path, caplog):
    model = build(overrides=("model.backbone.arch=18", "model.roi_heads.mask_head.aligned=true"))
    message = r"roi_heads\.mask_head: aligned is true.*torchvision_mask_rcnn_r50_fpn\.yaml"
    with pytest.raises(SegkitError, match=message):
        load_checkpoint(model, path)
    load_checkpoint(model, path, on_mismatch="reinitialize")
    assert "aligned is true" in caplog.text


def test_another_deviation_is_folded(path, state):
    model = build(overrides=("model.backbone.arch=18", "model.pixel_std=[1, 1, 1]"))
    report = load_checkpoint(model, path)
    stem = state["backbone.body.conv1.weight"]
    scaled = stem / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    torch.testing.assert_close(model.backbone.conv1.weight, scaled)
    assert "RGB in 0..255" in report.changed["backbone.conv1.weight"]


def test_predictors_are_reinitialised_for_other_classes(path, caplog):
    """The study's ResNet-50 row."""
    model = build(7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(SegkitError, match="for other classes: 4 there, 7 here"):
        load_checkpoint(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    report = load_checkpoint(model, path, on_mismatch="reinitialize")
    assert sorted(report.reinitialized) == sorted(
        f"roi_heads.{layer}.{kind}"
        for layer in ("box_head.classifier", "box_head.deltas", "mask_head.predictor")
        for kind in ("weight", "bias")
    )
    assert not report.missing and not report.unused and not report.changed
    assert "predictors are reinitialised" in caplog.text and "roi_heads.box_head" in caplog.text
    after = model.state_dict()
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert set(changed).isdisjoint(report.reinitialized) and "backbone.conv1.weight" in changed


def test_the_table_counts_changed_tensors(path, caplog):
    with caplog.at_level("INFO"):
        report = load_checkpoint(build(), path)
    assert len(report.changed) == 6
    assert "of these changed" in caplog.text and "unused" in caplog.text
    assert (
        "roi_heads.box_head.classifier.weight" in caplog.text and "(background moved from first to last)" in caplog.text
    )


@pytest.mark.parametrize("name", ["mask_rcnn_r50_fpn", "mask_rcnn_r50_fpn_v2", "faster_rcnn_r50_fpn_v2"])
def test_another_model_of_torchvision_names_its_configuration(name, path):
    """A file of the second version into a model of the first, and the reverse."""
    builder = {
        "mask_rcnn_r50_fpn": detection.maskrcnn_resnet50_fpn,
        "mask_rcnn_r50_fpn_v2": detection.maskrcnn_resnet50_fpn_v2,
        "faster_rcnn_r50_fpn_v2": detection.fasterrcnn_resnet50_fpn_v2,
    }[name]
    with torch.device("meta"):
        theirs = builder(weights=None, weights_backbone=None, num_classes=K + 1).state_dict()
    assert torchvision_detection.convert(theirs, "x", K).config == f"segkit://coco/torchvision_{name}.yaml"
    others = {key: tensor for key, tensor in theirs.items() if not key.startswith("backbone.body.")}
    assert torchvision_detection.convert(others, "x", K).config is None
    if name == "mask_rcnn_r50_fpn":
        model = build(config="segkit://coco/torchvision_faster_rcnn_r50_fpn.yaml")
        with pytest.raises(SegkitError, match=r"architecture: .*torchvision_mask_rcnn_r50_fpn\.yaml"):
            load_checkpoint(model, path)


@pytest.mark.parametrize(("weights", "config"), [
    ("MaskRCNN_ResNet50_FPN_Weights", "mask_rcnn_r50_fpn"),
    ("MaskRCNN_ResNet50_FPN_V2_Weights", "mask_rcnn_r50_fpn_v2"),
    ("FasterRCNN_ResNet50_FPN_Weights", "faster_rcnn_r50_fpn"),
    ("FasterRCNN_ResNet50_FPN_V2_Weights", "faster_rcnn_r50_fpn_v2"),
])  # fmt: skip
def test_each_configuration_starts_from_its_weights_by_name(weights, config, monkeypatch):
    """All 91 ids of COCO fit a model of 80 classes, tensor by tensor; shapes without memory."""
    cfg = segkit.load_config(f"segkit://coco/torchvision_{config}.yaml")
    assert cfg.train.init_weights == f"{weights}.COCO_V1"
    builder = getattr(detection, config.replace("_rcnn_r50", "rcnn_resnet50"))
    with torch.device("meta"):
        theirs = builder(weights=None, weights_backbone=None, num_classes=91).state_dict()
        with skip_pretrained():
            own = segkit.build_model(cfg, 80).state_dict()
    enum = getattr(detection, weights)
    monkeypatch.setattr(enum, "get_state_dict", lambda self, **_: theirs)
    converted = torchvision_detection.convert(
        torchvision_detection.named_state(f"{weights}.COCO_V1"), f"{weights}.COCO_V1", 80
    )
    assert {n: t.shape for n, t in converted.state.items() if "num_batches" not in n} == {
        n: t.shape for n, t in own.items() if "num_batches" not in n
    }
    assert ("backbone.bn1.weight" in converted.changed) == ("V2" not in weights)


def test_a_classifier_starts_a_detector(monkeypatch, caplog):
    """By name; only the backbone is taken, and a model for prediction is not made so."""
    with torch.device("meta"):
        shapes = segkit.BACKBONE_REGISTRY.get("ResNet")(arch=18).state_dict()
    state = {name: torch.rand(tensor.shape) for name, tensor in shapes.items()}
    state |= {"fc.weight": torch.rand(10, 512), "fc.bias": torch.rand(10)}
    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", lambda self, **_: state)
    model = build()
    with pytest.raises(SegkitError, match="weights of a backbone only"):
        load_checkpoint(model, "ResNet50_Weights.IMAGENET1K_V1")
    report = load_checkpoint(model, "ResNet50_Weights.IMAGENET1K_V1", on_mismatch="reinitialize")
    assert report.kind == "backbone" and report.unused == ["backbone.fc.weight", "backbone.fc.bias"]
    assert all(torch.equal(t, state[n]) for n, t in model.backbone.state_dict().items())
    assert all(not name.startswith("backbone.") for name in report.missing)


def test_unknown_name():
    with pytest.raises(SegkitError, match=r"did you mean 'MaskRCNN_ResNet50_FPN_Weights\.COCO_V1'"):
        load_checkpoint(nn.Module(), "MaskRCNN_ResNet50_FPN_Weights.COCO_V9")
