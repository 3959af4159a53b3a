"""RPN head: predictions at chosen anchors equal those of the full forward pass, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from segkit.modeling.layers.feature_spec import FeatureSpec
from segkit.modeling.layers.windows import pixel_windows
from segkit.modeling.proposals import RPN, AnchorGenerator, RPNHead
from segkit.modeling.proposals.rpn import supports_sparse_forward
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
def test_channels_below_one_raise(settings):
    with pytest.raises(SegkitError, match=r"^channels must be at least 1, not"):
        RPNHead(FEATURES, 3, **settings)


def test_windows_equal_those_of_padded_maps():
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
def test_forward_at_anchors_equals_forward(depth: int):
    head = make_head(depth)
    total = 3 * sum(h * w for h, w in SIZES)
    generator = torch.Generator().manual_seed(2)
    anchors = torch.cat([torch.arange(total), torch.randint(total, (50,), generator=generator)])  # repeated ones too
    images = torch.randint(2, (len(anchors),), generator=generator)
    weights = torch.randn(len(anchors), 5, generator=generator, dtype=torch.float64)

    def run(dense: bool) -> tuple[Tensor, list[Tensor]]:
        maps = make_maps(requires_grad=True)
        if dense:
            objectness, deltas = head(maps)
            logits, boxes = torch.cat(objectness, 1)[images, anchors], torch.cat(deltas, 1)[images, anchors]
        else:
            logits, boxes = head.forward_at_anchors(maps, images, anchors)
        found = torch.cat([logits[:, None], boxes], 1)
        return found.detach(), list(torch.autograd.grad((found * weights).sum(), [*maps, *head.parameters()]))

    (found, gradients), (expected, expected_gradients) = run(False), run(True)
    torch.testing.assert_close(found, expected)
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other)


def test_no_anchors():
    none = torch.zeros(0, dtype=torch.long)
    logits, deltas = make_head(2).forward_at_anchors(make_maps(), none, none)
    assert logits.shape == (0,) and deltas.shape == (0, 4)


class Doubling(RPNHead):
    """Overrides ``forward`` without ``forward_at_anchors``."""

    def forward(self, features):
        objectness, deltas = super().forward(features)
        return [2 * o for o in objectness], deltas


def make_rpn(head: nn.Module) -> RPN:
    return RPN(
        FEATURES,
        anchor_generator=AnchorGenerator(FEATURES, sizes=[[8], [16], [32]]),
        head=head,
        batch_size_per_image=40,
    ).double()


def losses_and_gradients(rpn: RPN) -> tuple[dict[str, Tensor], list[Tensor]]:
    maps = make_maps(requires_grad=True)
    targets = [Targets(torch.tensor([[2.0, 3, 12, 14], [5, 5, 28, 30]]), torch.tensor([0, 1])), Targets.empty((36, 28))]
    output = rpn(dict(zip(FEATURES, maps, strict=True)))
    losses = rpn.losses(output, targets, torch.Generator().manual_seed(0))
    return losses, list(torch.autograd.grad(sum(losses.values()), [*maps, *rpn.parameters()]))


def test_losses_are_equal_with_and_without_sparse_forward(monkeypatch):
    rpn = make_rpn(make_head(2))
    found, gradients = losses_and_gradients(rpn)
    monkeypatch.setattr("segkit.modeling.proposals.rpn.supports_sparse_forward", lambda head: False)
    expected, expected_gradients = losses_and_gradients(rpn)
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name])
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other)


def test_a_head_with_its_own_forward_is_not_used_sparsely():
    torch.manual_seed(0)
    head = Doubling(FEATURES, 3)
    assert supports_sparse_forward(RPNHead(FEATURES, 3)) and not supports_sparse_forward(head)
    output = make_rpn(head)(dict(zip(FEATURES, make_maps(), strict=True)))
    assert output.features is None and output.objectness[0].requires_grad


@pytest.mark.parametrize("depth", [0, 2**31])
def test_a_depth_out_of_range_raises(depth):
    with pytest.raises(SegkitError, match=f"conv_depth must be 1 to 100, not {depth}"):
        RPNHead(FEATURES, 3, conv_depth=depth)


def test_a_head_with_the_former_method_name_raises():
    class Old(RPNHead):
        def at(self, features, images, anchors):
            return super().forward_at_anchors(features, images, anchors)

    with pytest.raises(SegkitError, match=r"Old\.at: .*forward_at_anchors\(features, images, anchors\)"):
        make_rpn(Old(FEATURES, 3))


def test_a_head_may_have_the_method_under_both_names():
    class Both(RPNHead):
        def forward_at_anchors(self, features, images, anchors):
            return super().forward_at_anchors(features, images, anchors)

        def at(self, features, images, anchors):  # for an earlier segkit
            return self.forward_at_anchors(features, images, anchors)

    head = make_rpn(Both(FEATURES, 3)).head
    assert isinstance(head, Both) and supports_sparse_forward(head)


def test_a_state_dict_with_the_former_layer_name_loads():
    head, other = RPNHead(FEATURES, 3), RPNHead(FEATURES, 3)
    old = {f"x.{name}".replace("x.deltas", "x.offsets"): tensor for name, tensor in head.state_dict().items()}
    assert any("offsets" in name for name in old)
    nn.ModuleDict({"x": other}).load_state_dict(old)
    assert all(torch.equal(tensor, head.state_dict()[name]) for name, tensor in other.state_dict().items())


def test_a_layer_called_offsets_of_a_subclass_keeps_its_tensors():
    class Own(RPNHead):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.offsets = nn.Conv2d(self.deltas.in_channels, self.deltas.out_channels, 1)

    head, other = Own(FEATURES, 3), Own(FEATURES, 3)
    other.load_state_dict(head.state_dict())
    assert all(torch.equal(tensor, head.state_dict()[name]) for name, tensor in other.state_dict().items())
