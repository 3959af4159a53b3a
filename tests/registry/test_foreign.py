"""Classes of torchvision and others that no registry can use unchanged: the message says what is missing."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torchvision.models.detection import anchor_utils, faster_rcnn

from segkit import registry as registries
from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.utils.errors import SegkitError


@pytest.mark.parametrize(
    ("title", "component", "arguments", "message"),
    [
        ("BACKBONE", torchvision.models.resnet18, {}, r"makes a ResNet, which is no backbone: it has no 'out_features'"),
        ("BACKBONE", torchvision.models.ResNet, {}, r"needs the argument 'block'"),
        ("BACKBONE", torchvision.models.ResNet, {"block": 1, "layers": [1]}, r"refuses its arguments: AttributeError: 'int'"),
        ("NECK", torchvision.ops.FeaturePyramidNetwork, {"in_channels_list": [8], "out_channels": 4}, r"has no 'out_features'"),
        ("ANCHOR_GENERATOR", anchor_utils.AnchorGenerator, {}, r"has no 'num_anchors'"),
        ("ROI_BOX_HEAD", faster_rcnn.TwoMLPHead, {"in_channels": 8, "representation_size": 4}, r"it has no 'losses'"),
        ("SAMPLER", torch.utils.data.SequentialSampler, {"data_source": [1]}, r"it has no 'epoch_indices'"),
        ("HOOK", dict, {}, r"builtins\.dict: its parameters cannot be read .*register a function"),
        ("EVALUATOR", torch.nn.ReLU, {}, r"makes a ReLU, which is no evaluator: it has no 'reset'"),
        ("DATASET_FORMAT", torch.utils.data.TensorDataset, {}, r"makes a TensorDataset, .*it has no 'load'"),
        ("WRITER", torch.nn.Identity, {}, r"makes a Identity, which is no writer: it has no 'open'"),
        ("SCHEDULE", torch.optim.swa_utils.AveragedModel, {"model": 1}, r"refuses its arguments|has no 'factor'"),
    ],
)  # fmt: skip
def test_foreign_classes(title, component, arguments, message, request):
    registry = getattr(registries, f"{title}_REGISTRY")
    registry.register(component, name="SegTestForeign")
    request.addfinalizer(lambda: registry._obj_map.pop("SegTestForeign"))
    runtime = {"in_features": {"p2": FeatureSpec(8, 4)}, "num_classes": 2, "period": 3, "num_samples": 3, "seed": 0}
    with pytest.raises(SegkitError, match=message) as caught:
        registry.build({registry.key: "SegTestForeign", **arguments}, path="here", **runtime)
    assert str(caught.value).startswith("here")
