"""torchvision's detectors, their weights converted: the same boxes, scores, labels, masks and losses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection import roi_heads as torchvision_roi_heads

import segkit
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.structures import InstanceMasks, Targets
from segkit.structures.mask_targets import mask_targets

K = 4
PROPOSALS = 24
DETECTIONS = {"mask": 12, "fast": 50}  # masks are what takes the time
BUILDERS = {
    "mask_rcnn_r50_fpn": detection.maskrcnn_resnet50_fpn,
    "mask_rcnn_r50_fpn_v2": detection.maskrcnn_resnet50_fpn_v2,
    "faster_rcnn_r50_fpn": detection.fasterrcnn_resnet50_fpn,
    "faster_rcnn_r50_fpn_v2": detection.fasterrcnn_resnet50_fpn_v2,
}
SIZES = {"one": [(64, 96)], "one odd": [(75, 59)], "three": [(64, 48), (50, 71), (64, 64)]}


def randomize(model: nn.Module) -> None:
    """Weights far from their start values, so that there is something to compare."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.2)
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.3)  # or sixteen residual sums grow out of bounds
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
        elif name.startswith("rpn.head.conv."):
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.3)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.03)
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.3)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.1)
    if model.roi_heads.has_mask():
        nn.init.normal_(model.roi_heads.mask_predictor.mask_fcn_logits.weight, std=0.2)


def balance(model: nn.Module) -> None:
    """Shift the scores' biases so that all classes, and the background somewhat less, are equally likely on average."""
    logits = []
    handle = model.roi_heads.box_predictor.cls_score.register_forward_hook(lambda *args: logits.append(args[2]))
    model(images_of([(64, 64)], seed=0))
    handle.remove()
    bias = model.roi_heads.box_predictor.cls_score.bias
    bias.sub_(logits[0].mean(dim=0))
    bias[0] -= 0.5


@pytest.fixture(scope="module", params=BUILDERS)
def pair(request, tmp_path_factory) -> tuple[nn.Module, nn.Module]:
    """A model of torchvision that never resizes and samples all proposals, and ours with its weights, from a file."""
    torch.manual_seed(7)
    detections = DETECTIONS[request.param[:4]]
    theirs = BUILDERS[request.param](
        weights=None,
        weights_backbone=None,
        num_classes=K + 1,
        rpn_post_nms_top_n_test=PROPOSALS,
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_batch_size_per_image=10**6,
        box_batch_size_per_image=10**6,
        box_detections_per_img=detections,
    ).eval()
    theirs.transform.resize = lambda image, target=None: (image, target)
    theirs.transform.postprocess = lambda result, *sizes: result  # boxes and masks as the heads give them
    with torch.no_grad():
        randomize(theirs)
        balance(theirs)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save(theirs.state_dict(), path)
    overrides = [
        f"model.proposal_generator.post_nms_top_k=[{PROPOSALS}, {PROPOSALS}]",
        "model.proposal_generator.batch_size_per_image=1000000",
        "model.roi_heads.batch_size_per_image=1000000",
        f"model.roi_heads.detections_per_image={detections}",
    ]
    cfg = segkit.load_config(f"segkit://coco/torchvision_{request.param}.yaml", overrides)
    with skip_pretrained():
        ours = segkit.build_model(cfg, K).eval()
    report = load_checkpoint(ours, str(path))
    assert report.kind == "torchvision" and not report.missing and not report.unused and not report.reinitialized
    return theirs, ours


def images_of(sizes: Sequence[tuple[int, int]], seed: int) -> list[Tensor]:
    """Patches and noise: plain noise looks the same to every proposal."""
    generator = torch.Generator().manual_seed(seed)
    patches = [torch.rand(1, 3, 5, 5, generator=generator) for _ in sizes]
    noise = [torch.rand(3, *size, generator=generator) for size in sizes]
    return [0.7 * F.interpolate(p, size)[0] + 0.3 * n for p, n, size in zip(patches, noise, sizes, strict=True)]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_same_detections(pair, sizes):
    theirs, ours = pair
    images = images_of(sizes, seed=1)
    with torch.no_grad():
        expected = theirs(images)
    for found, reference, size in zip(ours.predict(images), expected, sizes, strict=True):
        assert found.size == size
        assert len(found) == len(reference["boxes"]) >= 10
        assert len(found.labels.unique()) >= 2
        assert torch.equal(found.labels, reference["labels"] - 1)
        torch.testing.assert_close(found.scores, reference["scores"], atol=1e-4, rtol=0)
        torch.testing.assert_close(found.boxes, reference["boxes"], atol=1e-4, rtol=1e-5)
        if theirs.roi_heads.has_mask():
            torch.testing.assert_close(found.mask_probs, reference["masks"][:, 0], atol=1e-4, rtol=0)
            assert found.mask_probs.shape[1:] == (28, 28) and found.mask_probs.std() > 0.02
        else:
            assert found.mask_probs is None


def test_same_losses(pair, monkeypatch):
    """All anchors and proposals are sampled, so the two see the same; masks are targets by our rule in both."""
    theirs, ours = pair
    sizes = [(64, 90), (85, 64)]
    images = images_of(sizes, seed=2)
    masks = [torch.zeros(2, *size, dtype=torch.bool) for size in sizes]
    masks[0][0, 5:40, 10:60] = True
    masks[0][1, 30:60, 50:90] = True
    masks[1][0, 10:75, 3:40] = True
    masks[1][1, 20:36, 30:50] = True
    labels = [torch.tensor([0, 3]), torch.tensor([1, 2])]
    instances = [InstanceMasks.from_dense(m) for m in masks]
    targets = [Targets(i.boxes().float(), k, i) for i, k in zip(instances, labels, strict=True)]

    def our_mask_targets(dense: Tensor, boxes: Tensor, matched: Tensor, resolution: int) -> Tensor:
        return mask_targets(InstanceMasks.from_dense(dense.bool()), matched, boxes, resolution).float()

    monkeypatch.setattr(torchvision_roi_heads, "project_masks_on_boxes", our_mask_targets)
    parts = (theirs, theirs.transform, theirs.rpn, theirs.roi_heads)
    for part in parts:  # not the batch norms
        part.training = True
    try:
        dictionaries = [
            {"boxes": t.boxes, "labels": k + 1, "masks": m.byte()}
            for t, k, m in zip(targets, labels, masks, strict=True)
        ]
        with torch.no_grad():
            expected = theirs(images, dictionaries)
    finally:
        for part in parts:
            part.training = False
    with torch.no_grad():
        found = ours.losses(images, targets)
    names = {
        "rpn_cls": "loss_objectness",
        "rpn_box": "loss_rpn_box_reg",
        "cls": "loss_classifier",
        "box": "loss_box_reg",
        "mask": "loss_mask",
    }
    assert {names[name] for name in found} == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(
            value, expected[names[name]], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
        assert value > 1e-3
