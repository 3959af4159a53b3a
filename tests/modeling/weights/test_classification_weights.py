"""Backbone weights: by name, from files of several shapes, and what goes wrong."""

from __future__ import annotations

import urllib.error

import pytest
import torch
from torch import nn
from torchvision import models

from segkit.modeling.backbones import ConvNeXt, EfficientNetV2, ResNet, TinyNet
from segkit.modeling.weights.loading import skip_pretrained
from segkit.utils.errors import SegkitError


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(5)
    return models.resnet18(weights=None)


def same(backbone: nn.Module, classifier: nn.Module) -> bool:
    reference = classifier.state_dict()
    return all(torch.equal(tensor, reference[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("wrap", [
    lambda state: state,
    lambda state: {"model": state},
    lambda state: {"state_dict": state, "epoch": 3},
    lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
])  # fmt: skip
def test_files(wrap, resnet18, tmp_path, caplog):
    torch.save(wrap(resnet18.state_dict()), tmp_path / "w.pth")
    with caplog.at_level("INFO"):
        assert same(ResNet(arch=18, weights=str(tmp_path / "w.pth")), resnet18)
    assert "2 of the classifier's head or of unused stages skipped" in caplog.text


def test_frozen_norms_and_removed_stages_load_the_same_file(resnet18, tmp_path):
    torch.save(resnet18.state_dict(), tmp_path / "w.pth")
    assert same(ResNet(arch=18, weights=str(tmp_path / "w.pth"), norm="frozen_bn"), resnet18)
    assert same(ResNet(arch=18, weights=str(tmp_path / "w.pth"), out_stages=["stage2"]), resnet18)


def test_other_architectures_are_refused(resnet18, tmp_path):
    path = str(tmp_path / "w.pth")
    torch.save(resnet18.state_dict(), path)
    with pytest.raises(
        SegkitError, match=r"another architecture than this ResNet: \d+ missing \(layer1\.2\.conv1\.weight"
    ):
        ResNet(arch=34, weights=path)
    with pytest.raises(
        SegkitError, match=r"of another shape \(layer1\.0\.conv1\.weight is \[64, 64, 3, 3\], here \[64, 64, 1, 1\]"
    ):
        ResNet(arch=50, weights=path)
    with pytest.raises(SegkitError, match="another architecture than this ConvNeXt"):
        ConvNeXt(arch="atto", weights=path)
    with pytest.raises(SegkitError, match="another architecture than this ResNet"):
        ResNet(arch=18, weights=path, norm="gn")  # group norms have no statistics


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(SegkitError, match="does not exist"):
        ResNet(arch=18, weights=str(tmp_path / "nowhere.pth"))
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(SegkitError, match=r"text\.pth'"):
        ResNet(arch=18, weights=str(tmp_path / "text.pth"))
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(SegkitError, match=r"empty\.pth'"):
        ResNet(arch=18, weights=str(tmp_path / "empty.pth"))
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(SegkitError, match="contains a list"):
        ResNet(arch=18, weights=str(tmp_path / "list.pth"))
    torch.save({"epoch": 3}, tmp_path / "none.pth")
    with pytest.raises(SegkitError, match="no named tensors; its keys: epoch"):
        ResNet(arch=18, weights=str(tmp_path / "none.pth"))


class Hostile:
    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


def test_a_file_that_would_run_code_is_not_read(tmp_path):
    torch.save({"model": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(SegkitError, match="more than tensors and plain values"):
        ResNet(arch=18, weights=str(tmp_path / "hostile.pth"))
    assert not Hostile.ran


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1"])
def test_names(name, resnet18, monkeypatch):
    asked = []
    monkeypatch.setattr(
        models.ResNet18_Weights, "get_state_dict", lambda self, **_: asked.append(self.name) or resnet18.state_dict()
    )
    assert same(ResNet(arch=18, weights=name), resnet18)
    assert asked == ["IMAGENET1K_V1"]


def test_wrong_names():
    with pytest.raises(SegkitError, match="did you mean 'IMAGENET1K_V1'"):
        ResNet(arch=18, weights="IMAGENET1K_V2")
    with pytest.raises(SegkitError, match="did you mean 'IMAGENET1K_V1'"):
        ConvNeXt(arch="tiny", weights="IMAGENET_V1")
    with pytest.raises(SegkitError, match="the weights of convnext_tiny are ConvNeXt_Tiny_Weights"):
        ConvNeXt(arch="tiny", weights="ConvNeXt_Base_Weights.IMAGENET1K_V1")
    with pytest.raises(SegkitError, match="torchvision has none for this arch"):
        ConvNeXt(arch="atto", weights="IMAGENET1K_V1")


def test_no_network(monkeypatch):
    def fail(self, **_):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", fail)
    with pytest.raises(SegkitError, match=r"cannot be downloaded from https://.*no route to host.*path of the file"):
        ResNet(arch=18, weights="DEFAULT")


def test_skip_pretrained(monkeypatch):
    monkeypatch.setattr(models.ResNet18_Weights, "get_state_dict", lambda self, **_: pytest.fail("downloaded"))
    with skip_pretrained():
        ResNet(arch=18, weights="IMAGENET1K_V1")
        ConvNeXt(arch="atto", weights="/no/such/file.pth")
    with pytest.raises(SegkitError, match=r"/no/such/file\.pth"):  # only there
        ConvNeXt(arch="atto", weights="/no/such/file.pth")
    with torch.device("meta"):
        ResNet(arch=18, weights="IMAGENET1K_V1")


def test_every_size_with_published_weights_knows_them(monkeypatch):
    """The weights' names and shapes, without downloading: torchvision's classifier on the meta device stands in."""
    from segkit.modeling.weights import torchvision_classification as module

    checked = []
    fit = module.check_fit
    monkeypatch.setattr(module, "skipping_pretrained", lambda: False)
    for build, name in (
        *((ConvNeXt, f"convnext_{a}") for a in ("tiny", "small", "base", "large")),
        *((ResNet, f"resnet{a}") for a in (18, 34, 50, 101, 152)),
        *((EfficientNetV2, f"efficientnet_v2_{a}") for a in ("s", "m", "l")),
    ):
        with torch.device("meta"):
            arch = name.split("_")[-1] if build is not ResNet else int(name.removeprefix("resnet"))
            backbone = build(arch=arch, **({"output_norm": False} if build is ConvNeXt else {}))
            state = models.get_model(name, weights=None).state_dict()
        names = set(backbone.state_dict())
        fit(backbone, {k: v for k, v in state.items() if k in names}, name)
        checked.append(name)
        assert models.get_model_weights(name).DEFAULT is not None
    assert len(checked) == 12


def test_tinynet_has_no_weights_argument():
    with pytest.raises(TypeError):
        TinyNet(weights="DEFAULT")
