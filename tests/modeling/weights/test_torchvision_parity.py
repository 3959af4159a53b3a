"""torchvision's Mask R-CNN, its weights converted: the same boxes, scores, labels and masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2, maskrcnn_resnet50_fpn

from segkit.modeling.weights import torchvision_detection
from segkit.modeling.weights.loading import load_checkpoint
from segkit.registry import META_ARCH_REGISTRY
from segkit.utils.errors import SegkitError

K = 4
SIZE = (128, 160)


def spec(**changes) -> dict:
    """Arguments of torchvision's arithmetic."""
    pooling = {"aligned": False, "sampling_ratio": 2}
    return {
        "name": "GeneralizedRCNN",
        "backbone": {"name": "ResNet", "arch": 50, "norm": "frozen_bn"},
        "neck": {"name": "FPN"},
        "proposal_generator": {
            "name": "RPN",
            "anchor_generator": {"name": "AnchorGenerator", "rounded": True, "whole_strides": True},
            "head": {"name": "RPNHead"},
            "min_size": 1e-3,
        },
        "roi_heads": {
            "name": "StandardROIHeads",
            "box_head": {"name": "FastRCNNHead", **pooling},
            "mask_head": {"name": "FCNMaskHead", **pooling},
            "min_size": 1e-2,
        },
        **changes,
    }


def build(num_classes: int = K, **changes) -> nn.Module:
    return META_ARCH_REGISTRY.build(spec(**changes), path="model", num_classes=num_classes).eval()


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's model with weights far from their start values, so that there is something to compare."""
    torch.manual_seed(7)
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=K + 1,
        min_size=SIZE[0],
        max_size=SIZE[1],
        trainable_backbone_layers=5,
    )
    for module in model.modules():  # without weights torchvision trains its batch norms
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.3)  # or sixteen residual sums grow out of bounds
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.3)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.05)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.6)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.6)
    nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=0.2)
    return model.eval()


@pytest.fixture(scope="module")
def path(reference, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tv.pth"
    torch.save(reference.state_dict(), path)
    return str(path)


def torchvision_detections(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """Detections in the image's pixels, the masks not pasted yet."""
    kept = model.transform.postprocess
    model.transform.postprocess = lambda result, *sizes: result
    try:
        with torch.no_grad():
            return model([image])[0]
    finally:
        model.transform.postprocess = kept


def test_same_detections(reference, path):
    model = build()
    load_checkpoint(model, path)
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1))
    expected = torchvision_detections(reference, image)
    found = model.predict([image])[0]
    assert len(found) == len(expected["boxes"]) >= 20
    assert len(found.labels.unique()) == K
    assert torch.equal(found.labels, expected["labels"] - 1)
    assert torch.allclose(found.scores, expected["scores"], atol=1e-4)
    assert torch.allclose(found.boxes, expected["boxes"], atol=1e-4 * max(SIZE))
    assert torch.allclose(found.mask_probs, expected["masks"][:, 0], atol=1e-4)
    assert found.mask_probs.std() > 0.02


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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


def test_both_generations_of_names(reference):
    new, _ = torchvision_detection.convert(reference.state_dict(), "new", K)
    old, _ = torchvision_detection.convert(old_names(reference.state_dict()), "old", K)
    assert set(old) == set(new)
    assert {n for n in old if "num_batches" not in n} == set(build().state_dict())
    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=K + 1)
    theirs.load_state_dict(
        old_names(reference.state_dict()), strict=False, assign=True
    )  # torchvision agrees they are old


