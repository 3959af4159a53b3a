"""Detectron2's and Caffe2's files: names, folding, refused files, reinitialised tensors."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segkit
from segkit.modeling.backbones import ResNet
from segkit.modeling.weights import detectron2
from segkit.modeling.weights.arithmetic import differences
from segkit.modeling.weights.backbone_file import read_backbone
from segkit.modeling.weights.coco_names import coco_80
from segkit.modeling.weights.loading import load_checkpoint, skip_pretrained
from segkit.modeling.weights.pixels import IMAGENET_RGB, PixelFormat, fold_pixels
from segkit.modeling.weights.recognition import read_weights
from segkit.utils.errors import SegkitError

K = 3
ZOO = "Detectron2 Model Zoo"
CONFIG = "segkit://coco/detectron2_mask_rcnn_r50_fpn.yaml"


def build(narrow, num_classes: int = K, *overrides: str, config: str = CONFIG) -> nn.Module:
    with skip_pretrained():
        return segkit.build_model(segkit.load_config(config, [*narrow, *overrides]), num_classes).eval()


@pytest.fixture(scope="module")
def model(narrow) -> nn.Module:
    """Shared by the tests; loading replaces all of its weights."""
    return build(narrow["mask"])


def write(path: Path, state: dict[str, Tensor], **more: object) -> str:
    """As the zoo does for ``.pkl``, as Detectron2's trainer does for ``.pth``."""
    if path.suffix == ".pkl":
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({"model": arrays, **more}, protocol=4))
    else:
        torch.save({"model": state, "iteration": 89999, **more}, path)
    return str(path)


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


