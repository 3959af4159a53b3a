"""Detectron2's and Caffe2's ResNets: names, norms, strides."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import torch
from detectron2_files import K, build, write
from torch import Tensor, nn

from segkit.modeling.backbones import ResNet
from segkit.modeling.weights.arithmetic import differences
from segkit.modeling.weights.backbone_file import read_backbone
from segkit.modeling.weights.loading import load_checkpoint
from segkit.modeling.weights.recognition import read_weights
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def model(narrow) -> nn.Module:
    """Shared by the tests; loading replaces all of its weights."""
    return build(narrow["mask"])


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
