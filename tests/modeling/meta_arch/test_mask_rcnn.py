"""``mask_rcnn`` builds what the configurations build, and computes what torchvision computes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

import segkit
from segkit.modeling import ResNet, TinyNet, load_checkpoint, mask_rcnn, skip_pretrained
from segkit.structures import InstanceMasks, Targets
from segkit.utils.errors import SegkitError

# The backbone with which mask_rcnn(arithmetic=...) is the model of a configuration.
BACKBONES = {
    "torchvision": ("torchvision_mask_rcnn_r50_fpn", {"norm": "frozen_bn"}),
    "torchvision_v2": ("torchvision_mask_rcnn_r50_fpn_v2", {"norm": "bn"}),
    "detectron2": ("detectron2_mask_rcnn_r50_fpn", {"norm": "frozen_bn", "stride_in_1x1": True}),
}


def built(arithmetic, num_classes=4, **arguments):
    backbone = ResNet(arch=50, trainable_stages=3, **BACKBONES[arithmetic][1])
    return mask_rcnn(backbone, num_classes, arithmetic=arithmetic, **arguments)


def hyperparameters(model: nn.Module) -> dict[str, object]:
    """Every plain attribute of every module, by its place."""
    plain = (int, float, str, bool, tuple, type(None))
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, plain) and not key.startswith("_")
    }


@pytest.mark.parametrize("arithmetic", BACKBONES)
def test_the_model_is_that_of_the_configuration(arithmetic):
    with skip_pretrained():
        expected = segkit.build_model(segkit.load_config(f"segkit://coco/{BACKBONES[arithmetic][0]}.yaml"), 4)
    model = built(arithmetic)
    assert str(model) == str(expected)  # the tree of modules, with their classes and torch's settings
    shapes = [{name: tensor.shape for name, tensor in m.state_dict().items()} for m in (model, expected)]
    assert shapes[0] == shapes[1]
    found, expected_values = hyperparameters(model), hyperparameters(expected)
    assert found.keys() == expected_values.keys() and len(found) > 500
    for key, value in expected_values.items():
        if isinstance(value, float):
            assert math.isclose(found[key], value, rel_tol=1e-8), key
        else:
            assert found[key] == value, key
    names = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (model, expected)]
    assert names[0] == names[1]


@pytest.mark.parametrize("arithmetic", BACKBONES)
def test_detections_and_losses_are_those_of_the_configuration(arithmetic):
    """Bit for bit, with the same weights, at narrow heads."""
    overrides = ["model.roi_heads.mask_head.conv_dims=[8]", "model.roi_heads.box_head.fc_dims=[16]"]
    overrides += ["model.proposal_generator.post_nms_top_k=[32, 32]"]
    parts = {"rpn": {"post_nms_top_k": (32, 32)}}
    with skip_pretrained():
        expected = segkit.build_model(
            segkit.load_config(f"segkit://coco/{BACKBONES[arithmetic][0]}.yaml", overrides), 4
        )
    model = built(arithmetic, mask_conv_dims=(8,), fc_dims=(16,), score_threshold=0.0, parts=parts)
    expected.roi_heads.score_threshold = 0.0
    with torch.no_grad():
        nn.init.normal_(expected.proposal_generator.head.objectness.weight, std=0.3)
        nn.init.normal_(expected.roi_heads.box_head.classifier.weight, std=0.3)
    model.load_state_dict(expected.state_dict())
    image = torch.rand(3, 72, 90)
    masks = torch.zeros(2, 72, 90, dtype=torch.bool)
    masks[0, 5:40, 10:60], masks[1, 30:60, 50:85] = True, True
    instances = InstanceMasks.from_dense(masks)
    targets = Targets(instances.boxes(), torch.tensor([0, 3]), instances)
    results = []
    for network in (model.eval(), expected.eval()):
        (detections,) = network.predict([image])
        with torch.no_grad():
            losses = network.losses([image], [targets], torch.Generator().manual_seed(3))
        results.append((detections, losses))
    (ours, our_losses), (theirs, their_losses) = results
    assert len(ours) == len(theirs) > 0
    for name in ("boxes", "scores", "labels", "mask_probs"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert our_losses.keys() == their_losses.keys() and len(our_losses) == 5
    for name, loss in our_losses.items():
        torch.testing.assert_close(loss, their_losses[name], rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("arithmetic", "build"), [("torchvision", maskrcnn_resnet50_fpn), ("torchvision_v2", maskrcnn_resnet50_fpn_v2)]
)
def test_torchvisions_weights_yield_torchvisions_detections(arithmetic, build, tmp_path):
    limits = {"rpn_post_nms_top_n_test": 24, "box_detections_per_img": 12, "box_score_thresh": 0.0}
    theirs = build(weights=None, weights_backbone=None, num_classes=5, **limits).eval()
    theirs.transform.resize = lambda image, target=None: (image, target)
    theirs.transform.postprocess = lambda result, *sizes: result  # boxes and masks as the heads give them
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bn3.weight"):
                nn.init.constant_(parameter, 0.3)
        nn.init.normal_(theirs.rpn.head.cls_logits.weight, std=0.3)
        nn.init.normal_(theirs.rpn.head.bbox_pred.weight, std=0.03)
        nn.init.normal_(theirs.roi_heads.box_predictor.cls_score.weight, std=0.3)
        nn.init.normal_(theirs.roi_heads.box_predictor.bbox_pred.weight, std=0.1)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = built(
        arithmetic, detections_per_image=12, score_threshold=0.0, parts={"rpn": {"post_nms_top_k": (2000, 24)}}
    ).eval()
    report = load_checkpoint(ours, str(tmp_path / "theirs.pth"))
    assert report.kind == "torchvision" and not report.missing and not report.unused
    image = torch.rand(3, 59, 64)
    with torch.no_grad():
        (expected,) = theirs([image])
        (found,) = ours.predict([image])
    assert len(found) == len(expected["boxes"]) > 0
    torch.testing.assert_close(found.scores, expected["scores"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.boxes, expected["boxes"], atol=1e-3, rtol=1e-5)
    assert torch.equal(found.labels, expected["labels"] - 1)
    torch.testing.assert_close(found.mask_probs, expected["masks"][:, 0], atol=1e-4, rtol=0)


def test_further_arguments_of_parts():
    parts = {"box_head": {"sampling_ratio": 0, "fc_dims": (8,)}, "rpn": {"nms_threshold": 0.6}, "neck": {"norm": "gn"}}
    model = mask_rcnn(TinyNet(width=8), 2, fpn_channels=32, fc_dims=(16, 16), parts=parts)
    assert model.roi_heads.box_head.pooler.sampling_ratio == 0 and len(model.roi_heads.box_head.fcs) == 1
    assert model.proposal_generator.nms_threshold == 0.6


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"arithmetic": "torchvison"}, ["torchvison", "'torchvision'"]),
        ({"parts": {"boxhead": {}}}, ["boxhead", "'box_head'"]),
        ({"parts": {"rpn": {"nms_treshold": 0.5}}}, ["nms_treshold", "'nms_threshold'", "RPN"]),
    ],
)
def test_mistakes_name_the_nearest(arguments, facts):
    with pytest.raises(SegkitError) as caught:
        mask_rcnn(TinyNet(width=8), 2, **arguments)
    assert all(fact in str(caught.value) for fact in facts)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"backbone": "resnet50"}, ["backbone", "str", "out_features", "ResNet"]),
        ({"backbone": torch.nn.Identity()}, ["backbone", "Identity", "out_features"]),
        ({"num_classes": "3"}, ["num_classes", "'3'"]),
        ({"num_classes": -1}, ["num_classes", "-1"]),
        ({"num_classes": ["a"]}, ["num_classes", "['a']"]),
        ({"anchor_sizes": (32, 64, 128)}, ["anchor_sizes", "(32, 64, 128)", "((32,), (64,))"]),
        ({"parts": {"rpn": 3}}, ["parts", "{'rpn': 3}", "dictionary"]),
        ({"parts": ["rpn"]}, ["parts", "['rpn']", "dictionary"]),
        ({"parts": {"rpn": {"foreground_iou": 0.5}}}, ["'foreground_iou'", "'fg_iou_threshold'"]),
    ],
)
def test_mistakes_in_the_arguments(arguments, facts):
    with pytest.raises(SegkitError) as caught:
        segkit.mask_rcnn(**{"backbone": TinyNet(), "num_classes": 3, **arguments})
    assert all(fact in str(caught.value) for fact in facts), caught.value
