"""segkit's own checkpoints into a whole model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.modeling.backbones import TinyNet
from segkit.modeling.meta_arch.mask_rcnn import mask_rcnn
from segkit.modeling.weights.loading import load_checkpoint
from segkit.registry import ROI_HEADS_REGISTRY
from segkit.utils.errors import SegkitError


def model(num_classes: int = 3, classes: list[str] | None = None, width: int = 4) -> nn.Module:
    net = mask_rcnn(
        TinyNet(width=width), num_classes, fpn_channels=8, mask_conv_dims=(8,), fc_dims=(8,)
    )  # fmt: skip
    net.classes = classes
    return net


def save(path, net: nn.Module, classes: list[str] | None) -> str:
    torch.save({"model": net.state_dict(), "config": {"output_dir": "x"}, "classes": classes, "iteration": 5}, path)
    return str(path)


def equal(one: nn.Module, two: nn.Module) -> bool:
    other = two.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.state_dict().items())


def test_round_trip(tmp_path, caplog):
    first, second = model(classes=["a", "b", "c"]), model(classes=["a", "b", "c"])
    assert not equal(first, second)
    report = load_checkpoint(second, save(tmp_path / "m.pth", first, ["a", "b", "c"]))
    assert equal(first, second)
    assert report.kind == "segkit" and report.classes == ["a", "b", "c"]
    assert not report.missing and not report.unused and not report.reinitialized
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_checkpoints_with_former_layer_names_load(tmp_path):
    """The layers that predict box deltas were called ``offsets``."""
    first, second = model(), model()
    path = save(tmp_path / "m.pth", first, None)
    content = torch.load(path)
    content["model"] = {name.replace(".deltas.", ".offsets."): tensor for name, tensor in content["model"].items()}
    assert sum(".offsets." in name for name in content["model"]) == 4
    torch.save(content, path)
    load_checkpoint(second, path)
    assert equal(first, second)


def test_plain_state_dicts_and_unknown_names_are_compared_by_count(tmp_path):
    first, second = model(), model()
    torch.save(first.state_dict(), tmp_path / "m.pth")
    load_checkpoint(second, str(tmp_path / "m.pth"))
    assert equal(first, second)
    with pytest.raises(SegkitError, match="other classes: 3 there, 2 here"):
        load_checkpoint(model(2), str(tmp_path / "m.pth"))


@pytest.mark.parametrize(("there", "here", "message"), [
    (["a", "b", "c"], ["a", "b"], "3 there, 2 here; only there: c; only here: none"),
    (["a", "b", "c"], ["a", "b", "x"], "3 there, 3 here; only there: c; only here: x"),
    (["a", "b", "c"], ["b", "a", "c"], "another order, a, b, c there, b, a, c here"),
])  # fmt: skip
def test_other_classes(there, here, message, tmp_path, caplog):
    path = save(tmp_path / "m.pth", model(len(there)), there)
    target = model(len(here), here)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(SegkitError, match=message):
        load_checkpoint(target, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    report = load_checkpoint(target, path, on_mismatch="reinitialize")
    assert len(report.reinitialized) == 6  # also where only the names differ
    assert torch.equal(target.roi_heads.box_head.classifier.weight, before["roi_heads.box_head.classifier.weight"])
    assert not torch.equal(target.backbone.stem[0].weight, before["backbone.stem.0.weight"])
    assert message.split(";")[0] in caplog.text


def test_all_predictors_of_a_cascade_are_reinitialised(tmp_path):
    heads = [{"name": "FastRCNNHead", "fc_dims": [8], "class_agnostic": True}] * 2
    spec = {"name": "CascadeROIHeads", "box_heads": heads, "fg_iou_thresholds": [0.5, 0.6]}
    spec |= {"mask_head": {"name": "FCNMaskHead", "conv_dims": [8]}}

    def cascade(classes: list[str]) -> nn.Module:
        net = model(len(classes), classes)
        net.roi_heads = ROI_HEADS_REGISTRY.build(spec, in_features=net.neck.out_features, num_classes=len(classes))
        return net

    path = save(tmp_path / "m.pth", cascade(["a", "b"]), ["a", "b"])
    report = load_checkpoint(cascade(["a", "x"]), path, on_mismatch="reinitialize")
    stages = {name.split(".")[2] for name in report.reinitialized if "box_heads" in name}
    assert stages == {"0", "1"} and len(report.reinitialized) == 2 * 4 + 2
    net = cascade(["a", "b", "c"])
    net.classes = None
    with pytest.raises(SegkitError, match="other classes: 2 there, 3 here"):
        load_checkpoint(net, path)


def test_other_architecture(tmp_path, caplog):
    path = save(tmp_path / "m.pth", model(), None)
    with pytest.raises(
        SegkitError, match=r"another architecture: \d+ tensors of another shape \(backbone\.stem\.0\.weight"
    ):
        load_checkpoint(model(width=8), path)
    report = load_checkpoint(model(width=8), path, on_mismatch="reinitialize")
    assert report.reinitialized and report.loaded
    assert "reinitialized" in caplog.text
    with pytest.raises(SegkitError, match="nothing that fits this Conv2d"):
        load_checkpoint(nn.Conv2d(1, 1, 1), path, on_mismatch="reinitialize")


def test_missing_and_unused_tensors(tmp_path):
    net = model()
    state = net.state_dict()
    state["extra.weight"] = state.pop("neck.output_convs.0.bias")
    torch.save({"model": state}, tmp_path / "m.pth")
    with pytest.raises(
        SegkitError, match=r"1 tensors not in the file \(neck\.output.*; 1 tensors not in the model \(extra"
    ):
        load_checkpoint(model(), str(tmp_path / "m.pth"))
    report = load_checkpoint(model(), str(tmp_path / "m.pth"), on_mismatch="reinitialize")
    assert report.missing == ["neck.output_convs.0.bias"] and report.unused == ["extra.weight"]


def test_missing_file(tmp_path):
    save(tmp_path / "model_final.pth", model(), None)
    with pytest.raises(SegkitError, match=r"model_fnal\.pth' does not exist; did you mean 'model_final\.pth'"):
        load_checkpoint(model(), str(tmp_path / "model_fnal.pth"))