def test_background_moves_to_the_end():
    bias = torch.arange(5.0)
    state = {
        "roi_heads.box_predictor.cls_score.bias": bias,
        "roi_heads.box_predictor.bbox_pred.bias": torch.arange(20.0),
        "roi_heads.mask_predictor.mask_fcn_logits.bias": bias,
    }
    converted, _ = torchvision_detection.convert(state, "x", 4)
    assert converted["roi_heads.box_head.classifier.bias"].tolist() == [1, 2, 3, 4, 0]
    assert converted["roi_heads.box_head.offsets.bias"].tolist() == list(range(4, 20))
    assert converted["roi_heads.mask_head.predictor.bias"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("num_classes", [80, 90])
def test_coco_numbers_without_a_class_are_left_out_of_80(num_classes):
    names = torchvision_detection.coco_names()
    state = {
        "roi_heads.box_predictor.cls_score.bias": torch.arange(91.0),
        "roi_heads.box_predictor.bbox_pred.bias": torch.arange(364.0),
    }
    converted, classes = torchvision_detection.convert(state, "x", num_classes)
    kept = converted["roi_heads.box_head.classifier.bias"].long().tolist()
    assert len(kept) == num_classes + 1 and kept[-1] == 0
    assert len(converted["roi_heads.box_head.offsets.bias"]) == 4 * num_classes
    if num_classes == 80:
        assert [names[i] for i in kept[:-1]] == classes
        assert classes[0] == "person" and classes[-1] == "toothbrush" and "N/A" not in classes


def test_eps_is_folded(reference):
    """COCO_V1's batch norms run with eps 0 in torchvision."""
    torch.manual_seed(0)
    state = {
        f"backbone.bn1.{k}": torch.rand(8) * 1e-4 + 1e-6 for k in ("weight", "bias", "running_mean", "running_var")
    }
    x = torch.randn(2, 8, 3, 3)

    def normalised(eps: float) -> torch.Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return nn.functional.batch_norm(x, *(state[f"backbone.bn1.{n}"] for n in names), eps=eps)

    expected = normalised(0.0)
    assert not torch.allclose(normalised(1e-5), expected, rtol=1e-2)
    torchvision_detection.fold_eps(state)
    assert torch.allclose(normalised(1e-5), expected, rtol=1e-5, atol=1e-9)
    assert torchvision_detection.EPS_0_FILES.search("https://x.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth")
    assert torchvision_detection.EPS_0_FILES.search("MaskRCNN_ResNet50_FPN_Weights.COCO_V1")
    assert not torchvision_detection.EPS_0_FILES.search("MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1")
    assert not torchvision_detection.EPS_0_FILES.search("maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth")


def test_other_arithmetic_is_refused_for_prediction_and_told_for_training(path, caplog):
    roi_heads = {**spec()["roi_heads"], "mask_head": {"name": "FCNMaskHead"}}
    model = build(roi_heads=roi_heads)
    with pytest.raises(
        SegkitError, match=r"roi_heads\.mask_head: aligned is true.*torchvision_mask_rcnn_r50_fpn\.yaml"
    ):
        load_checkpoint(model, path)
    load_checkpoint(model, path, on_mismatch="reinitialize")
    assert "aligned is true" in caplog.text


def test_predictors_start_anew_for_other_classes(path, caplog):
    """The study's ResNet-50 row."""
    model = build(7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(SegkitError, match="for other classes: 4 there, 7 here"):
        load_checkpoint(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    report = load_checkpoint(model, path, on_mismatch="reinitialize")
    assert sorted(report.reinitialized) == sorted(
        f"roi_heads.{layer}.{kind}"
        for layer in ("box_head.classifier", "box_head.offsets", "mask_head.predictor")
        for kind in ("weight", "bias")
    )
    assert not report.missing and not report.unused
    assert "predictors start anew" in caplog.text and "roi_heads.box_head" in caplog.text
    after = model.state_dict()
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert set(changed).isdisjoint(report.reinitialized) and "backbone.conv1.weight" in changed


def test_names_of_the_second_version():
    """``fasterrcnn_resnet50_fpn_v2``: norms in the neck, two convolutions in the RPN, four in the box head."""
    with torch.device("meta"):
        theirs = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=K + 1)
        ours = build(
            backbone={"name": "ResNet", "arch": 50, "norm": "bn"},
            neck={"name": "FPN", "norm": "bn"},
            proposal_generator={
                "name": "RPN",
                "anchor_generator": {"name": "AnchorGenerator"},
                "head": {"name": "RPNHead", "conv_depth": 2},
            },
            roi_heads={
                "name": "StandardROIHeads",
                "box_head": {"name": "FastRCNNHead", "conv_dims": [256] * 4, "fc_dims": [1024]},
                "mask_head": None,
            },
        )
        converted, _ = torchvision_detection.convert(theirs.state_dict(), "x", K)
    assert {n: t.shape for n, t in converted.items()} == {n: t.shape for n, t in ours.state_dict().items()}


def test_unknown_name():
    with pytest.raises(SegkitError, match=r"did you mean 'MaskRCNN_ResNet50_FPN_Weights\.COCO_V1'"):
        load_checkpoint(nn.Module(), "MaskRCNN_ResNet50_FPN_Weights.COCO_V9")
