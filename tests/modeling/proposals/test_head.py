"""What a head says of some anchors is what it says of all, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.windows import pixel_windows
from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
from segkit.modeling.proposals.rpn import answers_for_some
from segkit.structures.targets import Targets
from segkit.utils.errors import SegkitError

FEATURES = {f"p{i}": FeatureSpec(channels=6, stride=2**i) for i in (2, 3, 4)}
SIZES = [(9, 7), (4, 4), (1, 1)]


def make_maps(requires_grad: bool = False) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(2, 6, *size, generator=generator, dtype=torch.float64) for size in SIZES]
    return [m.contiguous(memory_format=torch.channels_last).requires_grad_(requires_grad) for m in maps]


def make_head(depth: int, num_anchors: int = 3) -> RPNHead:
    torch.manual_seed(0)
    head = RPNHead(FEATURES, num_anchors, conv_depth=depth, channels=5).double()
    for parameter in head.parameters():  # biases too: padding of the second convolution is zero, not relu(bias)
        nn.init.normal_(parameter, std=0.5)
    return head


@pytest.mark.parametrize("settings", [{"channels": 0}, {"channels": -1}])
def test_widths_and_depths_of_nothing(settings):
    with pytest.raises(SegkitError, match=r"^channels must be at least 1, not"):
        RPNHead(FEATURES, 3, **settings)


def test_windows_are_those_of_the_padded_maps():
    maps = make_maps()
    for radius in (0, 1, 2):
        padded = [nn.functional.pad(m, [radius] * 4) for m in maps]
        side = 2 * radius + 1
        expected = [p[b, :, y : y + side, x : x + side] for b in range(2) for p, (h, w) in zip(padded, SIZES, strict=True)
                    for y in range(h) for x in range(w)]  # fmt: skip
        total = sum(h * w for h, w in SIZES)
        images = torch.arange(2).repeat_interleave(total)
        values, inside = pixel_windows(maps, images, torch.arange(total).repeat(2), radius)
        assert torch.equal(values, torch.stack(expected))
        ones = pixel_windows([torch.ones_like(m) for m in maps], images, torch.arange(total).repeat(2), radius)[0]
        assert torch.equal(inside.expand_as(ones).double(), ones)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_some_anchors_are_as_among_all(depth: int):
    head = make_head(depth)
    total = 3 * sum(h * w for h, w in SIZES)
    generator = torch.Generator().manual_seed(2)
    anchors = torch.cat([torch.arange(total), torch.randint(total, (50,), generator=generator)])  # repeated ones too
    images = torch.randint(2, (len(anchors),), generator=generator)
    weights = torch.randn(len(anchors), 5, generator=generator, dtype=torch.float64)

    def run(dense: bool) -> tuple[Tensor, list[Tensor]]:
        maps = make_maps(requires_grad=True)
        if dense:
            objectness, offsets = head(maps)
            logits, boxes = torch.cat(objectness, 1)[images, anchors], torch.cat(offsets, 1)[images, anchors]
        else:
            logits, boxes = head.at(maps, images, anchors)
        found = torch.cat([logits[:, None], boxes], 1)
        return found.detach(), list(torch.autograd.grad((found * weights).sum(), [*maps, *head.parameters()]))

    (found, gradients), (expected, expected_gradients) = run(False), run(True)
    torch.testing.assert_close(found, expected)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other)


def test_no_anchors():
    none = torch.zeros(0, dtype=torch.long)
    logits, offsets = make_head(2).at(make_maps(), none, none)
    assert logits.shape == (0,) and offsets.shape == (0, 4)


class Doubling(RPNHead):
    """Changes what is said of the anchors, and knows nothing of ``at``."""

    def forward(self, features):
        objectness, offsets = super().forward(features)
        return [2 * o for o in objectness], offsets


def make_rpn(head: nn.Module) -> RPN:
    return RPN(
        FEATURES, anchor_generator=AnchorGenerator(FEATURES, sizes=[[8], [16], [32]]), head=head, samples=40
    ).double()


def losses_and_gradients(rpn: RPN) -> tuple[dict[str, Tensor], list[Tensor]]:
    maps = make_maps(requires_grad=True)
    targets = [Targets(torch.tensor([[2.0, 3, 12, 14], [5, 5, 28, 30]]), torch.tensor([0, 1])), Targets.empty((36, 28))]
    output = rpn(dict(zip(FEATURES, maps, strict=True)))
    losses = rpn.losses(output, targets, torch.Generator().manual_seed(0))
    return losses, list(torch.autograd.grad(sum(losses.values()), [*maps, *rpn.parameters()]))


def test_losses_do_not_depend_on_the_way(monkeypatch):
    rpn = make_rpn(make_head(2))
    found, gradients = losses_and_gradients(rpn)
    monkeypatch.setattr("segkit.modeling.proposals.rpn.answers_for_some", lambda head: False)
    expected, expected_gradients = losses_and_gradients(rpn)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name])
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other)


def test_a_head_with_a_forward_of_its_own_is_asked_for_all():
    torch.manual_seed(0)
    head = Doubling(FEATURES, 3)
    assert answers_for_some(RPNHead(FEATURES, 3)) and not answers_for_some(head)
    output = make_rpn(head)(dict(zip(FEATURES, make_maps(), strict=True)))
    assert output.maps is None and output.objectness[0].requires_grad


@pytest.mark.parametrize("depth", [0, 2**31])
def test_depths_that_cannot_be(depth):
    with pytest.raises(SegkitError, match=f"conv_depth must be 1 to 100, not {depth}"):
        RPNHead(FEATURES, 3, conv_depth=depth)