def caffe2_names(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """As in MSRA's ``R-50.pkl``: factors for norms, and unused biases of convolutions and a classifier."""
    layers = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    named = {"fc1000_w": np.zeros((1000, 2048), np.float32), "fc1000_b": np.zeros(1000, np.float32)}
    named["conv1_b"] = np.zeros(64, np.float32)
    for name, tensor in state.items():
        if match := re.fullmatch(r"stem\.conv1\.(norm\.)?(\w+)", name):
            new = "res_conv1_bn" if match[1] else "conv1"
        else:
            match = re.fullmatch(r"res(?:\d)\.(?:\d+)\.\w+\.(norm\.)?(\w+)", name)
            stage, block, layer = name.split(".")[:3]
            new = f"{stage}_{block}_{layers[layer]}{'_bn' if match[1] else ''}"
            if not match[1]:
                named[f"{new}_b"] = np.zeros(tensor.shape[0], np.float32)
        suffix = {"weight": "s" if match[1] else "w", "bias": "b"}[match[2]]
        named[f"{new}_{suffix}"] = tensor.numpy()
    return named


@pytest.fixture(scope="module")
def msra(detectron2_resnet) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return detectron2_resnet(50, statistics=False)


@pytest.fixture(scope="module")
def msra_path(msra, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("msra") / "R-50.pkl"
    path.write_bytes(pickle.dumps(caffe2_names(msra), protocol=4))
    return str(path)


def shape_of(**arguments: object) -> ResNet:
    """A ResNet without memory: names and shapes are enough to read a file for it."""
    with torch.device("meta"):
        return ResNet(arch=50, **arguments)


def test_resnets_under_both_kinds_of_names(msra, tmp_path):
    """Caffe2's, as in MSRA's files and Detectron's, and Detectron2's."""
    contents = (
        {"model": {name: tensor.numpy() for name, tensor in msra.items()}, "matching_heuristics": True},
        caffe2_names(msra),
        {"blobs": {**caffe2_names(msra), "conv1_w_momentum": np.zeros(1, np.float32)}},
    )
    own = {f"backbone.{name}": t for name, t in shape_of(norm="frozen_bn").state_dict().items()}
    read = []
    for content in contents:
        (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=4))
        read.append(read_weights(str(tmp_path / "R-50.pkl"), own, None))
        assert read[-1].kind == "backbone" and read[-1].folded_norms and read[-1].stride_in_1x1
        state = {name: t for name, t in read[-1].state.items() if ".fc." not in name}
        assert {name: t.shape for name, t in state.items()} == {name: t.shape for name, t in own.items()}
        assert all(torch.equal(t, read[0].state[name]) for name, t in state.items())


def test_resnets_from_caffe(msra, msra_path):
    """``backbone.weights``: factors as they are, the stride in the 1x1, BGR in 0..255."""
    backbone = ResNet(arch=50, weights=msra_path, norm="frozen_bn", stride_in_1x1=True).eval()
    image = torch.randint(0, 256, (3, 8, 8)).float()
    with torch.no_grad():
        rgb = (image / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
            [0.229, 0.224, 0.225]
        ).view(3, 1, 1)
        ours = backbone.bn1(backbone.conv1(rgb[None]))
        bgr = image.flip(0) - torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
        theirs = nn.functional.conv2d(bgr[None], msra["stem.conv1.weight"], stride=2, padding=3)
    factor, bias = (msra[f"stem.conv1.norm.{part}"].view(-1, 1, 1) for part in ("weight", "bias"))
    torch.testing.assert_close(ours, theirs * factor + bias, atol=1e-4, rtol=1e-4)
    assert torch.equal(backbone.layer4[2].conv2.weight, msra["res5.2.conv2.weight"])
    assert torch.equal(backbone.layer2[0].downsample[1].bias, msra["res3.0.shortcut.norm.bias"])


def test_resnets_from_caffe_need_their_arithmetic(msra_path):
    with pytest.raises(SegkitError, match=r"stride in the 1x1 convolution.*stride_in_1x1: true"):
        read_backbone(shape_of(norm="frozen_bn"), msra_path)
    with pytest.raises(SegkitError, match=r"without statistics.* need norm: frozen_bn"):
        read_backbone(shape_of(stride_in_1x1=True), msra_path)


def test_resnets_from_caffe_in_a_detector_of_other_arithmetic(msra_path, narrow):
    with torch.device("meta"):
        model = build(narrow["mask"], K, "model.backbone.norm=bn", "model.backbone.stride_in_1x1=false")
    model.pixel_mean = torch.tensor([0.485, 0.456, 0.406])
    assert differences(model, read_weights(msra_path, model.state_dict(), K)) == [
        "backbone: stride_in_1x1 is false (the weights: true)",
        "backbone: norm is not frozen_bn (the file's batch norms are affine factors without statistics)",
    ]


def test_resnets_start_a_detector(msra_path, model):
    """As ``train.init_weights``: only the backbone is loaded, all else is initialised."""
    with pytest.raises(SegkitError, match="weights of a backbone only"):
        load_checkpoint(model, msra_path)
    report = load_checkpoint(model, msra_path, on_mismatch="reinitialize")
    assert report.kind == "backbone" and set(report.changed) == {"backbone.conv1.weight"}
    assert report.loaded == [name for name in model.state_dict() if name.startswith("backbone.")]
    assert report.unused == ["backbone.fc.weight", "backbone.fc.bias"]


def test_resnets_converted_from_torchvision(detectron2_resnet, tmp_path):
    """RGB with a deviation, and the stride in the 3x3, by the file's author."""
    torch.manual_seed(6)
    state = detectron2_resnet(50)
    state["stem.fc.weight"] = torch.zeros(1000, 2048)
    path = write(tmp_path / "r50.pkl", state, __author__="torchvision", matching_heuristics=True)
    read = read_backbone(shape_of(), path)
    assert torch.equal(read["conv1.weight"], state["stem.conv1.weight"])
    assert torch.equal(read["layer1.0.bn1.running_var"], state["res2.0.conv1.norm.running_var"])
    assert set(read) - set(shape_of().state_dict()) == {"fc.weight"}
    with pytest.raises(SegkitError, match=r"stride in the 3x3 convolution.*stride_in_1x1: false"):
        read_backbone(shape_of(stride_in_1x1=True, norm="frozen_bn"), path)
