"""Detectron2's and Caffe2's files: names, folding, refused files, reinitialised tensors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from detectron2_files import ZOO, K, build, write
from torch import nn

import segkit
from segkit.modeling.weights import detectron2
from segkit.modeling.weights.arithmetic import differences
from segkit.modeling.weights.coco_names import coco_80
from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.pixels import IMAGENET_RGB, PixelFormat, fold_pixels
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def model(narrow) -> nn.Module:
    """Shared by the tests; loading replaces all of its weights."""
    return build(narrow["mask"])


def test_both_kinds_of_file(detectron2_state, model, tmp_path, caplog):
    pkl = write(tmp_path / "model_final.pkl", detectron2_state, __author__=ZOO)
    pth = write(tmp_path / "model_final.pth", detectron2_state, scheduler={"last_epoch": 3})
    with caplog.at_level("INFO"):
        report = load_checkpoint(model, pkl)
    own, theirs = {name: tensor.clone() for name, tensor in model.state_dict().items()}, detectron2_state
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    load_checkpoint(model, pth)
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    assert report.kind == "Detectron2" and report.classes is None
    assert set(report.changed) == {"backbone.conv1.weight"}
    assert "from BGR in 0..255 to RGB in 0..1" in caplog.text and "of these changed" in caplog.text
    for ours, name in {
        "backbone.layer3.5.bn2.running_var": "backbone.bottom_up.res4.5.conv2.norm.running_var",
        "backbone.layer1.0.downsample.0.weight": "backbone.bottom_up.res2.0.shortcut.weight",
        "neck.lateral_convs.3.bias": "backbone.fpn_lateral5.bias",
        "neck.output_convs.0.weight": "backbone.fpn_output2.weight",
        "proposal_generator.head.deltas.weight": "proposal_generator.rpn_head.anchor_deltas.weight",
        "roi_heads.box_head.fcs.1.bias": "roi_heads.box_head.fc2.bias",
        "roi_heads.box_head.classifier.bias": "roi_heads.box_predictor.cls_score.bias",
        "roi_heads.mask_head.convs.3.weight": "roi_heads.mask_head.mask_fcn4.weight",
        "roi_heads.mask_head.upsample.weight": "roi_heads.mask_head.deconv.weight",
        "roi_heads.mask_head.predictor.bias": "roi_heads.mask_head.predictor.bias",
    }.items():
        assert torch.equal(own[ours], theirs[name]), ours


@pytest.mark.parametrize(("kind", "depth"), [("mask", 50), ("mask", 101), ("faster", 50), ("faster", 101)])
def test_each_configuration_fits_its_model(kind, depth, narrow, detectron2_detector):
    """Names and shapes, of COCO's 80 classes, whose names the zoo's files do not hold."""
    config = f"segkit://coco/detectron2_{kind}_rcnn_r{depth}_fpn.yaml"
    with torch.device("meta"):
        model = build(narrow[kind], 80, config=config)
        state = detectron2_detector(80, masks=kind == "mask", depth=depth)
    converted = detectron2.convert(state, "x", model.state_dict(), ZOO)
    assert {n: t.shape for n, t in converted.state.items()} == {n: t.shape for n, t in model.state_dict().items()}
    assert converted.classes == coco_80() and converted.config == config
    url = segkit.load_config(config).train.init_weights
    assert url.startswith("https://dl.fbaipublicfiles.com/detectron2/COCO-") and url.endswith(".pkl")
    assert f"/{kind}_rcnn_R_{depth}_FPN_3x/" in url


def test_files_are_recognised_by_content_not_by_name(detectron2_state, model, tmp_path):
    path = Path(write(tmp_path / "x.pkl", detectron2_state, __author__=ZOO)).rename(tmp_path / "weights.pth")
    assert load_checkpoint(model, str(path)).kind == "Detectron2"


def test_predictors_are_reinitialised_for_other_classes(detectron2_state, narrow, tmp_path, caplog):
    path = write(tmp_path / "x.pkl", detectron2_state)
    model = build(narrow["mask"], 5)
    with pytest.raises(SegkitError, match="for other classes: 3 there, 5 here"):
        load_checkpoint(model, path)
    report = load_checkpoint(model, path, on_mismatch="reinitialize")
    assert len(report.reinitialized) == 6 and not report.missing and not report.unused
    assert "predictors are reinitialised" in caplog.text


@pytest.mark.parametrize(("override", "message"), [
    ("model.backbone.stride_in_1x1=false", r"backbone: stride_in_1x1 is false \(Detectron2: true\)"),
    ("model.roi_heads.box_head.sampling_ratio=2", r"roi_heads\.box_head: sampling_ratio is 2 \(Detectron2: 0\)"),
    ("model.roi_heads.mask_head.aligned=false", r"roi_heads\.mask_head: aligned is false \(Detectron2: true\)"),
    ("model.neck.top_block=p6p7", r"neck: top_block is p6p7 \(Detectron2: maxpool\)"),
    ("model.proposal_generator.anchor_generator.rounded=true", r"anchor_generator: rounded is true"),
    ("model.proposal_generator.anchor_generator.whole_strides=true", r"anchor_generator: whole_strides is true"),
    ("model.proposal_generator.anchor_generator.offset=0.5", r"anchor_generator: offset is 0\.5 \(Detectron2: 0\)"),
    ("model.proposal_generator.anchor_generator.sizes=[[32,64]]", r"several sizes .* is true \(Detectron2: false"),
    ("model.proposal_generator.smooth_l1_beta=0.1", r"proposal_generator: smooth_l1_beta is 0\.1 \(Detectron2: 0\)"),
    ("model.roi_heads.box_head.smooth_l1_beta=1", r"box_head: smooth_l1_beta is 1 \(Detectron2: 0\)"),
])  # fmt: skip
def test_other_settings_raise(override, message, detectron2_state, narrow):
    overrides = [override]
    if "p6p7" in override:
        overrides.append("model.proposal_generator.anchor_generator.sizes=[[32],[64],[128],[256],[512],[999]]")
    with torch.device("meta"):
        model = build(narrow["mask"], K, *overrides)
    del model.pixel_mean  # on the meta device it has no values
    found = differences(model, detectron2.convert(detectron2_state, "x", model.state_dict(), ZOO))
    assert len(found) == 1 and re.search(message, found[0])


def test_other_arithmetic_is_refused_with_the_configuration(detectron2_state, model, tmp_path, caplog, monkeypatch):
    path = write(tmp_path / "x.pkl", detectron2_state)
    monkeypatch.setattr(model.roi_heads.box_head.pooler, "sampling_ratio", 2)
    with pytest.raises(SegkitError, match=r"sampling_ratio is 2.*see segkit://coco/detectron2_mask_rcnn_r50_fpn\.yaml"):
        load_checkpoint(model, path)
    load_checkpoint(model, path, on_mismatch="reinitialize")
    assert "sampling_ratio is 2" in caplog.text


@pytest.mark.parametrize(("mean", "std", "expected"), [
    ((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "BGR in 0..255"),
    ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB in 0..255, deviation [58.395, 57.12, 57.375]"),
    ((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), "BGR in 0..255, deviation [57.375, 57.12, 58.395]"),
])  # fmt: skip
def test_the_pixel_format_comes_from_the_file(mean, std, expected, detectron2_state):
    """Old files hold the mean and the deviation."""
    pixels = {"pixel_mean": torch.tensor(mean).view(3, 1, 1), "pixel_std": torch.tensor(std).view(3, 1, 1)}
    converted = detectron2.convert({**detectron2_state, **pixels}, "x", (), "")
    assert str(converted.pixels) == expected and not set(pixels) & set(converted.state)
    assert converted.stride_in_1x1 == (std[0] == 1)


def test_another_mean_cannot_be_folded(detectron2_state, model, tmp_path):
    mean = {"pixel_mean": torch.tensor([100.0, 110.0, 120.0]).view(3, 1, 1)}
    path = write(tmp_path / "x.pth", {**detectron2_state, **mean})
    with pytest.raises(SegkitError, match=r"pixel_mean is \[0\.485.*\(Detectron2: \[0\.4706, 0\.4314, 0\.3922\]\)"):
        load_checkpoint(model, path)


def test_a_folded_stem_has_the_same_output():
    stem, image = torch.randn(4, 3, 5, 5), torch.randint(0, 256, (3, 20, 20)).float()
    for pixels in (
        PixelFormat((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), bgr=True),
        PixelFormat((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), bgr=True),
        PixelFormat((123.675, 116.28, 103.53), (1.0, 1.0, 1.0)),
    ):
        mean, std = (torch.tensor(values)[:, None, None] for values in (pixels.mean, pixels.std))
        theirs = ((image.flip(0) if pixels.bgr else image) - mean) / std
        for deviation in (torch.tensor([0.229, 0.224, 0.225]), torch.ones(3)):
            ours = (image / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / deviation[:, None, None]
            folded = fold_pixels(stem, pixels, deviation)
            torch.testing.assert_close(
                nn.functional.conv2d(ours[None], folded, padding=2),
                nn.functional.conv2d(theirs[None], stem, padding=2),
                atol=2e-3, rtol=1e-4,
            )  # fmt: skip
    assert fold_pixels(stem, IMAGENET_RGB, torch.tensor([0.229, 0.224, 0.225])) is stem


def test_old_files_hold_their_anchors(detectron2_state, model, tmp_path):
    anchors = {
        f"proposal_generator.anchor_generator.cell_anchors.{i}": base.clone()
        for i, base in enumerate(model.proposal_generator.anchor_generator.base)
    }
    assert not load_checkpoint(model, write(tmp_path / "x.pth", {**detectron2_state, **anchors})).unused
    anchors["proposal_generator.anchor_generator.cell_anchors.2"] *= 1.5
    with pytest.raises(SegkitError, match="sizes and aspect_ratios as in the file is false"):
        load_checkpoint(model, write(tmp_path / "x.pth", {**detectron2_state, **anchors}))


def test_models_without_a_pyramid_are_refused(tmp_path):
    state = {"backbone.res2.0.conv1.weight": torch.zeros(1), "roi_heads.res5.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(SegkitError, match=r"without a feature pyramid \(C4 or DC5\)"):
        load_checkpoint(nn.Linear(1, 1), write(tmp_path / "c4.pkl", state, __author__=ZOO))


def test_norms_in_neck_and_heads():
    state = {
        "backbone.fpn_lateral2.weight": torch.zeros(1),
        "backbone.fpn_lateral2.norm.weight": torch.zeros(1),
        "backbone.bottom_up.res2.0.conv2.weight": torch.zeros(1, 1),
        "proposal_generator.rpn_head.conv.conv1.weight": torch.zeros(1),
        "roi_heads.box_head.conv1.weight": torch.zeros(1),
        "roi_heads.box_head.conv1.norm.weight": torch.zeros(1),
        "roi_heads.mask_head.mask_fcn3.weight": torch.zeros(1),
        "roi_heads.mask_head.mask_fcn3.norm.bias": torch.zeros(1),
        "roi_heads.mask_head.mask_fcn3.norm.weight": torch.zeros(1),
    }
    assert set(detectron2.convert(state, "x", (), "").state) == {
        "neck.lateral_convs.0.0.weight",
        "neck.lateral_convs.0.1.weight",
        "backbone.layer1.0.conv2.weight",
        "proposal_generator.head.convs.1.weight",
        "roi_heads.box_head.convs.0.0.weight",
        "roi_heads.box_head.convs.0.1.weight",
        "roi_heads.mask_head.convs.2.0.weight",
        "roi_heads.mask_head.convs.2.1.bias",
        "roi_heads.mask_head.convs.2.1.weight",
    }
