"""Every registered neck, proposal generator, head and model builds, trains, keeps its contract and saves its state.

A component is tested by being registered: with each of its ``examples`` (see segkit/modeling/interfaces.py), else with its
defaults. Backbones have tests of their own, over their registry too: backbones/test_backbones.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.registry import (
    ANCHOR_GENERATOR_REGISTRY,
    META_ARCH_REGISTRY,
    NECK_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_BOX_HEAD_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    RPN_HEAD_REGISTRY,
    Registry,
)
from segkit.structures import InstanceMasks, Targets

BACKBONE_MAPS = {f"stage{i + 1}": FeatureSpec(8 * (i + 1), 4 << i) for i in range(4)}
PYRAMID = {f"p{i + 2}": FeatureSpec(8, 4 << i) for i in range(5)}
SIZES = [(64, 96), (64, 90)]
CLASSES = 3
BOXES = [torch.tensor([[2.0, 3, 60, 40], [10, 10, 20, 20]]), torch.tensor([[0.0, 0, 90, 64]])]


def cases(registry: Registry) -> list[Any]:
    """A spec for each example of each component."""
    return [
        pytest.param({"name": name, **arguments}, id=f"{name}-{i}")
        for name, component in registry
        if not name.startswith("_")
        for i, arguments in enumerate(getattr(component, "examples", ({},)))
    ]


def maps(specs=PYRAMID, size=(64, 96), batch=2) -> dict[str, Tensor]:
    """Feature maps of a backbone that rounds sizes up."""
    return {
        name: torch.randn(batch, spec.channels, -(-size[0] // spec.stride), -(-size[1] // spec.stride))
        for name, spec in specs.items()
    }


def targets() -> list[Targets]:
    """Two objects in the first image, a crowd region in the second."""
    result = []
    for boxes, size in zip(BOXES, SIZES, strict=True):
        dense = torch.zeros(len(boxes), *size, dtype=torch.bool)
        for i, (x0, y0, x1, y1) in enumerate(boxes.long().tolist()):
            dense[i, y0:y1, x0:x1] = True
        result.append(Targets(boxes, torch.arange(len(boxes)), InstanceMasks.from_dense(dense)))
    result[1].crowd[:] = True
    return result


def check_gradients(module: nn.Module, losses: Any) -> None:
    """Every parameter takes part in the losses."""
    total = sum(loss.float().square().mean() for loss in losses)
    assert torch.isfinite(total)
    total.backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def check_state(registry: Registry, spec: dict, runtime: dict, module: nn.Module) -> nn.Module:
    """Another one of the same spec takes the state; all of it, and to the letter."""
    torch.manual_seed(7)
    other = registry.build(spec, **runtime)
    other.load_state_dict(module.state_dict())
    for (name, one), two in zip(module.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    module.eval()
    return other.eval()


@pytest.mark.parametrize("spec", cases(NECK_REGISTRY))
def test_necks(spec):
    neck = NECK_REGISTRY.build(spec, in_features=BACKBONE_MAPS)
    for size in ((64, 96), (75, 69), (32, 32)):
        pyramid = neck(maps(BACKBONE_MAPS, size))
        assert list(pyramid) == list(neck.out_features)
        for name, published in neck.out_features.items():
            batch, channels, *sides = pyramid[name].shape
            assert (batch, channels) == (2, published.channels)
            assert all(abs(a - b / published.stride) < 1 for a, b in zip(sides, size, strict=True)), name
    check_gradients(neck, pyramid.values())
    other = check_state(NECK_REGISTRY, spec, {"in_features": BACKBONE_MAPS}, neck)
    inputs = maps(BACKBONE_MAPS)
    for one, two in zip(neck(inputs).values(), other(inputs).values(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("spec", cases(ANCHOR_GENERATOR_REGISTRY))
def test_anchor_generators(spec):
    generator = ANCHOR_GENERATOR_REGISTRY.build(spec, in_features=PYRAMID)
    grids = [tuple(m.shape[-2:]) for m in maps(size=(75, 69)).values()]
    anchors = generator(grids)
    assert [a.shape for a in anchors] == [(h * w * generator.num_anchors, 4) for h, w in grids]
    assert all(a.dtype == torch.float32 and (a[:, 2:] > a[:, :2]).all() for a in anchors)


@pytest.mark.parametrize("spec", cases(RPN_HEAD_REGISTRY))
def test_rpn_heads(spec):
    runtime = {"in_features": PYRAMID, "num_anchors": 3}
    head = RPN_HEAD_REGISTRY.build(spec, **runtime)
    inputs = list(maps(size=(75, 69)).values())
    objectness, deltas = head(inputs)
    anchor_counts = [m.shape[-2] * m.shape[-1] * 3 for m in inputs]
    assert [o.shape for o in objectness] == [(2, n) for n in anchor_counts]
    assert [o.shape for o in deltas] == [(2, n, 4) for n in anchor_counts]
    check_gradients(head, [*objectness, *deltas])
    other = check_state(RPN_HEAD_REGISTRY, spec, runtime, head)
    assert torch.equal(head(inputs)[1][0], other(inputs)[1][0])


@pytest.mark.parametrize("spec", cases(PROPOSAL_GENERATOR_REGISTRY))
def test_proposal_generators(spec):
    runtime = {"in_features": PYRAMID}
    generator = PROPOSAL_GENERATOR_REGISTRY.build(spec, **runtime)
    features = maps()
    output = generator(features)
    check_gradients(generator, generator.losses(output, targets(), torch.Generator().manual_seed(0)).values())
    check_state(PROPOSAL_GENERATOR_REGISTRY, spec, runtime, generator)
    for training in (True, False):
        for boxes, (height, width) in zip(generator.proposals(output, SIZES, training), SIZES, strict=True):
            assert boxes.shape[1:] == (4,) and len(boxes) and not boxes.requires_grad
            assert (boxes >= 0).all() and (boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("spec", cases(ROI_BOX_HEAD_REGISTRY))
def test_box_heads(spec):
    runtime = {"in_features": PYRAMID, "num_classes": CLASSES}
    head = ROI_BOX_HEAD_REGISTRY.build(spec, **runtime)
    features, proposals = maps(), torch.cat(BOXES)
    logits, deltas = head(features, BOXES)
    assert logits.shape == (3, CLASSES + 1) and deltas.shape[0] == 3 and deltas.shape[1] in (1, CLASSES)
    assert head.decode(deltas, proposals).shape == (3, CLASSES, 4)
    check_gradients(head, head.losses(logits, deltas, proposals, torch.tensor([1, CLASSES, 0]), proposals + 1).values())
    other = check_state(ROI_BOX_HEAD_REGISTRY, spec, runtime, head)
    assert torch.equal(head(features, BOXES)[0], other(features, BOXES)[0])


@pytest.mark.parametrize("spec", cases(ROI_MASK_HEAD_REGISTRY))
def test_mask_heads(spec):
    runtime = {"in_features": PYRAMID, "num_classes": CLASSES}
    head = ROI_MASK_HEAD_REGISTRY.build(spec, **runtime)
    features, labels = maps(), torch.tensor([2, 0, 1])
    logits = head(features, BOXES, labels)
    assert logits.shape == (3, head.resolution, head.resolution)
    check_gradients(head, head.losses(logits, torch.rand(logits.shape) > 0.5).values())
    other = check_state(ROI_MASK_HEAD_REGISTRY, spec, runtime, head)
    assert torch.equal(head(features, BOXES, labels), other(features, BOXES, labels))


@pytest.mark.parametrize("spec", cases(ROI_HEADS_REGISTRY))
def test_roi_heads(spec):
    runtime = {"in_features": PYRAMID, "num_classes": CLASSES}
    heads = ROI_HEADS_REGISTRY.build(spec, **runtime)
    features = maps()
    losses = heads.losses(features, BOXES, targets(), torch.Generator().manual_seed(0), SIZES)
    assert all(loss.dim() == 0 for loss in losses.values())
    check_gradients(heads, losses.values())
    other = check_state(ROI_HEADS_REGISTRY, spec, runtime, heads)
    for one, two, size in zip(*(h.predict(features, BOXES, SIZES) for h in (heads, other)), SIZES, strict=True):
        assert one.size == size and len(one) <= heads.detections_per_image
        assert torch.equal(one.boxes, two.boxes) and torch.equal(one.scores, two.scores)
        assert (one.scores.diff() <= 0).all() and ((one.labels >= 0) & (one.labels < CLASSES)).all()


@pytest.mark.parametrize("spec", cases(META_ARCH_REGISTRY))
def test_whole_models(spec):
    runtime = {"num_classes": CLASSES}
    model = META_ARCH_REGISTRY.build(spec, **runtime)
    images = [torch.rand(3, *size) for size in SIZES]
    losses = model.losses(images, targets(), torch.Generator().manual_seed(0))
    assert all(loss.dim() == 0 for loss in losses.values())
    check_gradients(model, losses.values())
    other = check_state(META_ARCH_REGISTRY, spec, runtime, model)
    for one, two, size in zip(model.predict(images), other.predict(images), SIZES, strict=True):
        assert one.size == size and torch.equal(one.boxes, two.boxes) and torch.equal(one.scores, two.scores)
